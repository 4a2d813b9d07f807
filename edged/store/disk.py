"""The store's files through good and bad days: written while that is possible, read where they can be read.

Where they can be neither, the store lives in memory until they can: the start, the sensors and the senders go on.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.errors import StoreUnusable
from edged.store.files import Changes, Files, Lock, is_damage, is_full, size
from edged.store.frozen import Frozen
from edged.store.letters import DeadLetter
from edged.store.place import explain, volatile
from edged.store.salvage import forget_damaged, open_files, salvage
from edged.store.segment import DamagedSegment, Segment

log = logging.getLogger(__name__)

_AGAIN_S = 10.0  # between two tries to open what cannot be opened, or to make room again on a full disk
_TIGHTER = 0.9  # of what the log takes: its bound on a disk that is full


class Disk:
    """All of it may be called from any thread.  `lock` is held while the disk works."""

    def __init__(self, folder: Path) -> None:
        """Opens the store in `folder`, or makes it.  Raises StoreHeld; whatever else is wrong is `trouble`."""
        self.folder = folder
        self.lock = threading.RLock()
        self.trouble = ""  # why nothing can be written, and what to do
        self.cap: int | None = None  # bytes that the log may take on a disk that is full
        self.recount = False  # readings were lost, and it has to be counted whose
        self.torn = False  # states may be lost
        self._files: Files | None = None
        self._frozen: Frozen | None = None
        self._hold: Lock | None = None
        self._damaged: set[int] = set()  # keys of segments that cannot be read, and are to be set aside
        self._suspected: sqlite3.Error | None = None  # damage that was met
        self._reopened = False
        self._said = False  # that there is trouble
        self._next_try = 0.0
        self._noted = False
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._cannot(error)
            try:
                self._frozen = Frozen(folder)
            except OSError as unreadable:
                log.error("%s cannot be read either: %s", folder, unreadable)
        if why := volatile(folder.resolve(), _mountinfo()):
            log.warning("%s: what is queued does not outlive a reboot; name another state_dir", why)

    def _open(self) -> None:
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._hold = self._hold or Lock(self.folder)
        opened = open_files(self.folder, self._hold)
        try:
            opened.files.connection.execute("BEGIN IMMEDIATE")
            opened.files.connection.rollback()
        except sqlite3.Error:
            opened.files.close()
            raise
        self._files, self._frozen = opened.files, None
        self.recount |= opened.damaged
        self.torn |= opened.damaged
        self.cap = None
        self.keep_room()

    @property
    def readable(self) -> bool:
        """Whether it is known what the store holds."""
        return self._files is not None or self._frozen is not None

    # --- reading

    def states(self) -> dict[str, Any]:
        """What is kept beside the log, by name; None for what cannot be read.  Raises StoreUnusable."""
        with self.lock:
            return self._files.states.read() if self._files else dict(self._frozen.states) if self._frozen else {}

    def last(self) -> int:
        """The sequence number of the last reading there; 0 where there is none."""
        with self.lock:
            return self._files.log.last() if self._files else self._frozen.last() if self._frozen else 0

    def last_letter(self) -> int:
        """The highest number of a dead letter there."""
        with self.lock:
            if self._files:
                return self._files.letters.last()
            return max((letter.id for letter, _ in self._frozen.letters()), default=0) if self._frozen else 0

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`; damaged ones are passed over.  Raises StoreUnusable."""
        with self.lock:
            if self._frozen:
                return self._frozen.after(seq)
            files = self._usable()
            while True:
                try:
                    return files.log.after(seq)
                except DamagedSegment as error:
                    seq = files.log.cursor
                    if seq not in self._damaged:
                        self._damaged.add(seq)
                        self.recount = True
                        log.error("a segment of the store is damaged and set aside: %s", error, extra={"segment": seq})
                except sqlite3.Error as error:
                    if is_damage(error):
                        self._suspected = error  # to be mended by the next flush
                    raise StoreUnusable(f"{self.folder}: {error}") from error

    def key_after(self, seq: int) -> int | None:
        """The last sequence number of the segment that holds the first reading behind `seq`."""
        with self.lock:
            return self._usable().log.key_after(seq)

    def bytes_before(self, seq: int) -> int:
        """What the log takes up to the segment that holds the reading behind `seq`."""
        with self.lock:
            return self._files.log.bytes_before(seq) if self._files else 0

    def letters(self, destination: str, *, retry: bool) -> Iterator[DeadLetter]:
        """A destination's dead letters, or those in its queue again, the oldest first."""
        if self._frozen:
            yield from (x for x, again in self._frozen.letters() if x.destination == destination and again == retry)
            return
        last = 0
        while True:
            with self.lock:
                page = self._files.letters.of(destination, last, retry=retry) if self._files else []
            yield from page
            if not page:
                return
            last = page[-1].id

    def size(self) -> int:
        """Bytes on disk of all of the store's files."""
        return size(self.folder)

    def _usable(self) -> Files:
        if self._files is None:
            raise StoreUnusable(self.trouble or f"{self.folder} is closed")
        return self._files

    # --- writing

    def commit(self, changes: Changes) -> None:
        """All of it or nothing.  Raises StoreUnusable, sqlite3.Error, OSError; `recover` says what to do then."""
        with self.lock:
            files = self._usable()
            damaged = set(self._damaged)
            files.commit(changes, damaged)
            self._damaged -= damaged
            if not self._noted and self._hold:
                self._hold.written()
                self._noted = True
            self._well()
            try:
                files.shrink()
            except sqlite3.Error as error:
                log.debug("no disk space could be given back: %s", error)

    def try_again(self) -> bool:
        """Opens what could not be opened or written, at most every 10 s; True where the files are others than before.

        Raises StoreUnusable; sqlite3.Error where damage was met.
        """
        with self.lock:
            if self._suspected is not None:
                error, self._suspected = self._suspected, None
                raise error
            if self._files is not None and not self.trouble:
                reopened, self._reopened = self._reopened, False
                return reopened
            if time.monotonic() < self._next_try:
                raise StoreUnusable(self.trouble)
            self._next_try = time.monotonic() + _AGAIN_S
            files, self._files = self._files, None
            if files:
                files.close()
            try:
                self._open()
                self._usable().touch()
            except (OSError, sqlite3.Error) as error:
                self._cannot(error)
                raise StoreUnusable(self.trouble) from error
            self.trouble = ""  # that it is over is said with the next commit
            return True

    def try_at_once(self) -> None:
        """The next try does not wait: it is the last one."""
        self._next_try = 0.0

    def _well(self) -> None:
        self.trouble = ""
        if self._said:
            log.error("the store can be written again")
            self._said = False

    def keep_room(self) -> None:
        """Keeps the reserve; where it could be made again, the disk is not full any more."""
        with self.lock:
            if self._files and self._files.keep_reserve() and self.cap is not None:
                log.error("the disk of %s has room again", self.folder)
                self.cap = None

    def recover(self, error: Exception, taken: int) -> bool:
        """What can be done at once about a commit that failed; True: try again.  `taken`: bytes of the log."""
        with self.lock:
            if self._files is None:
                return False
            try:
                if is_full(error):
                    self._make_room(taken)
                    return True
                if is_damage(error):
                    self._files.close()
                    self._files = salvage(self.folder, error)
                    self.recount = self._reopened = True
                    return True
            except (OSError, sqlite3.Error) as another:
                error = another
            self._cannot(error)
            return False

    def _make_room(self, taken: int) -> None:
        """What is set aside goes first, then the reserve, then there is a bound, and that gets tighter."""
        if self.cap is None:
            log.error(
                "the disk of %s is full: the oldest readings are lost as new ones come; make room on it", self.folder
            )
        if forget_damaged(self.folder, keep=0):
            log.error("%s: what was set aside of damaged stores is deleted, to make room", self.folder)
        if self._usable().give_up_reserve():
            self.cap = taken
        else:
            self.cap = int(min(taken, self.cap or taken) * _TIGHTER)

    def _cannot(self, error: Exception) -> None:
        why = explain(self.folder, error)
        if not self._said:
            log.error(
                "the store cannot be written: %s.  Readings are kept in memory and sent from there;"
                " tried again every %g s",
                why,
                _AGAIN_S,
            )
        self.trouble, self._said = why, True

    def close(self, *, clean: bool) -> None:
        """Lets go of the files; `clean`: all is written."""
        with self.lock:
            if self._files:
                self._files.close()
            if self._hold:
                if clean:
                    self._hold.clean()
                self._hold.release()
            self._files = self._frozen = self._hold = None


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return ""
