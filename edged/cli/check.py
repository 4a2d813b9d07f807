"""`edged check`: whether the config is right, and what it would do."""

import argparse
import json
import os
from typing import Any

from edged.cli import DONE, WRONG_CONFIG, show, table
from edged.config.config import Config
from edged.config.document import Document, Problem, dotted
from edged.config.reader import find, read
from edged.errors import SecretUnreadable
from edged.secret import Secret


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--json", action="store_true", help="print the problems as JSON")


def run(options: argparse.Namespace) -> int:
    """Prints all problems; 78 where there is an error among them."""
    path = find(options.config)
    config, problems, document = read(path)
    if config is not None:
        problems = [*problems, *_idle(config, document), *_absent(config, document), *_unreadable(config, document)]
    if options.json:
        print(json.dumps([_as_json(problem) for problem in problems]))
    else:
        for problem in problems:
            print(problem)
        if config is not None:
            _summary(config)
    return WRONG_CONFIG if config is None else DONE


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "severity": problem.severity,
        "file": problem.place.file,
        "line": problem.place.line,
        "column": problem.place.column,
        "key": problem.key,
        "message": problem.message,
    }


def _idle(config: Config, document: Document) -> list[Problem]:
    """What is right, and yet does nothing."""
    problems = []
    for kind, parts in (("sensors", config.sensors), ("destinations", config.destinations)):
        if not parts:
            problems.append(Problem(document.place(()), "", f"there are no {kind}", "warning"))
    for name, destination in config.destinations.items():
        path = ("destinations", name)
        if not destination.mapping.rules:
            message = 'it has no series, so nothing goes there; for example series = { "*" = true }'
            problems.append(Problem(document.place(path, key=True), dotted(path), message, "warning"))
    folder = next(folder for folder in (config.state_dir, *config.state_dir.parents) if folder.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        path = ("daemon", "state_dir")
        message = f"this user cannot write to {folder}; the service's user has to"
        problems.append(Problem(document.place(path), dotted(path), message, "warning"))
    return problems


def _absent(config: Config, document: Document) -> list[Problem]:
    """Hardware that is not there: it may come, so only a warning."""
    problems = []
    for sensor in config.sensors.values():
        path = ("sensors", sensor.name, "driver")
        if sensor.enabled and (why := sensor.driver.absent(sensor.options)):
            problems.append(Problem(document.place(path), dotted(path[:-1]), why, "warning"))
    return problems


def _unreadable(config: Config, document: Document) -> list[Problem]:
    """Secrets that this user cannot read; the service may be able to."""
    problems = []
    for destination in config.destinations.values():
        path: tuple[str, ...] = ("destinations", destination.name)
        found = [((*path, key), value) for key, value in vars(destination.options).items()]
        for pattern, target in destination.mapping.rules:
            found += [
                ((*path, "series", pattern, key), value) for key, value in getattr(target, "__dict__", {}).items()
            ]
        for where, value in found:
            if isinstance(value, Secret):
                try:
                    value.reveal()
                except SecretUnreadable as error:
                    problems.append(Problem(document.place(where), dotted(where), str(error), "warning"))
    return problems


def _summary(config: Config) -> None:
    counts = f"{len(config.sensors)} sensors, {len(config.destinations)} destinations"
    print(f"{config.daemon.name}: {counts}; store: {config.state_dir}")
    sensors = table("sensor", "driver", "read", "quantities")
    for sensor in config.sensors.values():
        every = f"every {sensor.interval:g} s" if sensor.interval else sensor.cron or "at events"
        quantities = [
            quantity.name
            for quantity in sensor.driver.quantities
            if (shaping := sensor.shaping.get(quantity.name)) is None or shaping.enabled
        ]
        sensors.add_row(
            sensor.name,
            sensor.kind,
            every if sensor.enabled else "disabled",
            ", ".join(quantities) or "as the device has them",
        )
    destinations = table("destination", "series")
    for destination in config.destinations.values():
        series = [
            sensor.series(quantity.name)
            for sensor in config.sensors.values()
            for quantity in sensor.driver.quantities
            if destination.mapping.target(sensor.series(quantity.name)) is not None
        ]
        what = ", ".join(series) or "none: nothing goes there"
        destinations.add_row(destination.name, what if destination.common.enabled else "disabled")
    show("", sensors, "", destinations)
