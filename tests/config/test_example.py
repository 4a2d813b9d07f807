"""`config.example.toml` names every key that there is and nothing else, and its values are right."""

import re
import tomllib
from collections import defaultdict
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from edged import drivers, platforms
from edged.config.config import DaemonOptions, DestinationOptions, QueueOptions, SensorOptions
from edged.config.reader import TABLES, read
from edged.options import declarations
from edged.secret import Secret

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
_SWITCHED_OFF = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


def everything_on() -> str:
    """The example with all keys switched on, also those that exclude each other."""
    return _SWITCHED_OFF.sub("", EXAMPLE.read_text())


def occurring() -> dict[str, set[str]]:
    """The keys in the example: dotted, with the driver's or platform's name in the place of the sensor's."""
    keys = defaultdict(set)

    def note(owner: str, table: dict[str, Any], prefix: str = "") -> None:
        for key, value in table.items():
            keys[owner].add(prefix + key)
            if key in ("quantities", "series"):
                for entry in value.values():
                    note(owner, entry if isinstance(entry, dict) else {}, f"{prefix}{key}.*.")
            elif isinstance(value, dict) and key not in ("token", "password", "headers"):
                note(owner, value, f"{prefix}{key}.")

    values = tomllib.loads(everything_on())
    assert set(values) == set(TABLES)
    note("daemon", values["daemon"])
    note("queue", values["queue"])
    for table, plugin in (("sensors", "driver"), ("destinations", "platform")):
        for entry in values[table].values():
            note(entry[plugin], entry)
    return keys


def declared(options: type, prefix: str = "") -> set[str]:
    """All keys of a dataclass of options, dotted, those of tables within it too."""
    keys = set()
    for option in declarations(options).values():
        keys.add(prefix + option.name)
        kinds = [option.type, *get_args(option.type)]
        for kind in kinds:
            if isinstance(kind, type) and is_dataclass(kind):
                below = f"{prefix}{option.name}." + ("*." if option.name == "quantities" else "")
                keys |= declared(kind, below)
    return keys


def test_the_daemons_keys():
    assert occurring()["daemon"] == declared(DaemonOptions)


def test_the_queues_keys():
    assert occurring()["queue"] == declared(QueueOptions)


def test_a_destination_has_all_bounds_but_one():
    """The keys of [queue] are its own too, except for the one that is about destinations which have no table."""
    assert declared(QueueOptions) - declared(DestinationOptions) == {"keep_removed"}


def test_the_common_keys_of_sensors():
    assert declared(SensorOptions) <= set().union(*(occurring()[name] for name in drivers.names()))


def test_the_common_keys_of_destinations():
    assert declared(DestinationOptions) <= set().union(*(occurring()[name] for name in platforms.names()))


@pytest.mark.parametrize("name", drivers.names())
def test_a_drivers_keys(name):
    driver = drivers.find(name)
    assert driver is not None
    assert occurring()[name] - declared(SensorOptions) == declared(driver.Options)


@pytest.mark.parametrize("name", platforms.names())
def test_a_platforms_keys(name):
    platform = platforms.find(name)
    assert platform is not None
    own = declared(platform.Options) | declared(platform.Series, "series.*.")
    assert occurring()[name] - declared(DestinationOptions) == own


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "config.toml"

    def write(text):
        path.write_text(text)
        return path

    return write


@pytest.mark.pain("F4")
def test_it_is_right_as_it_is(example):
    config, problems, _ = read(example(EXAMPLE.read_text()))
    assert config is not None
    assert problems == []  # secrets and devices that are not here are the business of `edged check`


def test_what_is_switched_off_is_right_too(example):
    _, problems, _ = read(example(everything_on()))
    assert {problem.key for problem in problems} == {
        "sensors.greenhouse.cron",  # excludes interval
        "sensors.greenhouse.sim",  # wants a simulated bus
        "destinations.databoom.ca_file",  # is not there, nor are
        "destinations.broker.cert_file",
        "destinations.broker.key_file",
        "destinations.collector.template",  # wants format = "template"
    }


def test_its_values_are_the_defaults(example):
    config, _, _ = read(example(EXAMPLE.read_text()))
    assert config is not None
    assert config.daemon == DaemonOptions(name=config.daemon.name)
    assert config.keep_removed == QueueOptions().keep_removed
    assert {each.bounds for each in config.destinations.values()} == {
        QueueOptions().bounds(DestinationOptions(platform=""))
    }
    for destination in config.destinations.values():
        common, own = destination.common, destination.options
        assert common.timeout in (None, destination.platform.timeout_s)
        for options, kind in ((common, DestinationOptions), (own, destination.platform.Options)):
            for field, option in declarations(kind).items():
                value = getattr(options, field)
                theirs = field in ("timeout", "series", "client_id", "topic", "device", "will", "discovery", "headers")
                if option.required or theirs or isinstance(value, Secret):
                    continue  # the user's, or looked at elsewhere
                assert value == option.default, f"{destination.name}: {option.name}"


def test_each_key_has_a_comment_or_speaks_for_itself():
    speaking = {"driver", "platform", "interval", "url", "token", "device", "host", "username", "topic", "timeout"}
    speaking |= {"name", "offset", "max", "series"}
    for line in EXAMPLE.read_text().splitlines():
        key = re.match(r"(?:# )?([a-z_]+) = ", line)
        if key and "   # " not in line.removeprefix("# "):
            assert key[1] in speaking, line


def test_lines_are_short_enough_to_read():
    assert max(map(len, EXAMPLE.read_text().splitlines())) <= 125
