"""What is found damaged while it is read, until the next flush mends it."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edged.errors import StoreUnusable
from edged.store.files import is_damage
from edged.store.letters import DeadLetter
from edged.store.segment import DamagedSegment

log = logging.getLogger(__name__)


class Damage:
    """Of one store.  Each piece is said once; called with the disk's lock held."""

    def __init__(self, folder: Path) -> None:
        self.segments: set[int] = set()  # keys of those that cannot be read, and are to be set aside
        self.letters: set[int] = set()  # numbers of those that are to be deleted
        self.suspected: sqlite3.Error | None = None  # of the database itself
        self._folder = folder

    @contextlib.contextmanager
    def met(self) -> Iterator[None]:
        """Notes damage that SQLite meets.  Raises StoreUnusable instead of sqlite3.Error."""
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                self.suspected = error
            raise StoreUnusable(f"{self._folder}: {error}") from error

    def of_segment(self, key: int, error: DamagedSegment) -> bool:
        """Notes a segment; whether that is new."""
        if key in self.segments:
            return False
        self.segments.add(key)
        log.error("a segment of the store is damaged and set aside: %s", error, extra={"segment": key})
        return True

    def of_letter(self, letter: DeadLetter) -> bool:
        """Notes a dead letter; whether that is new."""
        if letter.id in self.letters:
            return False
        self.letters.add(letter.id)
        log.error("%s: a dead letter is damaged, and deleted: number %d", letter.destination, letter.id)
        return True
