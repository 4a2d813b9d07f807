"""A database that somebody deletes or replaces while it is in use: all of it can still be read, and is written anew."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from edged.store.aside import SIDES, set_aside
from edged.store.place import give_to_owner
from edged.store.salvage import DRAFT
from edged.store.tables import FILE


def copy(connection: sqlite3.Connection, folder: Path) -> None:
    """Drafts a new database with all that the connection reads; the next opening puts it in place.

    Raises sqlite3.Error, OSError.
    """
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o750, parents=True)
    part = draft / "part.db"  # it gets its name when it is whole
    part.touch(mode=0o640)
    give_to_owner(part)
    with closing(sqlite3.connect(part)) as target:
        connection.backup(target)
    part.rename(draft / FILE)


def make_way(folder: Path) -> None:
    """Sets aside what was put in the old one's place, and what is left of that.  Raises OSError."""
    if (folder / FILE).exists():
        set_aside(folder, f"found-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for side in SIDES[1:]:
        (folder / (FILE + side)).unlink(missing_ok=True)
