"""Room on the disk: a reserve for the days when it is full, and what the log may take then."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from edged.store.aside import forget_damaged
from edged.store.place import free_bytes, give_to_owner
from edged.store.tables import FILE

log = logging.getLogger(__name__)

RESERVE = "reserve"
RESERVE_BYTES = 3 * 1024 * 1024  # twice what the write-ahead log takes, and 1 MiB
_TIGHTER = 0.9  # of what the log takes: its bound on a disk that is full


class Room:
    """Guarded by the disk's lock."""

    def __init__(self, folder: Path) -> None:
        self.cap: int | None = None  # bytes that the log may take on a disk that is full
        self._folder = folder
        self._tightened = False  # and that was made less since the last commit

    def keep(self) -> None:
        """Keeps the reserve; where it could be made again, the disk is not full any more."""
        if keep_reserve(self._folder):
            if self.cap is not None:
                log.error("the disk of %s has room again", self._folder)
            self.cap = None
        elif self.cap is not None:
            with contextlib.suppress(OSError):  # without a reserve, less so much is left for a commit
                there = (self._folder / FILE).stat().st_size + free_bytes(self._folder)
                self.cap = max(self.cap, there - RESERVE_BYTES)

    def make(self, taken: Callable[[], int]) -> bool:
        """A commit found no room.  `taken`: bytes of the log.

        What is set aside goes first, then the reserve, then there is a bound, and that gets tighter, once.
        False: others have taken all; dropping yet more would not help.
        """
        if self.cap is None:
            log.error(
                "the disk of %s is full: the oldest readings are lost as new ones come; make room on it", self._folder
            )
        if forget_damaged(self._folder, keep=0):
            log.error("%s: what was set aside of damaged stores is deleted, to make room", self._folder)
        if give_up_reserve(self._folder):
            self.cap = taken()
        elif self._tightened:
            return False
        else:
            self._tightened = True
            bound = taken()
            self.cap = int((bound if self.cap is None else min(bound, self.cap)) * _TIGHTER)
        return True

    def sufficed(self) -> None:
        """A commit has found room."""
        self._tightened = False


def keep_reserve(folder: Path) -> bool:
    """Makes the reserve, where it is not there; False where there is no room for it."""
    reserve = folder / RESERVE
    try:
        if reserve.exists() and reserve.stat().st_size >= RESERVE_BYTES:
            return True
        if free_bytes(folder) < 2 * RESERVE_BYTES:
            return False
        with open(reserve, "wb", opener=lambda path, flags: os.open(path, flags, 0o640)) as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        give_to_owner(reserve)
    except OSError:
        return False
    return True


def give_up_reserve(folder: Path) -> bool:
    """Frees the reserve; False where there is none."""
    try:
        (folder / RESERVE).unlink()
    except OSError:
        return False
    return True
