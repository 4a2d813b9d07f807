"""The store: one append log of readings for all destinations, on disk and, at its tail, in memory.

`put` appends to the tail and returns at once.  A flush every `flush_interval` makes one commit of everything: the
readings that some destination still lacks, where each destination is, its dead letters, what drivers remember.
Senders read the tail as well as the disk, so what is delivered before the flush is never written.

Locks, in the order in which they are taken: the flush's own, a queue's `turn`, the disk's, `lock`.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edged import clock
from edged.errors import StoreUnusable
from edged.reading import Entry, Reading, is_real
from edged.series import Choice
from edged.store.bounds import Keeper
from edged.store.disk import Disk
from edged.store.files import Changes
from edged.store.letters import AGAIN, DeadLetter
from edged.store.queue import Bounds, Queue
from edged.store.registry import Registry
from edged.store.segment import Segment
from edged.store.tables import footprint
from edged.store.tail import Tail, gaps

log = logging.getLogger(__name__)

_LONG_TAIL = 5  # segments; then a flush comes before the interval is over
_TRIES = 5  # of one flush, as room is made on a full disk
_MEMORY_BYTES = 4 * 1024 * 1024  # of packed readings, while the disk cannot be written
_FULL_BYTES = 1024 * 1024  # and while it is full: what can then be written in the room that is kept
_LETTERS = 10_000  # dead letters in memory, while the disk cannot be written
_USUAL = Bounds()
_RECENT = 8  # segments kept unpacked, for senders that are close behind the tail


class Log:
    """The store.  `start` begins the flushing; `stop` flushes a last time and lets go of the files."""

    def __init__(
        self,
        folder: Path,
        flush_interval: float,
        boot_id: str,
        now_ms: Callable[[], int] = clock.now_ms,
        boot_ms: Callable[[], int] = clock.boot_ms,
        keep_removed_s: float = 7 * 86400.0,
    ) -> None:
        """Opens the store in `folder`, or makes it; where that cannot be, the store is in memory until it can.

        `flush_interval` in s; `boot_id` tells one boot of this machine from another.  Raises StoreHeld.
        """
        self.folder = folder
        self.lock = threading.RLock()  # the tail and the positions; held for moments only
        self.commits = 0
        self.stored = 0  # readings taken since the start
        self._flush_interval = flush_interval
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self.flushing = threading.RLock()
        self.disk = Disk(folder)
        self.tail = Tail(boot_id)
        self._letters: list[DeadLetter] = []  # buried since the last commit
        self._settled_letters: set[int] = set()  # that were in a queue again, and have left it since the last commit
        self._owed = False  # whether readings on disk have been settled since the last commit
        self._withheld: deque[int] = deque()  # first readings of puts that must be on disk before they are sent
        self._recent: deque[Segment] = deque(maxlen=_RECENT)
        self._keeper = Keeper(self, boot_id)
        self.registry = Registry(self, self.disk, keep_removed_s, now_ms())
        self._written = self.registry.last()  # the last sequence number on disk, or about to be
        self._next = self._written + 1
        self._closed = self._written  # the last one of the runs that the flush under way has closed
        self._next_letter = self.disk.last_letter() + 1
        self._stopping = threading.Event()
        self._soon = threading.Event()  # flush before the interval is over
        self._thread = threading.Thread(target=self._flush_regularly, name="flush", daemon=True)
        self._checker = threading.Thread(target=self._check, name="check", daemon=True)

    @property
    def trouble(self) -> str:
        """Why nothing can be written, and what to do; empty where all is well."""
        return self.disk.trouble

    @property
    def bytes(self) -> int:
        """Bytes on disk of all of the store's files."""
        return self.disk.size()

    @property
    def queues(self) -> dict[str, Queue]:
        """All destinations that the store knows, those that the config does not have (any more) too."""
        return dict(self.registry.queues)

    # --- writing

    def put(self, readings: Iterable[Reading], offset_ms: int, memory: Mapping[str, Any] | None = None) -> None:
        """Takes readings of one moment; `offset_ms` is the clock's time minus the time since boot at that moment.

        `memory` is what must not go back, by owner: it is committed with the readings, and they are sent only then.
        """
        with self.lock:
            if memory and self.registry.remember(memory):
                self._withheld.append(self._next)
                self._soon.set()
            for reading in readings:
                if not is_real(reading.value):
                    raise ValueError(f"{reading.series}: {reading.value} is no reading")
                entry = Entry(self._next, *reading)
                self.tail.add(entry, offset_ms)
                self._next += 1
                self.stored += 1
                for queue in self.registry.queues.values():
                    queue.arrived(entry)
            if len(self.tail) > _LONG_TAIL and not self.trouble:
                self._soon.set()

    def recall(self, owner: str) -> Any:
        """What the owner has put as its `memory`; None where there is none.  Raises StoreUnusable: not known yet."""
        return self.registry.recall(owner)

    def flush(self) -> None:
        """Makes one commit of all that is new and still lacked; none where there is nothing.  Raises StoreUnusable."""
        with self.flushing:
            self._close_runs()
            for _ in range(_TRIES):
                try:
                    if self.disk.try_again():
                        self._join()
                    self._tend()
                    if self._write():
                        self.disk.keep_room()
                    return
                except StoreUnusable:
                    break
                except (sqlite3.Error, OSError) as error:
                    if not self.disk.recover(error, self._taken):
                        break
            self._hold_on()
            raise StoreUnusable(self.trouble or f"{self.folder}: the disk is full")

    def _join(self) -> None:
        """The disk is open again."""
        try:
            self.registry.join()
        except StoreUnusable as error:
            self.disk.refuse(error)
            raise

    def _close_runs(self) -> None:
        """Makes segments of what somebody needs of the tail."""
        with self.lock:
            runs = self.tail.close()
            self._closed = self._next - 1
            needed = self.registry.needed()
        segments = self.tail.segments_of(runs, needed)
        with self.lock:
            self.tail.closed(runs, segments)

    def _tend(self) -> None:
        """Keeps all queues in their bounds, before the commit that carries what is dropped."""
        if self.disk.recount:
            for queue in self.queues.values():
                self._keeper.recount(queue)
            self.disk.recount = False
        now_ms, boot_ms = self._now_ms(), self._boot_ms()
        for queue in self.queues.values():
            self._keeper.by_age(queue, now_ms, boot_ms)
            if self.tail.waiting or queue.full:
                self._keeper.by_size(queue, self.disk.cap)
        self.registry.forget_removed()

    def _write(self, changes: Changes | None = None) -> bool:
        """One commit, where there is something to write.  Raises StoreUnusable, sqlite3.Error, OSError."""
        asked = changes is not None
        changes = changes or Changes()
        with self.disk.lock:
            with self.lock:
                self._close_runs()  # what has come since: the states tell of it already
                needed, owed = self.registry.needed(), self._owed
                waiting = self.tail.waiting
                changes.gaps = gaps(needed, self._next - 1)
                changes.segments = [s for s in waiting if any(a < s.last and s.first <= upto for a, upto in needed)]
                changes.surplus_letters = self.registry.surplus_letters()  # before the states, which count them
                changes.states = self.registry.changed()
                changes.letters = list(self._letters)
                changes.settled_letters += list(self._settled_letters)
                worth = owed or asked or changes.letters or changes.settled_letters or changes.surplus_letters
                if not (worth or changes.segments or self.registry.must_be_written(changes.states)):
                    waiting.clear()
                    self._let_go(self._closed)
                    return False
                if changes.segments:  # from now on: what of them is settled during the commit is owed
                    self._written = changes.segments[-1].last
                self._owed = False
            try:
                self.disk.commit(changes)
            except BaseException:
                with self.lock:
                    self._owed = self._owed or owed
                raise
            with self.lock:
                self.commits += 1
                self._recent.extend(changes.segments)
                self.registry.wrote(changes.states)
                waiting.clear()
                del self._letters[: len(changes.letters)]
                self._settled_letters.difference_update(changes.settled_letters)
                self._let_go(self._closed)
            return True

    def write(self, changes: Changes) -> None:
        """Commits changes that people have made, with all else that there is to write.  Raises StoreUnusable."""
        try:
            self._write(changes)
        except (sqlite3.Error, OSError) as error:
            self.disk.recover(error, self._taken)
            raise StoreUnusable(f"it could not be written: {error}; try again") from error

    def _let_go(self, last: int) -> None:
        """What was withheld up to there may be sent."""
        if self._withheld and self._withheld[0] <= last:
            while self._withheld and self._withheld[0] <= last:
                self._withheld.popleft()
            for queue in self.registry.queues.values():
                queue.wake.set()

    def _hold_on(self) -> None:
        """Nothing can be written: what is in memory is packed, and kept within a bound."""
        bound = _MEMORY_BYTES if self.disk.cap is None else _FULL_BYTES
        while True:
            with self.lock:
                waiting = list(self.tail.waiting)
                self._let_go(self._next - 1)
            if sum(segment.pack() for segment in waiting) <= bound:
                break
            for queue in self.queues.values():
                self._keeper.out_of_memory(queue, waiting[0])
            with self.lock:
                del self.tail.waiting[0]
        with self.lock:
            self.registry.lose_letters(self._letters[:-_LETTERS])
            del self._letters[:-_LETTERS]

    def _flush_regularly(self) -> None:
        due = time.monotonic() + self._flush_interval
        bug = ""
        while not self._stopping.is_set():
            self._soon.wait(max(0.0, due - time.monotonic()))
            self._soon.clear()
            due = time.monotonic() + self._flush_interval
            try:
                self.flush()
            except StoreUnusable:
                self._stopping.wait(0.1)  # the disk has said what is wrong; it is tried again
            except Exception as error:  # whatever it is: the thread goes on
                if bug != repr(error):
                    log.exception("a bug interrupts the writing of the store; please report it")
                bug = repr(error)
                self._stopping.wait(1.0)

    # --- reading

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`, from the tail or from the disk.  Raises StoreUnusable."""
        return self._after(seq, None)

    def ready(self, seq: int) -> Segment | None:
        """The same, of what may be sent."""
        return self._after(seq, self._withheld)

    def _after(self, seq: int, withheld: deque[int] | None) -> Segment | None:
        with self.lock:
            if (begins := self.tail.begins()) is not None and seq >= begins - 1:
                return self.tail.after(seq, self._upto(withheld))
        with self.disk.lock:  # a flush moves the tail to the disk under this lock, so nothing is missed between
            if seq < self._written:
                recent = next((segment for segment in self._recent if segment.first <= seq + 1 <= segment.last), None)
                if recent is not None:
                    return recent
                if (segment := self.disk.after(seq)) is not None:
                    self._recent.append(segment)
                    return segment
            with self.lock:
                return self.tail.after(seq, self._upto(withheld))

    def _upto(self, withheld: deque[int] | None) -> int:
        return withheld[0] - 1 if withheld else self._next - 1

    def key_after(self, seq: int) -> int | None:
        """The last sequence number of the segment that holds the first reading behind `seq`.  Raises StoreUnusable."""
        if seq < self._written and (key := self.disk.key_after(seq)) is not None:
            return key
        with self.lock:
            return next((segment.last for segment in self.tail.waiting if segment.last > seq), None)

    def bytes_of(self, after: int, upto: int) -> int:
        """What a range of the log takes, or will take, on disk."""
        there = self.disk.bytes_before(upto) - self.disk.bytes_before(after)
        with self.lock:
            waiting = [s for s in self.tail.waiting if after < s.last and s.first <= upto]
        return there + sum(footprint(segment.size) for segment in waiting)

    def in_memory(self) -> int:
        """The sequence number behind which readings are in memory only."""
        with self.lock:
            begins = self.tail.begins()
            return self._next - 1 if begins is None else begins - 1

    def _taken(self) -> int:
        """What the log takes on disk."""
        return sum(self.bytes_of(*needed) for needed in self.registry.needed())

    def _check(self) -> None:
        """Looks through the log once, so that damage is found at the start, and not when it is somebody's turn."""
        with self.lock:
            needed, last = self.registry.needed(), self._written
        try:
            for after, upto in needed:
                at = after
                while at < min(upto, last) and not self._stopping.wait(0.001):  # leaves the disk to others in between
                    segment = self.disk.after(at)
                    if segment is None or segment.first > at + 1:
                        self.disk.recount = True  # readings are not there
                    if segment is None:
                        break
                    at = segment.last
            for queue in self.queues.values():
                with queue.turn:
                    dead, again = self.kept_letters(queue.name)
                    if (dead, len(again)) != (queue.dead, queue.again):
                        self.disk.recount = True  # dead letters are not there
        except StoreUnusable:
            pass  # the disk knows, and the next flush mends it
        self._soon.set()

    # --- destinations

    def open_queue(self, name: str, choice: Choice, bounds: Bounds = _USUAL) -> Queue:
        """The queue of a destination: where it was, or for a new one from the next reading on.

        Takes the place of its queue that is open, if one is: so nothing that comes in between is missed.
        """
        try:
            return self._open_queue(name, choice, bounds)
        except StoreUnusable:
            self.flush()  # mends the damage that was met
            return self._open_queue(name, choice, bounds)

    def _open_queue(self, name: str, choice: Choice, bounds: Bounds) -> Queue:
        old = self.registry.queues.get(name)
        # No flush goes by a queue that is not counted yet.
        with self.flushing, old.turn if old else contextlib.nullcontext(), self.disk.lock:
            if old and old.choice != choice:
                self._keeper.recount(old)  # what is lost, before it is counted by another choice
            return self.registry.open(name, choice, bounds, lambda: self._next - 1)

    def close_queue(self, queue: Queue, *, removed: bool) -> None:
        """Ends a destination's use of its queue: it is disabled, or it left the config.  What it lacks is kept."""
        with queue.turn:
            self.registry.close(queue, removed=removed)

    def settled(self, seq: int) -> None:
        """Notes that a reading was settled: one that is on disk would be sent again, should the process die."""
        if seq < 0:
            self._settled_letters.add(seq - AGAIN)
        self._owed = self._owed or seq <= self._written

    def bury(self, destination: str, entry: Entry, reason: str, response: str) -> None:
        """Keeps a dead letter until the commit that settles its reading."""
        self._letters.append(DeadLetter.of(self._next_letter, destination, entry, reason, response, self._now_ms()))
        self._next_letter += 1

    def retried(self, destination: str) -> Iterator[Entry]:
        """A destination's dead letters that are in its queue again, the oldest first."""
        for letter in self.disk.letters(destination, retry=True):
            if letter.id not in self._settled_letters:
                yield letter.entry()

    def dead_letters(self, destination: str) -> Iterator[DeadLetter]:
        """A destination's dead letters, the oldest first."""
        yield from self.disk.letters(destination, retry=False)
        with self.lock:
            letters = [letter for letter in self._letters if letter.destination == destination]
        yield from letters

    def kept_letters(self, destination: str) -> tuple[int, set[int]]:
        """How many dead letters of a destination there are, and the numbers of those in its queue again.

        Exact with its turn held.  Raises StoreUnusable.
        """
        dead = len({letter.id for letter in self.dead_letters(destination)})
        return dead - self.registry.surplus(destination), {entry.seq for entry in self.retried(destination)}

    # --- life

    def start(self) -> None:
        """Begins to flush every `flush_interval`."""
        self._thread.start()
        self._checker.start()

    def stop(self) -> None:
        """Flushes all and closes the files.  Raises StoreUnusable where the last flush failed."""
        self._stopping.set()
        self._soon.set()
        for thread in (self._thread, self._checker):
            if thread.is_alive():
                thread.join()
        self.disk.try_at_once()
        try:
            with self.lock:
                self._owed = self._owed or bool(self.registry.changed())
            self.flush()
        finally:
            self.disk.close(clean=not self.trouble)
