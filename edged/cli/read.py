"""`edged read`: the sensors' values, now."""

import argparse
import json
import logging
import sys
import time
from typing import Any

from edged.cli import DONE, FAILED, WRONG_COMMAND, show, shown, table
from edged.config.config import Sensor
from edged.config.reader import find, require
from edged.daemon import lane_of, make_sampler
from edged.reading import iso
from edged.sampling.once import read_once
from edged.sampling.sampler import Sampler

_WATCH_S = 2.0


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("sensors", nargs="*", metavar="SENSOR", help="which; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="again and again, until interrupted")


def run(options: argparse.Namespace) -> int:
    """Reads each sensor once, straight from its device; 1 where one of them gave no reading."""
    config, _ = require(find(options.config))
    for name in options.sensors:
        if name not in config.sensors:
            print(f"edged: there is no sensor {name}; there are: {', '.join(config.sensors)}", file=sys.stderr)
            return WRONG_COMMAND
    logging.getLogger("edged").setLevel(logging.CRITICAL)  # what is wrong stands in the result
    sensors = [config.sensors[name] for name in options.sensors or config.sensors]
    parts = [(sensor, make_sampler(sensor, lambda readings, offset_ms: None)) for sensor in sensors]
    hanging: set[Sampler] = set()  # their threads are in their devices still
    try:
        while True:
            hanging |= read_once([(lane_of(sensor), sampler) for sensor, sampler in parts if sampler not in hanging])
            _print(parts, options.json)
            if not options.watch:
                return FAILED if any(sampler.health.error for _, sampler in parts) else DONE
            time.sleep(_WATCH_S)
    finally:
        for _, sampler in parts:
            sampler.close()


def _print(parts: list[tuple[Sensor, Sampler]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({sensor.name: _as_json(sensor, sampler) for sensor, sampler in parts}), flush=True)
        return
    result = table("sensor", "quantity", "value", "unit")
    for sensor, sampler in parts:
        for quantity, reading in sampler.last.items():
            result.add_row(sensor.name, quantity, shown(reading.value), sensor.driver.quantity(quantity).unit)
        if sampler.health.error:
            result.add_row(sensor.name, "", "", f"no reading: {sampler.health.error}")
    show(result)


def _as_json(sensor: Sensor, sampler: Sampler) -> dict[str, Any]:
    times = [reading.time_ms for reading in sampler.last.values()]
    return {
        "time": iso(max(times)) if times else None,
        "quantities": {
            quantity: {"value": reading.value, "unit": sensor.driver.quantity(quantity).unit}
            for quantity, reading in sampler.last.items()
        },
        "error": sampler.health.error or None,
    }
