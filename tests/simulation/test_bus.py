import errno

import pytest

from edged.simulation import bus as buses
from edged.simulation.bus import SimulatedBus
from edged.simulation.chips import ChipModel
from edged.simulation.faults import FaultSchedule


class Clock:
    """Time that passes only where somebody sleeps or sets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Echo(ChipModel):
    """Remembers what was written and reads it back; it refuses a write of FF, and a read while it holds nothing."""

    def __init__(self) -> None:
        self.held = b""
        self.powered: list[float] = []

    def write(self, data: bytes, now: float) -> bool:
        self.held = data
        return data != b"\xff"

    def read(self, count: int, now: float) -> bytes:
        return self.held[:count]

    def power_on(self, now: float) -> None:
        self.held = b""
        self.powered.append(now)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bus(clock):
    return SimulatedBus("test", now=clock, sleep=clock.sleep)


def outcome(bus: SimulatedBus, write: bytes = b"\x12\x34", read: int = 2, address: int = 0x44) -> bytes | int:
    """The reply of one transaction, or the number of its error."""
    try:
        return bus.transfer(address, write, read, timeout_s=0.1)
    except OSError as error:
        return error.errno or 0


def test_write_and_read_in_one_transaction_and_apart(bus):
    bus.plug(0x44, Echo())
    assert bus.transfer(0x44, b"\x01\x02\x03", 3, 0.1) == b"\x01\x02\x03"
    assert bus.transfer(0x44, b"\x04\x05", 0, 0.1) == b""
    assert bus.transfer(0x44, b"", 2, 0.1) == b"\x04\x05"


def test_bytes_beyond_what_a_chip_has_read_as_ff(bus):
    bus.plug(0x44, Echo())
    assert bus.transfer(0x44, b"\x01", 3, 0.1) == b"\x01\xff\xff"


def test_who_does_not_acknowledge_is_a_remote_io_error(bus):
    bus.plug(0x44, Echo())
    assert outcome(bus, address=0x45) == errno.EREMOTEIO  # nobody there
    assert outcome(bus, write=b"") == errno.EREMOTEIO  # the address, to read
    assert outcome(bus, write=b"\xff") == errno.EREMOTEIO  # a byte of a write


def test_neither_write_nor_read_asks_only_who_is_there(bus):
    bus.plug(0x44, Echo())
    assert outcome(bus, b"", 0) == b""
    assert outcome(bus, b"", 0, address=0x45) == errno.EREMOTEIO


def test_plug_powers_and_replaces(bus):
    first, second = Echo(), Echo()
    bus.plug(0x44, first)
    assert first.powered == [1000.0]
    bus.plug(0x44, second)
    outcome(bus)
    assert (first.held, second.held) == (b"", b"\x12\x34")
    bus.unplug(0x44)
    bus.unplug(0x44)
    assert outcome(bus) == errno.EREMOTEIO


@pytest.mark.parametrize("fault", ["nack", "hang", "flap", "corrupt", "unplugged"])
def test_a_fault_comes_and_goes(bus, clock, fault):
    bus.plug(0x44, Echo(), FaultSchedule(fault, every_s=60, for_s=10))
    seen = []
    for second in range(130):
        clock.now = 1000.0 + second
        seen.append([outcome(bus), outcome(bus)] != [b"\x12\x34"] * 2)
    assert [n for n, bad in enumerate(seen) if bad] == [*range(50, 60), *range(110, 120)]


def test_nack(bus, clock):
    bus.plug(0x44, Echo(), FaultSchedule("nack"))
    clock.now += 50
    assert outcome(bus) == errno.EREMOTEIO
    assert clock.now == 1050.0  # at once


def test_hang_lasts_for_the_timeout_and_leaves_the_neighbours(bus, clock):
    bus.plug(0x44, Echo(), FaultSchedule("hang"))
    bus.plug(0x45, Echo())
    clock.now += 50
    assert outcome(bus) == errno.ETIMEDOUT
    assert clock.now == pytest.approx(1050.1)
    assert outcome(bus, address=0x45) == b"\x12\x34"


def test_flap_refuses_every_second_transaction(bus, clock):
    bus.plug(0x44, Echo(), FaultSchedule("flap"))
    outcome(bus)
    clock.now += 50
    assert [outcome(bus) for _ in range(4)] == [b"\x12\x34", errno.EREMOTEIO] * 2


def test_corrupt_spoils_every_reply_in_the_same_way_each_time(clock):
    def replies() -> list[bytes | int]:
        bus = SimulatedBus(now=clock, sleep=clock.sleep)
        bus.plug(0x44, Echo(), FaultSchedule("corrupt", every_s=1, for_s=1))
        return [outcome(bus) for _ in range(50)]

    assert b"\x12\x34" not in replies()
    assert replies() == replies()


def test_an_unplugged_chip_comes_back_without_its_settings(bus, clock):
    chip = Echo()
    bus.plug(0x44, chip, FaultSchedule("unplugged", every_s=60, for_s=10))
    outcome(bus)
    clock.now = 1050.0
    assert outcome(bus) == errno.EREMOTEIO
    clock.now = 1065.0
    assert outcome(bus, write=b"") == errno.EREMOTEIO  # what it held is gone
    outcome(bus)
    assert outcome(bus, write=b"") == b"\x12\x34"
    clock.now = 1300.0  # four times out since, unseen
    assert outcome(bus, write=b"") == errno.EREMOTEIO
    assert chip.powered == [1000.0, 1060.0, 1300.0]


@pytest.mark.case(11)
def test_on_a_stuck_bus_every_address_acknowledges_and_reads_zero(bus):
    chip = Echo()
    bus.plug(0x44, chip)
    bus.stuck = True
    assert {outcome(bus, address=address) for address in range(0x03, 0x78)} == {b"\x00\x00"}
    assert outcome(bus, b"", 0, address=0x03) == b""
    assert chip.held == b""
    bus.stuck = False
    assert outcome(bus) == b"\x12\x34"
    assert outcome(bus, address=0x03) == errno.EREMOTEIO


def test_each_name_is_a_bus_of_its_own():
    buses.reset()
    cellar = buses.open_bus("cellar")
    assert buses.open_bus("cellar") is cellar
    assert buses.open_bus("") is not cellar
    assert cellar.name == "cellar"
    buses.reset()
    assert buses.open_bus("cellar") is not cellar
    buses.reset()
