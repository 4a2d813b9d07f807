import errno
import os
import subprocess
import sys
import threading

import pytest

from edged.buses import i2c, sysfs
from edged.buses.i2c import Chip, LinuxBus
from edged.errors import CorruptReply, NoReply, WrongChip
from edged.simulation import bus as simulation


class Node:
    """A device node's smbus2: it notes the messages and answers reads with 01 02 03 ..., or fails."""

    fd: int | None = 99

    def __init__(self) -> None:
        self.transfers: list[list[tuple[int, bool, bytes]]] = []
        self.failures: list[int] = []
        self.closed = False

    def i2c_rdwr(self, *messages) -> None:
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, os.strerror(code))
        self.transfers.append([(m.addr, bool(m.flags & 1), bytes(m)) for m in messages])
        for message in messages:
            if message.flags & 1:
                for n in range(message.len):
                    message.buf[n] = n + 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "ROOT", tmp_path)
    monkeypatch.setattr(i2c, "DEV", tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    return tmp_path


@pytest.fixture(autouse=True)
def timeouts(monkeypatch):
    """What the adapter's time-out was set to."""
    calls: list[tuple[int, int, int]] = []
    monkeypatch.setattr(i2c, "ioctl", lambda *call: calls.append(call))
    return calls


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def chip(node):
    return Chip(LinuxBus(1, lambda path: node), 1, 0x76, timeout_s=5)


def bound(root, driver: str, *parts: str) -> None:
    """The kernel has a driver for the chip at 76."""
    device = root / "sys/bus/i2c/devices/1-0076"
    device.mkdir(parents=True)
    (root / "sys/bus/i2c/drivers" / driver).mkdir(parents=True)
    (device / "driver").symlink_to(f"../../drivers/{driver}")
    for part in parts:
        (device / part).mkdir()


def test_write_and_read_are_one_transfer(chip, node):
    assert chip.read_register(0xD0, 3) == b"\x01\x02\x03"
    assert node.transfers == [[(0x76, False, b"\xd0"), (0x76, True, b"\0\0\0")]]


def test_write_alone_and_read_alone(chip, node):
    chip.write(b"\x24\x00")
    chip.write_register(0xF4, 0x25)
    assert chip.read(2) == b"\x01\x02"
    assert node.transfers == [[(0x76, False, b"\x24\x00")], [(0x76, False, b"\xf4\x25")], [(0x76, True, b"\0\0")]]


def test_the_adapters_time_out_is_set_when_it_changes(node, timeouts):
    bus = LinuxBus(1, lambda path: node)
    for timeout_s in (0.25, 0.25, 0.001, 60):
        bus.transfer(0x76, b"\x00", 0, timeout_s)
    assert timeouts == [(99, 0x0702, 25), (99, 0x0702, 1), (99, 0x0702, 100)]  # 10 ms each; a second at most


@pytest.mark.pain("E3")
@pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.ENXIO, errno.EIO, errno.ENOMEM])
def test_nobody_there_names_bus_address_and_what_to_check(chip, node, code):
    node.failures = [code]
    with pytest.raises(NoReply, match=rf"^I2C bus 1, address 0x76: .*wiring.*address.*\({errno.errorcode[code]}\)$"):
        chip.read(1)
    assert chip.read(1) == b"\x01"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ETIMEDOUT, "bus hangs"),
        (errno.EAGAIN, "second master"),
        (errno.EOPNOTSUPP, "cannot"),
        (errno.EBUSY, "busy"),
    ],
)
def test_other_faults(chip, node, code, advice):
    node.failures = [code]
    with pytest.raises(NoReply, match=f"^I2C bus 1, address 0x76: .*{advice}"):
        chip.write(b"\x00")


@pytest.mark.pain("E9")
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EACCES, "group i2c"),
        (errno.EPERM, "DeviceAllow"),
        (errno.ENOENT, "raspi-config nonint do_i2c 0"),
        (errno.ENXIO, "leads to no bus"),
        (errno.EMFILE, "cannot be opened"),
    ],
)
def test_a_bus_that_cannot_be_opened(root, code, advice):
    def make(path: str) -> Node:
        raise OSError(code, os.strerror(code))

    with pytest.raises(NoReply, match=f"{root}/dev/i2c-1: .*{advice}"):
        Chip(LinuxBus(1, make), 1, 0x76, 5).read(1)


def test_the_bus_is_opened_again_after_it_has_gone(timeouts):
    nodes = [Node(), Node()]
    nodes[0].failures = [errno.EREMOTEIO, errno.ENODEV]
    opened: list[str] = []

    def make(path: str) -> Node:
        opened.append(path)
        return nodes[len(opened) - 1]

    chip = Chip(LinuxBus(1, make), 1, 0x76, 5)
    for code in ("EREMOTEIO", "ENODEV"):
        with pytest.raises(NoReply, match=code):
            chip.read(1)
    assert chip.read(1) == b"\x01"
    assert len(opened) == 2
    assert nodes[0].closed
    assert len(timeouts) == 2  # a new adapter has the kernel's own


def test_a_failed_opening_is_tried_again(node):
    outcomes: list[OSError | Node] = [FileNotFoundError(errno.ENOENT, "no"), node]

    def make(path: str) -> Node:
        outcome = outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    chip = Chip(LinuxBus(1, make), 1, 0x76, 5)
    with pytest.raises(NoReply, match="ENOENT"):
        chip.read(1)
    assert chip.read(1) == b"\x01"


@pytest.mark.parametrize(
    ("parts", "ways"),
    [
        (["iio:device0"], 'driver = "iio" and device = "1-0076"'),
        (["hwmon"], 'driver = "hwmon" and device = "1-0076"'),
        ([], 'driver = "iio" or driver = "hwmon" and device'),
    ],
)
def test_a_chip_of_the_kernels_is_left_alone(root, chip, node, parts, ways):
    bound(root, "bmp280", *parts)
    with pytest.raises(WrongChip, match=f"bus 1, address 0x76: the kernel's driver bmp280 has this chip; .*{ways}"):
        chip.read(1)
    assert node.transfers == []


def test_one_transfer_at_a_time():
    order: list[str] = []

    class Slow(Node):
        def i2c_rdwr(self, *messages) -> None:
            if not order:
                order.append("first begins")
                second.start()
                second.join(0.02)  # it cannot end while this transfer lasts
                order.append("first ends")
            else:
                order.append("second")

    slow = Slow()
    bus = LinuxBus(1, lambda path: slow)
    second = threading.Thread(target=bus.transfer, args=(0x77, b"\0", 0, 1))
    bus.transfer(0x76, b"\0", 0, 1)
    second.join()
    assert order == ["first begins", "first ends", "second"]


def test_one_bus_a_number(monkeypatch):
    monkeypatch.setattr(i2c, "_buses", {})
    assert i2c.open_bus(1) is i2c.open_bus(1) is not i2c.open_bus(2)
    assert [i2c.simulated(bus) for bus in (1, "sim", "sim:attic")] == [None, "", "attic"]


def test_a_simulated_bus_speaks_the_same():
    chip = Chip(simulation.SimulatedBus("attic"), "sim:attic", 0x76, 5)
    with pytest.raises(NoReply, match=r"^I2C bus sim:attic, address 0x76: nobody answers"):
        chip.read(1)


def test_who_is_silent_is_looked_for_with_a_command_that_exists():
    chip = Chip(simulation.SimulatedBus("attic"), "sim:attic", 0x76, 5)
    with pytest.raises(NoReply, match=r"i2cdetect -y N") as caught:
        chip.read(1)
    assert "edged scan" not in str(caught.value)


def test_two_reads_must_agree(chip, node):
    assert chip.read_twice(0x88, 2) == b"\x01\x02"
    replies = [b"\x10\x11", b"\x10\x13"]
    chip._wire = type("Noisy", (), {"transfer": lambda *_: replies.pop(0)})()
    with pytest.raises(CorruptReply, match=r"^I2C bus 1, address 0x76: register 0x88 .* 10 11 and 10 13"):
        chip.read_twice(0x88, 2)


@pytest.mark.pain("E9")
def test_absent_tells_a_missing_bus_from_a_missing_module(root):
    assert "raspi-config nonint do_i2c 0" in i2c.absent(1, 0x76)
    (root / "sys/bus/i2c/devices/i2c-1").mkdir(parents=True)
    assert "modprobe i2c-dev" in i2c.absent(1, 0x76)
    (root / "dev/i2c-1").touch()
    assert i2c.absent(1, 0x76) == ""
    bound(root, "bmp280")
    assert "the kernel's driver bmp280" in i2c.absent(1, 0x76)
    assert i2c.absent(1, 0x77) == ""


@pytest.mark.pain("E9")
def test_absent_names_the_group(root, monkeypatch):
    (root / "dev/i2c-1").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "group i2c" in i2c.absent(1, 0x76)


def test_smbus2_is_loaded_by_a_real_bus_only():
    code = (
        "import sys, edged.drivers.bme280 as d\n"
        "from edged.buses import i2c\n"
        "i2c.open_bus(1)\n"
        "assert 'smbus2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_smbus2_takes_what_it_is_given(root):
    """A file that is no device node: opening works, the first ioctl fails, and the file is named."""
    (root / "dev/i2c-1").touch()
    with pytest.raises(NoReply, match=f"{root}/dev/i2c-1: it cannot be opened .*ENOTTY"):
        Chip(LinuxBus(1), 1, 0x76, 5).read(1)
