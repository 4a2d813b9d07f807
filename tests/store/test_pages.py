"""Rows by pages alone, held against SQLite: what it reads, what it recovers, and what is left after damage."""

import errno
import os
import random
import sqlite3
import struct
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.store.pages import Row, rows
from edged.store.tables import FILE, connect
from tests.store import files
from tests.store.raw import FRAME, PAGE, WAL, copied, noise, overwrite, selected, typed, unhurried


def plain(path: Path, page_size: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    for pragma in (f"page_size = {page_size}", "secure_delete = OFF", "synchronous = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


# --- a file that is whole

limits = [sign * 2**bits + step for bits in (7, 15, 23, 31, 47, 63) for sign in (1, -1) for step in (-1, 0)]
values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([-1, 0, 1, *(limit for limit in limits if -(2**63) <= limit < 2**63)]),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=2000),
    st.binary(max_size=3000),
    st.builds(noise, st.integers(0, 99), st.integers(0, 60_000)),
)
tables = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.tuples(values, values), max_size=25)


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
@settings(unhurried, max_examples=25)
@given(table=tables)
def test_rows_are_what_was_written(tmp_path, page_size, table):
    path = tmp_path / FILE
    path.unlink(missing_ok=True)
    connection = plain(path, page_size)
    connection.execute("CREATE TABLE t (a, b)")
    connection.executemany("INSERT INTO t (rowid, a, b) VALUES (?, ?, ?)", [(n, *both) for n, both in table.items()])
    connection.commit()
    connection.close()
    schema = Row(1, ("table", "t", "t", 2, "CREATE TABLE t (a, b)"))
    assert typed(rows(path)) == typed([schema, *(Row(rowid, both) for rowid, both in table.items())])


@pytest.mark.parametrize("page_size", [512, 1024, 65536])
def test_large_trees_wide_rows_indexes_and_texts_of_any_bytes(tmp_path, page_size):
    path = tmp_path / FILE
    connection = plain(path, page_size)
    connection.execute("CREATE TABLE t (a REAL, b TEXT, c INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?)", ((n / 4, "x" * (n % 90), 7 * n) for n in range(12_000)))
    connection.execute("INSERT INTO t VALUES (1, CAST(x'66ff' AS TEXT), -1)")
    connection.execute("CREATE INDEX i ON t (b)")
    connection.execute("CREATE TABLE wide (" + ", ".join(f"c{n}" for n in range(300)) + ")")
    connection.execute("INSERT INTO wide VALUES (" + ", ".join("?" * 300) + ")", [f"value {n}" for n in range(300)])
    connection.commit()
    found = Counter(rows(path))
    assert found == selected(path)
    assert Row(-1, (1, "f\udcff", None)) in found
    connection.execute("ALTER TABLE t ADD COLUMN d")
    connection.close()
    assert Row(7, (0.25, "x", None)) in Counter(rows(path))


def test_bytes_that_are_reserved_in_each_page_are_left_out(tmp_path):
    path = tmp_path / FILE
    connection = plain(path, PAGE)
    connection.execute("PRAGMA user_version = 1")  # writes page 1, without a row
    connection.close()
    overwrite(path, 20, b"\x28")
    overwrite(path, 105, struct.pack(">H", PAGE - 0x28))
    connection = plain(path, PAGE)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [(noise(n, n * 40),) for n in range(100)])
    connection.commit()
    connection.close()
    found = Counter(rows(path))
    assert found == selected(path)
    assert found.total() == 101


def test_deleted_rows_stay_deleted(tmp_path):
    connection = connect(tmp_path)
    connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT)")
    with connection.group():
        connection.executemany("INSERT INTO log VALUES (?, ?, ?)", ((n, noise(n, 400), n) for n in range(3000)))
    with connection.group():
        connection.execute("DELETE FROM log WHERE id < 2500")
    assert connection.execute("PRAGMA freelist_count").fetchone()[0] > PAGE  # in more than one trunk
    for path in (copied(tmp_path, tmp_path / "open"), tmp_path / FILE):
        found = Counter(rows(path))
        assert found == selected(path)
        assert found.total() == 501
        connection.close()


def test_nothing_is_written(tmp_path):
    connection = connect(tmp_path)
    connection.execute("CREATE TABLE t (a)")
    path = copied(tmp_path, tmp_path / "open")
    connection.close()
    before = files(path.parent)
    assert set(before) == {FILE, WAL}
    assert [row.values[:2] for row in rows(path)] == [("table", "t")]
    assert files(path.parent) == before


def test_memory_does_not_grow_with_the_file(tmp_path):
    connection = plain(tmp_path / FILE, PAGE)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", ((bytes(10_000),) for _ in range(3000)))
    connection.execute("DELETE FROM t WHERE rowid % 10 < 2")
    connection.commit()
    connection.close()
    assert (tmp_path / FILE).stat().st_size > 30_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows(tmp_path / FILE)) == 2401
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --- damage


class Store(NamedTuple):
    """A closed store of a few hundred pages, and by page which rows are lost with it, as SQLite finds."""

    data: bytes
    pages: int
    holders: dict[Row, set[int]]

    def owed(self, touched: set[int]) -> set[Row]:
        """The rows no part of which is in the touched pages."""
        return {row for row, held in self.holders.items() if not held & touched}

    def missing(self, path: Path, data: bytes) -> set[Row]:
        """What is owed with `data` as the file, but is not found."""
        path.write_bytes(data)
        changed = {
            page
            for page in range(1, self.pages + 1)
            if data[(page - 1) * PAGE : page * PAGE] != self.data[(page - 1) * PAGE : page * PAGE]
        }
        return self.owed(changed) - set(rows(path))

    def with_page(self, page: int, content: bytes) -> bytes:
        return self.data[: (page - 1) * PAGE] + content + self.data[page * PAGE :]


def readable(path: Path) -> set[Row]:
    """The rows that SQLite gets one by one, by their keys."""
    found = set()
    connection = sqlite3.connect(path)
    for table, keys, columns in (
        ("log", range(1, 61), "NULL, data, at"),
        ("small", range(1, 301), "a, b"),
        ("tiny", (1,), "a"),
    ):
        for key in keys:
            try:
                found |= {
                    Row(rowid, tuple(values))
                    for rowid, *values in connection.execute(
                        f"SELECT rowid, {columns} FROM {table} WHERE rowid = {key}"
                    )
                }
            except sqlite3.DatabaseError:
                continue
    connection.close()
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    connection = connect(folder)
    connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB, at FLOAT)")
    connection.execute("CREATE TABLE small (a, b)")
    connection.execute("CREATE TABLE tiny (a)")
    with connection.group():
        connection.executemany("INSERT INTO log VALUES (?, ?, ?)", ((n, noise(n, 90 * n), n / 3) for n in range(1, 61)))
        connection.executemany("INSERT INTO small VALUES (?, ?)", ((n, f"series.{n}") for n in range(1, 301)))
        connection.execute("INSERT INTO tiny VALUES ('alone')")
    with connection.group():
        connection.execute("DELETE FROM log WHERE id BETWEEN 20 AND 40")
        connection.execute("DELETE FROM small WHERE rowid BETWEEN 100 AND 200")
    assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 50
    connection.close()
    path = folder / FILE
    data = path.read_bytes()
    whole = readable(path)
    holders: dict[Row, set[int]] = {row: set() for row in whole}
    for page in range(2, len(data) // PAGE + 1):
        if data[(page - 1) * PAGE] != 5:  # no row is in an interior page
            overwrite(path, (page - 1) * PAGE, bytes(PAGE))
            for row in whole - readable(path):
                holders[row].add(page)
            overwrite(path, (page - 1) * PAGE, data[(page - 1) * PAGE : page * PAGE])
    assert all(holders.values())
    assert max(len(held) for held in holders.values()) == 6
    return Store(data, len(data) // PAGE, holders)


@pytest.mark.parametrize("content", [bytes(PAGE), noise(1, PAGE), b"\x0d" + noise(2, PAGE - 1)])
def test_each_page_may_be_lost_and_only_its_rows_are(store, tmp_path, content):
    for page in range(1, store.pages + 1):
        assert store.missing(tmp_path / FILE, store.with_page(page, content)) == set(), page


@pytest.mark.parametrize("field", [*range(16, 24), *range(28, 40)])
def test_a_header_that_is_wrong_in_one_byte_loses_nothing(store, tmp_path, field):
    for mask in (0x01, 0x06, 0x0C, 0x10, 0x80, 0xFF):  # 6 and 12 make another legal page size
        data = bytearray(store.data)
        data[field] ^= mask
        assert store.missing(tmp_path / FILE, bytes(data)) == set()


@pytest.fixture
def trimmed(tmp_path):
    """The file of a tree of three levels, of a table in a single page, and of a free list in one trunk page."""
    connection = plain(tmp_path / FILE, 512)
    for name in ("large", "single", "old"):
        connection.execute(f"CREATE TABLE {name} (a)")
    connection.executemany("INSERT INTO large VALUES (?)", ((f"series.{n}",) for n in range(2600)))
    connection.execute("INSERT INTO single VALUES ('alone')")
    connection.executemany("INSERT INTO old VALUES (?)", ((f"old.{n}",) for n in range(500)))
    connection.commit()
    connection.execute("DELETE FROM old WHERE a > ''")
    connection.commit()
    connection.close()
    return tmp_path / FILE


def first_trunk(path: Path) -> int:
    """Where in the file the free list begins."""
    return 512 * (int.from_bytes(path.read_bytes()[32:36], "big") - 1)


def test_a_free_list_that_names_a_page_in_use_hides_none_of_its_rows(trimmed):
    expected = selected(trimmed)
    for page in range(2, trimmed.stat().st_size // 512 + 1):
        overwrite(trimmed, first_trunk(trimmed) + 8, struct.pack(">I", page))
        assert not expected - Counter(rows(trimmed, 512)), page


def test_where_the_free_list_makes_no_sense_old_rows_come_back(trimmed):
    expected = selected(trimmed)
    assert Counter(rows(trimmed)) == expected
    overwrite(trimmed, first_trunk(trimmed), b"\xff\xff\xff\xff")
    found = Counter(rows(trimmed))
    assert found > expected
    assert Row(500, ("old.499",)) in found


damages = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0), st.integers(1, 255)),
        st.tuples(st.just("noise"), st.integers(0), st.integers(1, 5000)),
        st.tuples(st.just("zeros"), st.integers(0), st.integers(1, 5000)),
        st.tuples(st.just("page"), st.integers(0), st.integers(0)),  # in the place of another
        st.tuples(st.just("cut"), st.integers(0), st.just(0)),
    ),
    max_size=12,
)


@settings(unhurried, max_examples=200)
@given(damages=damages, seed=st.integers())
def test_any_damage_leaves_the_rows_that_it_did_not_touch(store, tmp_path, damages, seed):
    data = bytearray(store.data)
    chance = random.Random(seed)
    for kind, first, second in damages:
        at = (first + chance.randrange(len(store.data))) % (len(data) or 1)
        if kind == "flip":
            data[at : at + 1] = bytes(byte ^ second for byte in data[at : at + 1])
        elif kind == "page":
            to, source = at // PAGE * PAGE, (second + chance.randrange(store.pages)) % store.pages * PAGE
            data[to : to + PAGE] = store.data[source : source + PAGE][: len(data) - to]
        elif kind == "cut":
            del data[at:]
        else:
            size = min(second, len(data) - at)
            data[at : at + size] = bytes(size) if kind == "zeros" else chance.randbytes(size)
    assert store.missing(tmp_path / FILE, bytes(data)) == set()


@settings(unhurried, max_examples=300)
@given(seed=st.integers(), size=st.integers(0, 20 * PAGE), log_size=st.integers(0, 3 * FRAME))
def test_garbage_that_looks_like_pages_ends(tmp_path, seed, size, log_size):
    chance = random.Random(seed)
    common = bytes([0, 0, 0, 1, 1, 2, 3, 4, 5, 7, 8, 12, 13, 13, 32, 127, 128, 129, 255])
    data = bytearray(chance.choices(common, k=size))
    for at in range(0, size, PAGE):
        data[at : at + 5] = chance.choice(
            [b"\x0d\0\0\x01\x20", b"\x05\0\0\0\x20", bytes([0, 0, 0, chance.randrange(21), 0])]
        )
    if seed % 2:
        data[:16] = b"SQLite format 3\0"
    (tmp_path / FILE).write_bytes(data)
    (tmp_path / WAL).write_bytes(bytes(chance.choices(common, k=log_size)))
    assert all(isinstance(row, Row) and row.values for row in rows(tmp_path / FILE))


@pytest.mark.parametrize("following", [0, 1, "itself", "the first", 2**32 - 1])
def test_a_chain_that_is_short_or_goes_in_circles_ends(tmp_path, following):
    connection = plain(tmp_path / FILE, PAGE)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (?)", (noise(1, 50_000),))
    connection.execute("INSERT INTO t VALUES ('behind')")
    connection.commit()
    connection.close()
    places = {"itself": 20, "the first": 3}
    overwrite(tmp_path / FILE, 19 * PAGE, struct.pack(">I", places.get(following, following)))
    assert [row.values for row in rows(tmp_path / FILE)][1:] == [("behind",)]


@pytest.mark.parametrize(
    ("before", "wrong"),
    [(4, b"\xff" * 4), (1, b"\x33"), (1, b"\x2f"), (1, b"\x0a"), (2, b"\x01"), (2, b"\x7f")],
    ids=["payload", "longer text", "shorter text", "reserved type", "no value", "header"],
)
def test_sizes_that_cannot_be_leave_the_row_out(tmp_path, before, wrong):
    connection = plain(tmp_path / FILE, PAGE)
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [("one",), ("x" * 18,)])
    connection.commit()
    connection.close()
    overwrite(tmp_path / FILE, (tmp_path / FILE).read_bytes().index(b"x" * 18) - before, wrong)
    assert [row.values for row in rows(tmp_path / FILE)][1:] == [("one",)]


def test_not_a_number_is_null_as_for_sqlite(tmp_path):
    connection = plain(tmp_path / FILE, PAGE)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1.25)")
    connection.commit()
    connection.close()
    at = (tmp_path / FILE).read_bytes().index(struct.pack(">d", 1.25))
    overwrite(tmp_path / FILE, at, struct.pack(">d", float("nan")))
    assert Counter(rows(tmp_path / FILE)) == selected(tmp_path / FILE)
    assert Row(1, (None,)) in set(rows(tmp_path / FILE))


# --- what the disk refuses


def test_a_part_that_cannot_be_read_is_an_error_behind_all_other_rows(store, tmp_path, monkeypatch):
    (tmp_path / FILE).write_bytes(store.data)
    read, bad = os.pread, max(page for held in store.holders.values() if len(held) > 1 for page in held)

    def failing(fd: int, size: int, offset: int) -> bytes:
        if offset == (bad - 1) * PAGE:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    found: set[Row] = set()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        found.update(rows(tmp_path / FILE))
    assert found >= store.owed({bad})
    assert store.owed({bad}) < store.owed(set())


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(rows(tmp_path / FILE))
    with pytest.raises(IsADirectoryError):
        list(rows(tmp_path))


def test_an_empty_file_has_no_rows(tmp_path):
    (tmp_path / FILE).touch()
    assert list(rows(tmp_path / FILE)) == []
