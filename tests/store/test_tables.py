"""The contract with persist-queue: its private hooks do what the store builds on.

If one of these fails after an upgrade of persist-queue, edged/store/tables.py has to follow it first.
"""

import importlib.metadata
import pickletools
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import persistqueue
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.reading import Entry
from edged.store import tables
from edged.store.letters import DeadLetter, DeadLetterTable
from edged.store.segment import DamagedSegment, Segment
from edged.store.tables import LogTable, StateTable, connect, footprint
from tests.store import ALL, BOOT, abandon, files, files_of, open_log, readings, settle_all


@pytest.fixture
def connection(tmp_path):
    connection = connect(tmp_path)
    yield connection
    connection.close()


@pytest.fixture
def log_table(connection, tmp_path):
    return LogTable(connection, tmp_path)


@pytest.fixture
def statements(connection):
    """What SQLite is told to do, from now on."""
    told: list[str] = []
    connection.set_trace_callback(told.append)
    return told


def segment(first: int, last: int) -> Segment:
    return Segment.of([Entry(seq, "a.b", 1000 * seq, float(seq)) for seq in range(first, last + 1)], BOOT, 0)


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT * FROM {table}").fetchall()


def test_the_version_is_a_pinned_one():
    major, minor = importlib.metadata.version("persist-queue").split(".")[:2]
    assert (major, minor) == ("1", "1")
    required = importlib.metadata.requires("edged") or []
    assert any(line.replace(" ", "") in ("persist-queue<1.2,>=1.1", "persist-queue>=1.1,<1.2") for line in required)


# --- the connection


@pytest.mark.pain("A28")
def test_the_connection_in_use_is_the_tuned_one(tmp_path):
    log = open_log(tmp_path)
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "locking_mode": "exclusive",
        "page_size": 1024,
        "wal_autocheckpoint": 1024,
        "journal_size_limit": 2 * 1024 * 1024,
        "secure_delete": 0,
        "cache_size": -1024,
    }
    used: list[Any] = [c for table in (files_of(log).log, files_of(log).states) for c in (table._getter, table._putter)]
    for connection in used:
        assert connection is files_of(log).connection
        assert {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in expected} == expected
    log.stop()


@pytest.mark.pain("A28")
def test_each_commit_is_one_sync_of_the_log(tmp_path):
    """Counted by the kernel's own tracer."""
    child = """
import pathlib, sys
from edged.reading import Reading
from edged.series import Choice
from edged.store.log import Log
log = Log(pathlib.Path(sys.argv[1]), 3600.0, "boot")
log.open_queue("web", Choice((("*", True),)))
for value in range(20):
    log.put([Reading("a.x", 0, value)], 0)
    log.flush()
assert log.commits == 20
import os
os._exit(0)
"""
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace, sys.executable, "-c", child, tmp_path / "s"],
        check=True,
    )
    syncs = [line for line in trace.read_text().splitlines() if "store.db-wal" in line]
    assert 20 <= len(syncs) <= 24


def test_there_is_no_file_that_would_be_mapped_into_memory(tmp_path):
    log = open_log(tmp_path)
    log.put(readings("a.b"), 0)
    log.flush()
    assert set(files(tmp_path)) == {"lock", "reserve", "store.db", "store.db-wal"}
    log.stop()


def test_a_commit_is_padded_to_a_block_of_its_own(tmp_path):
    """psow=0 cannot be asked for; but the log then fills whole sectors of the card, so that no commit shares one."""
    frame, header = 1024 + 24, 32

    def frames_of_two_commits(connection: tables.GroupConnection) -> int:
        sizes = []
        for _ in range(2):
            with connection.group():
                connection.execute("INSERT INTO t VALUES (1)")
            path = connection.execute("PRAGMA database_list").fetchone()[2]
            sizes.append((Path(path + "-wal").stat().st_size - header) // frame)
        return sizes[1] - sizes[0]

    ours = connect(tmp_path)
    ours.execute("CREATE TABLE t (x)")
    padded = frames_of_two_commits(ours)
    ours.close()
    usual = sqlite3.connect(tmp_path / "usual.db", factory=tables.GroupConnection)
    for pragma in tables._PRAGMAS:
        usual.execute(pragma)
    usual.execute("CREATE TABLE t (x)")
    assert padded > frames_of_two_commits(usual) == 1
    usual.close()


def test_every_table_is_on_our_connection_and_no_other_is_opened(tmp_path, monkeypatch):
    opened = []
    real = sqlite3.connect

    def counting(*arguments, **options):
        opened.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", counting)
    asked: list[type] = []
    hook = tables._OnConnection._new_db_connection

    def asking(table: tables._OnConnection, path: str, multithreading: bool, timeout: float) -> tables.GroupConnection:
        asked.append(type(table))
        return hook(table, path, multithreading, timeout)

    monkeypatch.setattr(tables._OnConnection, "_new_db_connection", asking)
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.b"), 0)
    log.flush()
    settle_all(queue)
    log.stop()
    assert len(opened) == 1
    assert asked == [StateTable, LogTable]


# --- the log


def test_the_log_is_persist_queues_table_without_autoincrement(connection, log_table):
    assert isinstance(log_table, persistqueue.SQLiteQueue)
    columns = [(name, kind, key) for _, name, kind, _, _, key in connection.execute("PRAGMA table_info(queue_log)")]
    assert columns == [
        ("_id", "INTEGER", 1),
        ("data", "BLOB", 0),
        ("timestamp", "FLOAT", 0),
        ("bytes_before", "INTEGER", 0),
    ]
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone() == (0,)


def test_a_segment_is_under_the_number_of_its_last_reading(connection, log_table):
    log_table.append(segment(5, 9))
    ((key, data, timestamp, bytes_before),) = rows(connection, "queue_log")
    assert (key, type(data), type(timestamp), bytes_before) == (9, bytes, float, 0)
    assert log_table.last() == 9


def test_a_segment_that_is_there_already_is_written_over(connection, log_table):
    """A commit that failed may have arrived on the disk all the same; then it is made again."""
    log_table.append(segment(1, 3))
    log_table.append(Segment.of([Entry(3, "other.x", 5, 7.0)], BOOT, 0))
    assert [row[0] for row in rows(connection, "queue_log")] == [3]
    assert log_table.after(2).entries == [Entry(3, "other.x", 5, 7.0)]


def test_what_was_before_a_segment_is_in_the_extra_column(connection, log_table):
    for first, last in ((1, 3), (4, 400), (401, 403)):
        log_table.append(segment(first, last))
    sizes = [footprint(len(row[1])) for row in rows(connection, "queue_log")]
    assert [row[3] for row in rows(connection, "queue_log")] == [0, sizes[0], sizes[0] + sizes[1]]
    assert log_table.bytes == sum(sizes)
    assert log_table.bytes_of(3, 400) == sizes[1]
    assert log_table.bytes_of(0, 403) == sum(sizes)


def test_alone_an_append_is_one_commit(log_table, statements):
    log_table.append(segment(1, 3))
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "INSERT", "COMMIT"]


def test_the_first_segment_behind_a_number_is_got_and_nothing_written(connection, log_table):
    for first, last in ((1, 3), (4, 6), (10, 12)):  # 7 to 9: delivered before they were written
        log_table.append(segment(first, last))
    before = connection.total_changes
    told: list[str] = []
    connection.set_trace_callback(told.append)
    assert log_table.auto_commit is False  # or each get would delete what it gives
    assert [log_table.after(seq).last for seq in (0, 2, 3, 5, 6, 9, 11)] == [3, 3, 6, 6, 12, 12, 12]
    assert log_table.after(12) is None
    assert log_table.after(0).entries == segment(1, 3).entries
    assert connection.total_changes == before
    assert not connection.in_transaction
    assert {statement.split()[0] for statement in told} == {"SELECT"}


def test_a_damaged_segment_leaves_the_cursor_at_it(connection, log_table):
    log_table.append(segment(1, 3))
    log_table.append(segment(4, 6))
    connection.execute("UPDATE queue_log SET data = zeroblob(200) WHERE _id = 3")
    with pytest.raises(DamagedSegment):
        log_table.after(0)
    assert log_table.cursor == 3
    assert log_table.after(log_table.cursor).first == 4


def test_a_segment_under_another_key_is_a_damaged_one(connection, log_table):
    log_table.append(segment(1, 3))
    connection.execute("UPDATE queue_log SET _id = 5")
    with pytest.raises(DamagedSegment, match="1 to 3 under the key 5"):
        log_table.after(0)
    assert log_table.cursor == 5


@pytest.mark.parametrize("data", [None, "text", 7, 1.5])
def test_a_row_of_another_type_is_a_damaged_segment(connection, log_table, data):
    connection.execute("INSERT INTO queue_log VALUES (3, ?, 0, 0)", (data,))
    connection.commit()
    with pytest.raises(DamagedSegment):
        log_table.after(0)


def test_a_delete_may_be_of_a_range(connection, log_table):
    for seq in range(1, 8):
        log_table.append(segment(seq, seq))
    log_table._delete(3, op="<=")
    assert [row[0] for row in rows(connection, "queue_log")] == [4, 5, 6, 7]
    log_table._delete(5)
    assert [row[0] for row in rows(connection, "queue_log")] == [4, 6, 7]


@pytest.mark.parametrize(
    ("after", "upto", "left"),
    [
        (0, 2, [3, 6, 9]),
        (0, 3, [6, 9]),
        (0, 5, [6, 9]),
        (0, 9, []),
        (1, 9, [3]),  # reading 1 may be needed, and with it its segment
        (3, 9, [3]),
        (4, 6, [3, 6, 9]),
        (3, 6, [3, 9]),
        (2, 8, [3, 9]),
        (4, 9, [3, 6]),
        (9, 20, [3, 6, 9]),
    ],
)
def test_a_trim_deletes_whole_segments_only(connection, log_table, after, upto, left):
    for first, last in ((1, 3), (4, 6), (7, 9)):
        log_table.append(segment(first, last))
    log_table.trim(after, upto)
    assert [row[0] for row in rows(connection, "queue_log")] == left
    assert log_table.last() == max(left, default=0)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=8),
    st.sets(st.integers(0, 7), max_size=3),
    st.integers(0, 32),
    st.integers(0, 32),
)
@settings(max_examples=200, deadline=None)
def test_a_trim_keeps_every_reading_outside_of_its_range(lengths, missing, after, upto):
    kept: list[tuple[int, int]] = []  # some were never written
    end = 0
    for number, length in enumerate(lengths):
        if number not in missing:
            kept.append((end + 1, end + length))
        end += length
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder))
        table = LogTable(connection, Path(folder))
        for first, last in kept:
            table.append(segment(first, last))
        table.trim(after, upto)
        left = {key for (key, *_) in rows(connection, "queue_log")}
        connection.close()
    # Where reading `after` was never written, the segment behind it may stay as well.
    first_from_there = min((last for _, last in kept if after and last >= after), default=0)
    for first, last in kept:
        if last <= after or last > upto or first <= after:
            assert last in left
        elif last != first_from_there:
            assert last not in left


@pytest.mark.pain("A19")
def test_what_is_set_aside_is_out_of_the_log_and_only_the_newest_are_kept(connection, log_table):
    for seq in range(1, 31):
        log_table.append(segment(seq, seq))
    for seq in range(1, 26):
        log_table.set_aside(seq)
    assert [row[0] for row in rows(connection, "queue_log")] == [26, 27, 28, 29, 30]
    assert [row[0] for row in rows(connection, "damaged")] == list(range(6, 26))


@pytest.mark.guarantee(8)
def test_an_open_does_not_read_the_table(tmp_path):
    """persist-queue counts its rows at each open; of a long backlog that is all of it read from the card."""
    connection = connect(tmp_path)
    table = LogTable(connection, tmp_path)
    connection.execute(
        "INSERT INTO queue_log WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 100000)"
        " SELECT x, zeroblob(100), 0, 100 * x FROM n"
    )
    connection.commit()
    connection.close()
    connection = connect(tmp_path)
    told: list[str] = []
    steps: list[int] = []
    connection.set_trace_callback(told.append)
    connection.set_progress_handler(lambda: steps.append(1), 100)
    table = LogTable(connection, tmp_path)
    assert (table.size, table.last(), table.bytes) == (0, 100_000, 10_000_000 + footprint(100))
    assert len(steps) < 20  # hundreds of the machine's instructions; a row takes some
    assert not any("count(" in statement.lower() for statement in told)
    connection.execute("SELECT count(data) FROM queue_log").fetchone()
    assert len(steps) > 1000  # so the steps are those of the reading
    connection.close()


@pytest.mark.guarantee(8)
def test_a_store_with_a_long_backlog_is_opened_without_reading_it(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    for _ in range(300):
        log.put(readings(*["a.x"] * 10), 0)
        log.flush()
    log.stop()
    got: list[int] = []
    get = LogTable.after

    def noting(table: LogTable, seq: int) -> Segment | None:
        got.append(seq)
        return get(table, seq)

    monkeypatch.setattr(LogTable, "after", noting)
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    assert queue.queued == 3000
    assert got == []
    abandon(log)


@pytest.mark.parametrize("length", [200, 300, 500, 900, 980, 1000, 3000, 20_000])
def test_a_row_takes_no_more_on_disk_than_is_reckoned(connection, log_table, length):
    """What bounds are kept by.  Of rows that share a page it is up to half more."""
    empty = connection.execute("PRAGMA page_count").fetchone()[0]
    for seq in range(2000):
        row = (10**9 + seq, bytes(length), 1.7e9 + 0.1234, 10**9 + seq * length)
        connection.execute("INSERT INTO queue_log VALUES (?, ?, ?, ?)", row)
    connection.commit()
    taken = (connection.execute("PRAGMA page_count").fetchone()[0] - empty) * 1024
    assert 0.99 < 2000 * footprint(length) / taken < (1.1 if length > 400 else 1.55)


# --- the states


def test_a_state_is_json_and_overwritten_in_place(connection, tmp_path):
    states = StateTable(connection, tmp_path)
    assert isinstance(states, persistqueue.PDict)
    states["destination:web"] = {"head": 1}
    told: list[str] = []
    connection.set_trace_callback(told.append)
    states["destination:web"] = {"head": 2, "behind": {"küche.\ud800": 1}}
    connection.set_trace_callback(None)
    assert [statement.split()[0] for statement in told] == ["BEGIN", "INSERT", "COMMIT"]  # no failed try before it
    ((key, data),) = rows(connection, "dict_state")
    assert (key, data) == ("destination:web", b'9412fc73{"head":2,"behind":{"k\\u00fcche.\\ud800":1}}')
    assert states["destination:web"] == {"head": 2, "behind": {"küche.\ud800": 1}}
    assert states.read() == {"destination:web": {"head": 2, "behind": {"küche.\ud800": 1}}}


def test_a_state_of_none_is_forgotten(connection, tmp_path):
    states = StateTable(connection, tmp_path)
    states.write({"destination:web": {"head": 1}, "memory:rain": [1, 2], "destination:old": {}})
    states.write({"destination:web": {"head": 2}, "destination:old": None, "destination:never": None})
    assert states.read() == {"destination:web": {"head": 2}, "memory:rain": [1, 2]}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"NaNa", None, 7, 1.5, "[", b"\x80\x04N."])
def test_a_state_that_cannot_be_read_is_none(connection, tmp_path, data):
    states = StateTable(connection, tmp_path)
    states.write({"destination:web": {"head": 1}})
    connection.execute("INSERT INTO dict_state VALUES ('destination:bad', ?)", (data,))
    connection.commit()
    read = states.read()
    assert read["destination:web"] == {"head": 1}
    assert not isinstance(read["destination:bad"], dict)


def test_a_text_that_somebody_damaged_is_read_as_it_is(connection, tmp_path):
    """Else one bad byte in a name would end the reading of all of them, with an error that is not of SQLite's."""
    states = StateTable(connection, tmp_path)
    states.write({"destination:web": {"head": 1}})
    connection.execute("UPDATE dict_state SET key = CAST(x'77ff62' AS TEXT)")
    connection.commit()
    assert states.read() == {"w\udcffb": {"head": 1}}


# --- all of them in one


def test_a_group_is_one_commit(connection, log_table, tmp_path, statements):
    states, letters = StateTable(connection, tmp_path), DeadLetterTable(connection)
    statements.clear()
    with connection.group():
        log_table.trim(0, 0)
        log_table.append(segment(1, 3))
        log_table.append(segment(4, 6))
        letters.append([DeadLetter(1, "web", "a.b", 0, "1.0", "no", "", 0)] * 3)
        states["destination:web"] = {}
        states["destination:other"] = {}
    assert [statement for statement in statements if statement.split()[0] in ("BEGIN", "COMMIT", "ROLLBACK")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


def test_a_group_that_fails_leaves_nothing(connection, log_table, tmp_path):
    states, letters = StateTable(connection, tmp_path), DeadLetterTable(connection)
    log_table.append(segment(1, 3))

    def fill_and_fail() -> None:
        with connection.group():
            log_table.trim(0, 3)
            log_table.append(segment(4, 6))
            letters.append([DeadLetter(1, "web", "a.b", 0, "1.0", "no", "", 0)])
            states["destination:web"] = {}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill_and_fail()
    assert not connection.in_transaction
    assert [row[0] for row in rows(connection, "queue_log")] == [3]
    assert rows(connection, "dead_letters") == rows(connection, "dict_state") == []
    log_table.append(segment(4, 6))  # and the next call commits by itself again
    assert not connection.in_transaction
    assert log_table.last() == 6


def test_a_group_whose_commit_fails_leaves_nothing(connection, log_table):
    connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    connection.execute("PRAGMA foreign_keys = ON")

    def fail_at_the_commit() -> None:
        with connection.group():
            log_table.append(segment(1, 3))
            connection.execute("INSERT INTO child VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        fail_at_the_commit()
    assert not connection.in_transaction
    assert log_table.last() == 0


def test_a_folder_without_room_for_a_database_is_an_error_and_leaves_no_connection(tmp_path):
    (tmp_path / tables.FILE).mkdir()
    with pytest.raises(sqlite3.Error):
        connect(tmp_path)


def test_nothing_on_disk_is_a_pickle(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.b", "c.d"), 0)
    queue.settle(queue.take(1)[0], reason="refused")
    log.flush()
    with log.disk.lock:
        blobs = [row[1] for table in ("queue_log", "dict_state") for row in rows(files_of(log).connection, table)]
    assert len(blobs) == 3
    for blob in blobs:
        assert blob[:4] == b"EDGS" or blob[8:9] in (b"{", b"[")
        with pytest.raises(ValueError, match=r"opcode|pickle|stack|exhausted|newline"):
            list(pickletools.genops(blob))
    abandon(log)
