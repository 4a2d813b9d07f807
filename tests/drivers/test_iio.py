import errno
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.buses import sysfs
from edged.drivers.iio import Iio, Options, attribute, channels, measures
from edged.errors import NoReply
from tests.drivers import finish
from tests.fixtures.sysfs import grow, script


@pytest.fixture(autouse=True)
def tree(tmp_path_factory, monkeypatch):
    root = grow("iio", tmp_path_factory.mktemp("iio"))
    monkeypatch.setattr(sysfs, "ROOT", root)
    return root


def sensor(**options: str) -> Iio:
    return Iio(Options(**options), timeout_s=5)


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"name": "bmp280"}, {"temperature": 25.08, "pressure": 1006.53253906}),
        ({"device": "1-0048"}, {"voltage0": 1.0, "voltage0_voltage1": -0.25}),
        ({"name": "ads1015", "label": "wind"}, {"voltage0": 0.25}),
        ({"name": "scd4x", "device": "1-0062"}, {"temperature": 25.0, "co2": 415.0}),
    ],
)
def test_units_of_the_abi(options, values):
    assert finish(sensor(**options).read()) == values


@pytest.mark.parametrize(
    ("channel", "quantity", "unit", "value"),  # the value of 1 in the kernel's unit
    [
        ("temp", "temperature", "°C", 0.001),
        ("temp0", "temperature0", "°C", 0.001),
        ("temp_ambient", "temperature_ambient", "°C", 0.001),
        ("humidityrelative", "humidity", "%RH", 0.001),
        ("pressure", "pressure", "hPa", 10),
        ("voltage0-voltage1", "voltage0_voltage1", "V", 0.001),
        ("current3", "current3", "A", 0.001),
        ("power1", "power1", "W", 0.001),
        ("illuminance", "illuminance", "lx", 1),
        ("intensity_both", "intensity_both", "", 1),
        ("concentration_co2", "co2", "ppm", 10_000),
        ("concentration0_voc", "concentration0_voc", "ppm", 10_000),
        ("massconcentration_pm2p5", "pm2p5", "µg/m³", 1),
        ("distance", "distance", "m", 1),
        ("ph", "ph", "", 1),
        ("phase", "phase", "", 1),
        ("accel_x", "accel_x", "m/s²", 1),
        ("accel_x^2+y^2+z^2", "accel_x_2_y_2_z_2", "m/s²", 1),
    ],
)
def test_a_channel_becomes_a_quantity(channel, quantity, unit, value):
    assert measures(channel) == (quantity, value)
    assert Iio.quantity(quantity).name == quantity
    assert Iio.quantity(quantity).unit == unit


@pytest.mark.parametrize(
    ("channel", "files", "chosen"),
    [
        ("voltage0", ["in_voltage0_scale", "in_voltage_scale", "scale"], "in_voltage0_scale"),
        ("voltage0", ["in_voltage_scale", "in_voltage1_scale"], "in_voltage_scale"),
        ("voltage0-voltage1", ["in_voltage-voltage_scale", "in_voltage_scale"], "in_voltage-voltage_scale"),
        ("voltage0-voltage1", ["in_voltage_scale", "in_voltage0_scale"], "in_voltage_scale"),
        ("temp_ambient", ["in_temp_ambient_scale", "in_temp_scale"], "in_temp_ambient_scale"),
        ("temp_object", ["in_temp_ambient_scale", "in_temp_scale"], "in_temp_scale"),
        ("intensity0_ir", ["in_intensity_ir_scale", "in_intensity_scale"], "in_intensity_ir_scale"),
        ("massconcentration_pm2p5", ["in_massconcentration_scale"], "in_massconcentration_scale"),
        ("temp", ["scale"], "scale"),
        ("temp", ["in_voltage_scale", "in_temp_scale_available"], None),
    ],
)
def test_the_most_specific_scale_counts(channel, files, chosen):
    assert attribute("scale", channel, files) == chosen


def test_a_processed_value_is_not_scaled_again(tree):
    (tree / "sys/bus/iio/devices/iio:device1/in_temp_scale").write_text("10\n")
    (tree / "sys/bus/iio/devices/iio:device1/in_temp_raw").write_text("7\n")
    assert finish(sensor(name="bmp280").read())["temperature"] == 25.08


def test_a_raw_value_without_its_scale_is_lost_alone(monkeypatch):
    script(monkeypatch, {"in_temp_scale": [errno.EIO]})
    assert finish(sensor(name="scd4x").read()) == {"co2": 415.0}


@pytest.mark.case(10)
def test_a_dht_that_mostly_fails(monkeypatch):
    """EIO twice, -3274.5, EIO, then 21.5: of a sweep only what reads well."""
    answers: list[str | int] = [errno.EIO, errno.EIO, "-3274500\n", errno.EIO, "21500\n"]
    script(monkeypatch, {"in_temp_input": answers})
    dht = sensor(name="dht11@4")
    sweeps = [finish(dht.read()) for _ in range(5)]
    assert [sweep["humidity"] for sweep in sweeps] == [69.5] * 5
    assert [sweep.get("temperature") for sweep in sweeps] == [None, None, -3274.5, None, 21.5]
    limits = Iio.quantity("temperature")
    assert limits.low is not None
    assert limits.high is not None
    assert not limits.low <= -3274.5 <= limits.high  # so that shaping drops it
    assert limits.low <= 21.5 <= limits.high


@pytest.mark.case(10)
def test_a_temperature_is_not_lost_with_a_humidity(monkeypatch):
    script(monkeypatch, {"in_humidityrelative_input": [errno.EIO]})
    assert finish(sensor(name="dht11@4").read()) == {"temperature": 21.5}


@pytest.mark.case(10)
def test_links_and_folders_are_no_channels():
    assert channels(sysfs.entries("/sys/bus/iio/devices/iio:device0")) == ["humidityrelative", "temp"]


def test_a_dht_that_gives_nothing_is_an_error_with_both_reasons(monkeypatch):
    script(monkeypatch, {"in_temp_input": [errno.EIO], "in_humidityrelative_input": [errno.ETIMEDOUT]})
    with pytest.raises(NoReply, match=r"ETIMEDOUT.*EIO"):
        finish(sensor(name="dht11@4").read())


def test_two_of_a_name():
    with pytest.raises(NoReply, match="ads1015 at 1-0048, ads1015 at 1-0049; tell them apart by `device`"):
        finish(sensor(name="ads1015").read())


def test_check_and_absent():
    assert list(Iio.check(Options(name="bmp280"))) == []
    assert [key for key, _ in Iio.check(Options(label="solar"))] == ["name"]
    assert Iio.absent(Options(name="bmp280")) == ""
    assert "bme680" in Iio.absent(Options(name="bme680"))


@given(st.text())
def test_any_channel_name_has_a_quantity_or_none(name):
    for channel in channels([f"in_{name}_raw"]):
        quantity, factor = measures(channel)
        assert set(quantity) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
        assert math.isfinite(factor)
        attribute("scale", channel, [])
