"""Source of the figures where none stands beside them: BST-BME280-DS002 and BST-BMP280-DS001."""

import logging
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.drivers.bme280 import Bme280, Options, Trim, decode, fine_temperature, humidity, parse, pressure, temperature
from edged.errors import CorruptReply, NoReply, SensorError, WrongChip
from edged.simulation import bus as buses
from edged.simulation.bus import SimulatedBus
from edged.simulation.chips import Air
from edged.simulation.chips.bme280 import Bme280 as Model
from edged.simulation.faults import FaultSchedule

# The registers of the worked example, BST-BMP280-DS001 §3.12; humidity's give 55.0007 %RH by published libraries.
BLOCK = bytes.fromhex("70 6B 43 67 18 FC 7D 8E 43 D6 D0 0B 27 0B 8C 00 F9 FF 8C 3C F8 C6 70 17 00 4B")
HUMIDITY_BLOCK = bytes.fromhex("6A 01 00 13 29 03 1E")
DATA = bytes.fromhex("65 5A C0 7E ED 00 75 30")
TRIM = Trim(
    *(27504, 26435, -1000),
    *(36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000),
    *(75, 362, 0, 313, 50, 30),
)

# Case 1: a BMP280 that was sold as a BME280, left in normal mode.
DUMP = {
    0x88: bytes.fromhex("62 6B 7D 67 18 FC BB 92 1D D5 D0 0B 64 0D 90 00 F9 FF 8C 3C F8 C6 70 17"),
    0xA0: bytes.fromhex("00 00 7C 00"),
    0xD0: bytes.fromhex("58"),
    0xE1: bytes(7),
    0xF2: bytes.fromhex("00 0C 6F 00"),
    0xF7: bytes.fromhex("5A 73 00 7E 33 C0 86 6E"),
}
# Case 2: a calibration read that came shifted.
SHIFTED = bytes.fromhex("00 00 00 00 00 2F 94 00 4C 9D C0 7B F3 00 72 74 90 43 A3 2B BA 00 00 6B")
AIR = Air(temperature=21.5, pressure=1013.25, humidity=45.0)


class Clock:
    """The bus's time, which passes by what a read yields."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def finish(self, read):
        while True:
            try:
                self.now += next(read)
            except StopIteration as end:
                return end.value


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def bus(clock, monkeypatch):
    """The bus `sim`, in the test's time."""
    bus = SimulatedBus("", now=clock, sleep=clock.sleep)
    monkeypatch.setattr(buses, "_buses", {"": bus})
    monkeypatch.setattr(Bme280, "_told", set())
    return bus


def sensor(**options) -> Bme280:
    return Bme280(Options(bus="sim", **options), timeout_s=5)


def plug(bus: SimulatedBus, clock: Clock, chip: Model, fault: FaultSchedule | None = None) -> Model:
    bus.plug(0x76, chip, fault)
    clock.now += 1
    return chip


def test_the_worked_example():
    assert parse(BLOCK, HUMIDITY_BLOCK) == TRIM
    fine = fine_temperature(TRIM, 519_888)
    assert fine == pytest.approx(128_422, abs=1)
    assert temperature(fine) == pytest.approx(25.08, abs=0.005)
    assert pressure(TRIM, fine, 415_148) == pytest.approx(1006.5327, abs=0.0005)


def test_humidity_agrees_with_published_libraries():
    assert humidity(TRIM, fine_temperature(TRIM, 519_888), 30_000) == pytest.approx(55.0007, abs=0.0001)


def test_decode_the_registers_of_the_example():
    values = decode(parse(BLOCK, HUMIDITY_BLOCK), DATA)
    assert values == {
        "temperature": pytest.approx(25.08247793),  # RPi.bme280 0.2.4
        "pressure": pytest.approx(1006.53266776),
        "humidity": pytest.approx(55.0007, abs=0.0001),
    }
    assert decode(parse(BLOCK[:24]), DATA[:6]) == {name: values[name] for name in ("temperature", "pressure")}


def test_h4_and_h5_are_signed():
    trim = parse(BLOCK, bytes.fromhex("6A 01 00 FE 1F FD 1E"))
    assert (trim.h4, trim.h5) == (-17, -47)  # FEF and FD1, of 12 bits


@pytest.mark.parametrize("oversampling", [1, 2, 4, 8, 16])
def test_it_finds_the_air_of_the_simulated_chip(bus, clock, oversampling):
    plug(bus, clock, Model(environment=lambda now: AIR))
    values = clock.finish(sensor(oversampling=oversampling).read())
    assert values["temperature"] == pytest.approx(21.5, abs=0.01)
    assert values["pressure"] == pytest.approx(1013.25, abs=0.2)
    assert values["humidity"] == pytest.approx(45.0, abs=0.1)


def test_a_read_waits_as_long_as_the_datasheet_says_and_measures_anew(bus, clock):
    warming = plug(bus, clock, Model(environment=lambda now: AIR._replace(temperature=(now - 1000))))
    driver = sensor()
    assert clock.finish(driver.read())["temperature"] == pytest.approx(1, abs=0.1)
    clock.now = 1030
    assert next(driver.read()) == pytest.approx(0.0093)
    clock.now = 1040
    assert clock.finish(driver.read())["temperature"] == pytest.approx(40, abs=0.1)
    warming.write(b"\xf4", clock.now)
    assert warming.read(1, clock.now)[0] & 3 == 0  # asleep, so that it does not warm itself


@pytest.mark.case(1)
@pytest.mark.guarantee(11)
def test_a_bmp280_sold_as_a_bme280(bus, clock, caplog):
    plug(bus, clock, Model.from_dump(DUMP))
    driver = sensor()
    for _ in range(3):
        values = clock.finish(driver.read())
        assert values == {
            "temperature": pytest.approx(24.277, abs=0.01),
            "pressure": pytest.approx(1035.41, abs=0.05),
        }
        clock.now += 10
    clock.finish(sensor().read())  # the next driver of the same chip
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "I2C bus sim, address 0x76" in said.getMessage()
    assert "BMP280 and has no humidity" in said.getMessage()


@pytest.mark.case(1)
def test_a_chip_left_in_normal_mode_is_put_to_sleep(bus, clock):
    chip = plug(bus, clock, Model(environment=lambda now: AIR))
    chip.write(b"\xf2\x05\xf5\xb0\xf4\xb7", clock.now)  # 16 times each, filter on, standing by for 1 s
    clock.now += 0.05  # within a conversion
    assert clock.finish(sensor().read())["temperature"] == pytest.approx(21.5, abs=0.01)
    for register, content in ((0xF4, b"\x24"), (0xF5, b"\x00"), (0xF2, b"\x01")):
        chip.write(bytes([register]), clock.now)
        assert chip.read(1, clock.now) == content


@pytest.mark.case(2)
@pytest.mark.guarantee(11)
@pytest.mark.parametrize("chip_id", [0x58, 0x60])
def test_a_calibration_that_came_shifted_is_read_again(bus, clock, chip_id):
    chip = plug(bus, clock, Model.from_dump(DUMP | {0xD0: bytes([chip_id]), 0xE1: HUMIDITY_BLOCK}))
    chip.answer(0x88, SHIFTED, times=1)
    with pytest.raises(CorruptReply, match="I2C bus sim, address 0x76"):
        clock.finish(sensor().read())
    assert clock.finish(sensor().read())["temperature"] == pytest.approx(24.277, abs=0.01)


@pytest.mark.case(2)
@pytest.mark.guarantee(11)
@pytest.mark.parametrize("block", [SHIFTED, bytes(24), b"\xff" * 24, BLOCK[:12] + b"\xff" * 12])
def test_a_calibration_that_stays_bad_gives_no_reading(bus, clock, block):
    chip = plug(bus, clock, Model.from_dump(DUMP))
    chip.answer(0x88, block, times=None)
    for _ in range(5):
        with pytest.raises(CorruptReply, match="calibration is not whole"):
            clock.finish(sensor().read())


@pytest.mark.guarantee(11)
@pytest.mark.parametrize("at", range(0, 24, 2))
def test_no_word_of_a_calibration_is_zero(at):
    with pytest.raises(CorruptReply, match="not whole"):
        parse(BLOCK[:at] + bytes(2) + BLOCK[at + 2 :], HUMIDITY_BLOCK)


@pytest.mark.parametrize("block", [bytes(7), b"\xff" * 7])
def test_a_calibration_without_humidity(block):
    with pytest.raises(CorruptReply, match="of humidity"):
        parse(BLOCK, block)


@pytest.mark.guarantee(11)
@pytest.mark.parametrize(
    "data",
    [
        "80 00 00 80 00 00 80 00",  # as after power-on
        "80 00 00 7E ED 00 75 30",
        "65 5A C0 80 00 00 75 30",
        "65 5A C0 7E ED 00 80 00",
        "00 00 00 00 00 00 00 00",
        "FF FF FF FF FF FF FF FF",
        "65 5A C0 7E ED 00 FF FF",
    ],
)
def test_words_that_are_no_measurement(bus, clock, data):
    chip = plug(bus, clock, Model())
    chip.answer(0xF7, bytes.fromhex(data), times=None)
    with pytest.raises(CorruptReply, match="I2C bus sim, address 0x76: no measurement"):
        clock.finish(sensor().read())


@pytest.mark.guarantee(11)
def test_a_chip_that_loses_its_power_in_a_conversion_gives_nothing(bus, clock):
    chip = plug(bus, clock, Model())
    driver = sensor()
    clock.finish(driver.read())
    read = driver.read()
    clock.now += next(read)
    chip.power_on(clock.now)
    with pytest.raises(CorruptReply, match="does not get done"):
        clock.finish(read)


@pytest.mark.parametrize(
    ("id", "hint"),
    [(0x61, "BME680"), (0x55, "BMP180"), (0x42, "another chip")],
)
def test_another_chip(bus, clock, id, hint):
    plug(bus, clock, Model(chip_id=id))
    with pytest.raises(WrongChip, match=rf"I2C bus sim, address 0x76: .* {id:02x} .*{hint}"):
        clock.finish(sensor().read())


def test_a_chip_with_its_id_elsewhere(bus, clock):
    plug(bus, clock, Model(chip_id=0x42)).answer(0x00, b"\x60", times=None)
    with pytest.raises(WrongChip, match="BMP390"):
        clock.finish(sensor().read())


@pytest.mark.parametrize("id", [0x57, 0x56])
def test_samples_of_the_bmp280(bus, clock, id):
    plug(bus, clock, Model(chip_id=id))
    assert set(clock.finish(sensor().read())) == {"temperature", "pressure"}


def test_an_id_that_was_read_wrongly_once_is_not_believed(bus, clock):
    plug(bus, clock, Model()).answer(0xD0, b"\x58", times=1)
    with pytest.raises(CorruptReply, match="58, 60"):
        clock.finish(sensor().read())
    assert "humidity" in clock.finish(sensor().read())


@pytest.mark.case(11)
@pytest.mark.guarantee(11)
def test_a_stuck_bus_is_named_and_no_value_comes_of_it(bus, clock):
    plug(bus, clock, Model())
    bus.stuck = True
    with pytest.raises(CorruptReply, match=r"I2C bus sim, .*stuck"):
        clock.finish(sensor().read())
    bus.stuck = False
    assert "humidity" in clock.finish(sensor().read())


@pytest.mark.guarantee(11)
def test_corrupt_replies_give_no_false_values(bus, clock):
    plug(bus, clock, Model(environment=lambda now: AIR), FaultSchedule("corrupt", every_s=60, for_s=60))
    for _ in range(300):
        with pytest.raises(SensorError):
            clock.finish(sensor().read())
        clock.now += 1


def test_a_bus_that_hangs_takes_one_time_out(bus, clock):
    plug(bus, clock, Model(), FaultSchedule("hang", every_s=60, for_s=60))
    before = clock.now
    with pytest.raises(NoReply, match="bus hangs"):
        clock.finish(sensor().read())
    assert clock.now - before == 5


@given(st.binary(min_size=26, max_size=26), st.binary(min_size=7, max_size=7), st.binary(min_size=8, max_size=8))
def test_any_bytes_give_numbers_or_corrupt(block, humidity_block, data):
    try:
        values = decode(parse(block, humidity_block), data)
    except CorruptReply:
        return
    assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())


def test_a_calibration_by_which_no_pressure_can_be_divided():
    trim = replace(TRIM, p2=0, p3=0, p1=0)
    with pytest.raises(CorruptReply, match="no pressure"):
        pressure(trim, 128_422, 415_148)


def test_plugged_in_at_first_use_at_its_own_address(bus, clock):
    assert set(clock.finish(sensor(address=0x77).read())) == {"temperature", "pressure", "humidity"}
    assert [bus.is_free(address) for address in (0x76, 0x77)] == [True, False]
