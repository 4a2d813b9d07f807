"""What one commit of the store costs a card: bytes to the device, and syncs."""

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from edged.reading import Reading
from edged.store.queue import Queue
from tests.bench import fill
from tests.bench.bare_file import BareFile
from tests.bench.disk import Disk, disk
from tests.bench.enqueue import SERIES, open_store
from tests.bench.measure import fresh
from tests.bench.table import Row

SYNC_S = 0.1  # the flush interval in which syncs are counted


def measure(quick: bool) -> list[Row]:
    """Commits of different sizes, each with all destinations one flush behind, and with one that takes nothing."""
    return [_bytes(quick), _syncs(quick)]


def _bytes(quick: bool) -> Row:
    commits = 150 if quick else 600
    ratios, bare, said, how = [], [], [], ""
    for readings in (10, 100) if quick else (1, 10, 100, 1000):
        with disk() as its:
            how = its.how
            file, live, outage = (
                fresh(work, its, commits if readings < 1000 else commits // 4, readings)
                for work in (_file, _live, _outage)
            )
        bare.append(file)
        ratios += [live / file, outage / file]
        said.append(f"{readings}: {live / file:.2f} live, {outage / file:.2f} in an outage ({file:,.0f} B)")
    detail = f"the worst of these, by readings in a commit: {'; '.join(said)}; {how}"
    return Row("bytes-per-commit", max(ratios), bare[ratios.index(max(ratios)) // 2], "B, append-only file", detail)


def _file(its: Disk, commits: int, size: int) -> float:
    """Bytes that a flush of the append-only file costs."""
    file = BareFile(its.folder / "file")

    def commit(readings: list[Reading]) -> None:
        for reading in readings:
            file.put(reading)
        file.flush()

    return _bytes_each(its, commits, size, commit)


def _live(its: Disk, commits: int, size: int) -> float:
    """Bytes that a commit costs while the destination is behind by one flush: old readings go as new ones come."""
    return _stored(its, its.folder / "live", commits, size, settle_all)


def _outage(its: Disk, commits: int, size: int) -> float:
    """Bytes that a commit costs while the backlog grows."""
    return _stored(its, its.folder / "outage", commits, size, lambda queue: None)


def _stored(its: Disk, folder: Path, commits: int, size: int, then: Callable[[Queue], None]) -> float:
    log, queue = open_store(folder)

    def commit(readings: list[Reading]) -> None:
        log.put(readings, 0)
        log.flush()
        then(queue)

    each = _bytes_each(its, commits, size, commit)
    log.stop()
    return each


def settle_all(queue: Queue) -> None:
    """Delivers all that the queue has."""
    while batch := queue.take(1000):
        for entry in batch:
            queue.settle(entry)


def _bytes_each(its: Disk, commits: int, size: int, commit: Callable[[list[Reading]], None]) -> float:
    source = fill.readings(SERIES, 2 * commits * size)
    _repeat(commits, size, source, commit)  # until the write-ahead log has its size
    before = its.written(os.getpid())
    _repeat(commits, size, source, commit)
    return (its.written(os.getpid()) - before) / commits


def _repeat(times: int, size: int, source: Iterator[Reading], commit: Callable[[list[Reading]], None]) -> None:
    for _ in range(times):
        commit(list(islice(source, size)))


# --- syncs


def _syncs(quick: bool) -> Row:
    with disk() as its:
        if its.flushes() is None:
            return Row("syncs", None, detail=f"only a loop device counts flushes ({its.how})", impossible=True)
        one, file = fresh(_flushes_in_place, its), fresh(_flushes_of_file, its)
        intervals, flushes, commits = fresh(_flushes_of_store, its, 5 if quick else 20)
    detail = (
        f"{flushes / one:.0f} flushes of the device in {intervals:.0f} intervals of {SYNC_S:g} s, {commits} commits: "
        f"{flushes / one / intervals:.3f}, to one decimal; {its.how}"
    )
    return Row("syncs", round(flushes / one / intervals, 1), file / one, "append-only file", detail)


def _flushes_in_place(its: Disk) -> float:
    """Flushes of the device that one fdatasync of a file is which has its size: the measure for all others."""
    file = os.open(its.folder / "in-place", os.O_RDWR | os.O_CREAT)
    os.write(file, bytes(4096))
    os.fsync(file)
    before = its.flushes() or 0
    for _ in range(100):
        os.pwrite(file, os.urandom(4096), 0)
        os.fdatasync(file)
    return ((its.flushes() or 0) - before) / 100


def _flushes_of_file(its: Disk) -> float:
    file = BareFile(its.folder / "file")
    before = its.flushes() or 0
    for reading in fill.readings(SERIES, 100):
        file.put(reading)
        file.flush()
    return ((its.flushes() or 0) - before) / 100


def _flushes_of_store(its: Disk, seconds: float) -> tuple[float, int, int]:
    """Intervals, flushes, and commits of the store's own thread while readings come and a destination lacks them."""
    log, queue = open_store(its.folder / "state", SYNC_S)
    source = fill.readings(SERIES, 100_000)
    for _ in range(300):  # until the write-ahead log has its size
        log.put(list(islice(source, 10)), 0)
        log.flush()
        settle_all(queue)
    log.start()
    time.sleep(2 * SYNC_S)
    began, before, commits = time.monotonic(), its.flushes() or 0, log.commits
    while (now := time.monotonic()) < began + seconds:
        log.put(list(islice(source, 3)), 0)
        time.sleep(0.02)
    result = (now - began) / SYNC_S, (its.flushes() or 0) - before, log.commits - commits
    log.stop()
    return result
