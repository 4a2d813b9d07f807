"""The store's tests; what they share."""

import sqlite3
from pathlib import Path

from edged.reading import Entry, Reading
from edged.series import Choice
from edged.store.files import Files
from edged.store.log import Log
from edged.store.queue import Queue

BOOT = "6d0a7a8e-4f0c-4d8e-9a51-3b9f9b3c7d11"
NOW_MS = 1_700_000_000_000
ALL = Choice((("*", True),))


def only(*series: str) -> Choice:
    """Takes these series."""
    return Choice(tuple((name, True) for name in series))


opened: list[Log] = []  # by the test that runs; see the fixture `let_go`


def open_log(folder: Path, flush_interval: float = 3600.0) -> Log:
    """A store that flushes only when it is told to."""
    log = Log(folder, flush_interval, BOOT, lambda: NOW_MS, lambda: 0)
    opened.append(log)
    return log


def files_of(log: Log) -> Files:
    """The store's open database."""
    assert log.disk._files is not None
    return log.disk._files


def cannot_write(*_: object) -> None:
    """In the place of a commit: the disk takes nothing, for now."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise error


def abandon(log: Log) -> None:
    """As if the process had died: nothing more is committed, and the files are let go of."""
    log.disk.close(clean=True)


def readings(*series: str, value: float = 1.0) -> list[Reading]:
    """A reading of each series."""
    return [Reading(name, NOW_MS, value) for name in series]


def settle_all(queue: Queue) -> list[Entry]:
    """Delivers all that the queue has; returns it in order."""
    settled = []
    while batch := queue.take(1000):
        for entry in batch:
            queue.settle(entry)
        settled += batch
    return settled


def files(folder: Path) -> dict[str, bytes]:
    """What is on disk, byte by byte."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
