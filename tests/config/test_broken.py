"""A wrong config never starts: exit status 78, and for each mistake a line with its place and what to do about it."""

import subprocess
import sys
from typing import NamedTuple

import pytest

from edged.cli import main
from tests.conftest import without_root

CANARY = "canary-8f14e45fceea167a"
GOOD = f"""\
[daemon]
name = "test"
state_dir = "state"

[sensors.greenhouse]
driver = "bme280"
address = 0x76
interval = "10s"

[sensors.door]
driver = "digital-input"
pin = 17
interval = "1m"

[destinations.databoom]
platform = "databoom"
token = "{CANARY}"
device = "0abc12def3"
[destinations.databoom.series]
"greenhouse.temperature" = "room_temp"

[destinations.building]
platform = "bbdata-mqtt"
password = "{CANARY}"
[destinations.building.series]
"greenhouse.humidity" = {{ object = 4711, token = "{CANARY}" }}
"""


class Broken(NamedTuple):
    """A mistake in the good config: `old` is replaced by `new`, where § marks the place that has to be named."""

    old: str
    new: str
    key: str
    says: tuple[str, ...]  # parts of the message

    def text(self) -> str:
        """The config, still with its mark."""
        assert GOOD.count(self.old) == 1, self.old
        return GOOD.replace(self.old, self.new)


SENSOR = 'interval = "10s"'
PUSH = 'device = "0abc12def3"'
MQTT = 'platform = "bbdata-mqtt"'
SERIES = '"greenhouse.temperature" = "room_temp"'
DOOR = 'pin = 17\ninterval = "1m"'

BROKEN = {
    # names
    "typo of a table": Broken("[sensors.door]", "[§sensor.door]", "sensor", ("unknown key", 'did you mean "sensors"?')),
    "unknown table": Broken(
        "[daemon]", "[§zebra]\n[daemon]", "zebra", ("unknown key", "daemon, destinations, queue, sensors")
    ),
    "typo of a sensor's key": Broken(
        "address", "§adress", "sensors.greenhouse.adress", ("unknown key", 'did you mean "address"?')
    ),
    "typo of a common sensor key": Broken(
        SENSOR, f'{SENSOR}\n§timout = "1s"', "sensors.greenhouse.timout", ('did you mean "timeout"?',)
    ),
    "typo of a destination's key": Broken(
        PUSH, f"{PUSH}\n§max_signal = 5", "destinations.databoom.max_signal", ('did you mean "max_signals"?',)
    ),
    "typo of a daemon key": Broken(
        'state_dir = "state"', '§statedir = "state"', "daemon.statedir", ('did you mean "state_dir"?',)
    ),
    "typo of a nested key": Broken(
        PUSH,
        f'{PUSH}\nbackoff = {{ first = "1s", §maxx = "5m" }}',
        "destinations.databoom.backoff.maxx",
        ('did you mean "max"?',),
    ),
    "typo of a quantity's key": Broken(
        SENSOR,
        f"{SENSOR}\nquantities.temperature = {{ §ofset = -0.4 }}",
        "sensors.greenhouse.quantities.temperature.ofset",
        ('did you mean "offset"?',),
    ),
    "key of another driver": Broken(DOOR, f"{DOOR}\n§address = 0x76", "sensors.door.address", ("unknown key", "pin")),
    "key of a later release": Broken(
        SENSOR, f'{SENSOR}\n§derive = ["dew_point"]', "sensors.greenhouse.derive", ("unknown key",)
    ),
    "unknown driver": Broken(
        '"bme280"', '§"bme28"', "sensors.greenhouse.driver", ('no driver "bme28"', 'did you mean "bme280"?')
    ),
    "driver like no other": Broken(
        '"digital-input"', '§"xyzzy"', "sensors.door.driver", ("there are: bme280, digital-input, host",)
    ),
    "driver with an underscore": Broken(
        '"digital-input"', '§"digital_input"', "sensors.door.driver", ('did you mean "digital-input"?',)
    ),
    "driver that breaks lines": Broken(
        '"digital-input"', '§"xy\\nzzy"', "sensors.door.driver", ('no driver "xy\\nzzy"', "there are:")
    ),
    "driver is no text": Broken('"digital-input"', "§280", "sensors.door.driver", ("a string is expected, not 280",)),
    "unknown platform": Broken(
        '"databoom"\n', '§"databoon"\n', "destinations.databoom.platform", ('did you mean "databoom"?',)
    ),
    "quantity unknown": Broken(
        SENSOR,
        f"{SENSOR}\n[sensors.greenhouse.quantities.§temprature]\noffset = 1",
        "sensors.greenhouse.quantities.temprature",
        ('did you mean "temperature"?',),
    ),
    "sensor with a star": Broken("[sensors.door]", '[sensors.§"do*r"]', 'sensors."do*r"', ("holds no *",)),
    "sensor without a name": Broken("[sensors.door]", '[sensors.§""]', 'sensors.""', ("not empty",)),
    # bounds
    "typo of a queue key": Broken(
        "[sensors.door]", '[queue]\n§maxsize = "1MiB"\n[sensors.door]', "queue.maxsize", ('did you mean "max_size"?',)
    ),
    "queue is no table": Broken("[daemon]", "queue = §5\n[daemon]", "queue", ("a table is expected, not 5",)),
    "queue too small": Broken(
        "[sensors.door]",
        '[queue]\nmax_size = §"63KiB"\n[sensors.door]',
        "queue.max_size",
        ("64512 is too small; at least 64KiB",),
    ),
    "queue of no size": Broken(
        "[sensors.door]",
        '[queue]\nmax_size = §"64 megabytes"\n[sensors.door]',
        "queue.max_size",
        ('a size such as "64MiB" or "1GB", or a number of bytes is expected',),
    ),
    "queue of no age": Broken(
        "[sensors.door]", "[queue]\nmax_age = §0\n[sensors.door]", "queue.max_age", ("0 is too small; more than 0 s",)
    ),
    "queue that drops nothing": Broken(
        "[sensors.door]",
        '[queue]\nwhen_full = §"block"\n[sensors.door]',
        "queue.when_full",
        ('one of "drop-oldest", "drop-newest" is expected',),
    ),
    "less than no dead letters": Broken(
        "[sensors.door]",
        "[queue]\nmax_dead_letters = §-1\n[sensors.door]",
        "queue.max_dead_letters",
        ("-1 is too small; at least 0",),
    ),
    "removed before it was there": Broken(
        "[sensors.door]",
        '[queue]\nkeep_removed = §"-1d"\n[sensors.door]',
        "queue.keep_removed",
        ("a duration such as",),
    ),
    "destination's queue too small": Broken(
        PUSH, f"{PUSH}\nmax_size = §1024", "destinations.databoom.max_size", ("1024 is too small; at least 64KiB",)
    ),
    "destination's queue that drops nothing": Broken(
        PUSH, f'{PUSH}\nwhen_full = §"block"', "destinations.databoom.when_full", ('"drop-oldest", "drop-newest"',)
    ),
    "keep_removed of one destination": Broken(
        PUSH, f'{PUSH}\n§keep_removed = "1d"', "destinations.databoom.keep_removed", ("it belongs to [queue]",)
    ),
    "stale at once": Broken(
        SENSOR, f"{SENSOR}\nstale_after = §0", "sensors.greenhouse.stale_after", ("0 is too small; more than 0 s",)
    ),
    # what is missing
    "driver missing": Broken(
        '[sensors.door]\ndriver = "digital-input"\npin = 17\n',
        "[sensors.§door]\n",
        "sensors.door",
        ("driver is missing", "`edged drivers` lists"),
    ),
    "platform missing": Broken(
        f"[destinations.building]\n{MQTT}\n",
        "[destinations.§building]\n",
        "destinations.building",
        ("platform is missing", "`edged platforms` lists"),
    ),
    "token missing": Broken(
        f'[destinations.databoom]\nplatform = "databoom"\ntoken = "{CANARY}"\n',
        '[destinations.§databoom]\nplatform = "databoom"\n',
        "destinations.databoom.token",
        ("is missing", "Publish permission"),
    ),
    "interval missing": Broken(
        f'[sensors.greenhouse]\ndriver = "bme280"\naddress = 0x76\n{SENSOR}',
        '[sensors.§greenhouse]\ndriver = "bme280"\naddress = 0x76',
        "sensors.greenhouse",
        ("interval is missing", 'interval = "10s"'),
    ),
    "pin missing": Broken(
        '[sensors.door]\ndriver = "digital-input"\npin = 17\n',
        '[sensors.§door]\ndriver = "digital-input"\n',
        "sensors.door.pin",
        ("is missing", "BCM number"),
    ),
    "object missing": Broken(
        "{ object = 4711, ",
        "§{ ",
        'destinations.building.series."greenhouse.humidity".object',
        ("is missing", "the object's id"),
    ),
    # types
    "bool for int": Broken("pin = 17", "pin = §true", "sensors.door.pin", ("a whole number is expected, not true",)),
    "float for int": Broken("pin = 17", "pin = §17.0", "sensors.door.pin", ("a whole number is expected, not 17",)),
    "int for bool": Broken(
        SENSOR, f"{SENSOR}\nenabled = §1", "sensors.greenhouse.enabled", ("true or false is expected, not 1",)
    ),
    "number beyond all bounds": Broken(
        "pin = 17", f"pin = §0x{'f' * 5000}", "sensors.door.pin", ("the number is too large",)
    ),
    "number beyond all bounds for a bool": Broken(
        SENSOR, f"{SENSOR}\nenabled = §0x{'f' * 5000}", "sensors.greenhouse.enabled", ("not a number so large",)
    ),
    "int for text": Broken(PUSH, "device = §12", "destinations.databoom.device", ("a string is expected, not 12",)),
    "date for text": Broken(
        PUSH, "device = §2024-03-05", "destinations.databoom.device", ("a string is expected, not a date",)
    ),
    "text for a number": Broken(
        SENSOR,
        f'{SENSOR}\nquantities.temperature = {{ offset = §"-0.4" }}',
        "sensors.greenhouse.quantities.temperature.offset",
        ("a number is expected, not a string",),
    ),
    "infinite number": Broken(
        SENSOR,
        f"{SENSOR}\nquantities.temperature = {{ offset = §inf }}",
        "sensors.greenhouse.quantities.temperature.offset",
        ("a finite number is expected",),
    ),
    "list for a table": Broken(
        SENSOR, f"{SENSOR}\nquantities = §[]", "sensors.greenhouse.quantities", ("a table is expected, not a list",)
    ),
    "array of tables for a table": Broken(
        "[sensors.door]", "[[sensors.§door]]", "sensors.door", ("a table is expected, not a list", "[sensors.door]")
    ),
    "number for the daemon's table": Broken(
        '[daemon]\nname = "test"\nstate_dir = "state"\n',
        "daemon = §5\n",
        "daemon",
        ("a table is expected, not 5",),
    ),
    "text for a sensor": Broken(
        "[sensors.greenhouse]",
        '[sensors]\ncellar = §"bme280"\n[sensors.greenhouse]',
        "sensors.cellar",
        ("a table is expected, not a string", "[sensors.cellar]"),
    ),
    "text for a series table": Broken(
        f"[destinations.databoom.series]\n{SERIES}",
        'series = §"greenhouse.*"',
        "destinations.databoom.series",
        ("a table is expected, not a string",),
    ),
    "number for a target": Broken(
        SERIES,
        '"greenhouse.temperature" = §5',
        'destinations.databoom.series."greenhouse.temperature"',
        ("a name, { name = ... }, true or false is expected, not 5",),
    ),
    "NUL in a path": Broken(
        'state_dir = "state"', 'state_dir = §"st\\u0000ate"', "daemon.state_dir", ("a NUL character",)
    ),
    # limits
    "duration in words": Broken(
        SENSOR,
        'interval = §"10 sec"',
        "sensors.greenhouse.interval",
        ('a duration such as "10s", "5m" or "1h", or a number of seconds is expected',),
    ),
    "negative duration": Broken(
        SENSOR, 'interval = §"-1s"', "sensors.greenhouse.interval", ('a duration such as "10s"',)
    ),
    "duration of 0": Broken(
        SENSOR, "interval = §0", "sensors.greenhouse.interval", ("0 is too small; at least 0.01 s",)
    ),
    "duration without end": Broken(
        SENSOR, "interval = §inf", "sensors.greenhouse.interval", ("a finite number is expected",)
    ),
    "duration of 99 digits": Broken(
        SENSOR, f'interval = §"{"9" * 99}d"', "sensors.greenhouse.interval", ("more than 100 years",)
    ),
    "duration of 999 digits": Broken(
        SENSOR, f'interval = §"{"9" * 999}d"', "sensors.greenhouse.interval", ("a finite number is expected",)
    ),
    "duration is a bool": Broken(SENSOR, "interval = §true", "sensors.greenhouse.interval", ("a duration such as",)),
    "batch of 0": Broken(
        PUSH, f"{PUSH}\nbatch_size = §0", "destinations.databoom.batch_size", ("0 is too small; at least 1",)
    ),
    "port of 0": Broken(MQTT, f"{MQTT}\nport = §0", "destinations.building.port", ("0 is too small; at least 1",)),
    "port out of range": Broken(
        MQTT, f"{MQTT}\nport = §65536", "destinations.building.port", ("65536 is too large; at most 65535",)
    ),
    "pin that no header has": Broken("pin = 17", "pin = §28", "sensors.door.pin", ("28 is too large; at most 27",)),
    "log level": Broken(
        'name = "test"',
        'log_level = §"verbose"',
        "daemon.log_level",
        ('one of "debug", "info", "warning", "error" is expected',),
    ),
    "QoS of 3": Broken(MQTT, f"{MQTT}\nqos = §3", "destinations.building.qos", ("one of 0, 1, 2 is expected, not 3",)),
    "QoS as bool": Broken(
        MQTT, f"{MQTT}\nqos = §true", "destinations.building.qos", ("one of 0, 1, 2 is expected, not true",)
    ),
    "oversampling of 3": Broken(
        SENSOR,
        f"{SENSOR}\noversampling = §3",
        "sensors.greenhouse.oversampling",
        ("one of 1, 2, 4, 8, 16 is expected, not 3",),
    ),
    "decimals": Broken(
        SENSOR,
        f"{SENSOR}\nquantities.temperature.round = §99",
        "sensors.greenhouse.quantities.temperature.round",
        ("99 is too large; at most 15",),
    ),
    # addresses
    "decimal address": Broken(
        "0x76", "§76", "sensors.greenhouse.address", ("76 is 0x4c", "allowed: 0x76, 0x77", "did you mean 0x76?")
    ),
    "address as text": Broken(
        "0x76",
        '§"0x76"',
        "sensors.greenhouse.address",
        ("a whole number is expected, not a string", "write address = 0x76, without quotes"),
    ),
    "decimal address as text": Broken(
        "0x76", '§"76"', "sensors.greenhouse.address", ("write address = 0x76, without quotes",)
    ),
    "address of another chip": Broken(
        "0x76", "§0x40", "sensors.greenhouse.address", ("0x40 (decimal 64) is no address", "allowed: 0x76, 0x77")
    ),
    "negative address": Broken("0x76", "§-1", "sensors.greenhouse.address", ("allowed: 0x76, 0x77",)),
    "bus that is none": Broken(
        SENSOR, f'{SENSOR}\nbus = §"/dev/i2c-1"', "sensors.greenhouse.bus", ("is no bus", "did you mean bus = 1?")
    ),
    "fault of a true chip": Broken(
        SENSOR, f'{SENSOR}\nsim = §{{ fault = "nack" }}', "sensors.greenhouse.sim", ('bus = "sim"',)
    ),
    # several keys together
    "interval beside cron": Broken(
        SENSOR,
        f'{SENSOR}\n§cron = "*/5 * * * *"',
        "sensors.greenhouse.cron",
        ("interval and cron exclude each other", "leave one out"),
    ),
    "bad cron": Broken(
        SENSOR,
        'cron = §"*/5 * * *"',
        "sensors.greenhouse.cron",
        ("no cron expression", 'for example "*/5 * * * *"'),
    ),
    "cron that never comes": Broken(SENSOR, 'cron = §"0 0 30 2 *"', "sensors.greenhouse.cron", ("no cron expression",)),
    "max below min": Broken(
        SENSOR,
        f"{SENSOR}\nquantities.temperature = {{ min = 30, max = §20 }}",
        "sensors.greenhouse.quantities.temperature.max",
        ("max (20) is below min (30)",),
    ),
    "min above the driver's max": Broken(
        SENSOR,
        f"{SENSOR}\nquantities.temperature.min = §100",
        "sensors.greenhouse.quantities.temperature.min",
        ("max (85) is below min (100)",),
    ),
    "address used twice": Broken(
        "[sensors.door]",
        '[sensors.cellar]\ndriver = "bme280"\ninterval = 5\naddress = §0x76\n[sensors.door]',
        "sensors.cellar.address",
        ("I2C bus 1, address 0x76 is used by sensors.greenhouse too (", "config.toml:7:11)"),
    ),
    "default address used twice": Broken(
        "[sensors.door]",
        '[sensors.§cellar]\ndriver = "bme280"\ninterval = 5\n[sensors.door]',
        "sensors.cellar.address",
        ("is used by sensors.greenhouse too",),
    ),
    "pin used twice": Broken(
        DOOR,
        f'{DOOR}\n[sensors.gate]\ndriver = "digital-input"\ninterval = 5\npin = §17',
        "sensors.gate.pin",
        ("GPIO pin 17 is used by sensors.door too (", "config.toml:12:7)"),
    ),
    # where to send
    "URL without scheme": Broken(
        PUSH, f'{PUSH}\nurl = §"api.databoom.com/{CANARY}"', "destinations.databoom.url", ("no URL", "https://")
    ),
    "URL with credentials": Broken(
        PUSH,
        f'{PUSH}\nurl = §"https://user:{CANARY}@example.org/"',
        "destinations.databoom.url",
        ("user:password@", "refused", "use the keys"),
    ),
    "credentials without scheme": Broken(
        PUSH, f'{PUSH}\nurl = §"user:{CANARY}@example.org"', "destinations.databoom.url", ("no URL",)
    ),
    "URL with a port out of range": Broken(
        PUSH,
        f'{PUSH}\nurl = §"https://example.org:65536/{CANARY}"',
        "destinations.databoom.url",
        ("a port from 1 to 65535",),
    ),
    "proxy with credentials": Broken(
        PUSH, f'{PUSH}\nproxy = §"http://user:{CANARY}@proxy"', "destinations.databoom.proxy", ("refused",)
    ),
    "unknown placeholder": Broken(
        PUSH,
        'device = §"{hostname}"',
        "destinations.databoom.device",
        ("{hostname} stands for nothing", "{name}, {serial}"),
    ),
    "client id of another platform": Broken(
        MQTT,
        f'{MQTT}\nclient_id = §"greenhouse"',
        "destinations.building.client_id",
        ("'greenhouse'", 'does not begin with "bbdata_"'),
    ),
    "topic with a wildcard": Broken(
        MQTT,
        f'{MQTT}\ntopic = §"bbdata/#"',
        "destinations.building.topic",
        ("'bbdata/#' is no topic", "without + and #"),
    ),
    "series that matches nothing": Broken(
        SERIES,
        '§"greenhouse.temprature" = "room_temp"',
        'destinations.databoom.series."greenhouse.temprature"',
        ("matches no series", 'did you mean "greenhouse.temperature"?'),
    ),
    "pattern that matches nothing": Broken(
        SERIES, '§"cellar.*" = true', 'destinations.databoom.series."cellar.*"', ("matches no series",)
    ),
    "two series on one target": Broken(
        SERIES,
        f'{SERIES}\n"greenhouse.pressure" = §"room_temp"',
        'destinations.databoom.series."greenhouse.pressure"',
        ("greenhouse.pressure goes to the same target as greenhouse.temperature", "one of its own"),
    ),
    "a pattern on one target": Broken(
        SERIES,
        '"greenhouse.*" = §"room_temp"',
        'destinations.databoom.series."greenhouse.*"',
        ("greenhouse.pressure goes to the same target as greenhouse.temperature",),
    ),
    "true for BBData": Broken(
        "[destinations.building.series]",
        '[destinations.building.series]\n"greenhouse.pressure" = §true',
        'destinations.building.series."greenhouse.pressure"',
        ("no usual name", "{ object = ..., token = ... }"),
    ),
    # secrets
    "number for a secret": Broken(
        f'token = "{CANARY}"\ndevice',
        "token = §5\ndevice",
        "destinations.databoom.token",
        ('a string, { credential = "NAME" }, { env = "NAME" } or { file = "PATH" }',),
    ),
    "list for a secret": Broken(
        f'token = "{CANARY}"\ndevice',
        f'token = §["{CANARY}"]\ndevice',
        "destinations.databoom.token",
        ("a secret is expected",),
    ),
    "unknown form of a secret": Broken(
        f'token = "{CANARY}"\ndevice',
        f'token = §{{ credentials = "{CANARY}" }}\ndevice',
        "destinations.databoom.token",
        ("a secret is expected", "{ credential ="),
    ),
    "two forms of a secret": Broken(
        f'token = "{CANARY}"\ndevice',
        f'token = §{{ env = "{CANARY}", file = "{CANARY}" }}\ndevice',
        "destinations.databoom.token",
        ("a secret is expected",),
    ),
    "secret without a name": Broken(
        f'token = "{CANARY}"\ndevice',
        'token = §{ env = "" }\ndevice',
        "destinations.databoom.token",
        ("env wants a name, not an empty string",),
    ),
    "secret from NUL": Broken(
        f'token = "{CANARY}"\ndevice',
        'token = §{ file = "a\\u0000b" }\ndevice',
        "destinations.databoom.token",
        ("a NUL character",),
    ),
    "empty secret": Broken(
        f'token = "{CANARY}"\ndevice', 'token = §""\ndevice', "destinations.databoom.token", ("an empty secret",)
    ),
    "secret of a line end": Broken(
        f'token = "{CANARY}"\ndevice', 'token = §"\\n"\ndevice', "destinations.databoom.token", ("an empty secret",)
    ),
    "variable that is not set": Broken(
        PUSH, 'device = §{ env = "EDGED_NO_SUCH" }', "destinations.databoom.device", ("EDGED_NO_SUCH is not set",)
    ),
}


def place(marked: str, file: str = "config.toml") -> str:
    """`FILE:LINE:COL` of the mark; of the nearest table's name where a key is missing."""
    before = marked[: marked.index("§")]
    return f"{file}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Writes a config without its marks, gives it to `edged run`, and returns the lines that it says."""
    monkeypatch.chdir(tmp_path)

    def run(text: str | bytes, *arguments: str) -> list[str]:
        data = text.replace("§", "").encode() if isinstance(text, str) else text
        (tmp_path / "config.toml").write_bytes(data)
        status = main([*(arguments or ("run",)), "--config", "config.toml"])
        stdout, stderr = capsys.readouterr()
        assert status == 78, stderr
        assert stdout == ""
        assert CANARY not in stderr
        assert "Traceback" not in stderr
        return list(map(str, stderr.splitlines()))

    return run


@pytest.mark.pain("F5")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_mistake_is_one_line_at_its_place(run, broken):
    (line,) = run(broken.text())
    assert line.startswith(f"{place(broken.text())}: {broken.key}: "), line
    for part in broken.says:
        assert part in line


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(run):
    text = GOOD
    for broken in map(BROKEN.get, ("typo of a daemon key", "address as text", "pin missing", "unknown platform")):
        assert broken is not None
        text = text.replace(broken.old, broken.new)
    lines = run(text)
    assert [line.split(": ")[1] for line in lines] == [
        "daemon.statedir",
        "sensors.greenhouse.address",
        "sensors.door.pin",
        "destinations.databoom.platform",
    ]
    assert [int(line.split(":")[1]) for line in lines] == sorted(int(line.split(":")[1]) for line in lines)


def test_what_follows_from_another_mistake_is_no_mistake(run):
    """The series of a sensor that is wrong are not called unknown."""
    (line,) = run(GOOD.replace("0x76", "76"))
    assert "sensors.greenhouse.address" in line


def test_a_pattern_that_takes_all_to_one_target_is_told_once(run):
    (line,) = run(GOOD.replace('"greenhouse.temperature" = "room_temp"', '"*" = "room_temp"'))
    assert 'series."*": ' in line


def test_the_same_key_in_config_d(run, tmp_path):
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "50-site.toml").write_text('[sensors.greenhouse]\n  interval = "5s"\n')
    (line,) = run(GOOD)
    assert line == (
        "config.d/50-site.toml:2:3: sensors.greenhouse.interval: already set at config.toml:8:1; remove one of the two"
    )


def test_a_mistake_in_config_d_names_that_file(run, tmp_path):
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "50-site.toml").write_text('[sensors.greenhouse]\ntimout = "5s"\n')
    (line,) = run(GOOD)
    assert line.startswith("config.d/50-site.toml:2:1: sensors.greenhouse.timout: ")


def test_what_stands_in_a_damaged_file_is_not_called_missing(run, tmp_path):
    (tmp_path / "config.d").mkdir()
    fragment = '[sensors.greenhouse]\ntimout = "5s"\n[destinations.databoom.series]\n"cellar.*" = true\n'
    (tmp_path / "config.d" / "50-site.toml").write_text(fragment)
    (line,) = run(GOOD.replace('"10s"', "10s"))
    assert line.startswith("config.toml:8:12: ")


NAME = 'name = "test"'


@pytest.mark.case(16)
@pytest.mark.parametrize("as_fragment", [False, True], ids=["config.toml", "config.d"])
@pytest.mark.parametrize(
    ("content", "at", "says"),
    [
        pytest.param(b"\xff\xfe" + GOOD.encode("utf-16-le"), "1:1", "UTF-16", id="UTF-16"),
        pytest.param(GOOD.replace("\n", "\r").encode(), "1:9", "carriage return", id="lone CR"),
        pytest.param(GOOD.replace(NAME, "name = “test”").encode(), "2:8", "typographic quote", id="curly quotes"),
        pytest.param(GOOD.replace('"digital-input"', '"grün"').encode("latin-1"), "11:13", "not UTF-8", id="Latin-1"),
        pytest.param(GOOD.replace("0x76", "076").encode(), "7:11", "write 0x76 (hexadecimal) or 76", id="leading zero"),
        pytest.param(GOOD.replace("state_dir", "state\0dir").encode(), "3:6", "NUL byte", id="NUL"),
    ],
)
def test_a_file_saved_by_the_wrong_editor(run, tmp_path, content, at, says, as_fragment):
    if as_fragment:
        (tmp_path / "config.d").mkdir()
        (tmp_path / "config.d" / "50-site.toml").write_bytes(content)
        lines = run(b"")
        name = "config.d/50-site.toml"
    else:
        lines = run(content)
        name = "config.toml"
    (line,) = lines
    assert line.startswith(f"{name}:{at}: ")
    assert says in line


@pytest.mark.case(16)
@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()],
    ids=["UTF-8 with its mark", "CRLF"],
)
def test_what_windows_editors_do_rightly_is_right(tmp_path, capsys, content):
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    path.write_bytes(content)
    assert main(["check", "--json", "--config", str(path)]) == 0
    assert '"error"' not in capsys.readouterr().out


@pytest.mark.case(17)
@pytest.mark.parametrize("command", [["run"], ["run", "--once"], ["read"], ["check"], ["emulate", "databoom"]])
def test_no_command_takes_a_decimal_address(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(GOOD.replace("0x76", "76"))
    assert main([*command, "--config", "config.toml"]) == 78
    stdout, stderr = capsys.readouterr()
    assert "config.toml:7:11: sensors.greenhouse.address: 76 is 0x4c" in stdout + stderr
    assert "did you mean 0x76?" in stdout + stderr


def test_there_is_no_such_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--config", "none.toml"]) == 78
    expected = "none.toml:1:1: there is no such file; write one, or name another with --config or $EDGED_CONFIG\n"
    assert capsys.readouterr().err == expected


def test_the_file_may_not_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    assert main(["run", "--config", "none.toml"]) == 78  # loads what the command needs
    capsys.readouterr()
    (tmp_path / "config.toml").touch(mode=0)
    with without_root():
        assert main(["run", "--config", "config.toml"]) == 78
    assert capsys.readouterr().err.startswith("config.toml:1:1: permission denied; ")


def test_the_file_is_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--config", "."]) == 78
    assert capsys.readouterr().err == ".:1:1: this is a folder; a TOML file is needed here\n"


@pytest.mark.pain("F5")
@pytest.mark.parametrize("name", ["typo of a sensor's key", "URL with credentials", "address as text"])
def test_a_daemon_that_does_not_start_says_why_on_stderr(tmp_path, name):
    """As systemd runs it; what stands on stderr is in the journal and in `systemctl status`."""
    path = tmp_path / "config.toml"
    path.write_text(BROKEN[name].text().replace("§", ""))
    command = [sys.executable, "-m", "edged", "run", "--config", str(path)]
    daemon = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False)
    assert daemon.returncode == 78
    assert daemon.stdout == ""
    (line,) = daemon.stderr.splitlines()
    assert line.startswith(f"{place(BROKEN[name].text(), str(path))}: {BROKEN[name].key}: ")
    assert CANARY not in line
    assert not (tmp_path / "state").exists()
