"""The store's files: opened, marked with their version, written in one commit at a time, mended where damaged."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edged.errors import EdgedError
from edged.store.letters import DeadLetter, DeadLetterTable
from edged.store.migration import migrate
from edged.store.place import give_to_owner
from edged.store.segment import Segment
from edged.store.tables import DESTINATION, FILE, LogTable, StateTable, connect

VERSION = 1
APPLICATION = 0x45444753  # "EDGS", as file(1) may show it
_TABLES = {"queue_log", "dict_state", "dead_letters"}

# A file that has so much to give back is made anew, where that is little work: the second, on a disk that is full.
_SHRINK_FREE = (4 * 1024 * 1024, 1024 * 1024)
_SHRINK_USED = 16 * 1024 * 1024


class DamagedStore(EdgedError):
    """The database is not what was written."""


class NewerStore(EdgedError):
    """The database is of a later version of edged."""


@dataclass
class Changes:
    """What one commit writes."""

    gaps: list[tuple[int, int]] = field(default_factory=list)  # ranges (after, up to) that nobody needs any more
    segments: list[Segment] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)  # by name; None: forgotten
    letters: list[DeadLetter] = field(default_factory=list)
    settled_letters: list[int] = field(default_factory=list)
    surplus_letters: dict[str, int] = field(default_factory=dict)  # destination -> how many of the oldest go
    retried: list[str] = field(default_factory=list)  # destinations whose letters go back into their queues
    handed_over: list[tuple[str, str]] = field(default_factory=list)  # (old, new) destination of letters


class Files:
    """The store's database, open for writing; all of it is for one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises DamagedStore, NewerStore, sqlite3.Error, OSError."""
        self.folder = folder
        new = not (folder / FILE).exists()
        if new:
            (folder / FILE).touch(mode=0o640)
            give_to_owner(folder / FILE)
        self.connection = connect(folder)
        self._opened = (folder / FILE).stat()
        try:
            tables = {row[0] for row in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = self._version(tables)
            with self.connection.group():
                self.states = StateTable(self.connection, folder)
                if version < VERSION and "queue_log" in tables:
                    migrate(self.connection, self.states)
                self.log = LogTable(self.connection, folder)
                self.letters = DeadLetterTable(self.connection)
                if version < VERSION:
                    self.connection.execute(f"PRAGMA application_id = {APPLICATION}")
                    self.connection.execute(f"PRAGMA user_version = {VERSION}")
            for ask in (self.log.last, self.letters.last, self.states.read):  # as each start does: damage shows here
                ask()
        except BaseException:
            self.connection.close()
            raise

    def _version(self, tables: set[str]) -> int:
        """The version mark; 0 for a new database and for those made before there was a mark."""
        application = self.connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if application == APPLICATION and version > VERSION:
            raise NewerStore(str(version))
        if tables and not tables & _TABLES:
            raise DamagedStore("its tables are not those of a store")
        if application not in (0, APPLICATION) or (version < 1 and application) or (version and not application):
            raise DamagedStore(f"its version mark is {application:#x}, {version}")
        return version

    def in_place(self) -> bool:
        """Whether the database that is open is the one that is there."""
        try:
            return os.path.samestat(self._opened, (self.folder / FILE).stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # nobody knows
            return True

    def close(self) -> None:
        """Lets go of the files."""
        self.connection.close()

    def commit(self, changes: Changes, damaged: Iterable[int] = ()) -> None:
        """All of it or nothing; `damaged` segments are set aside.  Raises sqlite3.Error."""
        before = self.log.bytes
        try:
            with self.connection.group():
                for key in damaged:
                    self.log.set_aside(key)
                for after, upto in changes.gaps:  # first, so that their pages take the new segments
                    self.log.trim(after, upto)
                for segment in changes.segments:
                    self.log.append(segment)
                self.letters.append(changes.letters)
                self.letters.delete(changes.settled_letters)
                for destination, number in changes.surplus_letters.items():
                    self.letters.delete_oldest(destination, number)
                for destination in changes.retried:
                    self.letters.try_again(destination)
                for old, new in changes.handed_over:
                    self.letters.hand_over(old, new)
                for name, state in changes.states.items():
                    if state is None:
                        self.letters.forget(name.removeprefix(DESTINATION))
                self.states.write(changes.states)
        except BaseException:
            self.log.bytes = before
            raise

    def start_afresh(self) -> None:
        """Begins the write-ahead log anew.  Raises sqlite3.Error.

        After a disk error the kernel takes pages of it for written that never reached the disk.  What was appended
        behind them would be lost with the next power cut.
        """
        try:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise

    def touch(self) -> None:
        """Writes and syncs, only to see whether that works.  Raises sqlite3.Error."""
        with self.connection.group():
            self.connection.execute(f"PRAGMA user_version = {VERSION}")

    def shrink(self, *, full: bool) -> None:
        """Gives disk space back after a long outage has drained; `full`: the disk lacks it.  Raises sqlite3.Error."""
        page, pages, free = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        used = (pages - free) * page
        if free * page >= max(_SHRINK_FREE[full], 4 * used) and used <= _SHRINK_USED:
            self.connection.execute("PRAGMA temp_store = MEMORY")
            self.log.shrink_disk_usage()
            self.connection.execute("PRAGMA wal_checkpoint")


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room."""
    return _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def is_damage(error: BaseException, *, opening: bool = False) -> bool:
    """Whether the database is not what was written, as opposed to: cannot be written or read just now."""
    damaged = [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT]
    if opening:
        damaged.append(sqlite3.SQLITE_ERROR)  # other tables than ours
    # A sector that cannot be read: SQLite mostly calls that SQLITE_CORRUPT, but for the file's first page.
    sector = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_CORRUPTFS
    return isinstance(error, DamagedStore) or sector or _code(error) in damaged


def _code(error: BaseException) -> int:
    """SQLite's primary result code; -1 for other errors."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def size(folder: Path) -> int:
    """Bytes on disk of all that is in the folder."""
    total = 0
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                total += path.lstat().st_blocks * 512
    return total
