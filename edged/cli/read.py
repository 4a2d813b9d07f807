"""`edged read`: the sensors' values, now; a running daemon's last ones, since the devices are in its hands."""

import argparse
import contextlib
import json
import logging
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from edged.cli import DONE, FAILED, WRONG_COMMAND, show, shown, table
from edged.cli._running import NotRunning, ask
from edged.config.config import Config, Sensor
from edged.config.reader import find, require
from edged.daemon import lane_of, make_sampler, memory_of
from edged.errors import StoreUnusable
from edged.overview import last_read
from edged.sampling.memory import Memory
from edged.sampling.once import read_once
from edged.sampling.sampler import Sampler

JSON = dict[str, Any]

_WATCH_S = 2.0


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("sensors", nargs="*", metavar="SENSOR", help="which; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="again and again, until interrupted")


def run(options: argparse.Namespace) -> int:
    """Asks the running daemon, or reads each sensor once; 1 where one of them gave no reading."""
    config, _ = require(find(options.config))
    for name in options.sensors:
        if name not in config.sensors:
            print(f"edged: there is no sensor {name}; there are: {', '.join(config.sensors)}", file=sys.stderr)
            return WRONG_COMMAND
    rounds = _rounds(config, options.sensors)
    with contextlib.closing(rounds):
        for result in rounds:
            if options.json:
                print(json.dumps(result), flush=True)
            else:
                _show(result)
            if not options.watch:
                return FAILED if any(sensor["error"] for sensor in result.values()) else DONE
            time.sleep(_WATCH_S)
    return DONE


def _rounds(config: Config, names: list[str]) -> Generator[JSON, None, None]:
    """What the sensors give, round by round: by a running daemon, else from the devices themselves."""
    request = {"do": "read", "sensors": names}
    try:
        first = ask(config.state_dir, request)
    except NotRunning as error:
        if error.denied:
            print(f"edged: {error}; the devices themselves are read", file=sys.stderr)
        yield from _devices([config.sensors[name] for name in names or config.sensors], config.state_dir)
    else:
        yield first
        while True:
            yield ask(config.state_dir, request)


def _devices(sensors: list[Sensor], state_dir: Path) -> Generator[JSON, None, None]:
    logging.getLogger("edged").setLevel(logging.CRITICAL)  # what is wrong stands in the result
    parts = [
        (sensor, make_sampler(sensor, lambda readings, offset_ms: None, _memory(sensor, state_dir)))
        for sensor in sensors
    ]
    hanging: set[Sampler] = set()  # their threads are in their devices still
    try:
        while True:
            hanging |= read_once([(lane_of(sensor), sampler) for sensor, sampler in parts if sampler not in hanging])
            yield {sensor.name: last_read(sensor, sampler, sampler.health.error) for sensor, sampler in parts}
    finally:
        for _, sampler in parts:
            sampler.close()


def _memory(sensor: Sensor, state_dir: Path) -> Memory | None:
    """What the sensor's driver remembered when the daemon ended, so that a total goes on; it stays as it is."""
    if not sensor.driver.remembers:
        return None
    from edged.store.frozen import memories  # with all of the store, which few sensors need here

    def recall(owner: str) -> Any:
        try:
            return memories(state_dir).get(owner)
        except OSError as error:
            raise StoreUnusable(f"what it remembers cannot be read: {error}") from error

    return Memory(memory_of(sensor), recall, lambda readings, offset_ms, memory: None)


def _show(result: JSON) -> None:
    rows = table("sensor", "quantity", "value", "unit")
    for name, sensor in result.items():
        for quantity, each in sensor["quantities"].items():
            rows.add_row(name, quantity, shown(each["value"]), each["unit"])
        if sensor["error"]:
            rows.add_row(name, "", "", f"no reading: {sensor['error']}")
    show(rows)
