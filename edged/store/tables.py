"""What is on disk: persist-queue's tables on one connection of our own, where a whole flush is one commit.

persist-queue commits each call by itself and opens a connection for each table; both are turned off here by overriding
a few private hooks (`_new_db_connection`, `_SQL_CREATE`, `_SQL_INSERT`, `_serializer`, `_count`).  They are pinned in
pyproject.toml and guarded by tests/store/test_tables.py.
"""

import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

from persistqueue import Empty, PDict, SQLiteQueue

from edged.store.segment import DamagedSegment, Segment

FILE = "store.db"
DESTINATION = "destination:"  # the names of queues' states begin so
MEMORY = "memory:"  # and those of what drivers and platforms remember
_DAMAGED_KEPT = 20  # segments

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
        connection.text_factory = _text
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(stored: bytes) -> str:
    """A text of the database, also one that somebody has damaged: so that it can be told, and not end the reading."""
    return stored.decode(errors="surrogateescape")


class _OnConnection:
    """Puts a table of persist-queue on the store's connection."""

    connection: GroupConnection

    def _new_db_connection(self, path: str, multithreading: bool, timeout: float) -> GroupConnection:
        return self.connection

    def _count(self) -> int:
        return 0  # would read the whole table at each start, for a number that is not used here


class LogTable(_OnConnection, SQLiteQueue):
    """The log: a row a segment, under the sequence number of its last reading.

    `bytes_before` is what the segments before it took on disk when they were written, so that what a range of the log
    takes is a difference of two numbers.
    """

    # No AUTOINCREMENT: the keys are ours, and it would write a second table with each insert.
    _SQL_CREATE = (
        "CREATE TABLE IF NOT EXISTS {table_name}"
        " ({key_column} INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT, bytes_before INTEGER)"
    )
    # Or replace: a commit that failed may have arrived on the disk all the same.
    _SQL_INSERT = (
        "INSERT OR REPLACE INTO {table_name} ({key_column}, data, timestamp, bytes_before) VALUES (?, ?, ?, ?)"
    )

    def __init__(self, connection: GroupConnection, folder: Path) -> None:
        self.connection = connection
        super().__init__(str(folder), name="log", auto_commit=False, serializer=Segment)
        connection.text_factory = _text  # persist-queue has set its own
        self.bytes = self._bytes()  # up to the end of the log

    def _bytes(self) -> int:
        """What the log takes: told by its last row; by all of them where that is of an older version."""
        row = self._one(f"SELECT bytes_before, length(data) FROM {self._table_name} ORDER BY {self._key_column} DESC")
        if row is None:
            return 0
        if row[0] is None:
            return int(self._one(f"SELECT sum(length(data)) FROM {self._table_name}")[0])
        return int(row[0]) + footprint(row[1] or 0)

    def _one(self, question: str, *values: int) -> Any:
        return self.connection.execute(f"{question} LIMIT 1", values).fetchone()

    def append(self, segment: Segment, bytes_before: int | None = None) -> None:
        """Adds a segment: behind all others, or a saved one, of which it is known what was before it."""
        data = segment.dumps(segment)
        before = self.bytes if bytes_before is None else bytes_before
        self._insert_into(segment.last, data, time.time(), before)
        self.bytes = max(self.bytes, before + footprint(len(data)))

    def after(self, seq: int) -> Segment | None:
        """The first segment that holds a reading behind `seq`.  Raises DamagedSegment; its key is `cursor` then."""
        self.cursor = seq
        try:
            segment: Segment = self.get(block=False)
        except Empty:
            return None
        if segment.last != self.cursor:
            raise DamagedSegment(f"readings {segment.first} to {segment.last} under the key {self.cursor}")
        return segment

    def key_after(self, seq: int) -> int | None:
        """The key of the first segment that holds a reading behind `seq`."""
        row = self._one(
            f"SELECT {self._key_column} FROM {self._table_name}"
            f" WHERE {self._key_column} > ? ORDER BY {self._key_column}",
            seq,
        )
        return row and int(row[0])

    def bytes_of(self, after: int, upto: int) -> int:
        """What the segments take on disk whose keys are behind `after` and not behind `upto`."""
        key, table = self._key_column, self._table_name
        within = f"FROM {table} WHERE {key} > ? AND {key} <= ? ORDER BY {key}"
        first = self._one(f"SELECT bytes_before {within}", after, upto)
        if first is None:
            return 0
        if first[0] is None:  # of an older version
            return int(self._one(f"SELECT sum(length(data)) {within}", after, upto)[0])
        before, length = self._one(f"SELECT bytes_before, length(data) {within} DESC", after, upto)
        return int(before or 0) + footprint(length or 0) - int(first[0] or 0)

    def trim(self, after: int, upto: int) -> None:
        """Deletes the segments whose readings are all behind `after` and not behind `upto`."""
        if not after:
            self._delete(upto, op="<=")
            return
        # The segment that holds the reading `after` has the first key from there on.
        key, table = self._key_column, self._table_name
        first = f"coalesce((SELECT min({key}) FROM {table} WHERE {key} >= ?2), ?2)"
        self.connection.execute(f"DELETE FROM {table} WHERE {key} <= ?1 AND {key} > {first}", (upto, after))

    def set_aside(self, key: int) -> None:
        """Takes a damaged segment out of the log, and keeps the newest of these to be looked at."""
        self.connection.execute("CREATE TABLE IF NOT EXISTS damaged (id INTEGER PRIMARY KEY, data BLOB)")
        columns = f"SELECT {self._key_column}, data FROM {self._table_name} WHERE {self._key_column} = ?"
        self.connection.execute(f"INSERT OR REPLACE INTO damaged {columns}", (key,))
        self._delete(key)
        newest = f"SELECT id FROM damaged ORDER BY id DESC LIMIT {_DAMAGED_KEPT}"
        self.connection.execute(f"DELETE FROM damaged WHERE id NOT IN ({newest})")

    def last(self) -> int:
        """The sequence number of the last reading on disk; 0 where there is none."""
        row = self._one(f"SELECT max({self._key_column}) FROM {self._table_name}")
        return row[0] or 0


def footprint(length: int) -> int:
    """The bytes that a segment of so many takes in the database, whose pages are 1 KiB.

    From SQLite's file format, section 1.6 (cells, overflow): a row that fits shares its page with as many more as fit;
    a longer one keeps a part of itself in the page and has whole pages for the rest.
    """
    payload = length + 32  # with the record's header and the other columns
    usable = 1024
    local, overflow = payload, 0
    if payload > usable - 35:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (payload - least) % (usable - 4)
        local = local if local <= usable - 35 else least
        overflow = -(-(payload - local) // (usable - 4))
    cell = local + 12  # with its size, key, and place in the page
    share = -(-usable // max(1, (usable - 8) // cell))
    return (overflow * usable + share) * 51 // 50  # the pages of keys above them: a fiftieth


class StateTable(_OnConnection, PDict):  # type: ignore[misc]  # both a dict and a table
    """Small facts by name, committed with the readings: where each destination is.  JSON, never pickle."""

    _SQL_INSERT = (
        "INSERT INTO {table_name} (key, data) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET data = excluded.data"
    )

    def __init__(self, connection: GroupConnection, folder: Path) -> None:
        self.connection = connection
        super().__init__(str(folder), name="state")
        connection.text_factory = _text  # as above
        self._serializer: Any = _Json

    def read(self) -> dict[str, Any]:
        """All of it; None for what cannot be read."""
        rows = self.connection.execute(f"SELECT key, data FROM {self._table_name} ORDER BY key").fetchall()
        return {str(name): state_of(data) for name, data in rows}

    def write(self, states: dict[str, Any]) -> None:
        """Changes some of it; None forgets a name."""
        for name, state in states.items():
            if state is None:
                self._delete(name)
            else:
                self[name] = state


def state_of(data: Any) -> Any:
    """A state from its bytes, which begin with the checksum of the others; None where it is none."""
    try:
        return json.loads(data[8:]) if int(data[:8], 16) == zlib.crc32(data[8:]) else None
    except (ValueError, TypeError):
        return None


class _Json:
    @staticmethod
    def dumps(value: Any) -> bytes:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        return b"%08x" % zlib.crc32(text) + text

    @staticmethod
    def loads(data: bytes) -> Any:
        return state_of(data)
