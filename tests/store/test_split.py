"""A position in two: what is new is taken at once, the backlog beside it, each in its order."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.reading import Entry, Reading
from edged.store.log import Log
from edged.store.position import Position
from edged.store.split import Split, check, from_json
from tests.store import NOW_MS, abandon, only, open_log, settle_all
from tests.store.test_position import LOG, LOGS, POSITIONS, covered, owed

A, B = "a.x", "b.x"


@pytest.fixture
def log(tmp_path):
    return open_log(tmp_path)


def put(log: Log, *series: str, first: int = 0) -> None:
    log.put([Reading(name, NOW_MS + first + n, first + n) for n, name in enumerate(series)], 0)


def values(entries: Iterable[Entry]) -> list[Any]:
    return [entry.value for entry in entries]


def test_what_comes_after_it_is_taken_first(log):
    queue = log.open_queue("there", only(A, B))
    put(log, A, B, A, B)
    queue.begin_anew(NOW_MS + 100)
    put(log, A, first=4)
    assert values(queue.take(1)) == [4]
    assert values(queue.take(3)) == [0, 1, 4]


def test_a_series_that_waits_in_one_stream_goes_on_in_the_other(log):
    queue = log.open_queue("there", only(A))
    put(log, A, A)
    queue.begin_anew(NOW_MS + 100)
    put(log, A, A, first=2)
    assert values(queue.take(9, fits=lambda entry: entry.value != 2)) == [0, 1]
    assert values(queue.take(9, fits=lambda entry: entry.value != 0)) == [2, 3]


def test_the_last_readings_from_a_time_on_are_new(log):
    queue = log.open_queue("there", only(A))
    put(log, A, A, A)
    queue.begin_anew(NOW_MS + 1)
    assert values(queue.take(2)) == [1, 2]


def test_nothing_that_is_settled_is_owed_again(log):
    queue = log.open_queue("there", only(A, B))
    put(log, A, B, A)
    for entry in queue.take(9):
        if entry.series == A:
            queue.settle(entry)
    queue.begin_anew(NOW_MS)
    assert values(queue.pending()) == [1]
    assert values(settle_all(queue)) == [1]


def test_both_are_there_after_a_restart(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("there", only(A, B))
    put(log, A, B, A)
    queue.begin_anew(NOW_MS + 100)
    put(log, A, B, first=3)
    for entry in queue.take(1):
        queue.settle(entry)
    log.flush()
    abandon(log)
    queue = open_log(tmp_path).open_queue("there", only(A, B))
    assert (queue.queued, values(queue.take(1)), values(queue.pending())) == (4, [4], [0, 1, 2, 4])


def test_a_backlog_that_is_worked_off_leaves_one_number(log):
    queue = log.open_queue("there", only(A, B))
    put(log, A, B)
    queue.begin_anew(NOW_MS + 100)
    put(log, A, first=2)
    settle_all(queue)
    queue.take(1)
    assert queue.position == Position(3)


def test_beginning_anew_again_and_again_loses_nothing_and_doubles_nothing(log):
    queue = log.open_queue("there", only(A, B))
    given = []
    for n in range(30):
        put(log, A, B, A, first=3 * n)
        queue.begin_anew(NOW_MS + 1000)
        put(log, B, first=1000 + n)
        for entry in queue.take(3, fits=lambda entry: entry.value % 5 != 1):
            queue.settle(entry)
            given.append(entry.value)
    given += values(settle_all(queue))
    assert sorted(given) == sorted([*range(90), *range(1000, 1030)])
    assert queue.queued == 0


@given(POSITIONS, LOGS, st.integers(0, LOG))
def test_the_two_parts_owe_what_the_whole_did(position, log, mark):
    split = Split.at(mark, position)
    assert owed(split, log) == owed(position, log)
    assert split.live.lowest >= mark
    assert from_json(json.loads(json.dumps(split.to_json()))) == split
    check(split.to_json())


@given(POSITIONS, LOGS, st.integers(0, LOG))
def test_it_needs_what_it_owes(position, log, mark):
    split = Split.at(mark, position)
    assert owed(split, log) <= set(covered(split.needs(LOG)))
    assert all(seq > split.lowest for seq in owed(split, log))


def test_dropping_the_oldest_goes_over_the_mark():
    split = Split(5, Position(2, {A: 1}), Position(5, {B: 5}))
    split.settle_to(7)
    assert (split.lowest, split.owes(A, 4), split.owes(B, 7), split.owes(B, 8)) == (7, False, False, True)


def test_it_comes_back_from_json():
    split = Split(5, Position(2, {A: 1}), Position(7, {B: 5}))
    assert from_json(json.loads(json.dumps(split.to_json()))) == split
    check(split.to_json())


@pytest.mark.parametrize("wrong", [{"mark": -1}, {"mark": "x"}, {"head": None}, {"behind": {"a": 0.5}}])
def test_a_state_that_cannot_be_one_is_refused(wrong):
    kept = Split(5, Position(2), Position(7)).to_json()
    kept["live"] |= wrong
    with pytest.raises((ValueError, TypeError, KeyError)):
        check(kept)
