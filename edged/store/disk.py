"""The store's files through good and bad days: written while that is possible, read where they can be read.

Where they can be neither, the store lives in memory until they can: the start, the sensors and the senders go on.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edged.errors import StoreHeld, StoreUnusable
from edged.store import rescue
from edged.store.damage import Damage
from edged.store.files import Changes, Files, is_damage, is_full, size
from edged.store.frozen import Frozen
from edged.store.letters import DeadLetter
from edged.store.lock import Lock
from edged.store.place import mountinfo, volatile
from edged.store.room import Room
from edged.store.salvage import open_files, salvage
from edged.store.segment import DamagedSegment, Segment
from edged.store.tables import FILE
from edged.store.trouble import Trouble

log = logging.getLogger(__name__)

_AGAIN_S = 10.0  # between two tries to open what cannot be opened, or to make room again on a full disk
_SALVAGE_AGAIN_S = 600.0  # between two salvages without a commit in between: the first one has not helped


class Disk:
    """All of it may be called from any thread.  `lock` is held while the disk works."""

    def __init__(self, folder: Path) -> None:
        """Opens the store in `folder`, or makes it.  Raises StoreHeld; whatever else is wrong is `trouble`."""
        self.folder = folder
        self.lock = threading.RLock()
        self.room = Room(folder)
        self.recount = False  # readings were lost, and it has to be counted whose
        self.torn = False  # states may be lost
        self._trouble = Trouble(folder)
        self._files: Files | None = None
        self._frozen: Frozen | None = None
        self._unreadable = False  # not even that, or not all of it, and it has been said
        self._hold: Lock | None = None
        self._damage = Damage(folder)
        self._reopened = False
        self._next_try = 0.0
        self._next_salvage = 0.0
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._fails(error)
        if why := volatile(folder.resolve(), mountinfo()):
            log.warning("%s: what is queued does not outlive a reboot; name another state_dir", why)

    def _open(self) -> None:
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        if self._hold and not self._hold.is_in(self.folder):  # it is another disk
            self._hold.release()
            self._hold = None
        self._hold = self._hold or Lock(self.folder)
        opened = open_files(self.folder, self._hold)
        try:
            opened.files.connection.execute("BEGIN IMMEDIATE")
            opened.files.connection.rollback()
            self._hold.opened()
            opened.files.start_afresh()
        except sqlite3.Error:
            opened.files.close()
            raise
        self._files, self._frozen = opened.files, None
        self.recount |= opened.damaged
        self.torn |= opened.damaged
        self.keep_room()

    def _fails(self, error: Exception) -> None:
        """Nothing can be written; what cannot be opened is read without."""
        self._trouble.met(error, _AGAIN_S)
        if self._files is None:
            self._freeze()

    def _freeze(self) -> None:
        try:
            self._frozen = Frozen(self.folder)
            failure = self._frozen.failure
        except OSError as error:
            failure = error
        if failure:
            if not self._unreadable and not isinstance(failure, (FileNotFoundError, NotADirectoryError)):
                what = "cannot be read whole" if self._frozen else "cannot be read either"
                log.error("%s %s: %s", self.folder, what, failure)
            self._unreadable = True

    @property
    def trouble(self) -> str:
        """Why nothing can be written, and what to do; empty where all is well."""
        return self._trouble.why

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
                    with self._damage.met():
                        return files.log.after(seq)
                except DamagedSegment as error:
                    seq = files.log.cursor
                    self.recount |= self._damage.of_segment(seq, error)

    def key_after(self, seq: int) -> int | None:
        """The last sequence number of the segment that holds the first reading behind `seq`."""
        with self.lock:
            return self._usable().log.key_after(seq)

    def bytes_of(self, after: int, upto: int) -> int:
        """What the segments take on disk whose keys are behind `after` and not behind `upto`."""
        with self.lock:
            return self._files.log.bytes_of(after, upto) if self._files else 0

    def letters(self, destination: str, *, retry: bool) -> Iterator[DeadLetter]:
        """A destination's dead letters, or those in its queue again, the oldest first.  Raises StoreUnusable."""
        if frozen := self._frozen:
            yield from (x for x, again in frozen.letters() if x.destination == destination and again == retry)
            return
        last = 0
        while True:
            with self.lock, self._damage.met():
                page = self._usable().letters.of(destination, last, retry=retry)
            yield from (letter for letter in page if self._is_whole(letter))
            if not page:
                return
            last = page[-1].id

    def _is_whole(self, letter: DeadLetter) -> bool:
        with self.lock:
            if not (whole := letter.is_whole()):
                self.recount |= self._damage.of_letter(letter)
        return whole

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
            segments, letters = set(self._damage.segments), set(self._damage.letters)
            changes.settled_letters += letters
            files.commit(changes, segments)
            self._damage.segments -= segments
            self._damage.letters -= letters
            self.room.sufficed()
            self._next_salvage = 0.0
            if self._hold:
                self._hold.written()
            self._trouble.over()
            try:
                files.shrink(full=self.room.cap is not None)
            except sqlite3.Error as error:
                log.debug("no disk space could be given back: %s", error)

    def try_again(self) -> bool:
        """Opens what could not be opened or written, at most every 10 s; True where the files are others than before.

        Raises StoreUnusable; sqlite3.Error where damage was met.
        """
        with self.lock:
            suspected, self._damage.suspected = self._damage.suspected, None
            if suspected is not None:
                raise suspected
            if self._files is not None and not self.trouble:
                if not self._files.in_place():
                    self._write_anew(self._files)
                    return True
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
            except (OSError, sqlite3.Error, StoreHeld) as error:
                self._fails(error)
                raise StoreUnusable(self.trouble) from error
            self._trouble.why = ""  # that it is over is said with the next commit
            return True

    def _write_anew(self, files: Files) -> None:
        """The database was deleted or replaced; who has it open still has all of it.  Raises StoreUnusable."""
        try:
            rescue.copy(files.connection, self.folder)
        except (OSError, sqlite3.Error) as error:  # tried again, with the files open
            raise StoreUnusable(f"{self.folder}: {error}") from error
        log.error(
            "%s was deleted or replaced while it was in use: all that it held is written anew", self.folder / FILE
        )
        files.close()
        self._files = None
        try:
            rescue.make_way(self.folder)
            self._open()
        except (OSError, sqlite3.Error, StoreHeld) as error:
            self._fails(error)
            raise StoreUnusable(self.trouble) from error

    def refuse(self, error: StoreUnusable) -> None:
        """What is there cannot be used yet; where it is damaged, the next flush mends it."""
        with self.lock:
            if self._damage.suspected is None and self._files:
                self._files.close()
                self._files = None
                self._trouble.met(error, _AGAIN_S)

    def try_at_once(self) -> None:
        """The next try does not wait: it is the last one."""
        self._next_try = 0.0

    def keep_room(self) -> None:
        """Keeps a reserve for days when the disk is full."""
        with self.lock:
            if self._files:
                self.room.keep()

    def recover(self, error: Exception, taken: Callable[[], int]) -> bool:
        """What can be done at once about a commit that failed; True: try again.  `taken`: bytes of the log."""
        with self.lock:
            if self._files is None:
                return False
            if isinstance(error, StoreUnusable):
                if self.trouble:  # known, and not tried again yet
                    return False
                error = error.__cause__ if isinstance(error.__cause__, Exception) else error
            try:
                if is_full(error):
                    if self.room.make(taken):
                        return True
                elif is_damage(error) and time.monotonic() >= self._next_salvage:
                    self._files.close()
                    self._files = self._damage.suspected = None
                    self.recount = self._reopened = True
                    self._files = salvage(self.folder, error)
                    self._next_salvage = time.monotonic() + _SALVAGE_AGAIN_S
                    return True
            except (OSError, sqlite3.Error) as another:
                error = another
            self._fails(error)
            return False

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
