"""A destination's queue: the oldest first, series apart from each other, exact counts, across stops and deaths."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edged.reading import Entry, Reading, Value
from edged.store import log as log_module
from edged.store import queue as queue_module
from edged.store.log import Log
from edged.store.queue import Queue
from edged.store.segment import READINGS, Segment
from tests.store import NOW_MS, abandon, open_log, readings, settle_all

SERIES = ("a.x", "b.x", "c.x", "d.x")
WANTS = {"all": SERIES, "two": SERIES[:2], "one": SERIES[3:]}
Lacking = list[tuple[Value, str]]
NAMES = st.sampled_from(sorted(WANTS))


def expected(pending: Lacking, most: int, most_a_series: int, blocked: set[str], refused: set[Value]) -> Lacking:
    """What `take` promises, said simply: each series up to the first reading that may not go."""
    batch: Lacking = []
    closed = set(blocked)
    for value, series in pending:
        if len(batch) == most:
            break
        if series in closed:
            continue
        if value in refused or (most_a_series and [s for _, s in batch].count(series) == most_a_series):
            closed.add(series)
            continue
        batch.append((value, series))
    return batch


class StoreMachine(RuleBasedStateMachine):
    """The store against lists: what each destination lacks, now and as of the last flush."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.log = open_log(self.folder)
        self.next_value = 0
        self.queues: dict[str, Queue] = {}  # the open ones
        self.lacking: dict[str, Lacking] = {}  # of closed ones too
        self.dead: dict[str, list[Value]] = {}
        self.batches: dict[str, list[Entry]] = {}  # taken and not settled yet
        # Of closed destinations that lacked nothing: what came since.  It may be there, or not.
        self.missed: dict[str, Lacking] = {}
        self.adopted: dict[str, Lacking] = {}  # what was missed before it was opened again, until that is on disk
        self.safe = self.copy()  # lacking and dead as a death would leave them

    @initialize(readings=st.sampled_from([1, 3, 1000]), look_ahead=st.sampled_from([1, 4, 2000]))
    def size(self, readings, look_ahead):
        self.patch.setattr(log_module, "READINGS", readings)
        self.patch.setattr(queue_module, "LOOK_AHEAD", look_ahead)
        for name in WANTS:
            self.open_queue(name)

    def teardown(self):
        try:
            for name, queue in self.queues.items():  # in the end, all must come
                given = [(entry.value, entry.series) for entry in settle_all(queue)]
                assert sorted(given) == self.lacking[name]
                assert queue.queued == 0
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        abandon(self.log)
        shutil.rmtree(self.folder)
        self.patch.undo()

    # --- what may happen

    @rule(name=NAMES)
    def open_queue(self, name):
        queue = self.queues[name] = self.log.open_queue(name, WANTS[name].__contains__, name)
        self.batches.pop(name, None)
        self.lacking.setdefault(name, [])
        self.dead.setdefault(name, [])
        if missed := self.missed.pop(name, []):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(queue_module, "LOOK_AHEAD", 1_000_000)
                there = [(entry.value, entry.series) for entry in queue.take(1_000_000)]
            assert there == [reading for reading in missed if reading in there]
            self.lacking[name], self.adopted[name] = there, missed

    @rule(name=NAMES)
    def close_queue(self, name):
        if queue := self.queues.pop(name, None):
            self.log.close_queue(queue)
            self.batches.pop(name, None)
            self.note_closed()

    @rule(series=st.lists(st.sampled_from(SERIES), min_size=1, max_size=12), offset_ms=st.sampled_from([0, 15, 5000]))
    def put(self, series, offset_ms):
        values = range(self.next_value, self.next_value + len(series))
        self.next_value += len(series)
        self.log.put([Reading(name, NOW_MS, value) for name, value in zip(series, values, strict=True)], offset_ms)
        for name in self.lacking:
            mine = [(v, s) for v, s in zip(values, series, strict=True) if s in WANTS[name]]
            self.missed.get(name, self.lacking[name]).extend(mine)

    @rule()
    def flush(self):
        commits = self.log.commits
        self.log.flush()
        if self.log.commits > commits:
            self.note_safe()
            for name in self.lacking:
                assert [int(letter.value) for letter in self.log.dead_letters(name)] == self.dead[name]
        else:  # then a death leaves what is lacking as well: all of it was on disk already
            assert {name: lacking for name, lacking in self.lacking.items() if lacking} == {
                name: lacking for name, lacking in self.safe[0].items() if lacking
            }

    @precondition(lambda self: self.queues)
    @rule(
        data=st.data(),
        most=st.integers(0, 20),
        most_a_series=st.integers(0, 3),
        blocked=st.sets(st.sampled_from(SERIES), max_size=2),
        refuse=st.integers(2, 9),
        settle=st.booleans(),
    )
    def take(self, data, most, most_a_series, blocked, refuse, settle):
        name = data.draw(st.sampled_from(sorted(self.queues)))
        pending = self.lacking[name]
        refused = {value for value, _ in pending if value % refuse == 1}
        batch = self.queues[name].take(most, most_a_series, blocked, lambda entry: entry.value not in refused)
        right = expected(pending, most, most_a_series, blocked, refused)
        taken = [(entry.value, entry.series) for entry in batch]
        assert taken == right[: len(taken)]
        assert bool(taken) == bool(right)
        if queue_module.LOOK_AHEAD == 2000:
            assert taken == right
        self.batches[name] = batch
        if settle:
            self.settle_some(data, name)

    @precondition(lambda self: any(self.batches.values()))
    @rule(data=st.data())
    def settle(self, data):
        self.settle_some(data, data.draw(st.sampled_from(sorted(name for name in self.batches if self.batches[name]))))

    def settle_some(self, data: st.DataObject, name: str) -> None:
        queue, batch = self.queues[name], self.batches.pop(name)
        before = queue.delivered, queue.merged, queue.dead
        ends = {"delivered": 0, "merged": 0, "dead": 0}
        for series in sorted({entry.series for entry in batch}):
            of_it = [entry for entry in batch if entry.series == series]
            for entry in of_it[: data.draw(st.integers(0, len(of_it)))]:
                end = data.draw(st.sampled_from(sorted(ends)))
                ends[end] += 1
                queue.settle(entry, merged=end == "merged", reason="refused" if end == "dead" else "")
                self.lacking[name].remove((entry.value, entry.series))
                if end == "dead":
                    self.dead[name].append(entry.value)
        after = queue.delivered, queue.merged, queue.dead
        assert tuple(b - a for a, b in zip(before, after, strict=True)) == (
            ends["delivered"],
            ends["merged"],
            ends["dead"],
        )

    @rule()
    def stop_and_start(self):
        counts = {name: (queue.delivered, queue.merged, queue.dead) for name, queue in self.queues.items()}
        self.log.stop()
        self.note_safe()
        self.reopen()
        for name, before in counts.items():
            self.open_queue(name)
            queue = self.queues[name]
            assert (queue.delivered, queue.merged, queue.dead) == before

    @rule(names=st.sets(NAMES))
    def die_and_start(self, names):
        abandon(self.log)
        self.reopen()
        for name in sorted(names):
            self.open_queue(name)

    def reopen(self) -> None:
        self.log = open_log(self.folder)
        self.queues.clear()
        self.batches.clear()
        self.lacking, self.dead = self.safe
        self.safe = self.copy()
        self.missed |= self.adopted
        self.note_closed()

    def note_closed(self) -> None:
        idle = [name for name, lacking in self.lacking.items() if name not in self.queues and not lacking]
        self.missed = {name: self.missed.get(name, []) for name in idle}

    def note_safe(self) -> None:
        self.safe = self.copy()
        self.adopted.clear()

    def copy(self) -> tuple[dict[str, Lacking], dict[str, list[Value]]]:
        return (
            {name: list(lacking) for name, lacking in self.lacking.items()},
            {name: list(dead) for name, dead in self.dead.items()},
        )

    # --- what always holds

    @invariant()
    def counts_are_exact(self):
        for name, queue in self.queues.items():
            assert queue.queued == len(self.lacking[name])

    @invariant()
    def state_is_by_series_not_by_reading(self):
        for name, queue in self.queues.items():
            assert set(queue.position.behind) <= set(WANTS[name])
            assert set(queue._seen) <= set(WANTS[name])


TestStore = pytest.mark.guarantee(4)(pytest.mark.guarantee(1)(StoreMachine.TestCase))
TestStore.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# --- by hand


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


def wants_all(series: str) -> bool:
    return True


def fill(log: Log, segments: int, *series: str) -> None:
    """Segments of 1000 readings, on disk and out of the memory."""
    for _ in range(segments):
        log.put(readings(*(series * (READINGS // len(series)))), 0)
    log.flush()
    log._recent.clear()


def test_without_settling_the_same_is_taken_again(log):
    queue = log.open_queue("web", wants_all, "")
    log.put(readings("a.x", "b.x"), 0)
    assert queue.take(5) == queue.take(5) != []


def test_a_full_batch_passes_nothing_by(log):
    queue = log.open_queue("web", wants_all, "")
    log.put(readings("a.x", "b.x"), 0)
    assert queue.take(5, blocked={"a.x", "b.x"}) == []
    assert [entry.series for entry in queue.take(1)] == ["a.x"]
    assert [entry.series for entry in queue.take(5)] == ["a.x", "b.x"]


def test_new_readings_of_wanted_series_wake(log):
    queue = log.open_queue("web", "a.x".__eq__, "")
    log.put(readings("b.x"), 0)
    assert not queue.wake.is_set()
    log.put(readings("a.x"), 0)
    assert queue.wake.is_set()


@pytest.mark.guarantee(3)
def test_a_blocked_series_costs_one_number_and_holds_up_no_other(log):
    queue = log.open_queue("web", wants_all, "")
    for number in range(500):
        log.put(readings("bad.x", "good.x", value=number), 0)
        log.flush()
        batch = queue.take(10, blocked={"bad.x"})
        assert [(entry.series, entry.value) for entry in batch] == [("good.x", number)]
        queue.settle(batch[0])
    assert queue.position.behind == {"bad.x": 0}
    assert queue._seen == {"bad.x": 999}
    assert [entry.value for entry in settle_all(queue)] == list(range(500))
    assert queue.position.behind == {}


def test_a_laggard_far_behind_is_found_by_the_headers_alone(log, unpacked):
    queue = log.open_queue("web", wants_all, "")
    log.put(readings("slow.x", value=1), 0)
    fill(log, 10, "fast.x")
    log.put(readings("slow.x", value=2), 0)
    fill(log, 10, "fast.x")
    (first,) = queue.take(1, blocked={"fast.x"})
    queue.settle(first)
    while batch := queue.take(1000, blocked={"slow.x"}):
        for entry in batch:
            queue.settle(entry)
    log._recent.clear()
    unpacked.clear()
    (second,) = queue.take(10)
    assert (second.series, second.value) == ("slow.x", 2)
    assert len(unpacked) <= 2  # where the first one was, and the one with the second
    assert queue.position.lowest == second.seq - 1 or queue.position.lowest == first.seq


def test_a_laggard_with_nothing_near_does_not_look_again_each_time(log, monkeypatch):
    """After a restart: two series are behind, one of them with its next reading at the far end."""
    queue = log.open_queue("web", wants_all, "")
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
    queue = log.open_queue("web", wants_all, "")
    fill(log, 10, "bad.x")
    log.put(readings("good.x"), 0)
    unpacked.clear()
    assert [entry.series for entry in queue.take(10, blocked={"bad.x"})] == ["good.x"]
    assert unpacked == []
    assert queue.position.behind.keys() == {"bad.x", "good.x"}


def test_what_goes_elsewhere_is_passed_without_unpacking(log, unpacked):
    log.open_queue("other", wants_all, "")
    queue = log.open_queue("web", "mine.x".__eq__, "")
    fill(log, 10, "other.x")
    log.put(readings("mine.x"), 0)
    unpacked.clear()
    assert [entry.series for entry in queue.take(10)] == ["mine.x"]
    assert unpacked == []


def test_a_take_looks_ahead_only_so_far_once_it_has_something(log):
    queue = log.open_queue("web", wants_all, "")
    log.put(readings("good.x"), 0)
    fill(log, 5, "bad.x")
    assert len(queue.take(10, blocked={"bad.x"})) == 1
    assert queue.position.head <= queue_module.LOOK_AHEAD + READINGS


@pytest.mark.guarantee(8)
def test_a_backlog_leaves_nothing_in_the_queue(log):
    queue = log.open_queue("web", wants_all, "")
    sizes = []
    for _ in range(3):
        fill(log, 10, "a.x", "b.x")
        queue.take(1, blocked={"a.x"})
        sizes.append({name: len(value) for name, value in vars(queue).items() if hasattr(value, "__len__")})
    assert sizes[0] == sizes[1] == sizes[2]
    assert log._runs == []


def test_another_mapping_is_counted_anew(tmp_path):
    log = open_log(tmp_path)
    log.open_queue("other", wants_all, "")
    queue = log.open_queue("web", ("a.x", "b.x").__contains__, "a b")
    log.put(readings("a.x", "b.x", "c.x", "b.x"), 0)
    queue.settle(queue.take(1)[0])
    log.stop()

    log = open_log(tmp_path)
    queue = log.open_queue("web", ("b.x", "c.x").__contains__, "b c")
    assert queue.queued == 3  # what lies before the position of a newly mapped series is not owed
    assert [entry.series for entry in settle_all(queue)] == ["b.x", "c.x", "b.x"]
    assert queue.queued == 0
    abandon(log)


def test_a_long_log_is_counted_by_its_headers(tmp_path, unpacked):
    log = open_log(tmp_path)
    queue = log.open_queue("web", "a.x".__eq__, "a")
    log.open_queue("other", wants_all, "")
    fill(log, 20, "a.x", "b.x")
    for entry in queue.take(10):
        queue.settle(entry)
    log.stop()
    log = open_log(tmp_path)
    unpacked.clear()
    queue = log.open_queue("web", wants_all, "all")
    assert queue.queued == 20_000 - 19  # up to the tenth a.x nothing is owed
    assert unpacked == [1]
    abandon(log)


def test_a_series_that_is_no_longer_mapped_is_owed_no_more(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", wants_all, "all")
    log.put(readings("bad.x", "good.x"), 0)
    for entry in queue.take(10, blocked={"bad.x"}):
        queue.settle(entry)
    assert queue.position.behind == {"bad.x": 0}
    log.stop()
    log = open_log(tmp_path)
    queue = log.open_queue("web", "good.x".__eq__, "good")
    assert (queue.queued, queue.position.behind) == (0, {})
    log.stop()
    assert (tmp_path / "store.db").stat().st_size < 20_000


def test_a_new_destination_begins_with_the_next_reading(log):
    log.open_queue("old", wants_all, "")
    log.put(readings("a.x", value=1), 0)
    log.flush()
    log.put(readings("a.x", value=2), 0)
    queue = log.open_queue("new", wants_all, "")
    assert (queue.queued, queue.take(10)) == (0, [])
    log.put(readings("a.x", value=3), 0)
    assert [entry.value for entry in queue.take(10)] == [3]


@pytest.mark.guarantee(1)
@pytest.mark.pain("A8")
def test_what_comes_while_a_destination_is_closed_is_owed_to_it(log):
    """A reload closes and opens; sampling goes on in between."""
    other = log.open_queue("other", wants_all, "")
    queue = log.open_queue("web", "a.x".__eq__, "")
    log.put(readings("a.x", value=1), 0)
    log.close_queue(queue)
    log.put(readings("a.x", "b.x", value=2), 0)
    settle_all(other)
    log.flush()
    log.put(readings("a.x", value=3), 0)
    queue = log.open_queue("web", "a.x".__eq__, "")
    assert queue.queued == 3
    assert [entry.value for entry in settle_all(queue)] == [1, 2, 3]
    assert queue.queued == 0


def test_what_comes_while_a_queue_is_counted_is_counted_once(log):
    other = log.open_queue("other", wants_all, "")
    fill(log, 3, "a.x")
    web = log.open_queue("web", wants_all, "1")
    log.put(readings("a.x"), 0)
    log.close_queue(web)
    asked: list[str] = []

    def wants(series: str) -> bool:
        if not asked:
            asked.append(series)
            log.put(readings("a.x", "b.x"), 0)  # a sensor's thread, in the midst of it
        return True

    log.put(readings("a.x"), 0)
    queue = log.open_queue("web", wants, "2")
    assert queue.queued == 4
    assert len(settle_all(queue)) == 4
    assert len(settle_all(other)) == 3004


def test_a_jump_of_the_clock_begins_a_new_segment(log):
    queue = log.open_queue("web", wants_all, "")
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


def test_a_removed_destination_that_lacks_nothing_keeps_nothing(log, tmp_path):
    log.close_queue(log.open_queue("removed", wants_all, ""))
    other = log.open_queue("other", wants_all, "")
    log.flush()
    before = log.commits
    log.put(readings("a.x"), 0)
    settle_all(other)
    log.flush()
    assert log.commits == before


@pytest.mark.guarantee(1)
def test_a_queue_takes_the_place_of_the_one_that_is_open(log):
    """A reload with another mapping: nothing that comes in the midst of it is missed, whatever is flushed."""
    queue = log.open_queue("web", "a.x".__eq__, "a")
    log.put(readings("a.x", value=1), 0)
    queue.settle(queue.take(1)[0])
    again = log.open_queue("web", "a.x".__eq__, "other")
    log.close_queue(queue)  # late; it is no longer the one
    log.put(readings("a.x", value=2), 0)
    log.flush()
    assert (again.queued, again.delivered) == (1, 1)
    assert [entry.value for entry in settle_all(again)] == [2]


@pytest.mark.pain("A29")
def test_the_log_has_a_gap_where_all_was_delivered_before_the_flush(log):
    queue = log.open_queue("web", wants_all, "")
    log.put(readings("a.x", value=1), 0)
    log.flush()
    (first,) = queue.take(10)
    log.put(readings("a.x", value=2), 0)
    queue.settle(first)
    (second,) = queue.take(10)
    queue.settle(second)
    log.put(readings("a.x", value=3), 0)
    log.flush()
    log._recent.clear()
    segment = log.after(0)
    assert segment is not None
    assert (segment.first, segment.last) == (3, 3)
    assert [entry.value for entry in queue.take(10)] == [3]


def test_entries_sort_by_their_place_in_the_log(log):
    queue = log.open_queue("web", wants_all, "")
    for series in ("b.x", "a.x", "c.x"):
        log.put(readings(series), 0)
    assert queue.take(1, blocked={"b.x"})[0].series == "a.x"
    assert [entry.series for entry in queue.take(10)] == ["b.x", "a.x", "c.x"]
    assert all(isinstance(entry, Entry) for entry in queue.take(10))


def test_what_came_while_a_destination_was_away_with_nothing_queued_is_not_its_own(log):
    other = log.open_queue("other", wants_all, "")
    web = log.open_queue("web", wants_all, "")
    log.close_queue(web)
    log.put(readings("a.x"), 0)
    log.flush()
    web = log.open_queue("web", wants_all, "")
    log.put(readings("a.x"), 0)
    assert (other.queued, web.queued) == (2, 1)
    assert [entry.seq for entry in web.take(10)] == [2]
