"""The store: one append log of readings for all destinations, on disk and, at its tail, in memory.

`put` appends to the tail and returns at once.  A flush makes one commit of everything: the readings that some
destination still lacks, where each destination is, its dead letters, what drivers remember.  It comes when the oldest
such reading has been in memory for `flush_interval`.  Senders read the tail as well as the disk, so what is delivered
before that is never written.

Locks, in the order in which they are taken: the flush's own, a queue's `turn`, the disk's, `lock`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edged import clock
from edged.errors import StoreUnusable
from edged.reading import Entry, Reading, is_real
from edged.series import Choice
from edged.store.background import Background
from edged.store.bounds import Keeper
from edged.store.disk import Disk
from edged.store.inspection import inspect
from edged.store.letterbox import Letterbox
from edged.store.letters import DeadLetter
from edged.store.queue import Bounds, Queue
from edged.store.reader import Reader
from edged.store.registry import Registry
from edged.store.segment import Segment
from edged.store.tail import Tail
from edged.store.writer import Writer

_USUAL = Bounds()


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
        *,
        bounded: bool = True,
    ) -> None:
        """Opens the store in `folder`, or makes it; where that cannot be, the store is in memory until it can.

        `flush_interval` in s; `boot_id` tells one boot of this machine from another.  `bounded`: queues are
        kept in their bounds.  Raises StoreHeld.
        """
        self.folder = folder
        self.lock = threading.RLock()  # the tail and the positions; held for moments only
        self.stored = 0  # readings taken since the start
        self.disk = Disk(folder)
        self.tail = Tail(boot_id, interval_ms=flush_interval * 1000)
        self.letters = Letterbox(self.lock, self.disk, now_ms, bounded=bounded)
        self.reader = Reader(self.lock, self.tail, self.disk)
        self.reader.written = self.disk.last()  # so that a queue can be counted whose state was lost
        self.registry = Registry(self, self.disk, keep_removed_s, now_ms())
        self.tail.last = self.reader.written = self.registry.last()
        self.keeper = Keeper(self.reader, self.letters, self.registry, boot_id, now_ms, boot_ms, bounded=bounded)
        self.writer = Writer(
            self.lock,
            self.disk,
            self.tail,
            self.letters,
            self.reader,
            self.registry,
            self.keeper,
            flush_interval * 1000,
            boot_ms,
        )
        self.flushing = self.writer.flushing
        self.background = Background(flush_interval, self.due_s, self.flush_in_time, self.inspect)
        self._boot_ms = boot_ms

    @property
    def trouble(self) -> str:
        """Why nothing can be written, and what to do; empty where all is well."""
        return self.disk.trouble

    @property
    def bytes(self) -> int:
        """Bytes on disk of all of the store's files."""
        return self.disk.size()

    @property
    def commits(self) -> int:
        """Commits since the start."""
        return self.writer.commits

    @property
    def queues(self) -> dict[str, Queue]:
        """All destinations that the store knows, those that the config does not have (any more) too."""
        return dict(self.registry.queues)

    # --- writing

    def put(self, readings: Iterable[Reading], offset_ms: int, memory: Mapping[str, Any] | None = None) -> None:
        """Takes readings of one moment; `offset_ms` is the clock's time minus the time since boot at that moment.

        `memory` is what must not go back, by owner: it is committed with the readings, and they are sent only then.
        Raises ValueError where a value is none: then nothing is taken.
        """
        readings = list(readings)
        for reading in readings:
            if not is_real(reading.value):
                raise ValueError(f"{reading.series}: {reading.value} is no reading")
        with self.lock:
            self.tail.mark(self._boot_ms())
            if memory and self.registry.remember(memory):
                self.tail.withhold()
                if not readings:
                    self.writer.owe()
            for reading in readings:
                entry = Entry(self.tail.last + 1, *reading)
                self.tail.add(entry, offset_ms)
                self.stored += 1
                for queue in self.registry.queues.values():
                    queue.arrived(entry)
            if self.writer.in_haste() and not self.trouble and not self.background.soon.is_set():
                self.background.soon.set()

    def recall(self, owner: str) -> Any:
        """What the owner has put as its `memory`; None where there is none.  Raises StoreUnusable: not known yet."""
        return self.registry.recall(owner)

    def flush(self) -> None:
        """Makes one commit of all that is new and still lacked; none where there is nothing.  Raises StoreUnusable."""
        self.writer.flush()

    def flush_in_time(self) -> None:
        """The same, but leaves in memory what somebody may still confirm in time.  Raises StoreUnusable."""
        self.writer.flush(early=False)

    def due_s(self) -> float:
        """Seconds until `flush_in_time` has something to write."""
        return self.writer.due_s()

    # --- reading

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`, from the tail or from the disk.  Raises StoreUnusable."""
        return self.reader.after(seq)

    def ready(self, seq: int) -> Segment | None:
        """The same, of what may be sent."""
        return self.reader.ready(seq)

    def bytes_of(self, after: int, upto: int) -> int:
        """What a range of the log takes, or will take, on disk."""
        return self.reader.bytes_of(after, upto)

    def retried(self, destination: str) -> Iterator[Entry]:
        """A destination's dead letters that are in its queue again, the oldest first."""
        return self.letters.retried(destination)

    def dead_letters(self, destination: str) -> Iterator[DeadLetter]:
        """A destination's dead letters, the oldest first."""
        return self.letters.of(destination)

    def inspect(self, pause: Callable[[], bool] = bool) -> None:
        """Looks for damage, all through the log; `pause` as in `inspection`."""
        with self.lock:
            needed, last = self.registry.needed(), self.reader.written
        inspect(self.disk, self.letters, list(self.queues.values()), needed, last, pause)

    # --- destinations

    def open_queue(self, name: str, choice: Choice, bounds: Bounds = _USUAL) -> Queue:
        """The queue of a destination: where it was, or for a new one from the next reading on.

        Takes the place of its queue that is open, if one is: so nothing that comes in between is missed.  What cannot
        be counted of it now, since the disk cannot be read, is counted by the next flush.
        """
        try:
            return self._open_queue(name, choice, bounds)
        except StoreUnusable:
            with contextlib.suppress(StoreUnusable):
                self.flush()  # mends the damage that was met
            return self._open_queue(name, choice, bounds, late=True)

    def _open_queue(self, name: str, choice: Choice, bounds: Bounds, *, late: bool = False) -> Queue:
        old = self.registry.queues.get(name)
        # No flush goes by a queue that is not counted yet.
        with self.flushing, old.turn if old else contextlib.nullcontext(), self.disk.lock:
            if old and old.choice != choice:
                with contextlib.suppress(StoreUnusable) if late else contextlib.nullcontext():
                    self.keeper.recount(old)  # what is lost, before it is counted by another choice
            in_memory = self.reader.in_memory() if late else None
            return self.registry.open(name, choice, bounds, lambda: self.tail.last, in_memory)

    def keep_queue(self, name: str, choice: Choice, bounds: Bounds) -> None:
        """Where damage may have taken the place of a destination that is not in use: keeps for it all that is there."""
        if self.disk.torn and name not in self.queues:
            self.close_queue(self.open_queue(name, choice, bounds), removed=False)

    def close_queue(self, queue: Queue, *, removed: bool) -> None:
        """Ends a destination's use of its queue: it is disabled, or it left the config.  What it lacks is kept."""
        with queue.turn:
            self.registry.close(queue, removed=removed)

    def settled(self, seq: int) -> None:
        """Notes that a reading was settled: one that is on disk would be sent again, should the process die."""
        if seq < 0:
            self.letters.settled(seq)
        if seq <= self.reader.written:
            self.writer.owe()

    def bury(self, destination: str, entry: Entry, reason: str, response: str) -> None:
        """Keeps a dead letter until the commit that settles its reading."""
        self.letters.bury(destination, entry, reason, response)
        self.writer.owe()

    # --- life

    def start(self) -> None:
        """Begins to flush in time."""
        self.background.start()

    def stop(self) -> None:
        """Flushes all and closes the files.  Raises StoreUnusable where the last flush failed."""
        self.background.stop()
        self.disk.try_at_once()
        try:
            with self.lock:
                if self.registry.changed():
                    self.writer.owe()
            self.flush()
        finally:
            self.disk.close(clean=not self.trouble)
