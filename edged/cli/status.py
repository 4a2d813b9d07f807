"""`edged status`: how the running daemon is doing."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from edged.cli import DONE, FAILED, counted, fail, show, shown, table
from edged.cli._running import ask
from edged.config.reader import find, require
from edged.errors import EdgedError

JSON = dict[str, Any]

_WATCH_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"  # a terminal, before the next picture


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--watch", action="store_true", help="again and again, until interrupted")
    once.add_argument(
        "--check",
        action="store_true",
        help="for monitors: one line, and status 1 where a series is stale, or a destination or a series of it parked",
    )


def run(options: argparse.Namespace) -> int:
    """Asks the daemon; 1 where none runs, and with --check where something is wrong."""
    config, _ = require(find(options.config))
    if options.watch:
        _watch(config.state_dir, options.json)
    status = ask(config.state_dir, {"do": "status"})
    wrong = problems(status) if options.check else []
    if options.json:
        print(json.dumps(status))
    elif options.check:
        sensors, destinations = len(status["sensors"]), len(status["destinations"])
        print("; ".join(wrong) or f"ok: {counted(sensors, 'sensor')}, {counted(destinations, 'destination')}")
    else:
        show(*_tables(status, datetime.now(UTC)))
    return FAILED if wrong else DONE


def problems(status: JSON) -> list[str]:
    """What a monitor is to be told of: each stale series, parked destination, and parked series."""
    found = []
    for name, sensor in status["sensors"].items():
        stale = [f"{name}.{quantity}" for quantity, each in sensor["quantities"].items() if each["stale"]]
        found += [f"stale: {series}" for series in stale or ([name] if sensor["stale"] else [])]
    for name, destination in status["destinations"].items():
        if destination["state"] == "parked":
            found.append(f"parked: {name} ({destination['last_error']})")
        found += [f"parked: {name}, {series} ({reason})" for series, reason in destination["parked"].items()]
    return found


def _watch(state_dir: Path, as_json: bool) -> NoReturn:
    """Shows it on and on, over restarts of the daemon too."""
    while True:
        try:
            status = ask(state_dir, {"do": "status"})
        except EdgedError as error:
            fail(str(error))
        else:
            if as_json:
                print(json.dumps(status), flush=True)
            else:
                if sys.stdout.isatty():
                    print(_CLEAR, end="")
                show(*_tables(status, datetime.now(UTC)), "")
                sys.stdout.flush()
        time.sleep(_WATCH_S)


# --- for people


def _tables(status: JSON, now: datetime) -> Iterator[Any]:
    """`now`: the clock's time."""
    clock, store = status["clock"], status["store"]
    known = f"synchronised ({clock['source']})" if clock["source"] else "not known to be wrong"
    yield (
        f"{status['name']}: edged {status['version']}, up {duration(status['uptime_s'])}, "
        f"clock {known if clock['synchronised'] else 'not synchronised'}"
    )
    trouble = f"; {store['trouble']}" if store["trouble"] else ""
    yield f"store: {store['bytes'] / 1e6:.1f} MB, {store['commits']} commits{trouble}"
    if status["sensors"]:
        yield ""
        yield _sensors(status["sensors"])
    if status["destinations"]:
        yield ""
        yield _destinations(status["destinations"], now)


def _sensors(sensors: JSON) -> Any:
    result = table("state", "sensor", "quantity", "value", "unit", "age", "error")
    for name, sensor in sensors.items():
        state, error = "ok" if sensor["ok"] else "failing", sensor["error"] or ""
        for quantity, each in sensor["quantities"].items():
            age = duration(each["age_s"])
            now = "stale" if each["stale"] else state
            result.add_row(now, name, quantity, shown(each["value"]), each["unit"], age, error)
            error = ""  # said once
        if not sensor["quantities"]:
            result.add_row("stale" if sensor["stale"] else state, name, "", "", "", "", error or "nothing read yet")
    return result


def _destinations(destinations: JSON, now: datetime) -> Any:
    columns = ("queued", "oldest", "per min", "delivered", "dead", "dropped", "merged", "lost", "last delivery")
    result = table("state", "destination", *columns, "last error")
    for name, each in destinations.items():
        cells = {column: str(each.get(column, "")) for column in columns}
        cells["oldest"] = _age(each["oldest"], now)
        cells["per min"] = f"{each['rate'] * 60:.0f}"
        cells["last delivery"] = _age(each["last_delivery"], now, " ago")
        result.add_row(each["state"], name, *cells.values(), each["last_error"] or "")
        for series, reason in each["parked"].items():
            result.add_row("parked", f"  {series}", *[""] * len(columns), reason)
    return result


def _age(time: str | None, now: datetime, after: str = "") -> str:
    return "" if time is None else duration((now - datetime.fromisoformat(time)).total_seconds()) + after


def duration(seconds: float) -> str:
    """A span of time for people: two units at most."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60} min"
    return f"{whole // 86400} d {whole // 3600 % 24} h"
