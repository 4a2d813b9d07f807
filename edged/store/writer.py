"""Writes the log: a flush is one commit of all that is new and that some destination still lacks.

It comes when the oldest such reading has been in memory for `flush_interval`.  While all destinations are up, each
reading has arrived long before that, and the card is left in peace.

With the readings go where each destination is, its dead letters, and what drivers remember.  When a flush writes:

    what there is                                               when it has to be written
    readings that some destination lacks                        when the oldest is as old as the interval
    more of them than a few segments                            now
    readings, and with them what a driver must not forget       now: they are sent only then
    something of what is on disk was settled, a dead letter,    when the first such thing is as old as the interval
    what a driver must not forget, without readings
    counters, and nothing else                                  four times an hour
    what people have asked for                                  now, by `write`

A flush that comes for readings, or `early`, or after one that failed, takes all that is in memory with it.  One that
comes for something else leaves the young readings in memory: they would have to be deleted as soon as they arrive.
Where nothing can be written, what is in memory is kept within a bound.
"""

import math
import sqlite3
import threading
from collections.abc import Callable

from edged.errors import StoreUnusable
from edged.store.bounds import Keeper
from edged.store.disk import Disk
from edged.store.files import Changes
from edged.store.letterbox import Letterbox
from edged.store.reader import Reader
from edged.store.registry import Registry
from edged.store.tail import Tail, gaps

COUNTERS_A_DAY = 24 * 4  # so often it is written where destinations are, if nothing else is
_STATES_MS = 86_400_000 // COUNTERS_A_DAY
_IN_TIME = 0.98  # of the interval: a commit takes time, and not that of the next readings, a whole second later
_LONG_TAIL = 5  # segments; then a flush comes before its time
_MEMORY_BYTES = 4 * 1024 * 1024  # that packed readings take in memory, while the disk cannot be written
_FULL_BYTES = 1024 * 1024  # and while it is full: what can then be written in the room that is kept


class Writer:
    """One flush at a time: `flushing` is held, and taken before all other locks of the store."""

    def __init__(
        self,
        lock: threading.RLock,
        disk: Disk,
        tail: Tail,
        letters: Letterbox,
        reader: Reader,
        registry: Registry,
        keeper: Keeper,
        interval_ms: float,
        boot_ms: Callable[[], int],
    ) -> None:
        """`lock` guards the tail and the positions; `boot_ms` gives the time since boot."""
        self.flushing = threading.RLock()
        self.commits = 0
        self._owed_ms: int | None = None  # since when the disk has to learn of something else than readings
        self._lock = lock
        self._disk = disk
        self._tail = tail
        self._letters = letters
        self._reader = reader
        self._registry = registry
        self._keeper = keeper
        self._interval_ms = interval_ms
        self._boot_ms = boot_ms
        self._states_ms = boot_ms()  # when they were written

    def owe(self) -> None:
        """Something has changed that is on disk, or must be there: it is written in time."""
        if self._owed_ms is None:
            self._owed_ms = self._boot_ms()

    def in_haste(self) -> bool:
        """Whether it has to be written at once: it is waited for, or there is too much of it."""
        return self._tail.withholds or len(self._tail) > _LONG_TAIL

    def due_s(self) -> float:
        """Seconds until something has to be written; 0: now."""
        with self._lock:
            return max(0.0, (min(self._readings_due(), self._rest_due()) - self._boot_ms()) / 1000)

    def _readings_due(self) -> float:
        """When the oldest reading in memory that some destination lacks has to be written, in ms since boot."""
        if self.in_haste():
            return -math.inf
        if (begins := self._tail.begins()) is None:
            return math.inf
        lacked = [max(after + 1, begins) for after, upto in self._registry.needed() if upto >= begins]
        return self._tail.came_ms(min(lacked)) + _IN_TIME * self._interval_ms if lacked else math.inf

    def _rest_due(self) -> float:
        """The same, for all else."""
        owed = math.inf if self._owed_ms is None else self._owed_ms + _IN_TIME * self._interval_ms
        return min(owed, self._states_ms + _STATES_MS)

    def flush(self, *, early: bool = True) -> None:
        """Makes one commit of all that is new and still lacked; none where there is nothing.  Raises StoreUnusable.

        Unless `early`, readings that may still be confirmed before their time are left in memory.
        """
        with self.flushing:
            now_ms = self._boot_ms()
            with self._lock:
                self._tail.forget(min((after for after, _ in self._registry.needed()), default=self._tail.last))
                readings = early or bool(self._disk.trouble) or self._readings_due() <= now_ms
            if readings:
                self._close_runs()
            while True:
                try:
                    if self._disk.try_again():
                        self._join()
                    self._tend()
                    due = readings or self._rest_due() <= now_ms
                    if due and self._write(Changes(), asked=False, readings=readings):
                        self._disk.keep_room()
                    return
                except (StoreUnusable, sqlite3.Error, OSError) as error:
                    if not self._disk.recover(error, self._taken):  # which can do something a few times only
                        self._hold_on()
                        raise StoreUnusable(self._disk.trouble or str(error)) from error

    def write(self, changes: Changes) -> None:
        """Commits changes that people have made, with all else that there is to write.  Raises StoreUnusable."""
        try:
            self._write(changes, asked=True, readings=True)
        except (sqlite3.Error, OSError) as error:
            self._disk.recover(error, self._taken)
            raise StoreUnusable(f"it could not be written: {error}; try again") from error

    def _join(self) -> None:
        """The disk is open again."""
        try:
            self._letters.join()
            self._registry.join()
        except StoreUnusable as error:
            self._disk.refuse(error)
            raise

    def _close_runs(self) -> None:
        """Makes segments of what somebody needs of the tail."""
        with self._lock:
            runs = self._tail.close()
            needed = self._registry.needed()
        segments = self._tail.segments_of(runs, needed)
        with self._lock:
            self._tail.closed(runs, segments)

    def _tend(self) -> None:
        """Keeps all queues in their bounds, before the commit that carries what is dropped."""
        queues = list(self._registry.queues.values())
        if self._disk.recount:
            for queue in queues:
                self._keeper.recount(queue)
            self._disk.recount = False
        for queue in queues:
            self._keeper.by_age(queue)
            if self._tail.waiting or queue.full:
                self._keeper.by_size(queue, self._disk.room.cap)
        self._registry.forget_removed()

    def _write(self, changes: Changes, *, asked: bool, readings: bool) -> bool:
        """One commit, where there is something to write.  Raises StoreUnusable, sqlite3.Error, OSError.

        Without the `readings` in memory, which would have to be deleted again as soon as they are confirmed.
        """
        with self._disk.lock:
            with self._lock:
                if readings:
                    self._close_runs()  # what has come since: the states tell of it already
                needed, owed_ms, now_ms = self._registry.needed(), self._owed_ms, self._boot_ms()
                waiting = self._tail.waiting if readings else []
                withheld = self._tail.withheld if readings or not self._tail.withholds else 0  # what this is about
                changes.gaps = gaps(needed, self._tail.last)
                changes.segments = [s for s in waiting if any(a < s.last and s.first <= upto for a, upto in needed)]
                self._letters.bound(self._registry.queues.values())  # before the states, which count them
                changes.states = self._registry.changed(() if readings else self._tail.entries())
                worth = self._letters.add_to(changes) or owed_ms is not None or asked
                if now_ms - self._states_ms >= _STATES_MS:
                    self._states_ms = now_ms
                    worth = worth or bool(changes.states)
                if not (worth or changes.segments or self._registry.must_be_written(changes.states)):
                    self._wrote(readings, withheld)
                    return False
                if changes.segments:  # from now on: what of them is settled during the commit is owed
                    self._reader.written = changes.segments[-1].last
                self._owed_ms = None
            try:
                self._disk.commit(changes)
            except BaseException:
                with self._lock:
                    self._owed_ms = owed_ms if owed_ms is not None else self._owed_ms
                raise
            with self._lock:
                self.commits += 1
                self._states_ms = now_ms
                self._reader.recent.extend(changes.segments)
                self._registry.wrote(changes.states)
                self._letters.wrote(changes)
                self._wrote(readings, withheld)
            return True

    def _wrote(self, readings: bool, withheld: int) -> None:
        """All of that is on disk which somebody needs, and what `withheld` waited for."""
        if readings:
            self._tail.waiting.clear()
        self._let_go(withheld)

    def _let_go(self, withheld: int) -> None:
        """What had been withheld by then may be sent."""
        if self._tail.let_go(withheld):
            for queue in self._registry.queues.values():
                queue.wake.set()

    def _hold_on(self) -> None:
        """Nothing can be written: what is in memory is packed, and kept within a bound."""
        bound = _MEMORY_BYTES if self._disk.room.cap is None else _FULL_BYTES
        waiting = self._tail.joined()
        with self._lock:
            self._tail.waiting = waiting
            self._let_go(self._tail.withheld)
        sizes = [segment.pack() for segment in waiting]
        excess = sum(sizes) - bound
        for size in sizes:
            if excess <= 0:
                break
            for queue in list(self._registry.queues.values()):
                self._keeper.out_of_memory(queue, waiting[0])
            with self._lock:
                del waiting[0]
            excess -= size
        with self._lock:
            self._letters.hold_on(self._registry.queues)

    def _taken(self) -> int:
        """What the log takes on disk."""
        return self._reader.bytes_of_all(self._registry.needed())
