"""A segment: what goes in comes out, its header tells without unpacking, and damage never passes for data."""

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.reading import Entry, Value
from edged.store import segment
from edged.store.segment import READINGS, DamagedSegment, Segment

BOOT = "6d0a7a8e-4f0c-4d8e-9a51-3b9f9b3c7d11"
# Any text that a str can hold, lone surrogates too; two halves side by side are made the one character that they are.
TEXTS = st.text(st.characters(exclude_categories=())).map(
    lambda text: text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
)
VALUES = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), TEXTS)
READINGS_OF_ALL_TYPES = st.lists(st.tuples(TEXTS, st.integers(-(2**62), 2**62), VALUES), min_size=1, max_size=30)


def entries_of(readings: Sequence[tuple[str, int, Value]], first: int = 1) -> list[Entry]:
    return [Entry(first + index, *reading) for index, reading in enumerate(readings)]


def packed(count: int = 50, first: int = 7) -> bytes:
    readings = [(f"roof.{'ab'[index % 2]}", 1_709_647_650_000 + 500 * index, 20 + index / 8) for index in range(count)]
    return Segment.dumps(Segment.of(entries_of(readings, first), BOOT, 1_709_600_000_000))


def typed(entries: list[Entry]) -> list[tuple[object, ...]]:
    """With the values' types: true, 1 and 1.0 are equal, and yet not the same; so are 0.0 and -0.0."""
    return [(*entry, type(entry.value), repr(entry.value)) for entry in entries]


@given(READINGS_OF_ALL_TYPES, st.integers(1, 2**60))
def test_all_values_and_times_come_back_as_they_were(readings, first):
    entries = entries_of(readings, first)
    back = Segment.loads(Segment.dumps(Segment.of(entries, BOOT, -5)))
    assert typed(back.entries) == typed(entries)
    assert (back.first, back.last) == (entries[0].seq, entries[-1].seq)


@given(READINGS_OF_ALL_TYPES, st.integers(1, 100), st.data())
def test_after_gives_what_is_behind_a_number(readings, first, data):
    entries = entries_of(readings, first)
    seq = data.draw(st.integers(0, entries[-1].seq + 1))
    back = Segment.loads(Segment.dumps(Segment.of(entries, BOOT, 0)))
    assert back.after(seq) == [entry for entry in entries if entry.seq > seq]


def test_the_header_tells_without_unpacking(monkeypatch):
    back = Segment.loads(packed(50))
    monkeypatch.setattr(segment, "zlib", None)  # whoever unpacks, fails
    assert back.counts == {"roof.a": 25, "roof.b": 25}
    assert (back.boot_id, back.offset_ms) == (BOOT, 1_709_600_000_000)
    assert back.times_ms == (1_709_647_650_000, 1_709_647_650_000 + 500 * 49)
    assert (back.first, back.last) == (7, 56)
    with pytest.raises(AttributeError):
        _ = back.entries


@pytest.mark.guarantee(8)
@given(READINGS_OF_ALL_TYPES)
def test_packed_it_holds_no_readings_and_gives_them_all_the_same(readings):
    entries = entries_of(readings)
    waiting = Segment.of(entries, BOOT, 0)
    plain = Segment.dumps(Segment.of(entries, BOOT, 0))
    size = waiting.pack()
    assert "entries" not in vars(waiting)
    assert waiting.size == len(plain)
    assert typed(waiting.entries) == typed(entries)
    assert waiting.pack() == size
    assert Segment.dumps(waiting) == plain


@pytest.mark.pain("A19")
@pytest.mark.parametrize("header", [b"", b"7", b"{}", b"[]", b'{"series": {}}', b"\xff", b'{"boot": 1'])
def test_a_header_that_makes_no_sense_is_damage_though_the_checksum_fits(header):
    fixed = (b"EDGS", 1, 1, 0, 3, 7, len(header), 0)
    checksum = zlib.crc32(segment._FIXED.pack(*fixed, 0) + header)
    with pytest.raises(DamagedSegment):
        Segment.loads(segment._FIXED.pack(*fixed, checksum) + header)


def test_the_oldest_and_newest_time_are_found_where_the_clock_went_back():
    entries = entries_of([("a.b", 500, 1), ("a.b", 100, 2), ("a.b", 300, 3)])
    assert Segment.of(entries, BOOT, 0).times_ms == (100, 500)


@pytest.mark.pain("A19")
def test_any_flipped_byte_is_noticed():
    data = packed()
    for place in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= flip
            with pytest.raises(DamagedSegment):
                Segment.loads(bytes(damaged))


@pytest.mark.pain("A19")
def test_any_cut_and_any_appendix_is_noticed():
    data = packed()
    for end in range(len(data)):
        with pytest.raises(DamagedSegment):
            Segment.loads(data[:end])
    with pytest.raises(DamagedSegment):
        Segment.loads(data + b"\0")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_never_a_segment(data):
    with pytest.raises(DamagedSegment):
        Segment.loads(data)


@pytest.mark.parametrize("data", [None, "EDGS", 7, 1.5, [], bytes(64), b"EDGS" + bytes(60)])
def test_what_is_not_bytes_of_a_segment_is_refused(data):
    with pytest.raises(DamagedSegment):
        Segment.loads(data)


def test_a_value_that_is_no_reading_is_never_packed():
    with pytest.raises(ValueError, match="JSON"):
        Segment.dumps(Segment.of(entries_of([("a.b", 0, float("nan"))]), BOOT, 0))


def test_a_reading_takes_a_few_bytes():
    values = [20 + zlib.crc32(index.to_bytes(2, "big")) % 900 / 100 for index in range(READINGS)]
    readings = [
        (f"sensor{index % 10}.temperature", 1_709_647_650_000 + 100 * index, value)
        for index, value in enumerate(values)
    ]
    data = Segment.dumps(Segment.of(entries_of(readings), BOOT, 0))
    assert len(data) / READINGS < 8
