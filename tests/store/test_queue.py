"""A destination's queue: the oldest first, series apart from each other, exact counts, across stops and deaths."""

from collections.abc import Callable

import pytest

from edged.reading import Entry, Reading
from edged.store import taking
from edged.store.log import Log
from edged.store.queue import Queue
from edged.store.segment import READINGS, Segment
from tests.store import ALL, abandon, only, open_log, readings, settle_all


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path)
    yield log
    abandon(log)


@pytest.fixture
def unpacked(monkeypatch):
    """The first sequence numbers of the segments that were unpacked."""
    firsts = []
    real = Segment.__dict__["entries"].func

    def entries(segment):
        firsts.append(segment.first)
        return real(segment)

    entries_property = type(Segment.__dict__["entries"])(entries)
    entries_property.__set_name__(Segment, "entries")
    monkeypatch.setattr(Segment, "entries", entries_property)
    return firsts


def fill(log: Log, segments: int, *series: str) -> None:
    """Segments of 1000 readings, on disk and out of the memory."""
    for _ in range(segments):
        log.put(readings(*(series * (READINGS // len(series)))), 0)
    log.flush()
    log.reader.recent.clear()


def test_without_settling_the_same_is_taken_again(log):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    assert queue.take(5) == queue.take(5) != []


def test_a_full_batch_passes_nothing_by(log):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    assert queue.take(5, blocked={"a.x", "b.x"}) == []
    assert [entry.series for entry in queue.take(1)] == ["a.x"]
    assert [entry.series for entry in queue.take(5)] == ["a.x", "b.x"]


def test_new_readings_of_wanted_series_wake(log):
    queue = log.open_queue("web", only("a.x"))
    log.put(readings("b.x"), 0)
    assert not queue.wake.is_set()
    log.put(readings("a.x"), 0)
    assert queue.wake.is_set()


@pytest.mark.guarantee(3)
def test_a_blocked_series_costs_one_number_and_holds_up_no_other(log):
    queue = log.open_queue("web", ALL)
    for number in range(500):
        log.put(readings("bad.x", "good.x", value=number), 0)
        log.flush()
        batch = queue.take(10, blocked={"bad.x"})
        assert [(entry.series, entry.value) for entry in batch] == [("good.x", number)]
        queue.settle(batch[0])
    assert queue.position.to_json()["behind"] == {"bad.x": 0}
    assert queue.position.seen == {"bad.x": 999}
    assert [entry.value for entry in settle_all(queue)] == list(range(500))
    assert queue.position.to_json()["behind"] == {}


def test_a_laggard_far_behind_is_found_by_the_headers_alone(log, unpacked):
    queue = log.open_queue("web", ALL)
    log.put(readings("slow.x", value=1), 0)
    fill(log, 10, "fast.x")
    log.put(readings("slow.x", value=2), 0)
    fill(log, 10, "fast.x")
    (first,) = queue.take(1, blocked={"fast.x"})
    queue.settle(first)
    while batch := queue.take(1000, blocked={"slow.x"}):
        for entry in batch:
            queue.settle(entry)
    log.reader.recent.clear()
    unpacked.clear()
    (second,) = queue.take(10)
    assert (second.series, second.value) == ("slow.x", 2)
    assert len(unpacked) <= 2  # where the first one was, and the one with the second
    assert queue.position.lowest == second.seq - 1 or queue.position.lowest == first.seq


def test_a_laggard_with_nothing_near_does_not_look_again_each_time(log, monkeypatch):
    """After a restart: two series are behind, one of them with its next reading at the far end."""
    queue = log.open_queue("web", ALL)
    log.put(readings("rare.x", "many.x"), 0)
    fill(log, 30, "many.x")
    log.put(readings("rare.x"), 0)
    log.flush()
    assert queue.take(1, blocked={"rare.x", "many.x"}) == []  # the head is at the end, both are behind
    assert queue.position.lowest == 0
    queue.settle(queue.take(1, blocked={"many.x"})[0])
    loaded: list[int] = []
    real: Callable[[int], Segment | None] = log.after

    def counted(seq: int) -> Segment | None:
        loaded.append(seq)
        return real(seq)

    monkeypatch.setattr(log, "after", counted)
    for _ in range(25):
        for entry in queue.take(1000):
            queue.settle(entry)
    assert len(loaded) < 3 * 25
    assert queue.position.lowest > 20_000  # and what nobody needs any more can be trimmed


def test_blocked_segments_are_passed_without_unpacking(log, unpacked):
    queue = log.open_queue("web", ALL)
    fill(log, 10, "bad.x")
    log.put(readings("good.x"), 0)
    unpacked.clear()
    assert [entry.series for entry in queue.take(10, blocked={"bad.x"})] == ["good.x"]
    assert unpacked == []
    assert queue.position.behind.keys() == {"bad.x", "good.x"}


def test_what_goes_elsewhere_is_passed_without_unpacking(log, unpacked):
    log.open_queue("other", ALL)
    queue = log.open_queue("web", only("mine.x"))
    fill(log, 10, "other.x")
    log.put(readings("mine.x"), 0)
    unpacked.clear()
    assert [entry.series for entry in queue.take(10)] == ["mine.x"]
    assert unpacked == []


def test_a_take_looks_ahead_only_so_far_once_it_has_something(log):
    queue = log.open_queue("web", ALL)
    log.put(readings("good.x"), 0)
    fill(log, 5, "bad.x")
    assert len(queue.take(10, blocked={"bad.x"})) == 1
    assert queue.position.head <= taking.LOOK_AHEAD + READINGS


@pytest.mark.guarantee(8)
def test_a_backlog_leaves_nothing_in_the_queue(log):
    queue = log.open_queue("web", ALL)
    sizes = []
    for _ in range(3):
        fill(log, 10, "a.x", "b.x")
        queue.take(1, blocked={"a.x"})
        sizes.append({name: len(value) for name, value in vars(queue).items() if hasattr(value, "__len__")})
    assert sizes[0] == sizes[1] == sizes[2]
    assert len(log.tail) == 0


def test_another_mapping_is_counted_anew(tmp_path):
    log = open_log(tmp_path)
    log.open_queue("other", ALL)
    queue = log.open_queue("web", only("a.x", "b.x"))
    log.put(readings("a.x", "b.x", "c.x", "b.x"), 0)
    queue.settle(queue.take(1)[0])
    log.stop()

    log = open_log(tmp_path)
    queue = log.open_queue("web", only("b.x", "c.x"))
    assert queue.queued == 3  # what lies before the position of a newly mapped series is not owed
    assert [entry.series for entry in settle_all(queue)] == ["b.x", "c.x", "b.x"]
    assert queue.queued == 0
    abandon(log)


def test_a_long_log_is_counted_by_its_headers(tmp_path, unpacked):
    log = open_log(tmp_path)
    queue = log.open_queue("web", only("a.x"))
    log.open_queue("other", ALL)
    fill(log, 20, "a.x", "b.x")
    for entry in queue.take(10):
        queue.settle(entry)
    log.stop()
    log = open_log(tmp_path)
    unpacked.clear()
    queue = log.open_queue("web", ALL)
    assert queue.queued == 20_000 - 19  # up to the tenth a.x nothing is owed
    assert set(unpacked) == {1}
    abandon(log)


def test_a_series_that_is_no_longer_mapped_is_owed_no_more(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("bad.x", "good.x"), 0)
    for entry in queue.take(10, blocked={"bad.x"}):
        queue.settle(entry)
    assert queue.position.to_json()["behind"] == {"bad.x": 0}
    log.stop()
    log = open_log(tmp_path)
    queue = log.open_queue("web", only("good.x"))
    assert (queue.queued, queue.position.to_json()["behind"]) == (0, {})
    log.stop()
    assert (tmp_path / "store.db").stat().st_size < 20_000


def test_a_new_destination_begins_with_the_next_reading(log):
    log.open_queue("old", ALL)
    log.put(readings("a.x", value=1), 0)
    log.flush()
    log.put(readings("a.x", value=2), 0)
    queue = log.open_queue("new", ALL)
    assert (queue.queued, queue.take(10)) == (0, [])
    log.put(readings("a.x", value=3), 0)
    assert [entry.value for entry in queue.take(10)] == [3]


@pytest.mark.guarantee(1)
@pytest.mark.pain("A8")
def test_what_comes_while_a_destination_is_started_anew_is_owed_to_it(log):
    """A reload stops its sender and starts another one; sampling goes on in between."""
    other = log.open_queue("other", ALL)
    queue = log.open_queue("web", only("a.x"))
    log.put(readings("a.x", value=1), 0)
    queue.take(1)
    log.put(readings("a.x", "b.x", value=2), 0)
    settle_all(other)
    log.flush()
    log.put(readings("a.x", value=3), 0)
    queue = log.open_queue("web", only("a.x"))
    assert queue.queued == 3
    assert [entry.value for entry in settle_all(queue)] == [1, 2, 3]
    assert queue.queued == 0


@pytest.mark.guarantee(1)
def test_a_thousand_reloads_with_a_backlog_lose_and_repeat_nothing(log):
    queue = log.open_queue("web", ALL)
    given = []
    for number in range(1000):
        log.put(readings("a.x", "b.x", value=number), 0)
        if number % 50 == 0:
            log.flush()
        batch = queue.take(3)
        for entry in batch[: number % 3]:
            queue.settle(entry)
            given.append((entry.series, entry.value))
        queue = log.open_queue("web", ALL)
        assert queue.queued == 2 * (number + 1) - len(given)
    given += [(entry.series, entry.value) for entry in settle_all(queue)]
    assert given == [(series, value) for value in range(1000) for series in ("a.x", "b.x")]


def test_what_a_sender_that_hung_settles_late_counts_nothing(log):
    """Its successor has the same readings; each is counted once."""
    late = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    batch = late.take(2)
    queue = log.open_queue("web", ALL)
    for entry in batch:
        late.settle(entry, reason="refused")
    assert (queue.queued, queue.dead, late.dead, list(log.dead_letters("web"))) == (2, 0, 0, [])
    assert len(settle_all(queue)) == 2


def test_what_comes_while_a_queue_is_counted_is_counted_once(log, monkeypatch):
    """By a mapping that takes more than the one before it."""
    other = log.open_queue("other", ALL)
    log.open_queue("web", only("b.x"))
    fill(log, 3, "a.x")
    log.put(readings("a.x"), 0)
    came: list[int] = []
    count = Queue.count

    def slow_count(queue: Queue) -> None:
        count(queue)
        if not came:
            log.put(readings("a.x", "b.x"), 0)  # a sensor's thread, in the midst of it
            came.append(1)

    monkeypatch.setattr(Queue, "count", slow_count)
    queue = log.open_queue("web", ALL)
    assert queue.queued == 3003
    assert len(settle_all(queue)) == 3003
    assert len(settle_all(other)) == 3003


def test_a_jump_of_the_clock_begins_a_new_segment(log):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 1000)
    log.put(readings("a.x"), 1020)
    log.put(readings("a.x"), 1021)
    log.put(readings("a.x"), -500)
    log.flush()
    offsets, seq = [], 0
    while segment := log.after(seq):
        offsets.append((segment.first, segment.last, segment.offset_ms))
        seq = segment.last
    assert offsets == [(1, 2, 1000), (3, 3, 1021), (4, 4, -500)]
    assert len(queue.take(10)) == 4


def test_a_removed_destination_that_lacks_nothing_keeps_nothing(log):
    log.close_queue(log.open_queue("removed", ALL), removed=True)
    other = log.open_queue("other", ALL)
    log.flush()
    before = log.commits
    log.put(readings("a.x"), 0)
    settle_all(other)
    log.flush()
    assert log.commits == before
    log.put(readings("a.x"), 0)
    log.flush()
    settle_all(other)
    log.flush()
    assert log.disk.last() == 0


@pytest.mark.guarantee(1)
def test_a_queue_takes_the_place_of_the_one_that_is_open(log):
    """A reload with another mapping: nothing that comes in the midst of it is missed, whatever is flushed."""
    queue = log.open_queue("web", only("a.x"))
    log.put(readings("a.x", value=1), 0)
    queue.settle(queue.take(1)[0])
    again = log.open_queue("web", only("a.x", "c.x"))
    log.close_queue(queue, removed=True)  # late; it is no longer the one
    log.put(readings("a.x", value=2), 0)
    log.flush()
    assert (again.queued, again.delivered) == (1, 1)
    assert [entry.value for entry in settle_all(again)] == [2]


@pytest.mark.pain("A29")
def test_the_log_has_a_gap_where_all_was_delivered_before_the_flush(log):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", value=1), 0)
    log.flush()
    (first,) = queue.take(10)
    log.put(readings("a.x", value=2), 0)
    queue.settle(first)
    (second,) = queue.take(10)
    queue.settle(second)
    log.put(readings("a.x", value=3), 0)
    log.flush()
    log.reader.recent.clear()
    segment = log.after(0)
    assert segment is not None
    assert (segment.first, segment.last) == (3, 3)
    assert [entry.value for entry in queue.take(10)] == [3]


def test_entries_sort_by_their_place_in_the_log(log):
    queue = log.open_queue("web", ALL)
    for series in ("b.x", "a.x", "c.x"):
        log.put(readings(series), 0)
    assert queue.take(1, blocked={"b.x"})[0].series == "a.x"
    assert [entry.series for entry in queue.take(10)] == ["b.x", "a.x", "c.x"]
    assert all(isinstance(entry, Entry) for entry in queue.take(10))


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("flushed", [True, False])
def test_what_comes_while_a_destination_is_removed_or_disabled_is_not_its_own(tmp_path, removed, flushed):
    log = open_log(tmp_path)
    other = log.open_queue("other", ALL)
    web = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x", value=1), 0)
    web.settle(web.take(1)[0])
    log.close_queue(web, removed=removed)
    log.put(readings("a.x", "b.x", value=2), 0)
    if flushed:
        log.stop()
        log = open_log(tmp_path)
        other = log.open_queue("other", ALL)
        log.put(readings("a.x", "b.x", value=2), 0)  # in the next run, before it is enabled again
    closed = log.queues["web"]
    assert (closed.queued, closed.active, closed.open, closed.removed) == (1, False, False, removed)
    web = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x", value=3), 0)
    assert (web.queued, web.delivered, web.dropped) == (3, 1, 0)
    assert [(entry.series, entry.value) for entry in settle_all(web)] == [("b.x", 1), ("a.x", 3), ("b.x", 3)]
    assert len(settle_all(other)) == (8 if flushed else 6)
    abandon(log)


@pytest.mark.guarantee(8)
def test_a_destination_that_goes_on_and_off_leaves_nothing_in_its_position(log):
    queue = log.open_queue("web", ALL)
    for _ in range(200):
        log.put(readings("a.x", "b.x"), 0)
        log.close_queue(queue, removed=False)
        log.put(readings("a.x"), 0)
        queue = log.open_queue("web", ALL)
    assert len(queue.position.skips) == 200
    assert len(settle_all(queue)) == 400
    assert queue.position.to_json() == {"head": 600, "behind": {}, "skips": []}


# --- what is pending


@pytest.mark.guarantee(8)
def test_what_is_pending_is_listed_in_order_and_changes_nothing(log, unpacked):
    queue = log.open_queue("web", only("a.x", "c.x"))
    fill(log, 5, "a.x", "b.x")
    log.put(readings("c.x", "b.x"), 0)
    for entry in queue.take(3):
        queue.settle(entry)
    before = queue.to_json()
    unpacked.clear()
    listed = queue.pending()
    assert next(listed).seq == 7
    assert unpacked == []  # the first one was in memory still, from the take
    assert sum(1 for _ in listed) == 2500 - 3 - 1 + 1
    assert queue.to_json() == before
    assert [entry.seq for entry in queue.take(1)] == [7]


def test_the_oldest_is_the_first_that_is_queued(log):
    queue = log.open_queue("web", only("a.x"))
    assert queue.oldest_ms() is None
    for time_ms in (700, 500, 600):
        log.put([Reading("b.x", 1, 1), Reading("a.x", time_ms, 1)], 0)
    assert queue.oldest_ms() == 700
    queue.settle(queue.take(1)[0])
    assert queue.oldest_ms() == 500
    log.flush()
    assert queue.oldest_ms() == 500
    settle_all(queue)
    assert queue.oldest_ms() is None


def test_pending_goes_on_while_the_queue_is_settled(log):
    """Somebody lists it beside its sender: whatever of it he still gets is what was queued when he came to it."""
    queue = log.open_queue("web", ALL)
    fill(log, 3, "a.x")
    listed = queue.pending()
    seen = [next(listed).seq]
    for entry in queue.take(1500):
        queue.settle(entry)
    log.flush()
    seen += [entry.seq for entry in listed]
    assert seen == sorted(set(seen))
    assert set(range(1501, 3001)) <= set(seen)


@pytest.mark.guarantee(1)
def test_what_is_queued_of_a_series_that_is_taken_out_is_dropped_and_counted(tmp_path, caplog):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("gone.x", "a.x", "gone.x", "a.x"), 0)
    for entry in queue.take(2):
        queue.settle(entry)
    queue.take(9, blocked={"gone.x"})
    queue = log.open_queue("web", only("a.x"))
    assert (queue.queued, queue.delivered, queue.dropped) == (1, 2, 1)
    assert caplog.messages == ["web: 1 readings of series that go there no more are dropped"]
    queue = log.open_queue("web", ALL)  # it is mapped again
    log.put(readings("gone.x"), 0)
    assert [entry.series for entry in settle_all(queue)] == ["a.x", "gone.x"]
    assert (queue.queued, queue.delivered, queue.dropped) == (0, 4, 1)
    log.flush()
    abandon(log)
    assert open_log(tmp_path).open_queue("web", ALL).dropped == 1
