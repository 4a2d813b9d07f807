"""A store's files in the raw: copied, damaged, and read by SQLite as a second opinion."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, settings

from edged.store.pages import Row
from edged.store.tables import FILE

PAGE = 1024
WAL = FILE + "-wal"
FRAME = 24 + PAGE  # of the write-ahead log, behind a header of 32 bytes
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def copied(source: Path, target: Path) -> Path:
    """A copy of a store's files; its database file."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in (FILE, WAL):
        if (source / name).exists():
            shutil.copy(source / name, target / name)
    return target / FILE


def selected(path: Path) -> Counter[Row]:
    """What SQLite reads from a copy of the same files, after its own recovery from the log."""
    found: Counter[Row] = Counter()
    connection = sqlite3.connect(copied(path.parent, path.parent / "for-sqlite"))
    connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in [("sqlite_master",), *tables]:
        keys = [
            kind == "INTEGER" and key for _, _, kind, _, _, key in connection.execute(f"PRAGMA table_info({table})")
        ]
        for rowid, *values in connection.execute(f"SELECT rowid, * FROM {table}"):
            found[Row(rowid, tuple(None if key else value for key, value in zip(keys, values, strict=True)))] += 1
    connection.close()
    return found


def typed(found: Iterable[Row]) -> Counter[str]:
    """The rows, so that 1 and 1.0 are two."""
    return Counter(repr(row) for row in found)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
