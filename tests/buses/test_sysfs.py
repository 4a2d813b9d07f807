import contextlib
import errno
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.buses import sysfs
from edged.errors import CorruptReply, NoReply
from tests.fixtures.sysfs import grow, script

HWMON = "/sys/class/hwmon"


@pytest.fixture(autouse=True)
def board(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "ROOT", grow("board", tmp_path))
    return tmp_path


def test_text_and_number_are_without_the_newline():
    assert sysfs.text(f"{HWMON}/hwmon2/name") == "lm75"
    assert sysfs.number(f"{HWMON}/hwmon2/temp1_input") == -5500


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOENT, "does not exist"),
        (errno.EACCES, "no permission"),
        (errno.ENODEV, "gone"),
        (errno.EIO, "wiring"),
        (errno.EREMOTEIO, "wiring"),
        (errno.ENXIO, "wiring"),
        (errno.ETIMEDOUT, "wiring"),
        (errno.ENODATA, "no value at the moment"),
        (errno.EAGAIN, "no value at the moment"),
        (errno.EBUSY, "no value at the moment"),
        (errno.ENOTTY, "cannot be read"),
    ],
)
def test_a_failure_says_which_file_and_what_to_do(monkeypatch, code, advice):
    script(monkeypatch, {"hwmon2/temp1_input": [code]})
    with pytest.raises(NoReply, match=rf"^{HWMON}/hwmon2/temp1_input: .*{advice}.* \({errno.errorcode[code]}\)$"):
        sysfs.text(f"{HWMON}/hwmon2/temp1_input")


def test_a_missing_file_is_no_reply():
    with pytest.raises(NoReply, match="does not exist"):
        sysfs.text("/sys/class/hwmon/hwmon99/name")


def test_bytes_that_are_no_text_are_corrupt(board):
    (board / "proc/loadavg").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptReply, match="/proc/loadavg"):
        sysfs.text("/proc/loadavg")


@pytest.mark.parametrize("word", ["", "nan", "inf", "-", "1_000", "0x10", "1 2", "١", "9" * 400, "1e3"])
def test_what_is_no_number(word):
    with pytest.raises(CorruptReply, match="is no number"):
        sysfs.parse(word, "file")


@given(st.text())
def test_any_word_is_a_finite_number_or_corrupt(word):
    with contextlib.suppress(CorruptReply):
        assert math.isfinite(sysfs.parse(word, "file"))


def test_a_folder_that_is_not_there_has_no_entries():
    assert sysfs.entries("/sys/bus/iio/devices") == []
    assert sysfs.target("/sys/bus/iio/devices/iio:device0") is None


def test_a_device_is_known_by_its_name_and_bus_address():
    assert sysfs.find(HWMON, "hwmon", "lm75", "1-0049") == (f"{HWMON}/hwmon3", "lm75", "1-0049")
    assert sysfs.find(HWMON, "hwmon", "sht3x").address == "1-0044"
    assert sysfs.find(HWMON, "hwmon", address="1-0040").name == "ina219"


def test_a_device_is_found_under_another_number(board):
    (board / "sys/class/hwmon/hwmon5").rename(board / "sys/class/hwmon/hwmon17")
    assert sysfs.find(HWMON, "hwmon", "sht3x").folder == f"{HWMON}/hwmon17"


def test_two_of_a_name_are_listed_with_their_addresses():
    with pytest.raises(NoReply, match="lm75 at 1-0048, lm75 at 1-0049; tell them apart by `device`"):
        sysfs.find(HWMON, "hwmon", "lm75")


def test_none_of_a_name_lists_what_is_there():
    with pytest.raises(NoReply, match=r"no device in .* with name 'tmp102' \(there: .*sht3x at 1-0044.*wiring"):
        sysfs.find(HWMON, "hwmon", "tmp102")
    with pytest.raises(NoReply, match="there: none"):
        sysfs.find("/sys/bus/iio/devices", "iio:device", "bme280")


def test_collect_gives_what_it_can_and_else_all_reasons():
    def fail():
        raise CorruptReply("first")

    def missing():
        raise NoReply("second")

    assert sysfs.collect([fail, lambda: {"load_1m": 1.0}, missing]) == {"load_1m": 1.0}
    with pytest.raises(NoReply, match="first; second"):
        sysfs.collect([fail, missing])
    with pytest.raises(NoReply, match="nothing to read"):
        sysfs.collect([])
