"""The store's files: opened, marked with their version, written in one commit at a time, mended where damaged."""

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edged.errors import EdgedError, StoreHeld
from edged.store.letters import DeadLetter, DeadLetterTable
from edged.store.migration import migrate
from edged.store.place import free_bytes, give_to_owner
from edged.store.segment import Segment
from edged.store.tables import DESTINATION, FILE, LogTable, StateTable, connect

log = logging.getLogger(__name__)

VERSION = 1
APPLICATION = 0x45444753  # "EDGS", as file(1) may show it
LOCK = "lock"
RESERVE = "reserve"
RESERVE_BYTES = 3 * 1024 * 1024  # twice what the write-ahead log takes, and 1 MiB
SIDES = ("", "-wal", "-shm", "-journal")
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

    def keep_reserve(self) -> bool:
        """Keeps room for the days when the disk is full; False where there is none to keep."""
        reserve = self.folder / RESERVE
        try:
            if reserve.exists() and reserve.stat().st_size >= RESERVE_BYTES:
                return True
            if free_bytes(self.folder) < 2 * RESERVE_BYTES:
                return False
            with open(reserve, "wb", opener=lambda path, flags: os.open(path, flags, 0o640)) as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            give_to_owner(reserve)
        except OSError:
            return False
        return True

    def room(self) -> int:
        """Bytes that the log may take on a disk that has no room for a reserve; less so much is left for a commit."""
        return (self.folder / FILE).stat().st_size + free_bytes(self.folder) - RESERVE_BYTES

    def give_up_reserve(self) -> bool:
        """Frees the reserve; False where there is none."""
        try:
            (self.folder / RESERVE).unlink()
        except OSError:
            return False
        return True


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room."""
    return _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def is_damage(error: BaseException, *, opening: bool = False) -> bool:
    """Whether the database is not what was written, as opposed to: cannot be written or read just now."""
    damaged = [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT]
    if opening:
        damaged.append(sqlite3.SQLITE_ERROR)  # other tables than ours
    return isinstance(error, DamagedStore) or _code(error) in damaged


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


def set_aside(folder: Path, name: str) -> Path:
    """Moves the database out of the way, with what belongs to it.  Raises OSError."""
    aside = folder / f"{name}.db"
    number = 1
    while aside.exists():
        number += 1
        aside = folder / f"{name}-{number}.db"
    for side in reversed(SIDES):
        if (path := folder / (FILE + side)).exists():
            path.rename(folder / (aside.name + side))
    return aside


class Lock:
    """The hold on a state directory.  What it says tells the next start how the last one ended."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreHeld, OSError."""
        self.existed = (folder / LOCK).exists()
        self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.closing(os.fdopen(self._file)) as file:
                owner = file.readline().strip() or "unknown"
            raise StoreHeld(f"{folder}: another edged (process {owner}) holds this store; stop it first") from None
        give_to_owner(folder / LOCK)
        self.torn = b"written" in os.pread(self._file, 100, 0)  # the last one wrote, and came to no clean end
        self._say(f"{os.getpid()}\n")

    def is_in(self, folder: Path) -> bool:
        """Whether it holds the folder that is there now."""
        try:
            return os.path.samestat(os.fstat(self._file), (folder / LOCK).stat())
        except OSError:
            return False

    def written(self) -> None:
        """Notes that something was committed: from now on the write-ahead log is part of the store."""
        self._say(f"{os.getpid()}\nwritten\n")

    def clean(self) -> None:
        """Notes a clean end."""
        self._say("")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)

    def release(self) -> None:
        """Lets the next one in."""
        os.close(self._file)
