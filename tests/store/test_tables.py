"""The contract with persist-queue: its private hooks do what the store builds on.

If one of these fails after an upgrade of persist-queue, edged/store/tables.py has to follow it first.
"""

# mypy: disable-error-code="union-attr,attr-defined,unreachable"

import importlib.metadata
import pickletools
import sqlite3
from pathlib import Path
from typing import Any

import persistqueue
import pytest

from edged.reading import Entry
from edged.store import tables
from edged.store.letters import DeadLetter, DeadLetterTable
from edged.store.segment import DamagedSegment, Segment
from edged.store.tables import LogTable, StateTable, connect
from tests.store import ALL, BOOT, abandon, files, open_log, readings, settle_all


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
    used: list[Any] = [
        c for table in (log.disk._files.log, log.disk._files.states) for c in (table._getter, table._putter)
    ]
    for connection in used:
        assert connection is log.disk._files.connection
        assert {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in expected} == expected
    log.stop()


@pytest.mark.xfail(reason="looks into the store as it was; to be rewritten")
def test_there_is_no_file_that_would_be_mapped_into_memory(tmp_path):
    log = open_log(tmp_path)
    log.put(readings("a.b"), 0)
    log.flush()
    assert set(files(tmp_path)) == {"lock", "store.db", "store.db-wal"}
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


@pytest.mark.xfail(reason="looks into the store as it was; to be rewritten")
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
    assert asked == [LogTable, StateTable]


# --- the log


@pytest.mark.xfail(reason="looks into the store as it was; to be rewritten")
def test_the_log_is_persist_queues_table_without_autoincrement(connection, log_table):
    assert isinstance(log_table, persistqueue.SQLiteQueue)
    columns = [(name, kind, key) for _, name, kind, _, _, key in connection.execute("PRAGMA table_info(queue_log)")]
    assert columns == [("_id", "INTEGER", 1), ("data", "BLOB", 0), ("timestamp", "FLOAT", 0)]
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone() == (0,)


@pytest.mark.xfail(reason="looks into the store as it was; to be rewritten")
def test_a_segment_is_under_the_number_of_its_last_reading(connection, log_table):
    log_table.append(segment(5, 9))
    ((key, data, timestamp),) = rows(connection, "queue_log")
    assert (key, type(data), type(timestamp)) == (9, bytes, float)
    assert log_table.last() == 9


def test_alone_an_append_is_one_commit(log_table, statements):
    log_table.append(segment(1, 3))
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "INSERT", "COMMIT"]


def test_the_first_segment_behind_a_number_is_got_and_nothing_written(connection, log_table):
    for first, last in ((1, 3), (4, 6), (10, 12)):  # 7 to 9: delivered before they were written
        log_table.append(segment(first, last))
    before = connection.total_changes
    told: list[str] = []
    connection.set_trace_callback(told.append)
    assert [log_table.after(seq).last for seq in (0, 2, 3, 5, 6, 9, 11)] == [3, 3, 6, 6, 12, 12, 12]
    assert log_table.after(12) is None
    assert log_table.after(0).entries == segment(1, 3).entries
    assert connection.total_changes == before
    assert not connection.in_transaction
    assert {statement.split()[0] for statement in told} == {"SELECT"}


def test_a_damaged_segment_leaves_the_cursor_at_it(connection, log_table):
    log_table.append(segment(1, 3))
    connection.execute("UPDATE queue_log SET data = zeroblob(200)")
    with pytest.raises(DamagedSegment):
        log_table.after(0)
    assert log_table.cursor == 3


@pytest.mark.parametrize("data", [None, "text", 7, 1.5])
@pytest.mark.xfail(reason="looks into the store as it was; to be rewritten")
def test_a_row_of_another_type_is_a_damaged_segment(connection, log_table, data):
    connection.execute("INSERT INTO queue_log VALUES (3, ?, 0)", (data,))
    connection.commit()
    with pytest.raises(DamagedSegment):
        log_table.after(0)


@pytest.mark.xfail(reason="looks into the store as it was; to be rewritten")
def test_a_trim_deletes_whole_segments_only(connection, log_table):
    for first, last in ((1, 3), (4, 6), (7, 9)):
        log_table.append(segment(first, last))
    log_table.trim(5)
    assert [row[0] for row in rows(connection, "queue_log")] == [6, 9]
    log_table.trim(9)
    assert rows(connection, "queue_log") == []
    assert log_table.last() == 0


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
    assert (key, data) == ("destination:web", b'{"head":2,"behind":{"k\\u00fcche.\\ud800":1}}')
    assert states["destination:web"] == {"head": 2, "behind": {"küche.\ud800": 1}}


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
        blobs = [row[1] for table in ("queue_log", "dict_state") for row in rows(log.disk._files.connection, table)]
    assert len(blobs) == 2
    for blob in blobs:
        assert blob[:1] in (b"E", b"{")
        with pytest.raises(ValueError, match=r"opcode|pickle|stack|exhausted"):
            list(pickletools.genops(blob))
    abandon(log)
