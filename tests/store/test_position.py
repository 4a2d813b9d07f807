"""A position: one number while all series are in step, one more for each that is not, and ranges that are not owed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edged.store.position import Position, Skip
from edged.store.split import Where

SERIES = ("a.x", "b.x", "c.x")
LOG = 40  # readings in the log of a test

NUMBERS = st.integers(0, LOG + 2)
CHOICES = st.sampled_from(["", *SERIES])
POSITIONS = st.builds(
    lambda head, behind, skips: Position(head, {series: min(at, head) for series, at in behind.items()}, skips),
    st.integers(0, LOG),
    st.dictionaries(st.sampled_from(SERIES), st.integers(0, LOG), max_size=2),
    st.lists(st.builds(lambda a, b, s: Skip(min(a, b), max(a, b) + 1, s), NUMBERS, NUMBERS, CHOICES), max_size=5),
)
LOGS = st.lists(st.sampled_from(SERIES), min_size=LOG, max_size=LOG)


def owed(position: Where, log: list[str]) -> set[int]:
    """What the position says of each reading of the log; `log[0]` is the series of reading 1."""
    return {seq for seq, series in enumerate(log, 1) if position.owes(series, seq)}


def covered(ranges: list[tuple[int, int]]) -> Iterator[int]:
    """The numbers in ranges of (after, up to)."""
    for after, upto in ranges:
        yield from range(after + 1, upto + 1)


# --- a number


def test_in_step_it_is_one_number():
    assert Position(7).to_json() == {"head": 7, "behind": {}, "skips": []}
    assert (Position(7).of("any.x"), Position(7).lowest) == (7, 7)


def test_a_series_that_is_behind_has_its_own():
    position = Position(7, {"slow.x": 3, "slower.x": 2})
    assert [position.of(series) for series in ("slow.x", "slower.x", "fast.x")] == [3, 2, 7]
    assert position.lowest == 2


@given(POSITIONS)
def test_it_comes_back_from_json(position):
    assert Position.from_json(json.loads(json.dumps(position.to_json()))) == position


@pytest.mark.guarantee(9)
def test_it_comes_back_from_what_was_kept_before_there_were_ranges():
    assert Position.from_json({"head": 7, "behind": {"slow.x": 3}}) == Position(7, {"slow.x": 3})


def test_what_is_kept_does_not_change_with_it():
    position = Position(7, {"slow.x": 3}, [Skip(8, 9)])
    kept = position.to_json()
    position.behind["slow.x"] = 4
    position.skip(9, 12)
    back = Position.from_json(kept)
    back.behind["slow.x"] = 5
    back.skip(9, 12)
    assert kept == {"head": 7, "behind": {"slow.x": 3}, "skips": [[8, 9, ""]]}


# --- each question, against the set of what is owed


@given(POSITIONS, LOGS)
def test_nothing_at_or_before_the_lowest_is_owed(position, log):
    assert all(seq > position.lowest for seq in owed(position, log))
    assert all(position.lowest <= position.past(position.of(series)) for series in SERIES)


@given(POSITIONS, LOGS, NUMBERS)
def test_past_leaps_over_what_is_owed_of_no_series_and_over_all_of_it(position, log, seq):
    past = position.past(seq)
    assert past >= seq
    assert not owed(position, log) & set(range(seq + 1, past + 1))
    assert not any(skip.after <= past < skip.upto for skip in position.skips if not skip.series)


@given(POSITIONS, LOGS, st.integers(0, LOG))
def test_what_it_needs_holds_all_that_is_owed_and_no_range_that_is_not(position, log, last):
    needs = position.needs(last)
    assert {seq for seq in owed(position, log) if seq <= last} <= set(covered(needs))
    gone = set(covered([(skip.after, skip.upto) for skip in position.skips if not skip.series]))
    wanted = set(range(position.lowest + 1, LOG + 10)) - gone
    assert set(covered(needs)) & set(range(last + 1)) == {seq for seq in wanted if seq <= last}
    assert all(after < upto for after, upto in needs)
    assert all(one[1] < other[0] for one, other in pairwise(needs))


@given(POSITIONS, st.integers(1, LOG), st.integers(0, 10), LOGS)
def test_a_range_that_is_not_touched_is_owed_but_for_what_is_settled(position, first, more, log):
    last = min(LOG, first + more)
    whole = {seq for seq in range(first, last + 1) if seq > position.of(log[seq - 1])}
    if not position.touched(first, last):
        assert owed(position, log) & set(range(first, last + 1)) == whole
    reach = any(set(range(s.after + 1, s.upto + 1)) & set(range(first, last + 1)) for s in position.skips)
    assert position.touched(first, last) == reach


# --- each change, against the set of what is owed


@given(POSITIONS, LOGS, NUMBERS, NUMBERS, CHOICES)
def test_a_skip_takes_just_its_range_out(position, log, after, upto, series):
    before = owed(position, log)
    position.skip(after, upto, series)
    assert owed(position, log) == {seq for seq in before if not (after < seq <= upto and series in ("", log[seq - 1]))}


def test_skips_that_follow_each_other_are_one():
    position = Position()
    for seq in range(3, 1000):
        position.skip(seq, seq + 1)
    assert position.skips == [Skip(3, 1000)]


@given(POSITIONS, LOGS, NUMBERS)
def test_settling_up_to_a_number_settles_all_of_it_and_nothing_else(position, log, seq):
    before = owed(position, log)
    position.settle_to(seq)
    assert owed(position, log) == {each for each in before if each > seq}
    assert position.lowest >= seq or not before
    assert all(at <= position.head for at in position.behind.values())


@given(POSITIONS, LOGS)
def test_tidying_changes_nothing_that_is_owed_and_keeps_no_range_of_the_past(position, log):
    before, lowest = owed(position, log), position.lowest
    position.tidy()
    assert owed(position, log) == before
    assert position.lowest >= lowest
    assert all(skip.upto > (position.of(skip.series) if skip.series else position.lowest) for skip in position.skips)
    once = position.to_json()
    position.tidy()
    assert position.to_json() == once


@given(POSITIONS, POSITIONS, st.integers(0, LOG), LOGS)
def test_joined_owes_what_the_earlier_did_up_to_the_number_and_behind_it_what_it_did(earlier, own, began, log):
    own.skip(0, began)  # it is new as of that number
    own.settle_to(max(own.head, began))
    if earlier.head > began:
        event("their lives overlap")
    between = sorted({series for seq, series in enumerate(log, 1) if began < seq <= own.head})
    before = owed(earlier, log), owed(own, log)
    joined = own.joined(earlier, began, between)
    assert owed(joined, log) == {seq for seq in before[0] if seq <= began} | {seq for seq in before[1] if seq > began}
    assert (owed(earlier, log), owed(own, log)) == before
    joined.tidy()
    assert owed(joined, log) == {seq for seq in before[0] if seq <= began} | {seq for seq in before[1] if seq > began}


# --- a life


@dataclass
class Life:
    """What is owed, by number; what is in the log, by number."""

    log: list[str] = field(default_factory=list)
    owed: set[int] = field(default_factory=set)


class PositionMachine(RuleBasedStateMachine):
    """A position as its queue moves it, against the set of the readings that are owed."""

    def __init__(self):
        super().__init__()
        self.position = Position()
        self.life = Life()

    @initialize(log=st.lists(st.sampled_from(SERIES), max_size=10))
    def begin(self, log):
        """A destination that is new when the log has readings already."""
        self.life.log = list(log)
        self.position = Position(len(log))

    @rule(series=st.lists(st.sampled_from(SERIES), min_size=1, max_size=6), open_=st.booleans())
    def arrive(self, series, open_):
        for name in series:
            self.life.log.append(name)
            seq = len(self.life.log)
            if open_:
                self.life.owed.add(seq)
            else:
                self.position.skip(seq - 1, seq)

    @precondition(lambda self: self.position.head < len(self.life.log))
    @rule(data=st.data())
    def look_further(self, data):
        """The head moves over readings; the series of those that are owed are behind from now on."""
        to = data.draw(st.integers(self.position.head + 1, len(self.life.log)))
        for seq in range(self.position.head + 1, to + 1):
            series = self.life.log[seq - 1]
            if self.position.owes(series, seq):
                self.position.behind.setdefault(series, seq - 1)
            self.position.head = seq

    @rule(series=st.sampled_from(SERIES), number=st.integers(1, 4))
    def settle(self, series, number):
        """The oldest of a series that have been looked at."""
        mine = sorted(s for s in self.life.owed if self.life.log[s - 1] == series and s <= self.position.head)
        for seq in mine[:number]:
            self.position.behind[series] = seq
            self.life.owed.discard(seq)
        if not mine[number:]:
            self.position.behind.pop(series, None)

    @rule(data=st.data(), series=CHOICES)
    def drop(self, data, series):
        after = data.draw(st.integers(0, len(self.life.log)))
        upto = data.draw(st.integers(after, len(self.life.log)))
        self.position.skip(after, upto, series)
        self.position.tidy()
        gone = {seq for seq in range(after + 1, upto + 1) if series in ("", self.life.log[seq - 1])}
        self.life.owed -= gone

    @rule(data=st.data())
    def drop_oldest(self, data):
        seq = data.draw(st.integers(0, len(self.life.log)))
        self.position.settle_to(seq)
        self.life.owed = {each for each in self.life.owed if each > seq}

    @rule()
    def restart(self):
        self.position = Position.from_json(json.loads(json.dumps(self.position.to_json())))

    @rule(data=st.data())
    def take_over(self, data):
        """A destination that is new as of some number gets what this one is owed, and has looked further itself."""
        began = data.draw(st.integers(0, len(self.life.log)))
        own = Position(began)
        own_owed = set(range(began + 1, len(self.life.log) + 1))
        for seq in range(began + 1, data.draw(st.integers(began, len(self.life.log))) + 1):
            series = self.life.log[seq - 1]
            if data.draw(st.booleans()) and own.of(series) >= seq - 1:  # delivered
                own_owed.discard(seq)
            else:
                own.behind.setdefault(series, seq - 1)
            own.head = seq
        for series, at in own.behind.items():  # none of a series is delivered before an older one of it
            own_owed |= {seq for seq in range(at + 1, len(self.life.log) + 1) if self.life.log[seq - 1] == series}
        between = sorted(set(self.life.log[began : own.head]))
        self.position = own.joined(self.position, began, between)
        self.life.owed = {seq for seq in self.life.owed if seq <= began} | own_owed

    @invariant()
    def it_owes_what_is_owed(self):
        assert owed(self.position, self.life.log) == self.life.owed

    @invariant()
    def what_is_needed_is_known(self):
        last = len(self.life.log)
        assert self.life.owed <= set(covered(self.position.needs(last)))
        assert min(self.life.owed, default=last + 1) > self.position.lowest

    @invariant()
    def nothing_that_comes_is_settled_already(self):
        assert max([self.position.head, *self.position.behind.values()]) <= len(self.life.log)


TestLife = pytest.mark.guarantee(1)(PositionMachine.TestCase)
TestLife.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


# --- two threads


class Moving(dict[str, int]):
    """The sender's thread, at the worst moment: it passes reading 6 while a flush looks at who is behind."""

    position: Position

    def __len__(self) -> int:
        before = super().__len__()
        self.move()
        return before

    def values(self):
        self.move()
        return super().values()

    def keys(self):
        self.move()
        return super().keys()

    def move(self) -> None:
        self.setdefault("slow.x", 5)
        self.position.head = 6


def moving() -> Position:
    behind = Moving()
    behind.position = Position(5, behind)
    return behind.position


def test_a_flush_never_sees_it_further_than_it_is():
    """Else it would trim reading 6, which nobody has settled."""
    assert moving().lowest == 5
    kept = Position.from_json(moving().to_json())
    assert kept.of("slow.x") == 5
