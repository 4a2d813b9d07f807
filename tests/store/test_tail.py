"""The tail: readings in runs until they are on disk, and arithmetic with ranges of the log."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.reading import Entry
from edged.store import tail as tail_module
from edged.store.segment import READINGS, Segment
from edged.store.tail import Ranges, Tail, gaps, union
from tests.store import BOOT

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda it: (it[0], sum(it))), max_size=6)


def filled(count: int, first: int = 1, offset_ms: int = 0) -> Tail:
    tail = Tail(BOOT)
    add(tail, count, first, offset_ms)
    return tail


def add(tail: Tail, count: int, first: int, offset_ms: int = 0) -> None:
    for seq in range(first, first + count):
        tail.add(Entry(seq, "a.x", 1000 * seq, seq), offset_ms)


def numbers(ranges: Ranges) -> set[int]:
    return {seq for after, upto in ranges for seq in range(after + 1, upto + 1)}


def seqs(segments: list[Segment]) -> list[list[int]]:
    return [[entry.seq for entry in segment.entries] for segment in segments]


# --- ranges


@given(RANGES)
def test_a_union_is_in_order_and_holds_just_the_same(ranges):
    joined = union(ranges)
    assert numbers(joined) == numbers(ranges)
    assert all(one[1] < other[0] for one, other in pairwise(joined))


@given(RANGES, st.integers(0, 40))
def test_gaps_are_all_that_is_in_no_range(ranges, last):
    between = gaps(union(ranges), last)
    assert numbers(between) & set(range(last + 1)) == set(range(1, last + 1)) - numbers(ranges)
    assert all(after < upto for after, upto in between)
    assert not numbers(between) & numbers(ranges)


def test_without_ranges_all_is_a_gap():
    assert gaps([], 7) == [(0, 7)]
    assert gaps([], 0) == []
    assert gaps([(0, 7)], 7) == []


# --- runs


def test_a_run_ends_where_it_is_long_enough():
    tail = filled(2 * READINGS + 1)
    assert len(tail) == 3
    assert [len(part) for part in seqs(tail.segments_of(tail.close(), [(0, 10**6)]))] == [READINGS, READINGS, 1]


@pytest.mark.guarantee(6)
def test_a_run_ends_where_the_clock_jumped():
    tail = Tail(BOOT)
    for seq, offset_ms in enumerate([1000, 1020, 980, 1021, 1030, -500], 1):
        tail.add(Entry(seq, "a.x", 0, seq), offset_ms)
    segments = tail.segments_of(tail.close(), [(0, 10)])
    assert [(s.first, s.last, s.offset_ms, s.boot_id) for s in segments] == [
        (1, 3, 1000, BOOT),
        (4, 5, 1021, BOOT),
        (6, 6, -500, BOOT),
    ]


def test_what_comes_while_segments_are_made_is_of_the_next_flush():
    tail = filled(3)
    runs = tail.close()
    add(tail, 2, 4)
    segments = tail.segments_of(runs, [(0, 10)])
    tail.closed(runs, segments)
    assert seqs(tail.waiting) == [[1, 2, 3]]
    assert len(tail) == 1
    assert tail.begins() == 1
    tail.waiting.clear()
    assert tail.begins() == 4
    assert Tail(BOOT).begins() is None
    assert Tail(BOOT).close() == []


@given(RANGES, st.lists(st.sampled_from([0, 5000]), min_size=1, max_size=30))
def test_only_what_is_needed_becomes_segments_each_of_consecutive_numbers(ranges, offsets):
    tail = Tail(BOOT)
    for seq, offset_ms in enumerate(offsets, 3):  # the first ones are on disk
        tail.add(Entry(seq, "a.x", seq, seq), offset_ms)
    made = tail.segments_of(tail.close(), union(ranges))
    got = [seq for part in seqs(made) for seq in part]
    assert got == sorted(numbers(ranges) & set(range(3, 3 + len(offsets))))
    for segment in made:
        assert [entry.seq for entry in segment.entries] == list(range(segment.first, segment.last + 1))
        assert {offsets[seq - 3] for seq in range(segment.first, segment.last + 1)} == {segment.offset_ms}


# --- reading it


@given(st.data())
def test_after_gives_what_is_behind_a_number_and_not_withheld(data):
    """Whatever of it waits for its commit already: read from end to end, all that may be given, each once."""
    count = data.draw(st.integers(1, 25))
    waiting = data.draw(st.integers(0, count))
    length = data.draw(st.integers(1, 6))
    ranges = data.draw(RANGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail_module, "READINGS", length)
        tail = filled(waiting)
        runs = tail.close()
        tail.closed(runs, tail.segments_of(runs, union(ranges)))
        add(tail, count - waiting, waiting + 1)
    there = {seq for seq in range(1, count + 1) if seq > waiting or seq in numbers(ranges)}
    seq = start = data.draw(st.integers(0, count + 2))
    upto = data.draw(st.integers(0, count + 2))
    given_ = []
    while (segment := tail.after(seq, upto)) is not None:
        assert segment.last > seq
        assert segment.last <= upto
        assert segment.entries == [Entry(s, "a.x", 1000 * s, s) for s in range(segment.first, segment.last + 1)]
        given_ += [entry.seq for entry in segment.after(seq)]
        seq = segment.last
    assert given_ == sorted(s for s in there if start < s <= upto)


def test_a_packed_segment_that_waits_is_read_like_others():
    tail = filled(10)
    runs = tail.close()
    tail.closed(runs, tail.segments_of(runs, [(0, 10)]))
    (segment,) = tail.waiting
    assert segment.pack() > 0
    assert "entries" not in vars(segment)
    part = tail.after(3, 7)
    assert part is not None
    assert [entry.seq for entry in part.after(3)] == [4, 5, 6, 7]
