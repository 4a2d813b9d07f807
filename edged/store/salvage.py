"""Opens the store whatever is done to its files: what is newer or damaged is set aside, and what is whole is saved."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edged.store.aside import SIDES, forget_damaged, set_aside, set_damaged_aside
from edged.store.files import DamagedStore, Files, NewerStore, is_damage, is_full
from edged.store.frozen import letter_in, segment_of, state_in
from edged.store.lock import Lock
from edged.store.pages import Row, page_size, rows
from edged.store.place import free_bytes, give_to_owner
from edged.store.position import Position
from edged.store.room import RESERVE_BYTES, give_up_reserve
from edged.store.segment import Segment
from edged.store.tables import DESTINATION, FILE
from edged.store.wal import read_wal

log = logging.getLogger(__name__)

DRAFT = "salvaged"  # folder of the new database, until it takes the place of the damaged one
_ASIDE_KEPT = 2
_BATCH_BYTES = 256 * 1024  # of segments in one commit


class Opened(NamedTuple):
    """An open store."""

    files: Files
    damaged: bool  # what it lacks has to be counted


def open_files(folder: Path, lock: Lock) -> Opened:
    """Opens the store, or makes it.  Raises sqlite3.Error or OSError where it cannot be written at all."""
    path = folder / FILE
    _finish(folder)
    gone = lock.used and not path.exists()
    emptied = lock.used and path.exists() and path.stat().st_size == 0
    wal = path.with_name(path.name + "-wal")
    left = read_wal(wal, page_size(path))  # by the last one, who came to no clean end
    if gone or emptied:
        what = "is gone" if gone else "was empty"
        if left.page_size:  # SQLite would delete it; and it may hold all there was
            path.touch(mode=0o640)
            return Opened(salvage(folder, DamagedStore(f"{path} {what}")), damaged=True)
        log.error("%s %s; a new one was begun: what was queued there is lost, nobody knows how much", path, what)
    elif left.damaged:  # SQLite would pass over what was committed last
        return Opened(salvage(folder, DamagedStore("a part of its write-ahead log")), damaged=True)
    elif lock.torn and not left.page_size:
        log.error("%s is gone or no log of SQLite's: what was stored last before the end may be lost", wal)
    try:
        try:
            return Opened(Files(folder), gone or emptied)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            give_up_reserve(folder)
            return Opened(Files(folder), gone or emptied)
    except NewerStore as newer:
        aside = set_aside(folder, f"store-version-{newer}")
        log.error(
            "%s is of a newer edged (version %s of the store): it is kept as %s, and a new one was begun;"
            " with the newer edged, move it back",
            path,
            newer,
            aside,
        )
        return Opened(Files(folder), damaged=False)
    except (DamagedStore, sqlite3.Error) as error:
        if not is_damage(error, opening=True):
            raise
        return Opened(salvage(folder, error), damaged=True)


def salvage(folder: Path, error: Exception) -> Files:
    """Makes a new database of what is whole, and sets the damaged one aside.  Raises sqlite3.Error, OSError.

    Until the new one is complete the damaged one stays where it is: whatever ends this, it is begun anew.
    """
    forget_damaged(folder, keep=_ASIDE_KEPT - 1)
    if free_bytes(folder) < RESERVE_BYTES:
        give_up_reserve(folder)
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o750)
    give_to_owner(draft)
    files = Files(draft)
    try:
        letters, lowest, counted = _save_small(folder / FILE, files)
        readings, room = _save_segments(folder, files, lowest)
    finally:
        files.close()
    aside = set_damaged_aside(folder)
    _finish(folder)
    log.error(
        "the store was damaged (%s): %d readings and %d dead letters were saved into a new one%s%s;"
        " the old file is kept as %s, to be looked at or deleted",
        error,
        readings,
        letters,
        "" if room else ", for more the disk has no room",
        "" if counted else ", how many were lost is not known",
        aside,
    )
    return Files(folder)


def _finish(folder: Path) -> None:
    """Puts a draft in the place of the database that was set aside; where there is one still, it was not complete."""
    draft = folder / DRAFT
    if (draft / FILE).exists() and not (folder / FILE).exists():
        for side in reversed(SIDES):
            if (path := draft / (FILE + side)).exists():
                path.rename(folder / path.name)
    shutil.rmtree(draft, ignore_errors=True)


def _save_segments(folder: Path, files: Files, lowest: int) -> tuple[int, bool]:
    """Saves the segments that may be needed; returns the number of readings, and whether there was room for all."""
    readings = 0
    for batch in _batches(folder / FILE, lowest):
        while not _saved(batch, files):
            if not _make_room(folder):
                return readings, False
        readings += sum(segment.last - segment.first + 1 for segment, _ in batch)
    return readings, True


def _saved(batch: list[tuple[Segment, int]], files: Files) -> bool:
    """Saves the segments, unless the disk is full."""
    try:
        with files.connection.group():
            for segment, bytes_before in batch:
                files.log.append(segment, bytes_before)
    except sqlite3.Error as error:
        if is_full(error):
            return False
        raise
    return True


def _make_room(folder: Path) -> bool:
    """Gives up what can be done without; False where there is nothing."""
    return forget_damaged(folder, keep=0) or give_up_reserve(folder)


def _save_small(damaged: Path, files: Files) -> tuple[int, int, bool]:
    """Saves states and dead letters; returns the number of these, and up to where nobody needs the log.

    And whether any destination's counts are there, by which what is lost will be known.
    """
    states: dict[str, Any] = {}
    letters = 0
    with files.connection.group():
        for row in _rows(damaged):
            if (found := state_in(row)) is not None:
                states[found[0]] = _later(states.get(found[0]), found[1])
            elif (letter := letter_in(row)) is not None:
                files.letters.append([letter[0]], retry=letter[1])
                letters += 1
        files.states.write(states)
    queues = [state for name, state in states.items() if name.startswith(DESTINATION)]
    try:
        return letters, min(Position.from_json(queue).lowest for queue in queues), True
    except (ValueError, KeyError, TypeError):  # none was saved, or not whole: all is kept
        return letters, 0, bool(queues)


def _batches(damaged: Path, lowest: int) -> Iterator[list[tuple[Segment, int]]]:
    """The segments that may be needed, with what there was before each of them."""
    batch: list[tuple[Segment, int]] = []
    size = 0
    for row in _rows(damaged):
        if (segment := segment_of(row)) is not None and segment.last > lowest:
            before = row.values[3] if len(row.values) > 3 else None
            batch.append((segment, before if isinstance(before, int) else 0))
            size += segment.size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file, as far as the disk gives them."""
    try:
        yield from rows(path)
    except OSError as error:
        log.error("%s cannot be read whole: %s", path, error)


def _later(one: Any, other: Any) -> Any:
    """Of two states of one name the later: a page that was freed may hold an old one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return max(one, other, key=lambda state: state.get("counted", 0))
    return other
