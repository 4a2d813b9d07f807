"""The tail: readings in runs until they are on disk, and arithmetic with ranges of the log."""

import gc
import tracemalloc
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


# --- while nothing can be written


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 3, 5000])), max_size=40), st.integers(2, 60))
def test_joined_they_are_few_and_hold_just_the_same(flushes, most):
    tail, first = Tail(BOOT), 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail_module, "READINGS", most)
        for count, offset_ms in flushes:
            add(tail, count, first, offset_ms)
            runs = tail.close()
            needed = [(0, first + 2), (first + 4, 10**6)]  # mostly: what is not needed parts them
            tail.closed(runs, tail.segments_of(runs, needed))
            before = [entry for segment in tail.waiting for entry in segment.entries]
            for segment in tail.waiting:
                segment.pack()
            tail.waiting = tail.joined()
            assert [entry for segment in tail.waiting for entry in segment.entries] == before
            first += count
    offsets = [offset_ms for count, offset_ms in flushes for _ in range(count)]
    for segment in tail.waiting:
        seqs_ = [entry.seq for entry in segment.entries]
        assert seqs_ == list(range(segment.first, segment.last + 1))
        assert len(seqs_) <= most
        assert all(abs(offsets[seq - 1] - segment.offset_ms) <= 20 for seq in seqs_)


def test_many_flushes_in_vain_make_few_segments_and_each_reading_is_packed_a_few_times(monkeypatch):
    made, of = [0], Segment.of

    def counted(entries: list[Entry], boot_id: str, offset_ms: int) -> Segment:
        made[0] += len(entries)
        return of(entries, boot_id, offset_ms)

    monkeypatch.setattr(Segment, "of", counted)
    tail = Tail(BOOT)
    for seq in range(1, 3001):
        add(tail, 1, seq)
        runs = tail.close()
        tail.closed(runs, tail.segments_of(runs, [(0, 10**6)]))
        tail.waiting = tail.joined()
    assert [entry.seq for segment in tail.waiting for entry in segment.entries] == list(range(1, 3001))
    assert len(tail.waiting) <= 3000 // 500 + 10
    assert made[0] <= 3000 * 12


@pytest.mark.parametrize("readings", [1, 300])
def test_what_a_packed_segment_says_it_takes_in_memory_it_does(readings):
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        segments = []
        for first in range(1, 1 + 500 * readings, readings):
            entries = [Entry(seq, "a.x", 1_700_000_000_000 + seq, seq / 7) for seq in range(first, first + readings)]
            segments.append(Segment.of(entries, BOOT, 1_699_000_000_000 + first))
            del entries
            segments[-1].pack()
        said = sum(segment.pack() for segment in segments)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 * taken <= said <= 1.5 * taken


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
