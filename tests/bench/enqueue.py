"""Durable enqueue: readings a second until all are safe on disk."""

import time
from functools import partial
from pathlib import Path

from edged.reading import Reading
from edged.series import Choice
from edged.store.log import Log
from edged.store.queue import Queue
from tests.bench import fill, plant
from tests.bench.bare_file import BareFile
from tests.bench.measure import Pairs, fresh
from tests.bench.table import Row

SERIES = 100
FLUSH_S = 0.25


def measure(quick: bool) -> list[Row]:
    """One thread that puts reading by reading, while a destination that nobody serves lacks them all."""
    count, rounds = (30_000, 1) if quick else (200_000, 3)
    pairs = Pairs.measured(rounds, partial(fresh, _store, count), partial(fresh, _file, count))
    detail = f"{count:,} readings, flushed every {FLUSH_S:g} s or 5000; {pairs.detail('readings/s')}"
    return [Row("enqueue", pairs.ratio, pairs.baseline, "readings/s, append-only file", detail)]


def open_store(folder: Path, flush_interval: float = 3600.0) -> tuple[Log, Queue]:
    """A store with one destination that takes everything."""
    log = Log(folder, flush_interval, "bench")
    return log, log.open_queue("bench", Choice((("*", True),)))


def _readings(count: int) -> list[Reading]:
    return list(fill.readings(SERIES, count))


def _store(count: int) -> float:
    readings = _readings(count)
    with plant.folder() as folder:
        log, queue = open_store(folder, FLUSH_S)
        log.start()
        began = time.perf_counter()
        for reading in readings:
            log.put((reading,), 0)
        log.flush()
        took = time.perf_counter() - began
        assert queue.queued == count
        log.stop()
    return count / took


def _file(count: int) -> float:
    readings = _readings(count)
    with plant.folder() as folder:
        file = BareFile(folder, FLUSH_S)
        began = time.perf_counter()
        for reading in readings:
            file.put(reading)
        file.flush()
        took = time.perf_counter() - began
    return count / took
