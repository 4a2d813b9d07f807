"""Who uses the store: the queue of each destination, and what drivers and platforms must remember over restarts.

A destination that is disabled or has left the config keeps its queue, which then takes nothing in.  All of it is
guarded by the log's lock, unless a function says otherwise.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from edged.errors import StoreUnusable
from edged.reading import Entry
from edged.series import Choice
from edged.store.disk import Disk
from edged.store.queue import Bounds, Queue
from edged.store.queue import Log as Reads
from edged.store.tables import DESTINATION, MEMORY
from edged.store.tail import Ranges, union

log = logging.getLogger(__name__)

_NAMES = "names"  # all other states, so that one that is gone is missed
_EVERYTHING = Choice((("**", True),))  # as no config says it
# Where it cannot be read what the store holds, numbers begin behind all that it could hold: for each second of the
# clock higher, since what had such numbers may be in the store by the next time.
_UNKNOWN = 1 << 52
_A_SECOND = 1 << 25


class Registry:
    """The destinations by name, and the memories by owner."""

    def __init__(self, reads: Reads, disk: Disk, keep_removed_s: float, now_ms: int) -> None:
        """Loads what the store has."""
        self._last_unknown = _UNKNOWN + now_ms // 1000 * _A_SECOND
        self.queues: dict[str, Queue] = {}
        self._reads = reads
        self._disk = disk
        self._keep_removed_s = keep_removed_s
        self._kept: dict[str, Any] = {}  # the states as they are on disk
        self._memories: dict[str, Any] = {}
        self._known = disk.readable
        self._torn = disk.torn
        # What the next flush has to count, each with its queue as it was before, of what was on disk; None: not known.
        self._uncounted: dict[str, Queue | None] = {}
        self._seen_s = time.monotonic()
        self._load(disk.states())

    def _load(self, states: dict[str, Any]) -> None:
        self._kept = dict(states)
        for name, kept in (dict.fromkeys(states.get(_NAMES) or ()) | states).items():
            if name.startswith(MEMORY):
                self._take_memory(name.removeprefix(MEMORY), kept)
            elif name.startswith(DESTINATION):
                self._take(self._restored(name.removeprefix(DESTINATION), kept))

    def _take_memory(self, owner: str, kept: Any) -> None:
        if kept is None:
            log.error("what %s remembered in the store is damaged or gone: it begins anew, a total from 0", owner)
        else:
            self._memories.setdefault(owner, kept)

    def _restored(self, name: str, kept: Any) -> Queue:
        """A destination's queue as the store has it; where its state was lost, it is owed all that is there."""
        try:
            if kept is None:
                raise ValueError("it is damaged or gone")
            choice, bounds = Choice.from_json(kept["choice"]), Bounds(*kept.get("bounds", ()))
            if not all(isinstance(pattern, str) for pattern, _ in choice.rules):
                raise ValueError("what it takes are no series")
            if "removed_h" in kept:  # as it was once kept: hours, and the seconds beyond them
                kept = kept | {"removed_s": kept["removed_h"] * 3600 + kept.get("removed_s", 0)}
            return Queue(name, self._reads, choice, bounds, kept)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            log.error("%s: its place in the store cannot be read (%s); it gets again all that is there", name, error)
        kept = Queue.new(_EVERYTHING, 0) | {"open": False} | self._letters_of(name)
        queue = Queue(name, self._reads, _EVERYTHING, Bounds(), kept)
        try:
            queue.count()
        except StoreUnusable:
            self._count_later(queue, self._disk.last())
        return queue

    def _take(self, queue: Queue) -> None:
        if (newer := self.queues.get(queue.name)) is None:
            self.queues[queue.name] = queue
            return
        if missing := queue.missing():  # it was damaged while it could not be read
            queue.discard(lambda position: None, missing, "lost")
            log.error("%s: %d readings are lost to the damaged store", queue.name, missing)
        newer.join(queue, self._last_unknown)

    def last(self) -> int:
        """The last sequence number that was given."""
        if not self._known:
            return self._last_unknown
        return max([self._disk.last(), *(queue.counted for queue in self.queues.values())])

    def _last_on_disk(self, states: dict[str, Any]) -> int:
        counted = (kept.get("counted") for kept in states.values() if isinstance(kept, dict))
        return max([self._disk.last(), *(number for number in counted if isinstance(number, int))])

    def join(self) -> None:
        """The disk is open again: what it holds and what has come in memory become one.  Raises StoreUnusable.

        Called without the log's lock.
        """
        if not self._known:
            states = self._disk.states()
            if self._last_on_disk(states) > self._last_unknown:  # by a clock that is behind
                raise StoreUnusable("it has what came when it was unreadable before; it is read at the next start")
            at = 0
            while (segment := self._disk.after(at)) is not None:  # before anything is changed: it may be damaged
                at = segment.last
            self._torn |= self._disk.torn
            self._load(states)
            self._known = True
        with self._reads.lock:
            self._kept = dict.fromkeys(self._kept)  # whatever is there, all is written anew, and what is gone deleted

    # --- destinations

    def open(
        self, name: str, choice: Choice, bounds: Bounds, last: Callable[[], int], in_memory: int | None = None
    ) -> Queue:
        """A destination's queue, for its sender.  Called with the disk's lock held; `last` is the log's last number.

        Raises StoreUnusable where it cannot be counted.  With `in_memory`, the number behind which readings are in
        memory only, the next flush counts it then.
        """
        with self._reads.lock:
            if old := self.queues.get(name):
                kept = old.to_json()
                old.over = True
        if not old:  # a torn store may have lost its state, and has its letters still
            kept = Queue.new(choice, 0 if self._torn else last()) | self._letters_of(name)
        queue = Queue(name, self._reads, choice, bounds, kept | {"open": True, "removed": False, "removed_s": 0})
        queue.active = True
        if kept["choice"] == _EVERYTHING.to_json():  # a guess, where the state was lost
            queue.forget_left()
        try:
            queue.count()
        except StoreUnusable:
            if in_memory is None:
                if old:
                    old.over = False
                raise
            if old and name not in self._uncounted:
                old.queued -= old.owed.number(in_memory, old.counted)
                old.counted = in_memory
            self._count_later(queue, last(), old)
        with self._reads.lock:
            queue.count()  # what has come in the meantime, all of it in memory
            self.queues[name] = queue
            if queue.queued != kept["queued"]:
                self._reads.settled(0)
        if left := queue.dropped - kept["dropped"]:
            log.warning("%s: %d readings of series that go there no more are dropped", name, left)
        return queue

    def _letters_of(self, name: str) -> dict[str, int]:
        """How many dead letters a destination has on disk, for its state; where they cannot be read, none for now."""
        try:
            dead, again = (sum(1 for _ in self._disk.letters(name, retry=retry)) for retry in (False, True))
        except StoreUnusable:
            self._disk.recount = True  # the next flush finds them
            dead = again = 0
        return {"dead": dead, "again": again, "queued": again}

    def _count_later(self, queue: Queue, last: int, before: Queue | None = None) -> None:
        """Until the next flush counts the queue, it is held to be owed all that there may be."""
        queue.forget_left()
        queue.queued = queue.again + sum(upto - after for after, upto in queue.position.needs(last))
        queue.counted = last
        self._uncounted.setdefault(queue.name, before)
        self._disk.recount = True

    def count_late(self, queue: Queue) -> int:
        """Counts what could not be counted before; returns how many readings of it are lost.

        Called with the queue's turn held.  Raises StoreUnusable.
        """
        if queue.name not in self._uncounted:
            return 0
        before, missing = self._uncounted[queue.name], queue.missing()
        lost = before.missing() if before else 0
        with self._reads.lock:
            queue.queued -= missing
            queue.lost += lost
        del self._uncounted[queue.name]
        return lost

    def close(self, queue: Queue, *, removed: bool) -> None:
        """Ends the use of a queue, which keeps what it has.  Called with the queue's turn held."""
        with self._reads.lock:
            if self.queues.get(queue.name) is queue:
                queue.over = True
                kept = queue.to_json() | {"open": False, "removed": removed}
                self.queues[queue.name] = Queue(queue.name, self._reads, queue.choice, queue.bounds, kept)
                self._reads.settled(0)

    def forget_removed(self) -> None:
        """Drops the queues of destinations that left the config long ago.  Called without the log's lock."""
        if math.isinf(self._keep_removed_s):
            return
        now = time.monotonic()
        elapsed, self._seen_s = now - self._seen_s, now
        for queue in list(self.queues.values()):
            if queue.removed:
                queue.removed_s += elapsed
                if queue.removed_s >= self._keep_removed_s:
                    with self._reads.lock:
                        del self.queues[queue.name]
                        self._reads.settled(0)
                    log.warning(
                        "%s left the config (keep_removed): its %d queued readings and %d dead letters are dropped",
                        queue.name,
                        queue.queued,
                        queue.dead,
                    )

    def needed(self) -> Ranges:
        """The ranges of the log that some destination needs."""
        return union([needs for queue in self.queues.values() for needs in queue.needs()])

    def lacking(self, behind: int) -> dict[str, int]:
        """How many readings destinations lack, those that lack any: of what came `behind` a number of the log."""
        numbers = {name: queue.owed.number(behind, queue.counted) for name, queue in self.queues.items()}
        return {name: number for name, number in numbers.items() if number}

    # --- what is written

    def changed(self, unwritten: Collection[Entry] = ()) -> dict[str, Any]:
        """The states that are other than on disk; None: to be forgotten.  They know nothing of `unwritten` readings."""
        states: dict[str, Any] = {}
        for queue in self.queues.values():
            states[DESTINATION + queue.name] = state = queue.to_json()
            owed = queue.owed
            state["queued"] -= sum(1 for entry in unwritten if entry in owed)
        states |= {MEMORY + owner: memory for owner, memory in self._memories.items()}
        states[_NAMES] = sorted(states)
        gone = {name: None for name in self._kept if name.startswith(DESTINATION) and name not in states}
        return {name: state for name, state in states.items() if self._kept.get(name) != state} | gone

    @staticmethod
    def must_be_written(states: dict[str, Any]) -> bool:
        """Whether the changes are worth a commit of their own; where a destination is, is not."""
        return any(state is None or name.startswith(MEMORY) for name, state in states.items())

    def wrote(self, states: dict[str, Any]) -> None:
        """The changes are on disk."""
        self._kept = {name: state for name, state in (self._kept | states).items() if state is not None}

    # --- memories

    def remember(self, memory: Mapping[str, Any]) -> bool:
        """Takes what owners must not forget; whether it is new."""
        new = {owner: state for owner, state in memory.items() if self._memories.get(owner) != state}
        self._memories.update(new)
        return bool(new)

    def recall(self, owner: str) -> Any:
        """What the owner has left here; None where it has not.  Raises StoreUnusable where that is not known."""
        if not self._known:
            raise StoreUnusable(f"what {owner} was at last is not known: {self._disk.trouble}")
        return self._memories.get(owner)
