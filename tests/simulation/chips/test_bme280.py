"""Source of the figures where none stands beside them: BST-BME280-DS002 and BST-BMP280-DS001."""

import struct
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.simulation import chips
from edged.simulation.chips import Air
from edged.simulation.chips.bme280 import BMP280, EXAMPLE, Bme280, fine_temperature, humidity, pressure

AIR = Air(temperature=21.5, pressure=1013.25, humidity=45.0)
FORCED_ONCE = b"\xf2\x01\xf4\x25"  # humidity x1; temperature x1, pressure x1, forced
ONE_CONVERSION_S = 0.0093  # of 1/1/1, at most
POWER_ON_DATA = bytes.fromhex("80 00 00 80 00 00 80 00")

# Registers of a "BME280" that is a BMP280: codesqueak/pi_pico_bme280#2.
DUMP = {
    0x88: bytes.fromhex("62 6B 7D 67 18 FC BB 92 1D D5 D0 0B 64 0D 90 00 F9 FF 8C 3C F8 C6 70 17"),
    0xA0: bytes.fromhex("00 00 7C 00"),
    0xD0: bytes.fromhex("58"),
    0xE1: bytes(7),
    0xF2: bytes.fromhex("00 0C 6F 00"),
    0xF7: bytes.fromhex("5A 73 00 7E 33 C0 86 6E"),
}
# The first 24 bytes of a calibration read that came shifted: raspberrypi/pico-examples#186.
SHIFTED = bytes.fromhex("00 00 00 00 00 2F 94 00 4C 9D C0 7B F3 00 72 74 90 43 A3 2B BA 00 00 6B")


def registers(chip: Bme280, first: int, count: int, now: float) -> bytes:
    assert chip.write(bytes([first]), now)
    return chip.read(count, now)


def measuring(chip: Bme280, now: float) -> bool:
    return bool(registers(chip, 0xF3, 1, now)[0] & 0x08)


def powered(**options) -> Bme280:
    chip = Bme280(**options)
    chip.power_on(0.0)
    return chip


def air(chip: Bme280, now: float) -> Air:
    """What the registers say, by the floating-point formulas of §4.2.3 / appendix 8.1 (not those of the model)."""
    t1, t2, t3, p1, p2, p3, p4, p5, p6, p7, p8, p9 = struct.unpack("<HhhH8h", registers(chip, 0x88, 24, now))
    h1 = registers(chip, 0xA1, 1, now)[0]
    h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", registers(chip, 0xE1, 7, now))
    h4, h5 = e4 * 16 + e5 % 16, e6 * 16 + e5 // 16
    data = registers(chip, 0xF7, 8, now)
    adc_p, adc_t = (int.from_bytes(data[at : at + 3], "big") / 16 for at in (0, 3))
    adc_h = int.from_bytes(data[6:], "big")

    offset = adc_t / 16384 - t1 / 1024
    t_fine = offset * t2 + (adc_t / 131072 - t1 / 8192) ** 2 * t3

    half = t_fine / 2 - 64000
    low = (half * half * p6 / 32768 + half * p5 * 2) / 4 + p4 * 65536
    gain = (1 + (p3 * half * half / 524288 + p2 * half) / 524288 / 32768) * p1
    pascal = (1048576 - adc_p - low / 4096) * 6250 / gain
    pascal += (p9 * pascal * pascal / 2147483648 + pascal * p8 / 32768 + p7) / 16

    warm = t_fine - 76800
    wet = (adc_h - (h4 * 64 + h5 / 16384 * warm)) * (
        h2 / 65536 * (1 + h6 / 67108864 * warm * (1 + h3 / 67108864 * warm))
    )
    return Air(t_fine / 5120, pascal / 100, wet * (1 - h1 * wet / 524288))


def test_the_worked_example_of_temperature_and_pressure():
    t_fine = fine_temperature(EXAMPLE, 519_888)
    assert t_fine == 128_422
    assert t_fine / 5120 == pytest.approx(25.08, abs=0.005)
    # The page prints 25767236; the formula above it gives 25767233.  100653.27 Pa is the floating-point result.
    assert pressure(EXAMPLE, t_fine, 415_148) / 256 == pytest.approx(100_653.27, abs=0.05)


def test_humidity_agrees_with_published_libraries():
    assert humidity(EXAMPLE, 128_422, 30_000) == 56_317  # 54.997 %RH; their floating-point gives 55.0007


def test_the_registers_of_the_worked_example():
    chip = powered()
    assert registers(chip, 0x88, 26, 1.0) == bytes.fromhex(
        "70 6B 43 67 18 FC 7D 8E 43 D6 D0 0B 27 0B 8C 00 F9 FF 8C 3C F8 C6 70 17 00 4B"
    )
    assert registers(chip, 0xE1, 7, 1.0) == bytes.fromhex("6A 01 00 13 29 03 1E")
    assert registers(chip, 0xD0, 1, 1.0) == b"\x60"


def test_power_on_values():
    chip = powered()
    assert registers(chip, 0xF2, 4, 0.1) == bytes(4)
    assert registers(chip, 0xF7, 8, 0.1) == POWER_ON_DATA


def test_im_update_falls_within_two_milliseconds():
    chip = powered()
    assert registers(chip, 0xF3, 1, 0.001) == b"\x01"
    assert registers(chip, 0xF3, 1, 0.0021) == b"\x00"


def test_one_forced_measurement():
    chip = powered(environment=lambda now: AIR)
    chip.write(FORCED_ONCE, 1.0)
    assert measuring(chip, 1.009)
    assert registers(chip, 0xF7, 8, 1.009) == POWER_ON_DATA
    assert registers(chip, 0xF4, 1, 1.009) == b"\x25"
    assert not measuring(chip, 1.0 + ONE_CONVERSION_S)
    assert registers(chip, 0xF4, 1, 1.01) == b"\x24"  # asleep again
    measured = registers(chip, 0xF7, 8, 1.01)
    assert POWER_ON_DATA not in (measured, registers(chip, 0xF7, 8, 99.0))
    assert registers(chip, 0xF7, 8, 99.0) == measured  # no more of them


def test_data_are_those_of_the_end_of_the_conversion():
    chip = powered(environment=lambda now: AIR._replace(temperature=20 + now))
    chip.write(FORCED_ONCE, 1.0)
    assert air(chip, 50.0).temperature == pytest.approx(21.0093, abs=0.01)


@pytest.mark.parametrize(
    ("humidity_setting", "setting", "longest_ms"),
    [(0x01, 0x25, 9.3), (0x05, 0xB5, 112.8), (0x00, 0x25, 6.425), (0x00, 0x21, 3.55), (0x04, 0x69, 34.6)],
)
def test_a_conversion_takes_the_longer_the_more_it_samples(humidity_setting, setting, longest_ms):
    chip = powered()
    chip.write(bytes([0xF2, humidity_setting, 0xF4, setting]), 1.0)
    assert measuring(chip, 1.0 + longest_ms / 1000 - 0.0001)
    assert not measuring(chip, 1.0 + longest_ms / 1000 + 0.0001)


def test_ctrl_hum_counts_from_the_next_write_of_ctrl_meas_on():
    chip = powered(environment=lambda now: AIR)
    chip.write(b"\xf4\x25\xf2\x01", 1.0)  # the wrong way round
    assert registers(chip, 0xF2, 1, 1.0) == b"\x01"
    assert registers(chip, 0xFD, 2, 1.1) == b"\x80\x00"
    chip.write(b"\xf4\x25", 2.0)
    assert air(chip, 2.1).humidity == pytest.approx(45.0, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "skipped"),
    [(b"\xf2\x01\xf4\x21", slice(0, 3)), (b"\xf2\x01\xf4\x05", slice(3, 6)), (b"\xf2\x00\xf4\x25", slice(6, 8))],
)
def test_a_skipped_channel_reads_as_after_power_on(settings, skipped):
    chip = powered(environment=lambda now: AIR)
    chip.write(settings, 1.0)
    data = registers(chip, 0xF7, 8, 1.1)
    for channel in (slice(0, 3), slice(3, 6), slice(6, 8)):
        assert (data[channel] == POWER_ON_DATA[channel]) == (channel == skipped)


def test_normal_mode_measures_and_stands_by_in_turn():
    chip = powered(environment=lambda now: AIR._replace(temperature=20 + now))
    chip.write(b"\xf5\x40\xf2\x01\xf4\x27", 1.0)  # 125 ms between two of 9.3 ms
    period = 0.125 + ONE_CONVERSION_S
    assert measuring(chip, 1.001)
    assert not measuring(chip, 1.02)
    assert air(chip, 1.02).temperature == pytest.approx(21.0093, abs=0.01)
    assert measuring(chip, 1.001 + 7 * period)
    assert air(chip, 1.001 + 7 * period).temperature == pytest.approx(21.0093 + 6 * period, abs=0.01)
    assert registers(chip, 0xF4, 1, 9.0) == b"\x27"
    chip.write(b"\xf4\x24", 9.0)
    assert not measuring(chip, 9.2)


def test_a_change_of_mode_waits_for_the_conversion_under_way():
    chip = powered(environment=lambda now: AIR._replace(temperature=20 + now))
    chip.write(FORCED_ONCE, 1.0)
    chip.write(b"\xf4\x21", 1.005)  # temperature and humidity: 6.425 ms
    chip.write(b"\xf2\x05\xf4\x27", 1.006)  # ignored
    assert registers(chip, 0xF7, 3, 1.0095) != POWER_ON_DATA[:3]
    assert measuring(chip, 1.0093 + 0.0064)
    assert not measuring(chip, 1.0093 + 0.0065)
    assert registers(chip, 0xF7, 3, 1.02) == POWER_ON_DATA[:3]
    assert air(chip, 1.02).temperature == pytest.approx(21.0157, abs=0.01)
    assert registers(chip, 0xF2, 3, 1.02) == b"\x01\x00\x20"


def test_a_write_is_pairs_and_does_not_increment():
    chip = powered()
    chip.write(b"\xf2\x01\xf5\xa0", 1.0)
    assert registers(chip, 0xF2, 4, 1.0) == b"\x01\x00\x00\xa0"
    chip.write(b"\xf2\x03\x25", 1.0)  # 25 is the next register, not the next value
    assert registers(chip, 0xF2, 4, 1.0) == b"\x03\x00\x00\xa0"


def test_a_read_increments_and_goes_on_from_there():
    chip = powered()
    assert registers(chip, 0x88, 2, 1.0) + chip.read(2, 1.0) == b"\x70\x6b\x43\x67"


def test_the_rest_cannot_be_written():
    chip = powered()
    chip.write(b"\xd0\x11\x88\x11\xf3\xff\xf7\x11\xe0\x11", 1.0)
    assert registers(chip, 0xD0, 1, 1.0) + registers(chip, 0x88, 1, 1.0) == b"\x60\x70"
    assert registers(chip, 0xF3, 5, 1.0) == b"\x00\x00\x00\x00\x80"


def test_reset_loses_settings_and_keeps_the_calibration():
    chip = powered()
    chip.write(b"\xf5\x40" + FORCED_ONCE, 1.0)
    chip.write(b"\xe0\xb6", 2.0)
    assert registers(chip, 0xF2, 4, 2.001) == b"\x00\x01\x00\x00"
    assert registers(chip, 0xF7, 8, 2.1) == POWER_ON_DATA
    assert registers(chip, 0xE0, 1, 2.1) == b"\x00"
    assert registers(chip, 0x88, 2, 2.1) == b"\x70\x6b"


def test_a_bmp280_has_no_humidity():
    chip = powered(chip_id=BMP280, environment=lambda now: AIR)
    chip.write(FORCED_ONCE, 1.0)
    assert not measuring(chip, 1.0065)
    assert registers(chip, 0xD0, 1, 1.1) == b"\x58"
    assert registers(chip, 0xA1, 1, 1.1) + registers(chip, 0xE1, 7, 1.1) == bytes(8)
    assert registers(chip, 0xFD, 2, 1.1) == b"\x80\x00"
    assert air(chip, 1.1).pressure == pytest.approx(1013.25, abs=0.05)


@given(
    around=st.builds(Air, st.floats(-40, 85), st.floats(300, 1100), st.floats(0, 100)),
    oversampling=st.integers(1, 5),
    filtered=st.booleans(),
)
def test_a_driver_finds_the_air_that_the_model_was_given(around, oversampling, filtered):
    chip = powered(environment=lambda now: around)
    setting = oversampling << 5 | oversampling << 2 | 1
    chip.write(bytes([0xF5, 0x10 * filtered, 0xF2, oversampling, 0xF4, setting]), 1.0)
    found = air(chip, 2.0)
    assert found.temperature == pytest.approx(around.temperature, abs=0.01)
    assert found.pressure == pytest.approx(around.pressure, abs=0.05)
    assert found.humidity == pytest.approx(around.humidity, abs=0.1)


def test_h4_h5_and_h6_can_be_negative():
    chip = powered(calibration=EXAMPLE._replace(h=(75, 362, 0, -20, -50, -30)), environment=lambda now: AIR)
    chip.write(FORCED_ONCE, 1.0)
    # -20 = FEC, -50 = FCE, both of 12 bits; -30 = E2
    assert registers(chip, 0xE1, 7, 1.1) == bytes.fromhex("6A 01 00 FE EC FC E2")
    assert air(chip, 1.1).humidity == pytest.approx(45.0, abs=0.1)


@pytest.mark.parametrize(("setting", "bits"), [(0x25, 16), (0x49, 17), (0x6D, 18), (0x91, 19), (0xB5, 20)])
def test_more_samples_give_more_bits(setting, bits):
    chip = powered(environment=chips.room(seed=1))
    seen = 0
    for now in range(1, 60):
        chip.write(bytes([0xF4, setting]), now)
        data = registers(chip, 0xF7, 6, now + 0.5)
        seen |= (data[2] | data[5]) >> 4
    assert seen == 0xF << (20 - bits) & 0xF


@pytest.mark.case(1)
def test_a_dump_is_found_as_it_was_left():
    chip = Bme280.from_dump(DUMP)
    chip.power_on(0.0)
    assert registers(chip, 0x88, 24, 0.0) == DUMP[0x88]
    assert registers(chip, 0xA0, 4, 0.0) == DUMP[0xA0]
    assert registers(chip, 0xF2, 4, 0.0) == DUMP[0xF2]  # normal mode, measuring
    assert registers(chip, 0xF3, 2, 0.0203) == b"\x04\x6f"  # x4 and x4 take 20.225 ms, then 0.5 ms of standby
    chip.write(b"\xf4\x25", 0.021)
    assert registers(chip, 0xF3, 2, 0.1) == b"\x04\x24"
    assert registers(chip, 0xF7, 8, 0.1) == DUMP[0xF7]
    assert air(chip, 0.1).temperature == pytest.approx(24.277, abs=0.01)
    assert air(chip, 0.1).pressure == pytest.approx(1035.41, abs=0.05)


@pytest.mark.case(1)
def test_a_dumped_chip_is_a_fresh_one_after_the_next_power_on():
    chip = Bme280.from_dump(DUMP)
    chip.power_on(0.0)
    chip.power_on(10.0)
    assert registers(chip, 0xF2, 4, 10.1) == bytes(4)
    assert registers(chip, 0xF7, 8, 10.1) == POWER_ON_DATA
    assert registers(chip, 0x88, 24, 10.1) == DUMP[0x88]
    chip.write(b"\xf4\x25", 11.0)
    assert registers(chip, 0xF7, 8, 11.1) == DUMP[0xF7]


@pytest.mark.case(2)
def test_a_read_that_comes_shifted_once():
    chip = Bme280.from_dump(DUMP)
    chip.power_on(0.0)
    chip.answer(0x88, SHIFTED)
    assert registers(chip, 0x88, 26, 1.0) == SHIFTED + b"\x00\x00"
    assert registers(chip, 0x88, 24, 1.0) == DUMP[0x88]


@pytest.mark.case(2)
def test_a_read_that_comes_shifted_until_it_is_cleared():
    chip = Bme280.from_dump(DUMP)
    chip.power_on(0.0)
    chip.answer(0x88, SHIFTED, times=None)
    assert {registers(chip, 0x88, 24, now) for now in range(20)} == {SHIFTED}
    chip.answer(0x88, b"", times=0)
    assert registers(chip, 0x88, 24, 30.0) == DUMP[0x88]


def test_found_by_name():
    assert "bme280" in chips.names()
    chip = chips.model("bme280", 0x76)
    chip.power_on(0.0)
    chip.write(b"\xd0", 1.0)
    assert chip.read(1, 1.0) == b"\x60"
    with pytest.raises(ValueError, match=r"no simulated 'bme281'; there are: .*bme280"):
        chips.model("bme281", 0x76)


def test_each_address_and_bus_has_air_of_its_own():
    def data(address: int, bus: str) -> bytes:
        chip = chips.model("bme280", address, bus)
        chip.power_on(0.0)
        chip.write(FORCED_ONCE, 1.0)
        chip.write(b"\xf7", 2.0)
        return chip.read(8, 2.0)

    assert len({data(0x76, ""), data(0x77, ""), data(0x76, "cellar")}) == 3
    assert data(0x76, "cellar") == data(0x76, "cellar")


@given(st.integers(0, 2**32), st.floats(0, 1e9))
def test_a_room_is_plausible_and_clear_of_the_words_of_a_skipped_channel(seed, now):
    around = chips.room(seed)(now)
    assert 15 < around.temperature < 26.2
    assert 1000 < around.pressure < 1025
    assert 30 < around.humidity < 65
    assert around == chips.room(seed)(now)


def test_a_measurement_costs_less_than_a_millisecond():
    chip = powered()
    spent = []
    for now in range(1, 100):
        chip.write(FORCED_ONCE, now)
        began = perf_counter()
        registers(chip, 0xF7, 8, now + 0.5)
        spent.append(perf_counter() - began)
    assert sorted(spent)[50] < 0.001
