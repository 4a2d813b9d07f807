"""However long a backlog grows, memory and the start stay as they are."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edged.reading import Reading
from edged.store.log import Log
from edged.store.queue import Queue
from edged.store.segment import Segment
from tests.store import ALL, NOW_MS, abandon, open_log, settle_all

SERIES = [f"sensor{number}.temperature" for number in range(10)]
READINGS = 2_000  # of a portion
LITTLE = 50_000  # bytes: in memory each reading would take more than 100


@contextmanager
def traced() -> Iterator[None]:
    """Memory is counted meanwhile."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def held() -> int:
    """Bytes that are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def put(log: Log, portions: int) -> None:
    """So many portions of readings, each with a flush."""
    for portion in range(portions):
        log.put([Reading(SERIES[n % 10], NOW_MS + portion * READINGS + n, n / 7) for n in range(READINGS)], 0)
        log.flush()


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """The most bytes that were in use at a time since, beyond those of the beginning."""
    with traced():
        before = held()
        tracemalloc.reset_peak()
        yield lambda: tracemalloc.get_traced_memory()[1] - before


@pytest.mark.guarantee(8)
@pytest.mark.pain("A30")
@pytest.mark.parametrize("looked_at", ["never", "by its sender", "live first"])
def test_a_backlog_takes_no_memory(tmp_path, looked_at):
    log = open_log(tmp_path)
    log.open_queue("dead", ALL)
    queue = log.open_queue("beside", ALL)

    def grow(portions: int) -> None:
        for _ in range(portions):
            put(log, 1)
            if looked_at == "live first":
                queue.begin_anew(NOW_MS + 1_000_000_000)
            if looked_at != "never":
                queue.take(200, blocked=SERIES[:1])

    with traced():
        grow(6)  # what is kept of the last segments is full by then
        before = held()
        grow(14)
        assert held() - before < LITTLE
    assert queue.queued == 20 * READINGS
    abandon(log)


def backlog(folder, portions: int) -> None:
    log = open_log(folder)
    log.open_queue("dead", ALL)
    put(log, portions)
    log.stop()


def reopened(folder) -> tuple[Log, Queue]:
    log = open_log(folder)
    queue = log.open_queue("dead", ALL)
    queue.take(200)
    return log, queue


@pytest.mark.guarantee(8)
@pytest.mark.pain("A23")
def test_a_start_with_a_large_backlog_takes_no_more_memory_than_with_a_small_one(tmp_path):
    peaks = []
    for folder, portions in ((tmp_path / "first", 2), (tmp_path / "small", 2), (tmp_path / "large", 40)):
        backlog(folder, portions)
        with peak() as most:
            log, queue = reopened(folder)
            peaks.append(most())
        assert queue.queued == portions * READINGS
        abandon(log)
    _, small, large = peaks  # the first one of all imports and compiles
    assert large - small < LITTLE


@pytest.mark.guarantee(8)
@pytest.mark.pain("A23")
def test_a_start_unpacks_what_is_sent_first_and_no_more(tmp_path, monkeypatch):
    backlog(tmp_path, 20)
    unpacked: list[int] = []
    unpack = Segment.__dict__["entries"].func

    def entries(segment):
        unpacked.append(segment.first)
        return unpack(segment)

    counted = type(Segment.__dict__["entries"])(entries)
    counted.__set_name__(Segment, "entries")
    monkeypatch.setattr(Segment, "entries", counted)
    log, queue = reopened(tmp_path)
    assert queue.queued == 20 * READINGS
    assert unpacked == [1]
    assert len(settle_all(queue)) == 20 * READINGS  # all of it is there
    abandon(log)
