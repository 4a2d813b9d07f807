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
_RARE = ("dead", "dropped", "merged", "lost")  # shown where there are any
_STUCK = ("backing-off", "parked")


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--watch", action="store_true", help="again and again, until interrupted")
    once.add_argument(
        "--check",
        action="store_true",
        help="for monitors: one line, and status 1 where a series is stale, a destination or a series of it is parked,"
        " or the store cannot be written",
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
    """What a monitor is to be told of: a store that cannot be written, stale series, parked destinations and series."""
    trouble = status["store"]["trouble"]
    found = [f"store: {trouble}"] if trouble else []
    for name, sensor in status["sensors"].items():
        stale = [f"{name}.{quantity}" for quantity, each in sensor["quantities"].items() if each["stale"]]
        found += [f"stale: {series}" for series in stale or ([name] if sensor["stale"] else [])]
    for name, destination in status["destinations"].items():
        by_reason = _by_reason(destination["parked"])
        if destination["state"] == "parked" and destination["last_error"] not in by_reason:
            found.append(f"parked: {name} ({destination['last_error']})")
        found += [f"parked: {name}, {', '.join(series)} ({reason})" for reason, series in by_reason.items()]
    return found


def _by_reason(parked: JSON) -> dict[str, list[str]]:
    """Parked series by what they are parked for."""
    found: dict[str, list[str]] = {}
    for series, reason in parked.items():
        found.setdefault(reason, []).append(series)
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
    yield f"store: {store['bytes'] / 1e6:.1f} MB, {store['commits']} commits"
    if store["trouble"]:
        yield f"THE STORE CANNOT BE WRITTEN, what is new is in memory only: {store['trouble']}"
    if status["sensors"]:
        yield ""
        yield _sensors(status["sensors"])
        yield from (f"{name}: {each['error']}" for name, each in status["sensors"].items() if each["error"])
    if status["destinations"]:
        yield ""
        yield _destinations(status["destinations"], now)
        for name, each in status["destinations"].items():
            yield from (f"{name}: {remark}" for remark in _remarks(name, each, now))


def _sensors(sensors: JSON) -> Any:
    result = table("state", "sensor", "quantity", "value", "unit", "age")
    for name, sensor in sensors.items():
        state = "stale" if sensor["stale"] else "ok" if sensor["ok"] else "failing"
        for quantity, each in sensor["quantities"].items():
            now = "stale" if each["stale"] else "ok" if sensor["ok"] else "failing"
            result.add_row(now, name, quantity, shown(each["value"]), each["unit"], duration(each["age_s"]))
        if not sensor["quantities"]:
            result.add_row(state, name, "nothing read yet", "", "", "")
    return result


def _destinations(destinations: JSON, now: datetime) -> Any:
    rare = [name for name in _RARE if any(each[name] for each in destinations.values())]
    columns = ("next try", "queued", "oldest", "delivered", "per min", *rare, "last delivery")
    result = table("state", "destination", *columns)
    for column in result.columns[:2]:
        column.no_wrap = True  # on a narrow terminal, the others are
    for name, each in destinations.items():
        cells = {column: str(each.get(column, "")) for column in columns}
        cells["next try"] = _until(each.get("until"), now)
        cells["oldest"] = _age(each["oldest"], now)
        cells["per min"] = f"{each['rate'] * 60:.0f}"
        cells["last delivery"] = _age(each["last_delivery"], now, " ago")
        result.add_row(each["state"], name, *cells.values())
    return result


def _remarks(name: str, destination: JSON, now: datetime) -> Iterator[str]:
    """What is wrong with a destination, and where to look."""
    parked = _by_reason(destination["parked"])
    if reason := destination.get("waits_for"):
        yield f"waits for {reason}"
    if (error := destination["last_error"]) and error not in parked:
        age = _age(destination.get("last_error_time"), now, " ago")
        yield error if destination["state"] in _STUCK else f"last error, {age or 'once'}: {error}"
    for reason, series in parked.items():
        yield f"{', '.join(series)} {'is' if len(series) == 1 else 'are'} parked: {reason}"
    if dead := destination["dead"]:
        yield f"{counted(dead, 'reading')} refused for good: edged queue {name} list --dead"


def _until(time: str | None, now: datetime) -> str:
    return "" if time is None else f"in {duration((datetime.fromisoformat(time) - now).total_seconds())}"


def _age(time: str | None, now: datetime, after: str = "") -> str:
    return "" if time is None else duration((now - datetime.fromisoformat(time)).total_seconds()) + after


def duration(seconds: float) -> str:
    """A span of time for people, with two digits at least."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    for unit, long, enough in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < enough:
            return f"{int(seconds // long)} {unit}"
    return f"{int(seconds // 86400)} d"
