"""`edged check`: whether the config is right, and what it would do."""

import argparse
import json
import os
from typing import Any

from edged.cli import DONE, FAILED, WRONG_CONFIG, fail, show, table
from edged.cli._sums import in_words
from edged.config.config import Config
from edged.config.document import Document, Problem, dotted
from edged.config.reader import find, read
from edged.errors import EdgedError, SecretUnreadable
from edged.secret import named
from edged.sums.figures import Sums, work_out


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--json", action="store_true", help="print the problems (with --sums: the sums) as JSON")
    parser.add_argument("--sums", action="store_true", help="print only what it comes to a day: requests, bytes, ...")


def run(options: argparse.Namespace) -> int:
    """Prints all problems; 78 where there is an error among them."""
    path = find(options.config)
    config, problems, document = read(path)
    sums = None
    if config is not None:
        problems = [
            *problems,
            *_idle(config, document),
            *_in_vain(config, document),
            *_absent(config, document),
            *_unreadable(config, document),
        ]
        sums = _sums(config)
        problems += _growing(sums, config, document) if sums else []
    if options.json and options.sums and config is not None:
        if sums is None:
            return FAILED
        print(json.dumps(sums.to_json()))
    elif options.json:
        print(json.dumps([_as_json(problem) for problem in problems]))
    else:
        for problem in problems:
            print(problem)
        if config is not None and not options.sums:
            _summary(config)
            print()
        if config is not None and sums is not None:
            print("\n".join(in_words(sums, config)))
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
        found = list(named(destination.options, path))
        for pattern, target in destination.mapping.rules:
            found += named(target, (*path, "series", pattern))
        for where, secret in found:
            try:
                secret.reveal()
            except SecretUnreadable as error:
                problems.append(Problem(document.place(where), dotted(where), str(error), "warning"))
    return problems


def _sums(config: Config) -> Sums | None:
    """The sums; None where they cannot be worked out, which says nothing against the config."""
    try:
        return work_out(config)
    except (EdgedError, OSError) as error:  # the store of the dry run: no room for it, nowhere to write
        fail(f"what it comes to a day cannot be worked out: {error}")
        return None


def _growing(sums: Sums, config: Config, document: Document) -> list[Problem]:
    """Destinations whose platform does not take readings as fast as they come."""
    problems = []
    for name, readings in sums.grows_per_day.items():
        options = config.destinations[name].options
        limits = "daily_points lets" if getattr(options, "daily_points", None) else "the platform's limits let"
        cures = ["a longer interval"] + (['backlog = "mean"'] if hasattr(options, "backlog") else [])
        message = (
            f"readings come faster than {limits} them go: the backlog grows by {readings:,.0f} a day;"
            f" {' or '.join(cures)} helps"
        )
        problems.append(_warning(("destinations", name), message, document))
    return problems


def _in_vain(config: Config, document: Document) -> list[Problem]:
    """What is allowed, and does not do what it is for."""
    problems = []
    for name, destination in config.destinations.items():
        path, options, limits = (
            ("destinations", name),
            destination.options,
            destination.platform(destination.options).limits,
        )
        if destination.common.every > limits.target_interval > 0 and limits.per_target == 1 and limits.backlog == "all":
            message = (
                "it makes requests no fewer, since each holds one reading of a field;"
                f' backlog = "mean" with min_write_interval = "{destination.common.every:g}s" does'
            )
            problems.append(_warning((*path, "every"), message, document))
        if destination.common.drain == "live-first" and (
            getattr(options, "retain", False) or getattr(options, "discovery", None)
        ):
            message = "a backlog's old values then come behind new ones, and the last one is what is retained or shown"
            problems.append(_warning((*path, "drain"), message, document))
    return problems


def _warning(path: tuple[str, ...], message: str, document: Document) -> Problem:
    return Problem(document.place(path, key=True), dotted(path), message, "warning")


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
