"""The store against lists, whatever is done in whatever order: what each destination lacks, now and after a death."""

import copy
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edged.reading import Entry, Reading
from edged.store import desk, taking
from edged.store import tail as tail_module
from edged.store.queue import Queue
from edged.store.split import Split
from tests.store import NOW_MS, abandon, only, open_log, settle_all

SERIES = ("a.x", "b.x", "c.x", "d.x")
WANTS = {"all": SERIES, "two": SERIES[:2], "one": SERIES[3:]}
Lacking = list[tuple[Any, str]]
NAMES = st.sampled_from(sorted(WANTS))


@dataclass
class Model:
    """A destination."""

    open: bool = True
    removed: bool = False
    lacking: Lacking = field(default_factory=list)
    retried: Lacking = field(default_factory=list)
    dead: Lacking = field(default_factory=list)
    delivered: int = 0
    merged: int = 0
    dropped: int = 0
    backlog_ends: int = 0  # the first value that is taken before those below it

    def pending(self) -> Lacking:
        return self.retried + self.lacking

    def counts(self) -> tuple[int, ...]:
        return (len(self.pending()), len(self.dead), self.delivered, self.merged, self.dropped, 0)


def counts(queue: Queue) -> tuple[int, ...]:
    return (queue.queued, queue.dead, queue.delivered, queue.merged, queue.dropped, queue.lost)


def expected(model: Model, most: int, blocked: set[str], refused: set[Any]) -> Lacking:
    """What `take` promises, said simply: what is new first, then the backlog."""
    new = model.retried + [it for it in model.lacking if it[0] >= model.backlog_ends]
    batch = _of_one_stream(new, most, blocked, refused)
    backlog = [it for it in model.lacking if it[0] < model.backlog_ends]
    batch += _of_one_stream(backlog, most - len(batch), blocked, refused)
    return sorted(batch, key=lambda it: model.pending().index(it))


def _of_one_stream(pending: Lacking, most: int, blocked: set[str], refused: set[Any]) -> Lacking:
    """Each series up to the first reading that may not go."""
    batch: Lacking = []
    closed = set(blocked)
    for value, series in pending:
        if len(batch) == most:
            break
        if series in closed:
            continue
        if value in refused:
            closed.add(series)
            continue
        batch.append((value, series))
    return batch


class StoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.log = open_log(self.folder)
        self.next_value = 0
        self.queues: dict[str, Queue] = {}  # that have a sender
        self.batches: dict[str, list[Entry]] = {}  # taken and not settled yet
        self.models: dict[str, Model] = {}
        self.safe: dict[str, Model] = {}  # as a death would leave them

    @initialize(readings=st.sampled_from([1, 3, 1000]), look_ahead=st.sampled_from([1, 4, 2000]))
    def size(self, readings, look_ahead):
        self.patch.setattr(tail_module, "READINGS", readings)
        self.patch.setattr(taking, "LOOK_AHEAD", look_ahead)
        for name in WANTS:
            self.open_queue(name)

    def teardown(self):
        try:
            for name, queue in self.queues.items():  # in the end, all must come
                given = [(entry.value, entry.series) for entry in settle_all(queue)]
                assert sorted(given) == sorted(self.models[name].pending())
                assert (queue.queued, queue.again) == (0, 0)
        finally:
            abandon(self.log)
            shutil.rmtree(self.folder)
            self.patch.undo()

    # --- destinations come and go

    @rule(name=NAMES)
    def open_queue(self, name):
        self.queues[name] = self.log.open_queue(name, only(*WANTS[name]))
        self.batches.pop(name, None)
        model = self.models.setdefault(name, Model())
        model.open, model.removed = True, False

    @rule(name=NAMES, removed=st.booleans())
    def close_queue(self, name, removed):
        if queue := self.queues.pop(name, None):
            self.log.close_queue(queue, removed=removed)
            self.batches.pop(name, None)
            self.models[name].open, self.models[name].removed = False, removed

    # --- readings come

    @rule(series=st.lists(st.sampled_from(SERIES), min_size=1, max_size=12), offset_ms=st.sampled_from([0, 15, 5000]))
    def put(self, series, offset_ms):
        values = range(self.next_value, self.next_value + len(series))
        self.next_value += len(series)
        self.log.put([Reading(s, NOW_MS + v, v) for s, v in zip(series, values, strict=True)], offset_ms)
        for name, model in self.models.items():
            if model.open:
                model.lacking += [(v, s) for v, s in zip(values, series, strict=True) if s in WANTS[name]]

    @rule()
    def flush(self):
        commits = self.log.commits
        self.log.flush()
        if self.log.commits > commits:
            self.safe = copy.deepcopy(self.models)
        else:  # then a death leaves what is lacking as well: all of it was on disk already
            now = {name: model.lacking for name, model in self.models.items() if model.lacking}
            assert now == {name: model.lacking for name, model in self.safe.items() if model.lacking}

    # --- and go

    @precondition(lambda self: self.queues)
    @rule(
        data=st.data(),
        most=st.integers(0, 20),
        blocked=st.sets(st.sampled_from(SERIES), max_size=2),
        refuse=st.integers(2, 9),
        settle=st.booleans(),
    )
    def take(self, data, most, blocked, refuse, settle):
        name = data.draw(st.sampled_from(sorted(self.queues)))
        pending = self.models[name].pending()
        refused = {value for value, _ in pending if value % refuse == 1}
        batch = self.queues[name].take(most, blocked, lambda entry: entry.value not in refused)
        right = expected(self.models[name], most, blocked, refused)
        taken = [(entry.value, entry.series) for entry in batch]
        if all(value >= self.models[name].backlog_ends for value, _ in pending):
            assert taken == right[: len(taken)]
        assert bool(taken) == bool(right)
        if taking.LOOK_AHEAD == 2000:
            assert taken == right
        self.batches[name] = batch
        if settle:
            self.settle_some(data, name)

    @precondition(lambda self: any(self.batches.values()))
    @rule(data=st.data())
    def settle(self, data):
        self.settle_some(data, data.draw(st.sampled_from(sorted(name for name in self.batches if self.batches[name]))))

    def settle_some(self, data: st.DataObject, name: str) -> None:
        queue, batch, model = self.queues[name], self.batches.pop(name), self.models[name]
        for series in sorted({entry.series for entry in batch}):
            of_it = [entry for entry in batch if entry.series == series]
            for entry in of_it[: data.draw(st.integers(0, len(of_it)))]:
                end = data.draw(st.sampled_from(["delivered", "merged", "dead"]))
                queue.settle(entry, merged=end == "merged", reason="refused" if end == "dead" else "")
                it = (entry.value, entry.series)
                among = model.retried if entry.seq < 0 else model.lacking
                if it in among:
                    among.remove(it)
                else:
                    model.dropped -= 1  # it was on its way, and got there
                if end == "dead":
                    model.dead.append(it)
                else:
                    setattr(model, end, getattr(model, end) + 1)

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def begin_anew(self, data):
        name = data.draw(st.sampled_from(sorted(self.queues)))
        queue, model = self.queues[name], self.models[name]
        queue.begin_anew(NOW_MS + data.draw(st.integers(0, self.next_value + 1)))
        self.batches.pop(name, None)
        new = [int(entry.value) for entry in queue.pending() if entry.seq > queue.backlog_ends]
        model.backlog_ends = min(new, default=self.next_value)

    # --- people

    def write(self) -> None:
        """What people do is one commit, of everything."""
        self.safe = copy.deepcopy(self.models)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def retry(self, data):
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]
        assert desk.retry(self.log, name) == len(model.dead)
        model.retried, model.dead = model.retried + model.dead, []
        model.retried.sort(key=lambda it: self.age_of_letter(name, it))
        self.write()

    def age_of_letter(self, name: str, it: tuple[Any, str]) -> int:
        order = [(entry.value, entry.series) for entry in self.log.retried(name)]
        return order.index(it)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), series=st.none() | st.sampled_from(SERIES), before=st.none() | st.integers(0, 200))
    def drop(self, data, series, before):
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]

        def goes(it: tuple[Any, str]) -> bool:
            return series in (None, it[1]) and (before is None or it[0] < before)

        gone = [it for it in model.pending() if goes(it)]
        assert desk.drop(self.log, name, series, None if before is None else NOW_MS + before) == len(gone)
        model.lacking = [it for it in model.lacking if not goes(it)]
        model.retried = [it for it in model.retried if not goes(it)]
        model.dropped += len(gone)
        if name in self.batches:
            self.batches[name] = [entry for entry in self.batches[name] if entry.seq >= 0 or not goes(entry[3:0:-2])]
        self.write()

    @precondition(lambda self: self.models)
    @rule(data=st.data(), series=st.none() | st.sampled_from(SERIES))
    def drop_dead(self, data, series):
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]
        gone = [it for it in model.dead if series in (None, it[1])]
        assert desk.drop_dead(self.log, name, series) == len(gone)
        model.dead = [it for it in model.dead if it not in gone]
        model.dropped += len(gone)
        self.write()

    # --- the end and the next start

    @rule()
    def stop_and_start(self):
        self.log.stop()
        self.safe = copy.deepcopy(self.models)
        self.reopen()

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
        self.models = copy.deepcopy(self.safe)

    # --- what always holds

    @invariant()
    def counts_are_exact(self):
        assert {name: counts(queue) for name, queue in self.log.queues.items()} == {
            name: model.counts() for name, model in self.models.items()
        }

    @invariant()
    def what_is_queued_can_be_listed(self):
        for name, queue in self.log.queues.items():
            listed = [(entry.value, entry.series) for entry in queue.pending()]
            assert listed == self.models[name].pending()
            dead = [(int(letter.value), letter.series) for letter in self.log.dead_letters(name)]
            assert dead == self.models[name].dead

    @invariant()
    def state_is_by_series_not_by_reading(self):
        for name, queue in self.queues.items():
            at = queue.position
            for part in [at.backlog, at.live] if isinstance(at, Split) else [at]:
                assert set(part.behind) <= set(WANTS[name])
                assert set(part.seen) <= set(WANTS[name])


TestStore = pytest.mark.guarantee(4)(pytest.mark.guarantee(1)(StoreMachine.TestCase))
TestStore.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
