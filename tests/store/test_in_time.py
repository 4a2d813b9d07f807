"""When the store writes: a reading that some destination still lacks, before it is older than the flush interval."""

import math

import pytest

from edged.errors import StoreUnusable
from edged.store.background import Background
from edged.store.files import Files
from edged.store.log import Log
from edged.store.queue import Queue
from tests.store import ALL, BOOT, NOW_MS, abandon, cannot_write, only, readings, settle_all

INTERVAL_S = 30.0
A_QUARTER_MS = 15 * 60_000


class Clock:
    """The time since boot, and when the background wakes up next."""

    ms = 0
    wakes_ms = INTERVAL_S * 1000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    made = Log(tmp_path, INTERVAL_S, BOOT, lambda: NOW_MS, clock)
    yield made
    abandon(made)


@pytest.fixture
def web(log):
    queue = log.open_queue("web", ALL)
    log.writer.owe()
    log.flush()  # it is known on disk
    return queue


def tick(log: Log, clock: Clock, ms: int) -> int:
    """Lets the time pass as the background does; returns the commits in it."""
    before, end = log.commits, clock.ms + ms
    while clock.wakes_ms <= end:
        clock.ms = max(clock.ms, math.ceil(clock.wakes_ms))
        log.flush_in_time()
        clock.wakes_ms = clock.ms + 1000 * min(INTERVAL_S, log.due_s())
    clock.ms = end
    return log.commits - before


def on_disk(log: Log) -> int:
    return log.disk.last()


@pytest.mark.pain("A29")
def test_what_all_have_confirmed_in_time_is_never_written(log, web, clock):
    late = log.open_queue("late", ALL)
    commits = 0
    for value in range(10):
        log.put(readings("a.x", "b.x", value=value), 0)
        commits += tick(log, clock, 20_000)
        settle_all(web)
        settle_all(late)
        commits += tick(log, clock, 20_000)
    tick(log, clock, 30_000)
    assert (commits, on_disk(log), web.delivered, web.queued) == (0, 0, 20, 0)
    assert log.tail.begins() is None  # and it is not in memory either


@pytest.mark.guarantee(2)
def test_what_somebody_lacks_is_on_disk_when_it_is_as_old_as_the_interval(log, web, clock):
    log.put(readings("a.x"), 0)
    clock.ms += 20_000
    log.put(readings("a.x"), 0)
    log.flush_in_time()
    assert on_disk(log) == 0
    assert 9.0 < log.due_s() <= 10.0
    clock.ms += 10_000
    log.flush_in_time()
    assert on_disk(log) == 2  # the younger one goes with it
    assert log.due_s() > INTERVAL_S


def test_it_is_the_oldest_that_is_lacked_which_counts(log, web, clock):
    log.put(readings("a.x"), 0)
    clock.ms += 20_000
    log.put(readings("b.x"), 0)
    first, _ = web.take(10)
    web.settle(first)
    assert tick(log, clock, 25_000) == 0
    assert tick(log, clock, 5_000) == 1
    assert [entry.series for entry in log.disk.after(0).entries] == ["b.x"]


@pytest.mark.parametrize("every_ms", [1, 100, 1000, 10_000, 40_000])
def test_in_an_outage_there_is_one_commit_an_interval_and_nothing_gets_older(log, web, clock, every_ms):
    commits, oldest_ms = 0, None
    for _ in range(200_000 // max(every_ms, 50)):
        log.put(readings("a.x"), 0)
        oldest_ms = clock.ms if oldest_ms is None else oldest_ms
        if made := tick(log, clock, every_ms):
            commits, oldest_ms = commits + made, None
        assert oldest_ms is None or clock.ms - oldest_ms <= INTERVAL_S * 1000
    assert commits <= clock.ms / (INTERVAL_S * 1000) * 1.04 + 1


@pytest.mark.guarantee(4)
def test_that_a_reading_on_disk_is_delivered_is_written_in_time(log, web, clock):
    log.put(readings("a.x"), 0)
    assert tick(log, clock, 30_000) == 1
    settle_all(web)
    assert tick(log, clock, 29_000) == 0
    assert tick(log, clock, 1_000) == 1
    assert on_disk(log) == 0


def test_a_commit_for_what_was_delivered_leaves_the_young_in_memory(log, web, clock, tmp_path):
    """Else they would be on disk, have to be deleted when they arrive, and so on for ever."""
    dead = log.open_queue("dead", only("b.x"))
    log.put(readings("a.x", "b.x"), 0)
    assert tick(log, clock, 30_000) == 1
    settle_all(web)
    tick(log, clock, 20_000)
    log.put(readings("a.x", "b.x", "a.x"), 0)
    first, *_ = web.take(10)
    web.settle(first)
    assert tick(log, clock, 10_000) == 1
    assert (on_disk(log), log.tail.begins(), web.queued, dead.queued) == (2, 3, 2, 2)
    abandon(log)  # and it dies
    again = Log(tmp_path, INTERVAL_S, BOOT, lambda: NOW_MS, clock)
    web, dead = again.open_queue("web", ALL), again.open_queue("dead", only("b.x"))
    assert (web.queued, web.delivered, web.lost, owed(web)) == (0, 3, 0, [])
    assert (dead.queued, dead.lost, owed(dead)) == (1, 0, [2])
    again.inspect()
    again.flush()
    assert not again.disk.recount
    again.put(readings("a.x"), 0)
    assert owed(web) == [6]  # no number is given twice
    abandon(again)


def test_a_dead_letter_is_written_in_time(log, web, clock):
    log.put(readings("a.x"), 0)
    (entry,) = web.take(1)
    web.settle(entry, reason="refused")
    assert tick(log, clock, 29_000) == 0
    assert tick(log, clock, 1_000) == 1
    assert [letter.reason for letter in log.disk.letters("web", retry=False)] == ["refused"]


def test_what_must_not_go_back_is_written_at_once(log, web):
    log.put(readings("a.x"), 0, {"meter": 7})
    assert log.due_s() == 0
    log.flush_in_time()
    assert (log.commits, on_disk(log)) == (2, 1)


@pytest.mark.guarantee(12)
def test_what_must_not_go_back_is_written_in_time_though_no_reading_comes_with_it(log, web, clock):
    log.put([], 0, {"meter": 7})
    assert 29.0 < log.due_s() < INTERVAL_S
    assert tick(log, clock, 30_000) == 1
    assert log.disk.states()["memory:meter"] == 7
    assert log.due_s() > INTERVAL_S
    assert tick(log, clock, 10 * 60_000) == 0
    log.put(readings("a.x"), 0)
    assert (owed(web), log.due_s() > 29.0) == ([1], True)


@pytest.mark.guarantee(12)
def test_a_reading_that_builds_on_what_must_not_go_back_waits_for_it(log, web):
    log.put([], 0, {"meter": 7})
    log.put(readings("a.x"), 0)
    assert (owed(web), log.due_s()) == ([], 0)
    log.flush_in_time()
    assert (owed(web), log.commits, on_disk(log)) == ([1], 2, 1)


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("with_reading", [True, False])
def test_a_commit_lets_nothing_go_that_came_while_it_was_made(log, web, monkeypatch, with_reading):
    commit = Files.commit

    def meanwhile(*arguments):
        log.put(readings("a.x") if with_reading else [], 0, {"meter": 8})
        commit(*arguments)

    log.put(readings("a.x"), 0, {"meter": 7})
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", meanwhile)
        log.flush_in_time()
    log.put(readings("a.x"), 0)
    assert owed(web) == [1]
    assert log.due_s() == 0
    log.flush_in_time()
    assert len(owed(web)) == (3 if with_reading else 2)


def test_the_background_pauses_whatever_is_said_to_be_due(monkeypatch):
    background = Background(INTERVAL_S, lambda: 0.0, lambda: None, lambda _: None)
    pauses = []

    def wait(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 100:
            background._stopping.set()

    monkeypatch.setattr(background.soon, "wait", wait)
    background._flush_regularly()
    assert min(pauses) >= 0.01 * INTERVAL_S


def test_counters_are_written_four_times_an_hour_and_only_if_they_change(log, web, clock):
    assert tick(log, clock, 4 * A_QUARTER_MS) == 0
    kept = 0
    for delivered in range(1, 241):
        log.put(readings("a.x"), 0)
        settle_all(web)
        tick(log, clock, 15_000)
        kept = log.disk.states()["destination:web"]["delivered"]
        assert delivered - kept <= 60
    assert kept > 0
    assert log.commits == 1 + 4


def test_much_at_once_is_written_before_its_time_unless_nobody_lacks_it(log, web):
    log.put(readings(*["a.x"] * 6000), 0)
    assert log.due_s() == 0
    settle_all(web)
    log.flush_in_time()
    assert (log.commits, on_disk(log), log.tail.begins()) == (1, 0, None)
    log.put(readings(*["a.x"] * 6000), 0)
    log.flush_in_time()
    assert (log.commits, on_disk(log)) == (2, 12_000)


def test_the_times_of_readings_take_little_memory(log, web, clock):
    for _ in range(5000):
        log.put(readings("a.x"), 0)
        clock.ms += 100
        settle_all(web)
        log.flush_in_time()
    assert len(log.tail._marks) <= 2
    for _ in range(250):
        log.put(readings("a.x"), 0)
        clock.ms += 100
    assert len(log.tail._marks) <= 64


@pytest.mark.parametrize("trouble", [True, False])
def test_the_times_of_readings_take_little_memory_in_an_outage_too(log, web, clock, monkeypatch, trouble):
    if trouble:
        monkeypatch.setattr(Files, "commit", cannot_write)
    for _ in range(1000):
        log.put(readings("a.x"), 0)
        clock.ms += 500
        if clock.ms % 30_000 == 0 and trouble:
            with pytest.raises(StoreUnusable):
                log.flush_in_time()
    assert len(log.tail._marks) <= 65
    assert log.due_s() == 0
    if not trouble:
        log.flush_in_time()
        log.put(readings("a.x"), 0)
        assert 29.0 < log.due_s() <= INTERVAL_S


def test_what_all_have_got_is_not_kept_for_a_disk_that_cannot_be_written(log, web, clock, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        for _ in range(3):
            log.put(readings("a.x"), 0)
            with pytest.raises(StoreUnusable):
                log.flush()
        settle_all(web)
        with pytest.raises(StoreUnusable):
            log.flush()
        assert log.tail.begins() is None
    monkeypatch.setattr("edged.store.disk._AGAIN_S", 0.0)
    log.disk.try_at_once()
    log.flush()
    assert (web.queued, web.delivered, web.lost, on_disk(log)) == (0, 3, 0, 0)
    assert log.disk.states()["destination:web"]["delivered"] == 3


def owed(queue: Queue) -> list[int]:
    return [entry.seq for entry in queue.take(100)]


def test_what_is_partly_confirmed_can_be_taken_on(log, web, clock):
    log.put(readings("a.x", "b.x", "c.x"), 0)
    first, second, _ = web.take(10)
    web.settle(first)
    web.settle(second)
    log.flush_in_time()
    assert (log.tail.begins(), owed(web)) == (3, [3])
    log.put(readings("a.x"), 0)
    assert owed(web) == [3, 4]
    log.flush()
    assert owed(web) == [3, 4]
