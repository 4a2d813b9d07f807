import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edged.buses import gpio
from edged.errors import NoReply

# What edged, gpiozero and a line need of lgpio.  Levels are set, and edges made, by the tests.
LGPIO = """
import os

os.chdir(os.environ["LG_WD"])  # as the real one does
open(".lgd-nfy0", "w").close()

SET_PULL_NONE, SET_PULL_UP, SET_PULL_DOWN = 128, 32, 64
RISING_EDGE, FALLING_EDGE, BOTH_EDGES = 1, 2, 3
levels, busy, chips, claimed, debounce, callbacks = {}, set(), {}, {}, {}, []


class error(Exception):
    pass


class callback:
    def __init__(self, handle, line, edges, call):
        self.handle, self.line, self.call = handle, line, call
        callbacks.append(self)

    def cancel(self):
        callbacks.remove(self)


def gpiochip_open(number):
    handle = len(chips)
    chips[handle] = number
    return handle


def gpiochip_close(handle):
    del chips[handle]
    for key in [key for key in claimed if key[0] == handle]:
        del claimed[key]


def gpio_claim_input(handle, line, flags=0):
    if line in busy:
        raise error("GPIO busy")
    claimed.setdefault((handle, line), flags)  # those of a claimed line stay (gpiozero's comment at _set_pull)


def gpio_claim_output(handle, line, level=0, flags=0):
    raise AssertionError("edged drives no line")


def gpio_claim_alert(handle, line, edges, flags=0):
    gpio_claim_input(handle, line, flags)


def gpio_free(handle, line):
    del claimed[handle, line]


def gpio_get_mode(handle, line):
    return claimed[handle, line]  # bits 5 to 7 are the same


def gpio_read(handle, line):
    claimed[handle, line]
    return levels.get(line, 0)


def gpio_set_debounce_micros(handle, line, micros):
    debounce[line] = micros


def edge(line, level):
    levels[line] = level
    for each in list(callbacks):
        if each.line == line:
            each.call(each.handle, line, level, 5_000_000_000)
"""


class Kernel:
    """The GPIO chips of /dev: label by number, and the consumers of their lines."""

    def __init__(self, dev: Path) -> None:
        self.dev = dev
        self.labels: dict[int, str] = {}
        self.held: dict[int, str] = {}
        self.refuses: dict[int, int] = {}

    def add(self, number: int, label: str) -> None:
        (self.dev / f"gpiochip{number}").touch()
        self.labels[number] = label

    def ask(self, path: Path, request: int, question: bytes) -> bytes:
        number = int(path.name.removeprefix("gpiochip"))
        if number in self.refuses:
            raise OSError(self.refuses[number], os.strerror(self.refuses[number]), str(path))
        if request == 0x8044B401:
            assert len(question) == 68
            return struct.pack("32s32sI", path.name.encode(), self.labels[number].encode(), 28)
        assert (request, len(question)) == (0xC100B405, 256)
        (line,) = struct.unpack_from("I", question, 64)
        consumer = self.held.get(line)
        flags = 0 if consumer is None else 1
        return struct.pack("32s32sIIQ", b"GPIO", (consumer or "").encode(), line, 0, flags) + bytes(176)


@pytest.fixture(autouse=True)
def kernel(tmp_path, monkeypatch):
    dev = tmp_path / "dev"
    dev.mkdir()
    kernel = Kernel(dev)
    monkeypatch.setattr(gpio, "DEV", dev)
    monkeypatch.setattr(gpio, "ask", kernel.ask)
    monkeypatch.setattr(gpio, "_ours", set())
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    return kernel


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, in_c: bool) -> None:
    place = tmp_path / "site"
    place.mkdir()
    (place / "lgpio.py").write_text(source)
    if in_c:
        (place / "_lgpio.py").write_text("")
    monkeypatch.syspath_prepend(place)
    for name in ("lgpio", "_lgpio", "gpiozero.pins.lgpio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, name, None)  # so that it is taken out again afterwards
        del sys.modules[name]
    monkeypatch.setenv("LG_WD", "")  # likewise
    monkeypatch.delenv("LG_WD")


@pytest.fixture
def lgpio(tmp_path, monkeypatch, kernel):
    """A stand-in for lgpio and a Pi with its header at chip 4."""
    install(tmp_path, monkeypatch, LGPIO, in_c=True)
    kernel.add(4, "pinctrl-rp1")
    gpio.lgpio_ready()
    return sys.modules["lgpio"]


def line(pin: int = 17, chip=None, pull: gpio.Pull = "down", debounce_s: float = 0, events: bool = False) -> gpio.Input:
    return gpio.open_input(pin, chip, pull, debounce_s, events)


@pytest.mark.pain("E11")
@pytest.mark.parametrize("label", ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"])
def test_the_headers_chip_is_found_by_its_label(kernel, label):
    kernel.add(0, "raspberrypi-exp-gpio")
    kernel.add(11, label)
    kernel.add(2, "brcmvirt-gpio")
    assert gpio.find(None) == (11, label)


def test_a_chip_by_number_name_or_label(kernel):
    kernel.add(0, "pinctrl-bcm2711")
    kernel.add(2, "gpio-sim.0-node0")
    for chip in (2, "gpiochip2", "/dev/gpiochip2", "gpio-sim.0-node0"):
        assert gpio.find(chip).number == 2


def test_a_link_is_no_chip(kernel):
    kernel.add(0, "pinctrl-rp1")
    (kernel.dev / "gpiochip4").symlink_to("gpiochip0")
    assert gpio.find(None).number == 0
    with pytest.raises(NoReply, match=r"no GPIO chip 4 .*gpiochip0 \(pinctrl-rp1\)"):
        gpio.find(4)


def test_no_chip_at_all(kernel):
    with pytest.raises(NoReply, match=r"no GPIO chip of a Raspberry Pi's header in .*none"):
        gpio.find(None)


@pytest.mark.pain("E9")
@pytest.mark.parametrize(("code", "advice"), [(errno.EACCES, "group gpio"), (errno.EPERM, "DeviceAllow")])
def test_a_chip_that_may_not_be_opened(kernel, code, advice):
    kernel.add(0, "pinctrl-bcm2711")
    kernel.refuses[0] = code
    with pytest.raises(NoReply, match=f"/gpiochip0: .*{advice}"):
        gpio.find(None)


def test_a_level_is_read_from_the_headers_chip(lgpio):
    opened = line()
    lgpio.levels[17] = 1
    assert opened.high()
    lgpio.levels[17] = 0
    assert not opened.high()
    assert list(lgpio.chips.values()) == [4]
    assert lgpio.callbacks == []  # no events, no wake-ups
    opened.close()


@pytest.mark.parametrize(("pull", "flag"), [("up", 32), ("down", 64), ("none", 128)])
def test_pull(lgpio, pull, flag):
    opened = line(pull=pull)
    assert list(lgpio.claimed.values()) == [flag]
    opened.close()


@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_events_give_the_level(lgpio, pull):
    opened = line(pull=pull, events=True, debounce_s=0.02)
    seen: list[bool] = []
    opened.listen(seen.append)
    for level in (1, 0, 1):
        lgpio.edge(17, level)
    opened.close()
    lgpio.edge(17, 0)
    assert seen[-3:] == [True, False, True]
    assert seen[:-3] == []
    assert lgpio.debounce[17] == 20_000


@pytest.mark.case(14)
def test_a_closed_line_is_free_again(lgpio):
    for _ in range(3):
        opened = line(events=True)
        opened.listen(lambda high: None)
        opened.close()
        assert (lgpio.chips, lgpio.claimed, lgpio.callbacks) == ({}, {}, [])


@pytest.mark.case(14)
def test_a_busy_line_names_line_and_holder(lgpio, kernel):
    lgpio.busy.add(17)
    kernel.held[17] = "lg"
    with pytest.raises(NoReply, match=r'GPIO line 17 of gpiochip4 \(pinctrl-rp1\): it is in use by "lg"'):
        line()
    assert lgpio.chips == {}
    other = line(27)
    lgpio.busy.clear()
    again = line()
    assert not again.high()
    again.close()
    other.close()


@pytest.mark.case(14)
def test_a_busy_line_without_a_name(lgpio, kernel):
    lgpio.busy.add(17)
    with pytest.raises(NoReply, match=r"GPIO line 17 .*GPIO busy"):
        line()


def test_two_chips_have_lines_of_their_own(lgpio, kernel):
    kernel.add(7, "gpio-sim.0-node0")
    first, second = line(), line(chip=7)
    first.close()
    assert not second.high()
    second.close()


@pytest.mark.case(14)
def test_absent_tells_who_holds_the_line_but_not_that_we_do(lgpio, kernel):
    assert gpio.absent(17, None) == ""
    kernel.held[17] = "spi0 CS0"
    assert 'GPIO line 17 of gpiochip4 (pinctrl-rp1): it is in use by "spi0 CS0"' in gpio.absent(17, None)
    opened = line()
    assert gpio.absent(17, None) == ""
    opened.close()
    assert "spi0 CS0" in gpio.absent(17, None)


def test_lgpio_leaves_the_working_directory_alone(tmp_path, monkeypatch, kernel):
    install(tmp_path, monkeypatch, LGPIO, in_c=True)
    monkeypatch.chdir(tmp_path)
    gpio.lgpio_ready()
    assert Path.cwd() == tmp_path
    folder = Path(os.environ["LG_WD"])
    assert (folder / ".lgd-nfy0").exists()
    assert folder.stat().st_mode & 0o77 == 0
    assert not (tmp_path / ".lgd-nfy0").exists()


def test_lg_wd_of_the_environment_is_kept(tmp_path, monkeypatch, kernel):
    install(tmp_path, monkeypatch, LGPIO, in_c=True)
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("LG_WD", str(tmp_path / "own"))
    gpio.lgpio_ready()
    assert (tmp_path / "own/.lgd-nfy0").exists()


def test_a_folder_that_lgpio_cannot_write_to(tmp_path, monkeypatch, kernel):
    install(tmp_path, monkeypatch, LGPIO, in_c=True)
    monkeypatch.setenv("LG_WD", str(tmp_path / "nowhere"))
    with pytest.raises(NoReply, match=r"LG_WD = .*nowhere"):
        gpio.lgpio_ready()


@pytest.mark.pain("F7")
def test_the_empty_release_of_lgpio_is_told(tmp_path, monkeypatch, kernel):
    install(tmp_path, monkeypatch, "", in_c=False)
    kernel.add(0, "pinctrl-rp1")
    with pytest.raises(NoReply) as raised:
        gpio.lgpio_ready()
    for reason in (gpio.absent(17, None), str(raised.value)):
        assert "empty module" in reason
        assert "apt install python3-lgpio" in reason
        assert "--system-site-packages" in reason


@pytest.mark.pain("E11")
def test_no_lgpio_is_told(monkeypatch, kernel):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "lgpio is not installed: sudo apt install python3-lgpio" in gpio.absent(17, None)
    monkeypatch.setitem(sys.modules, "lgpio", None)  # import fails
    with pytest.raises(NoReply, match="lgpio is not installed"):
        line()


def test_absent_without_a_chip(lgpio, kernel):
    (kernel.dev / "gpiochip4").unlink()
    assert "no GPIO chip of a Raspberry Pi's header" in gpio.absent(17, None)


def test_pin_factory_of_the_environment(monkeypatch, kernel):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "nonsense")
    monkeypatch.setattr("gpiozero.Device.pin_factory", None)
    assert gpio.absent(17, None) == ""
    with pytest.raises(NoReply, match=r"GPIO line 17: .*nonsense"):
        line()


@pytest.mark.parametrize("pin", [2, 3])
def test_two_lines_have_a_resistor(pin):
    assert "resistor" in gpio.pull_problem(pin, None, "down")
    assert gpio.pull_problem(pin, None, "up") == gpio.pull_problem(pin, 7, "down") == ""
    assert gpio.pull_problem(17, None, "down") == ""


def test_gpiozero_is_loaded_by_a_line_only():
    code = (
        "import sys, edged.drivers.digital_input\n"
        "from edged.buses import gpio\n"
        "gpio.absent(17, None)\n"
        "assert not {'gpiozero', 'lgpio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
