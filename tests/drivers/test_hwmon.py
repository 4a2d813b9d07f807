import errno

import pytest

from edged.buses import sysfs
from edged.drivers.hwmon import Hwmon, Options, channels
from edged.errors import NoReply
from edged.reading import Values
from tests.drivers import finish
from tests.fixtures.sysfs import grow, script


@pytest.fixture(autouse=True)
def board(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "ROOT", grow("board", tmp_path))
    return tmp_path


def read(**options: str) -> Values:
    return finish(Hwmon(Options(**options), timeout_s=5).read())


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"device": "1-0048"}, {"temp1": -5.5}),
        ({"name": "lm75", "device": "1-0049"}, {"temp1": 25.5}),
        ({"name": "sht3x"}, {"temp1": 24.998, "humidity1": 50.0}),
        ({"name": "ina219"}, {"in0": 0.008, "in1": 12.016, "curr1": 0.8, "power1": 9.6}),
    ],
)
def test_units_of_the_abi(options, values):
    assert read(**options) == values


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("temp1", "°C"),
        ("in0", "V"),
        ("curr12", "A"),
        ("power1", "W"),
        ("energy1", "J"),
        ("humidity1", "%RH"),
        ("fan2", "rpm"),
        ("freq1", "Hz"),
        ("weight1", ""),
    ],
)
def test_a_unit_by_the_name(name, unit):
    assert Hwmon.quantity(name).name == name
    assert Hwmon.quantity(name).unit == unit


def test_an_average_stands_in_for_a_momentary_value():
    files = ["power1_average", "power1_input", "power2_average", "temp1_max", "temp1_crit_alarm", "name", "pwm1"]
    assert channels(files) == {"power1": "power1_input", "power2": "power2_average"}


def test_a_broken_sensor_is_refused_and_its_neighbour_is_not():
    assert read(name="max31730") == {"temp1": 21.5}
    with pytest.raises(NoReply, match=r"temp2_fault.*broken"):
        read(name="max31730", label="tank")


def test_a_label_picks_one_channel():
    assert read(name="max31730", label="board") == {"temp1": 21.5}
    with pytest.raises(NoReply, match=r"'roof'.*there: 'board', 'tank'"):
        read(name="max31730", label="roof")


def test_a_channel_that_is_not_ready_is_left_out(monkeypatch):
    script(monkeypatch, {"hwmon5/temp1_input": [errno.ENODATA]})
    assert read(name="sht3x") == {"humidity1": 50.0}


def test_no_channel_at_all_is_an_error_with_each_reason(monkeypatch):
    script(monkeypatch, {"hwmon5/temp1_input": [errno.EREMOTEIO], "hwmon5/humidity1_input": [errno.EAGAIN]})
    with pytest.raises(NoReply, match=r"humidity1_input: .*EAGAIN.*temp1_input: .*EREMOTEIO"):
        read(name="sht3x")


def test_text_for_a_number_is_an_error(board):
    (board / "sys/class/hwmon/hwmon2/temp1_input").write_text("nan\n")
    with pytest.raises(NoReply, match="'nan' is no number"):
        read(device="1-0048")


def test_check_wants_a_chip_and_leaves_one_wire_to_its_driver():
    assert list(Hwmon.check(Options(name="lm75"))) == []
    assert [key for key, _ in Hwmon.check(Options())] == ["name"]
    assert [key for key, _ in Hwmon.check(Options(name="w1_slave_temp"))] == ["driver"]
    assert [key for key, _ in Hwmon.check(Options(device="28-000006c5aefc"))] == ["driver"]


def test_absent_says_why():
    assert Hwmon.absent(Options(name="sht3x")) == ""
    assert "tell them apart" in Hwmon.absent(Options(name="lm75"))
    assert "'roof'" in Hwmon.absent(Options(name="max31730", label="roof"))
