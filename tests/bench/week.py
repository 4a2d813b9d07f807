"""A week offline: a backlog of 1,000,000 readings; opening it, holding it, draining it."""

import shutil
import time
from pathlib import Path
from statistics import median

from edged.store.log import Log
from tests.bench import drain, plant
from tests.bench.measure import Pairs, fresh, resident_mb
from tests.bench.plant import Daemon, Server
from tests.bench.table import Row

READINGS = 1_000_000
QUICK = 100_000


def measure(quick: bool) -> list[Row]:
    """One backlog for all, which takes a while to make."""
    readings = QUICK if quick else READINGS
    with plant.folder() as full, plant.folder() as empty:
        state, none = drain.backlog(full, readings), drain.backlog(empty, 0)
        reopened = _reopened(state, none, 3 if quick else 7)
        rate, memory = _drained(state, none, readings)
    rows = [reopened, rate, memory]
    if not quick:
        return rows
    return [Row(row.name, row.value, row.baseline, row.against, f"only {QUICK:,}: {row.detail}") for row in rows]


def _reopened(state: Path, none: Path, rounds: int) -> Row:
    pairs = Pairs.measured(rounds, lambda: fresh(_open, state), lambda: fresh(_open, none))
    detail = f"median of {rounds}, in a new process each"
    return Row("reopen", median(pairs.ours) * 1000, pairs.baseline * 1000, "ms, an empty store", detail)


def _open(state: Path) -> float:
    began = time.perf_counter()
    log = Log(state, 60.0, "bench")
    log.after(0)
    took = time.perf_counter() - began
    log.stop()
    return took


def _drained(state: Path, none: Path, readings: int) -> tuple[Row, Row]:
    """The rate of the drain, and how much memory it takes more than a daemon that has nothing to do."""
    idle = _idle(none)
    held = _idle(state) - idle
    with plant.folder() as folder, Server(folder, "bbdata") as server:
        shutil.copytree(state, folder / "state")
        seen = []
        with Daemon(folder, drain.config(server.url)) as daemon:
            deadline = time.monotonic() + 300
            while server.count() < readings and time.monotonic() < deadline:
                time.sleep(0.25)
                seen.append(resident_mb(daemon.pid))
            rate = drain.rate(server.report())
    bare = drain.bare(readings)
    more = max(seen) - idle
    return (
        Row("drain-week", rate / bare, bare, "readings/s, POST loop", f"{rate:,.0f} readings/s"),
        Row(
            "memory-backlog",
            more,
            idle,
            "MB, without",
            f"while it drains, at most; {held:+.1f} MB while nobody answers",
        ),
    )


def _idle(state: Path) -> float:
    """Resident memory of a daemon to which nobody answers."""
    with plant.folder() as folder:
        shutil.copytree(state, folder / "state")
        with Daemon(folder, drain.config("http://127.0.0.1:1")) as daemon:
            time.sleep(4)
            return resident_mb(daemon.pid)
