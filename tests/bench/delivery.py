"""How soon the first reading arrives: after the start, and after an outage."""

import time
from functools import partial
from statistics import median

from tests.bench import plant
from tests.bench.measure import Pairs
from tests.bench.plant import Daemon, Loop, Process, Server
from tests.bench.table import Row

FLUSH = "100ms"
EVERY = 'every = "100ms"\n'


def start(quick: bool) -> list[Row]:
    """From the process's start until the server has the first reading."""
    pairs = Pairs.measured(2 if quick else 5, partial(_start, ours=True), partial(_start, ours=False))
    detail = f"median of {len(pairs.ours)}: {min(pairs.ours):.2f}..{max(pairs.ours):.2f} s"
    return [Row("start", median(pairs.ours), pairs.baseline, "s, bare loop", detail)]


def _start(ours: bool) -> float:
    with plant.folder() as folder, Server(folder, "bbdata") as server:
        config = plant.head(FLUSH) + plant.sensors(1) + plant.bbdata(server.url, 1, EVERY)
        began = time.monotonic()
        started: Process = Daemon(folder, config) if ours else Loop(folder, server, 1)
        with started:
            server.until(1)
            return server.report()[0].received - began


def outage(quick: bool) -> list[Row]:
    """From the moment that the server is back until it has the first reading; the daemon has long been in back-off."""
    waits = []
    with plant.folder() as folder, Server(folder, "bbdata") as server:
        keys = EVERY + 'backoff = { first = "0.1s", max = "1s" }\n'
        config = plant.head(FLUSH) + plant.sensors(1) + plant.bbdata(server.url, 1, keys)
        with Daemon(folder, config):
            server.until(1)
            for turn in range(2 if quick else 7):
                server.ask("close")
                server.report()
                time.sleep(4.0 + turn * 0.13)  # in no step with the daemon's seconds
                back = time.monotonic()
                server.ask("open")
                server.until(server.count() + 1)
                waits.append(server.report()[0].received - back)
    detail = f"median of {len(waits)}: {min(waits):.2f}..{max(waits):.2f} s; the wait is random up to backoff.max"
    return [Row("outage", median(waits), 1.0, "s, backoff.max", detail)]
