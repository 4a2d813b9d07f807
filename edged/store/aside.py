"""What is set aside: files that are damaged, or of a newer version, are kept to be looked at."""

import time
from pathlib import Path

from edged.store.tables import FILE

SIDES = ("", "-wal", "-shm", "-journal")
_DAMAGED = "damaged-"


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


def set_damaged_aside(folder: Path) -> Path:
    """The same for a damaged one, under a name that tells when it was.  Raises OSError."""
    return set_aside(folder, f"{_DAMAGED}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


def forget_damaged(folder: Path, keep: int) -> bool:
    """Keeps the newest of the damaged ones only; whether there were others."""
    old = sorted(folder.glob(f"{_DAMAGED}*.db"))
    old = old[: len(old) - keep]
    for path in old:
        for side in SIDES:
            path.with_name(path.name + side).unlink(missing_ok=True)
    return bool(old)
