import contextlib
import errno
import math
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import options
from edged.buses import sysfs
from edged.drivers import host
from edged.drivers.host import Host, Options
from edged.errors import CorruptReply, NoReply, SensorError
from edged.reading import Values
from tests.drivers import finish
from tests.fixtures.sysfs import grow, script


@pytest.fixture
def board(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "ROOT", grow("board", tmp_path))
    return tmp_path


def read(disk: str = "/") -> Values:
    return finish(Host(Options(disk=disk), timeout_s=5).read())


def test_a_board_with_everything(board):
    values = read()
    del values["disk_used"]  # of the machine that runs the test
    assert values == {
        "cpu_temperature": 48.312,
        "load_1m": 0.52,
        "load_5m": 1.08,
        "load_15m": 0.99,
        "memory_used": 25.0,
        "uptime": 350735.47,
        "throttled": False,
        "wifi_signal": -56.0,
    }
    assert values["throttled"] is False


def test_the_names_of_the_contract():
    assert {quantity.name: (quantity.unit, quantity.kind) for quantity in Host.quantities} == {
        "cpu_temperature": ("°C", "number"),
        "load_1m": ("", "number"),
        "load_5m": ("", "number"),
        "load_15m": ("", "number"),
        "memory_used": ("%", "number"),
        "disk_used": ("%", "number"),
        "uptime": ("s", "number"),
        "throttled": ("", "bool"),
        "wifi_signal": ("dBm", "number"),
    }
    assert options.declarations(Options)["disk"].default == "/"


def test_this_machine():
    values = read()
    assert {"load_1m", "memory_used", "disk_used", "uptime"} <= set(values)
    assert set(values) <= {quantity.name for quantity in Host.quantities}
    for quantity in Host.quantities:
        value = values.get(quantity.name, quantity.low)
        if quantity.kind == "number":
            assert isinstance(value, float | int)
            assert quantity.low is not None
            assert quantity.low <= value <= (math.inf if quantity.high is None else quantity.high)


def test_under_voltage_is_throttled(board):
    (board / "sys/class/hwmon/hwmon1/in0_lcrit_alarm").write_text("1\n")
    assert read()["throttled"] is True


def test_what_a_board_lacks_is_left_out(board):
    for path in ("proc/net/wireless", "sys/class/hwmon", "sys/class/thermal"):
        (board / path).rename(board / path.replace("/", "-"))
    assert set(read()) == {"load_1m", "load_5m", "load_15m", "memory_used", "disk_used", "uptime"}


def test_the_first_zone_where_none_is_the_processors(board):
    (board / "sys/class/thermal/thermal_zone1/type").write_text("wifi\n")
    assert host.cpu_temperature() == {"cpu_temperature": 55.0}


def test_hwmon_where_there_is_no_zone(board):
    (board / "sys/class/thermal").rename(board / "elsewhere")
    assert host.cpu_temperature() == {"cpu_temperature": 47.825}


def test_a_file_that_fails_costs_its_own_quantity_only(board, monkeypatch):
    script(monkeypatch, {"thermal_zone1/temp": [errno.EAGAIN]})
    values = read()
    assert "cpu_temperature" not in values
    assert values["load_1m"] == 0.52


def test_nothing_at_all_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "ROOT", tmp_path)
    with pytest.raises(NoReply, match="/proc/loadavg"):
        read(disk="/nowhere")


@pytest.mark.parametrize(
    ("line", "signal"),
    [
        (" wlan0: 0000   54.  -56.  -256  0", {"wifi_signal": -56.0}),
        (" wlan0: 0000   54.  200.  161.  0", {"wifi_signal": -56.0}),
        (" wlan1: 0000    0  -256  -256  0\n wlan0: 0000   54.  -70.  -256  0", {"wifi_signal": -70.0}),
        (" wlan1: 0000    0     0  0  0", None),
        ("", None),
    ],
)
def test_wifi_signal(board, line, signal):
    (board / "proc/net/wireless").write_text(f"titles\ntitles\n{line}\n")
    if signal:
        assert host.wifi_signal() == signal
    else:
        with pytest.raises(NoReply, match="no interface is connected"):
            host.wifi_signal()


def test_disk_used_is_that_of_df(monkeypatch):
    total, used, free = shutil.disk_usage("/")
    assert total > 0
    assert host.disk_used("/")["disk_used"] == pytest.approx(100 * used / (used + free), abs=0.5)
    blocks = os.statvfs_result((4096, 4096, 1000, 400, 350, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: blocks)
    assert host.disk_used("/") == {"disk_used": pytest.approx(100 * 600 / 950)}


def test_a_file_system_without_a_size():
    with pytest.raises(NoReply, match="no size"):
        host.disk_used("/proc")


def test_memory_that_cannot_be(board):
    (board / "proc/meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 200 kB\n")
    with pytest.raises(CorruptReply, match="200 of 100"):
        host.memory_used()


def test_absent_is_about_the_disk():
    assert Host.absent(Options()) == ""
    assert "/nowhere" in Host.absent(Options(disk="/nowhere"))


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    return grow("board", tmp_path_factory.mktemp("board"))


@given(content=st.binary())
def test_any_content_of_any_file(grown, content):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysfs, "ROOT", grown)
        patch.setattr(sysfs, "read", lambda path: content)
        for part in (host.cpu_temperature, host.loads, host.memory_used, host.uptime, host.wifi_signal):
            with contextlib.suppress(SensorError):
                assert all(math.isfinite(value) for value in part().values() if not isinstance(value, str))
