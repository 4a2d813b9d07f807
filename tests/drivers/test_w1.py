import contextlib
import errno
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.buses import sysfs
from edged.drivers.w1 import W1, Options, crc8, decode
from edged.errors import CorruptReply, NoReply, SensorError
from tests.drivers import finish
from tests.fixtures.sysfs import grow, script

ID = "28-000006c5aefc"
BELOW_ZERO = "fb ff 4b 46 7f ff 0c 10 06 : crc=06 YES\nfb ff 4b 46 7f ff 0c 10 06 t=-312\n"
ROOM = "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b 01 4b 46 7f ff 05 10 e1 t=20687\n"
TEN_BITS = "58 01 14 05 3f a5 a5 66 e7 : crc=e7 YES\n58 01 14 05 3f a5 a5 66 e7 t=21500\n"
POWER_ON = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
ALL_ZERO = "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"
ALL_ONES = "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n00 00 00 00 00 00 00 00 00 t=-62\n"


def w1_slave(raw: int, byte_6: int = 0x05, millidegrees: int | None = None) -> str:
    """The file for a temperature word, as the kernel writes it."""
    scratchpad = (raw & 0xFFFF).to_bytes(2, "little") + bytes([0x4B, 0x46, 0x7F, 0xFF, byte_6, 0x10])
    crc = crc8(scratchpad)
    shown = (scratchpad + bytes([crc])).hex(" ")
    value = int(raw * 1000 / 16) if millidegrees is None else millidegrees
    return f"{shown} : crc={crc:02x} YES\n{shown} t={value}\n"


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "ROOT", grow("w1", tmp_path))
    return tmp_path


def sensor(id: str = ID) -> W1:
    return W1(Options(id=id), timeout_s=5)


def temperature(driver: W1):
    return finish(driver.read())["temperature"]


def answers(monkeypatch, *contents: str | int) -> None:
    script(monkeypatch, {f"{ID}/w1_slave": list(contents)})


@pytest.mark.case(4)
@pytest.mark.parametrize("beside", [True, False], ids=["with temperature", "without"])
@pytest.mark.parametrize(("content", "value"), [(BELOW_ZERO, -0.312), (ROOM, 20.687), (TEN_BITS, 21.5)])
def test_true_lines(tree, beside, content, value):
    folder = tree / "sys/bus/w1/devices" / ID
    (folder / "w1_slave").write_text(content)
    (folder / "temperature").write_text(f"{value * 1000:.0f}\n")
    if not beside:
        (folder / "temperature").unlink()
    assert temperature(sensor()) == value


@pytest.mark.case(4)
@pytest.mark.pain("D1")
@pytest.mark.guarantee(11)
def test_a_true_85_after_84_75_is_kept(monkeypatch):
    answers(monkeypatch, *(w1_slave(round(t * 16), 0x0C) for t in (84.5, 84.75)), POWER_ON, w1_slave(1364, 0x0C))
    clone = sensor()
    assert [temperature(clone) for _ in range(4)] == [84.5, 84.75, 85.0, 85.25]


@pytest.mark.case(4)
@pytest.mark.pain("D1")
@pytest.mark.guarantee(11)
@pytest.mark.parametrize("before", [[], [ROOM], [w1_slave(80 * 16)]], ids=["first", "after 20.7", "after 80"])
def test_a_power_on_85_is_dropped(monkeypatch, before):
    answers(monkeypatch, *before, POWER_ON)
    driver = sensor()
    for _ in before:
        temperature(driver)
    with pytest.raises(CorruptReply, match="before the first conversion"):
        temperature(driver)


@pytest.mark.pain("D1")
def test_an_85_of_a_genuine_part_is_kept():
    """Byte 6 is 16 less the lowest four bits of the word there, so 10h at a measured 85.0."""
    assert decode(w1_slave(0x0550, byte_6=0x10).strip(), ID) == 85.0


@pytest.mark.case(5)
@pytest.mark.guarantee(11)
def test_five_ways_to_say_nothing_then_a_reading(tree, monkeypatch):
    folder = tree / "sys/bus/w1/devices" / ID
    driver = sensor()
    for content, reason in [
        ("", "did not answer"),
        (ALL_ZERO, "all bytes are 00"),
        (ALL_ONES, "all bytes are ff"),
        (ROOM.splitlines(keepends=True)[0], "not complete"),
    ]:
        (folder / "w1_slave").write_text(content)
        with pytest.raises(SensorError, match=f"{ID}: .*{reason}"):
            temperature(driver)
    folder.rename(folder.with_name("away"))
    with pytest.raises(NoReply, match="not on the 1-Wire bus"):
        temperature(driver)
    assert temperature(sensor("28-0316a2794ad1")) == -0.312
    (folder.with_name("away")).rename(folder)
    (folder / "w1_slave").write_text(ROOM)
    assert temperature(driver) == 20.687


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODEV, errno.EAGAIN])
def test_a_silent_sensor(monkeypatch, code):
    answers(monkeypatch, code)
    with pytest.raises(NoReply, match=f"{ID}/w1_slave"):
        temperature(sensor())


@pytest.mark.parametrize(
    ("word", "value"),  # datasheet DS18B20, table 1; `t=` cuts off after the third decimal
    [
        (0x07D0, 125),
        (0x0191, 25.062),
        (0x00A2, 10.125),
        (0x0008, 0.5),
        (0x0000, 0),
        (0xFFF8, -0.5),
        (0xFF5E, -10.125),
        (0xFE6F, -25.062),
        (0xFC90, -55),
    ],
)
def test_temperatures_of_the_datasheet(word, value):
    raw = word - 0x10000 if word & 0x8000 else word
    assert decode(w1_slave(raw).strip(), ID) == value


@pytest.mark.pain("D2")
@pytest.mark.guarantee(11)
@pytest.mark.parametrize("raw", [0x07FF, -127 * 16])
def test_sentinels_are_no_readings(raw):
    with pytest.raises(CorruptReply, match="beyond what it can measure"):
        decode(w1_slave(raw).strip(), ID)


def test_a_checksum_that_the_kernel_called_right():
    with pytest.raises(CorruptReply, match="checksum"):
        decode(ROOM.replace("4b 01", "4b 00").replace("t=20687", "t=4687").strip(), ID)


def test_a_kernel_that_converts_wrongly():
    with pytest.raises(CorruptReply, match="t=4085000 is not what"):
        decode(w1_slave(-160, millidegrees=4_085_000).strip(), ID)


def test_a_ds18s20_counts_in_half_degrees():
    """The kernel adds what the two counters say: AA 00 with 0C of 10h left is 85.0, its power-on value."""
    scratchpad = bytes.fromhex("32 00 4b 46 ff ff 0c 10")  # 25.0 - 0.25 + (16 - 12) / 16
    content = f"{scratchpad.hex(' ')} {crc8(scratchpad):02x} : crc=00 YES\n{'00 ' * 9}t=25000"
    assert decode(content, "10-000801b50ab1") == 25.0
    power_on = bytes.fromhex("aa 00 4b 46 ff ff 0c 10")
    content = f"{power_on.hex(' ')} {crc8(power_on):02x} : crc=00 YES\n{'00 ' * 9}t=85000"
    with pytest.raises(CorruptReply, match="before the first conversion"):
        decode(content, "10-000801b50ab1")


def test_a_ds18s20_without_its_divisor():
    scratchpad = bytes.fromhex("00 00 4b 46 ff ff 0c 00")  # the kernel says 0 rather than to divide by 0
    content = f"{scratchpad.hex(' ')} {crc8(scratchpad):02x} : crc=00 YES\n{'00 ' * 9}t=0"
    with pytest.raises(CorruptReply, match="byte 7"):
        decode(content, "10-000801b50ab1")


def test_crc_of_the_maker():
    assert crc8(bytes.fromhex("50 05 4B 46 7F FF 0C 10")) == 0x1C
    assert crc8(bytes.fromhex("02 1C B8 01 00 00 00")) == 0xA2  # application note 27


def test_a_lane_is_a_master():
    assert W1.lane(Options(id=ID)) == W1.lane(Options(id="28-0316a2794ad1")) == ("w1", "w1_bus_master1")
    assert W1.lane(Options(id="28-00000a1b2c3d")) == ("w1", "w1_bus_master2")
    assert W1.lane(Options(id="28-ffffffffffff")) is None


def test_absent_names_the_thermometers_that_are_there(tree):
    assert W1.absent(Options(id=ID)) == ""
    reason = W1.absent(Options(id="28-ffffffffffff"))
    assert "28-000006c5aefc, 28-00000a1b2c3d, 28-0316a2794ad1" in reason
    assert "00-800000000000" not in reason
    (tree / "sys/bus/w1/devices" / ID / "w1_slave").unlink()
    assert "w1-therm" in W1.absent(Options(id=ID))
    (tree / "sys/bus/w1").rename(tree / "elsewhere")
    assert "dtoverlay=w1-gpio" in W1.absent(Options(id=ID))


@pytest.mark.parametrize("id", ["", "28", "00-800000000000", "28-00000A1B2C3D", "29-000006c5aefc", "28-*"])
def test_check_refuses_what_is_no_thermometer(id):
    assert [key for key, _ in W1.check(Options(id=id))] == ["id"]
    assert list(W1.check(Options(id=ID))) == []


lines = st.from_regex(r"([0-9a-f]{2} ){9}: crc=[0-9a-f]{2} (YES|NO)\n([0-9a-f]{2} ){9}t=-?[0-9]{1,8}", fullmatch=True)


@given(st.text() | lines, st.sampled_from(["28", "10", "3b"]))
def test_any_content_is_a_finite_temperature_or_corrupt(content, family):
    with contextlib.suppress(CorruptReply):
        assert math.isfinite(decode(content, f"{family}-000000000000"))


@given(st.binary(min_size=8, max_size=8), st.integers(-200_000, 200_000))
def test_any_scratchpad_with_a_right_checksum(scratchpad, millidegrees):
    shown = f"{scratchpad.hex(' ')} {crc8(scratchpad):02x}"
    try:
        value = decode(f"{shown} : crc=00 YES\n{shown} t={millidegrees}", ID)
    except CorruptReply:
        return
    assert -55 <= value <= 125
    assert any(scratchpad)
