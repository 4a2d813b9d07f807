"""The config as the daemon uses it: where it is found, its defaults, and what goes where."""

import re
from pathlib import Path

import pytest

from edged import board
from edged.config import reader as module
from edged.config.config import Config, DestinationOptions
from edged.config.reader import find, read, require
from edged.errors import ConfigError
from edged.sending.backoff import Backoff
from edged.store.queue import Bounds

TOKEN = "0123456789abcdef0123456789abcdef"
SENSORS = """\
[sensors.greenhouse]
driver = "bme280"
interval = "10s"
[sensors.host]
driver = "host"
interval = "30s"
"""
DATABOOM = """\
[destinations.databoom]
platform = "databoom"
token = { env = "DATABOOM_TOKEN" }
device = "0abc12def3"
"""


@pytest.fixture
def load(tmp_path):
    """Writes a config and the fragments beside it, and reads them; there must be no problem."""

    def load(text: str, **fragments: str) -> Config:
        path = tmp_path / "config.toml"
        path.write_text(text)
        (tmp_path / "config.d").mkdir(exist_ok=True)
        for name, fragment in fragments.items():
            (tmp_path / "config.d" / f"{name}.toml").write_text(fragment)
        config, problems, _ = read(path)
        assert [str(problem) for problem in problems] == []
        assert config is not None
        return config

    return load


# --- where it is


def test_where_the_file_is(monkeypatch):
    monkeypatch.setenv("EDGED_CONFIG", "/srv/edged.toml")
    assert find("here.toml") == Path("here.toml")
    assert find(None) == Path("/srv/edged.toml")
    monkeypatch.delenv("EDGED_CONFIG")
    assert find(None) == Path("/etc/edged/config.toml")


def test_where_the_store_is(load, tmp_path, monkeypatch):
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("").state_dir == tmp_path / ".local" / "state" / "edged"
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert load("").state_dir == Path("/xdg/edged")
    monkeypatch.setenv("STATE_DIRECTORY", "/srv/state:/srv/other")
    assert load("").state_dir == Path("/srv/state")
    monkeypatch.setattr(module, "DEFAULT", tmp_path / "config.toml")
    assert load("").state_dir == Path("/var/lib/edged")
    assert load('[daemon]\nstate_dir = "/data"').state_dir == Path("/data")


def test_a_relative_store_is_made_absolute(load):
    assert load('[daemon]\nstate_dir = "state"').state_dir == Path("state").absolute()


def test_config_d_adds_sensors_destinations_and_keys(load):
    config = load(
        SENSORS,
        a=DATABOOM,
        b='[sensors.host]\ndisk = "/data"\n[sensors.door]\ndriver = "digital-input"\npin = 17\ninterval = "1m"\n',
        c='[destinations.databoom.series]\n"door.state" = true\n',
    )
    assert list(config.sensors) == ["greenhouse", "host", "door"]
    assert config.sensors["host"].options.disk == "/data"
    assert config.destinations["databoom"].mapping.target("door.state").name == "door_state"


# --- defaults


def test_the_daemons_defaults(load, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "greenhouse-pi")
    daemon = load("").daemon
    assert (daemon.name, daemon.flush_interval, daemon.log_level) == ("greenhouse-pi", 1.0, "info")


def test_a_destinations_defaults(load):
    databoom = load(DATABOOM).destinations["databoom"]
    assert databoom.common == DestinationOptions(
        platform="databoom", enabled=True, batch_size=None, timeout=None, backoff=Backoff(first=1.0, max=300.0)
    )
    assert databoom.timeout == 30.0
    assert databoom.options.url == "https://api.databoom.com/v1/signals/push"
    assert databoom.options.min_request_interval == 1.0
    assert (databoom.options.max_signals, databoom.options.max_points) == (20, 200)


def test_the_platforms_defaults(load):
    destinations = load(
        '[destinations.a]\nplatform = "bbdata"\n[destinations.b]\nplatform = "bbdata-mqtt"\n'
        f'[destinations.c]\nplatform = "datacake"\ntoken = "{TOKEN}"\ndevice = "d"\n'.replace(
            f'"{TOKEN}"', '{ credential = "x" }'
        )
    ).destinations
    assert [destination.timeout for destination in destinations.values()] == [60.0, 60.0, 30.0]
    bbdata, mqtt, datacake = (destination.options for destination in destinations.values())
    assert (bbdata.api, bbdata.ack) == ("input", True)
    assert (mqtt.port, mqtt.qos, mqtt.topic, mqtt.max_inflight) == (8883, 1, "bbdata_topic", 10)
    assert (mqtt.username, mqtt.password.reveal()) == ("bbdata", "bbdata")
    assert (datacake.url, datacake.min_write_interval) == ("https://api.datacake.co", 1.1)
    assert datacake.max_entries_per_field == 1


def test_a_sensors_defaults(load):
    greenhouse = load(SENSORS).sensors["greenhouse"]
    assert (greenhouse.timeout, greenhouse.enabled, greenhouse.cron, greenhouse.shaping) == (5.0, True, None, {})
    assert (greenhouse.options.bus, greenhouse.options.sim) == (1, None)


# --- bounds of the queues


def test_the_queues_defaults(load):
    config = load(DATABOOM)
    assert config.destinations["databoom"].bounds == Bounds(256 * 2**20, None, "drop-oldest", 10_000)
    assert config.keep_removed == 7 * 86400


@pytest.mark.case(40)
def test_bounds_for_all_and_of_one_destination(load):
    queue = '[queue]\nmax_size = "1GB"\nmax_age = "36500d"\nwhen_full = "drop-newest"\nmax_dead_letters = 5\n'
    own = DATABOOM.replace(".databoom]", ".own]") + 'max_size = "64KiB"\nmax_age = "1h"\nmax_dead_letters = 0\n'
    config = load(queue + "keep_removed = 0\n" + DATABOOM + own + 'when_full = "drop-oldest"\n')
    assert config.destinations["databoom"].bounds == Bounds(10**9, 36500 * 86400.0, "drop-newest", 5)
    assert config.destinations["own"].bounds == Bounds(64 * 1024, 3600.0, "drop-oldest", 0)
    assert config.keep_removed == 0


def test_one_bound_of_its_own_leaves_the_others(load):
    config = load('[queue]\nmax_age = "1d"\nmax_dead_letters = 5\n' + DATABOOM + "max_dead_letters = 6\n")
    assert config.destinations["databoom"].bounds == Bounds(max_age_s=86400.0, max_dead_letters=6)


def test_other_bounds_for_all_make_another_destination(load):
    """A reload compares them; what has its own bound goes on undisturbed."""
    own = DATABOOM.replace(".databoom]", ".own]") + 'max_size = "64KiB"\n'
    before, after = load(DATABOOM + own), load('[queue]\nmax_size = "1MiB"\n' + DATABOOM + own)
    assert before.destinations["databoom"] != after.destinations["databoom"]
    assert before.destinations["own"] == after.destinations["own"]


# --- when a sensor is stale


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [
        ('interval = "1s"', 10.0),
        ('interval = "10s"', 30.0),
        ('interval = "10s"\nstale_after = "1m"', 60.0),
        ('interval = "1h"\nstale_after = "1m"', 60.0),
        ('cron = "* * * * *"', 180.0),
        ('cron = "*/5 * * * *"', 900.0),
        ('cron = "7,37 * * * *"', 3 * 1800.0),
        ('cron = "*/5 6-22 * * *"', 3 * (7 * 3600 + 300.0)),
        ('cron = "0 12 * * 1-5"', 3 * 3 * 86400.0),
        ('cron = "0 0 1 * *"', 3 * 31 * 86400.0),
        ('cron = "0 0 29 2 *"', 3 * (8 * 365 + 1) * 86400.0),
        ('cron = "*/5 * * * *"\nstale_after = "1m"', 60.0),
    ],
)
def test_stale_after(load, keys, seconds):
    config = load(f'[sensors.greenhouse]\ndriver = "bme280"\n{keys}\n')
    assert config.sensors["greenhouse"].stale_after == seconds


def test_what_reports_events_only_is_never_stale(load):
    door = '[sensors.door]\ndriver = "digital-input"\npin = 17\nevents = true\n'
    assert load(door).sensors["door"].stale_after is None
    assert load(door + 'interval = "1m"\n').sensors["door"].stale_after == 180.0


# --- names


def test_name_and_serial_number(load, monkeypatch):
    monkeypatch.setattr(board, "serial", lambda state_dir: "10000000abcdef01")
    destinations = load(
        '[daemon]\nname = "greenhouse-pi"\n'
        + DATABOOM.replace("0abc12def3", "{name}-{serial}")
        + '[destinations.mqtt]\nplatform = "bbdata-mqtt"\ntopic = "site/{name}"\n'
    ).destinations
    assert destinations["databoom"].options.device == "greenhouse-pi-10000000abcdef01"
    assert destinations["mqtt"].options.client_id == "bbdata_10000000abcdef01"
    assert destinations["mqtt"].options.topic == "site/greenhouse-pi"


def test_the_hash_in_place_of_a_serial_number_is_stable(load):
    text = '[destinations.mqtt]\nplatform = "bbdata-mqtt"\n'
    ids = {load(text).destinations["mqtt"].options.client_id for _ in range(2)}
    assert len(ids) == 1
    assert re.fullmatch(r"bbdata_[0-9a-zA-Z]{8,16}", ids.pop())


# --- series


def test_which_rule_decides(load):
    config = load(
        SENSORS
        + DATABOOM
        + """\
        [destinations.databoom.series]
        "*" = true
        "host.*" = false
        "host.l*" = true
        "host.load_5m" = false
        "host.uptime" = "up"
        "greenhouse.temperature" = { name = "room_temp" }
        """
    )

    def target(series: str) -> str | None:
        found = config.destinations["databoom"].mapping.target(series)
        return found.name if found else None

    assert target("greenhouse.temperature") == "room_temp"  # an exact name before a pattern
    assert target("greenhouse.humidity") == "greenhouse_humidity"  # `*` spans dots; true is the usual name
    assert target("host.uptime") == "up"
    assert target("host.load_1m") == "host_load_1m"  # a longer pattern before a shorter one
    assert target("host.load_5m") is None  # false takes out
    assert target("host.disk_used") is None


def test_the_usual_names(load):
    config = load(
        SENSORS
        + DATABOOM
        + 'series = { "greenhouse.*" = true }\n'
        + '[destinations.datacake]\nplatform = "datacake"\ntoken = { env = "T" }\ndevice = "d"\n'
        + 'series = { "greenhouse.*" = true }\n'
    )
    databoom, datacake = (each.mapping.target("greenhouse.humidity") for each in config.destinations.values())
    assert databoom.name == "greenhouse_humidity"
    assert datacake.field == "GREENHOUSE_HUMIDITY"


def test_a_target_in_its_long_form(load):
    config = load(
        SENSORS
        + '[destinations.building]\nplatform = "bbdata"\n[destinations.building.series]\n'
        + '"host.uptime" = { object = 4712, token = { env = "T" }, type = "int", comment = "main meter" }\n'
    )
    target = config.destinations["building"].mapping.target("host.uptime")
    assert (target.object, target.type, target.comment) == (4712, "int", "main meter")


# --- the same config again


def test_two_reads_of_one_config_are_equal(load):
    """A reload compares them: what is the same goes on undisturbed."""
    text = (
        SENSORS
        + '[sensors.greenhouse.quantities.temperature]\noffset = -0.4\n[sensors.greenhouse.sim]\nfault = "nack"\n'
        + DATABOOM
        + 'series = { "host.*" = true, "host.uptime" = false, "greenhouse.temperature" = "room_temp" }\n'
        + '[destinations.building]\nplatform = "bbdata"\n[destinations.building.series]\n'
        + '"greenhouse.humidity" = { object = 4711, token = { credential = "a" } }\n'
        + '[destinations.mqtt]\nplatform = "bbdata-mqtt"\n'
        + '[destinations.datacake]\nplatform = "datacake"\ntoken = { file = "/t" }\ndevice = "d"\n'
        + 'series = { "greenhouse.*" = true }\n'
    ).replace('driver = "bme280"', 'driver = "bme280"\nbus = "sim"')
    text = text.replace('fault = "nack"', 'fault = "nack"\nevery = "1m"')
    assert load(text) == load(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"host.*" = true', '"host.*" = false'),
        ('"host.*" = true', '"host.u*" = true'),
        ("DATABOOM_TOKEN", "OTHER_TOKEN"),
        ("0abc12def3", "1abc12def3"),
        ("enabled = true", "enabled = false"),
    ],
)
def test_a_changed_destination_is_another(load, old, new):
    text = SENSORS + DATABOOM + 'enabled = true\nseries = { "host.*" = true }\n'
    before, after = load(text), load(text.replace(old, new))
    assert before.destinations != after.destinations
    assert before.sensors == after.sensors


# --- problems


def test_an_error_says_so_and_leaves_no_config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(SENSORS.replace("interval", "intervall", 1))
    config, problems, _ = read(path)
    assert config is None
    with pytest.raises(ConfigError) as caught:
        require(path)
    assert caught.value.problems == [str(problem) for problem in problems]


def test_an_empty_config_is_right(load):
    config = load("")
    assert (config.sensors, config.destinations) == ({}, {})
