"""What is on disk: persist-queue's tables on one connection of our own, where a whole flush is one commit.

persist-queue commits each call by itself and opens a connection for each table; both are turned off here by overriding
four private hooks (`_new_db_connection`, `_SQL_CREATE`, `_SQL_INSERT`, `_serializer`).  They are pinned in
pyproject.toml and guarded by tests/store/test_tables.py.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from persistqueue import Empty, PDict, SQLiteQueue

from edged.store.segment import Segment

FILE = "store.db"

# Exclusive before the first access: no -shm file, which on a full disk would end the process by SIGBUS.
# FULL: NORMAL loses all since the last checkpoint at a power cut.  1 KiB pages halve what a small commit writes.
_PRAGMAS = (
    "PRAGMA page_size = 1024",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1024",  # pages, so 1 MiB
    "PRAGMA journal_size_limit = 2097152",
    "PRAGMA secure_delete = OFF",
    "PRAGMA cache_size = -1024",
)


class GroupConnection(sqlite3.Connection):
    """A connection on which the commits of many calls can be held back and made one."""

    _held = False

    def commit(self) -> None:
        if not self._held:
            super().commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        return False if self._held else super().__exit__(kind, error, trace)

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """All or nothing: what is called inside is one transaction."""
        self.execute("BEGIN IMMEDIATE")
        self._held = True
        try:
            yield
        except BaseException:
            self._held = False
            self.rollback()
            raise
        self._held = False
        try:
            super().commit()
        except BaseException:
            self.rollback()
            raise


def connect(folder: Path) -> GroupConnection:
    """The store's one connection.  Raises sqlite3.Error.

    psow=0: a card may ruin the whole block that it was writing when the power went; so no later write may touch a
    block that holds what is committed.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(folder / FILE))}?psow=0",
        uri=True,
        factory=GroupConnection,
        check_same_thread=False,  # used under the store's lock only
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


class _OnConnection:
    """Puts a table of persist-queue on the store's connection."""

    connection: GroupConnection

    def _new_db_connection(self, path: str, multithreading: bool, timeout: float) -> GroupConnection:
        return self.connection


class LogTable(_OnConnection, SQLiteQueue):
    """The log: a row a segment, under the sequence number of its last reading."""

    # No AUTOINCREMENT: the keys are ours, and it would write a second table with each insert.
    _SQL_CREATE = (
        "CREATE TABLE IF NOT EXISTS {table_name} ({key_column} INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT)"
    )
    _SQL_INSERT = "INSERT INTO {table_name} ({key_column}, data, timestamp) VALUES (?, ?, ?)"

    def __init__(self, connection: GroupConnection, folder: Path) -> None:
        self.connection = connection
        super().__init__(str(folder), name="log", auto_commit=False, serializer=Segment)

    def append(self, segment: Segment) -> None:
        """Adds a segment behind all others."""
        self._insert_into(segment.last, segment.dumps(segment), time.time())

    def after(self, seq: int) -> Segment | None:
        """The first segment that holds a reading behind `seq`.  Raises DamagedSegment."""
        self.cursor = seq
        try:
            segment: Segment = self.get(block=False)
        except Empty:
            return None
        return segment

    def trim(self, seq: int) -> None:
        """Deletes the segments whose readings are all at or before `seq`."""
        self._delete(seq, op="<=")

    def last(self) -> int:
        """The sequence number of the last reading on disk; 0 where there is none."""
        row = self.connection.execute(f"SELECT max({self._key_column}) FROM {self._table_name}").fetchone()
        return row[0] or 0


class StateTable(_OnConnection, PDict):  # type: ignore[misc]  # both a dict and a table
    """Small facts by name, committed with the readings: where each destination is.  JSON, never pickle."""

    _SQL_INSERT = (
        "INSERT INTO {table_name} (key, data) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET data = excluded.data"
    )

    def __init__(self, connection: GroupConnection, folder: Path) -> None:
        self.connection = connection
        super().__init__(str(folder), name="state")
        self._serializer: Any = _Json

    def names(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`."""
        rows = self.connection.execute(f"SELECT key FROM {self._table_name} ORDER BY key").fetchall()
        return [name for (name,) in rows if name.startswith(prefix)]


class _Json:
    @staticmethod
    def dumps(value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

    @staticmethod
    def loads(text: bytes) -> Any:
        return json.loads(text)


class DeadLetter(NamedTuple):
    """A reading that a platform refused for good."""

    destination: str
    series: str
    time_ms: int
    value: str  # as JSON, so that true, 1 and "1" stay apart
    reason: str
    response: str
    refused_at_ms: int


class DeadLetterTable:
    """The readings that a platform refused for good, each with what it said; a plain table for plain questions."""

    def __init__(self, connection: GroupConnection) -> None:
        self.connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS dead_letters (id INTEGER PRIMARY KEY, destination TEXT NOT NULL,"
            " series TEXT NOT NULL, time_ms INTEGER NOT NULL, value TEXT NOT NULL,"
            " reason TEXT NOT NULL, response TEXT NOT NULL, refused_at_ms INTEGER NOT NULL)"
        )

    def append(self, letters: list[DeadLetter]) -> None:
        """Keeps the letters, in their order."""
        self.connection.executemany(
            "INSERT INTO dead_letters (destination, series, time_ms, value, reason, response, refused_at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            letters,
        )

    def of(self, destination: str) -> list[DeadLetter]:
        """All letters of a destination, the oldest first."""
        rows = self.connection.execute(
            "SELECT destination, series, time_ms, value, reason, response, refused_at_ms"
            " FROM dead_letters WHERE destination = ? ORDER BY id",
            (destination,),
        ).fetchall()
        return [DeadLetter(*row) for row in rows]
