"""Keeps queues within their bounds: by size and age, on a full disk, and counts anew what a damaged store has lost.

All of it is done by the thread that flushes, before the commit that carries it.  What is taken away is always whole
readings, counted one by one.
"""

import logging
import time
from collections.abc import Callable

from edged.store.letterbox import Letterbox
from edged.store.queue import Queue
from edged.store.reader import Reader
from edged.store.registry import Registry
from edged.store.segment import Segment
from edged.store.split import Where

log = logging.getLogger(__name__)

_EASED = 0.95  # of the bound: to which the oldest are dropped, and below which new ones are taken again
_SAY_EVERY_S = 3600.0
_NO_CLOCK_MS = 1_577_836_800_000  # 2020: an earlier stamp is of a clock that had not been set; its age is not known


class Keeper:
    """Says what it does once when it begins, and then once an hour."""

    def __init__(
        self,
        reader: Reader,
        letters: Letterbox,
        registry: Registry,
        boot_id: str,
        now_ms: Callable[[], int],
        boot_ms: Callable[[], int],
        *,
        bounded: bool = True,
    ) -> None:
        """Unless `bounded`, nothing is dropped: who only looks into the store does not know the bounds of today."""
        self._reader = reader
        self._letters = letters
        self._registry = registry
        self._bounded = bounded
        self._boot_id = boot_id
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # when, and how many had been dropped by then

    def by_age(self, queue: Queue) -> None:
        """Drops readings that are older than `max_age`."""
        if not self._bounded or queue.bounds.max_age_s is None or queue.queued <= queue.again:
            return
        limit_ms = queue.bounds.max_age_s * 1000
        now_ms, boot_ms = self._now_ms(), self._boot_ms()
        with queue.turn:
            upto = at = queue.position.lowest
            while (segment := self._reader.after(queue.position.past(at))) is not None:
                same_boot = segment.boot_id == self._boot_id  # then the age is known, whatever the clock said
                oldest_ms = (boot_ms + segment.offset_ms if same_boot else now_ms) - limit_ms
                if segment.times_ms[0] >= oldest_ms or (segment.times_ms[0] < _NO_CLOCK_MS and not same_boot):
                    break
                if segment.times_ms[1] >= oldest_ms:
                    upto = max(upto, next(e.seq for e in segment.entries if e.time_ms >= oldest_ms) - 1)
                    break
                upto = at = segment.last
            self._discard(queue, upto, "dropped", f"they are older than {queue.bounds.max_age_s:g} s (max_age)")

    def by_size(self, queue: Queue, cap: int | None) -> None:
        """Drops what is beyond `max_size`; `cap`: what a full disk has room for."""
        if not self._bounded:
            return
        bound = queue.bounds.max_size
        counter, reason = "dropped", f"its queue is at its max_size of {bound} bytes"
        if cap is not None and cap < bound:
            bound, counter, reason = cap, "lost", "the disk is full; make room on it"
        with queue.turn:
            size = self._reader.bytes_of_all(queue.needs())
            if counter == "dropped" and queue.bounds.when_full == "drop-newest":
                self._close(queue, size, reason)
            elif size > bound:
                self._drop_oldest(queue, size - int(bound * _EASED), counter, reason)

    def _drop_oldest(self, queue: Queue, excess: int, counter: str, reason: str) -> None:
        upto = queue.position.lowest
        while excess > 0 and (key := self._reader.key_after(queue.position.past(upto))) is not None:
            excess -= self._reader.bytes_of(queue.position.past(upto), key)
            upto = key
        self._discard(queue, upto, counter, reason)

    def _discard(self, queue: Queue, upto: int, counter: str, reason: str) -> None:
        """Everything up to there goes."""
        if upto > queue.position.lowest:
            number = queue.owed.number(queue.position.lowest, upto)
            queue.discard(lambda position: position.settle_to(upto), number, counter)
            self._say(queue, counter, f"the oldest readings are {counter}, since {reason}")

    def _close(self, queue: Queue, size: int, reason: str) -> None:
        """Takes in nothing more while the queue is full."""
        if size > queue.bounds.max_size and not queue.full:
            queue.shut_out(self._fitting(queue, size - queue.bounds.max_size))
        elif queue.full and size <= queue.bounds.max_size * _EASED:
            queue.full = False
        if queue.full:
            self._say(queue, "dropped", f"new readings are dropped, since {reason}")

    def _fitting(self, queue: Queue, excess: int) -> int:
        """The number up to which there is room for what is in memory; `excess`: what there is no room for."""
        upto = self._reader.in_memory()
        room = self._reader.bytes_of(upto, queue.counted) - excess
        while (key := self._reader.key_after(upto)) is not None and (size := self._reader.bytes_of(upto, key)) <= room:
            room -= size
            upto = key
        return upto

    def out_of_memory(self, queue: Queue, segment: Segment) -> None:
        """Takes a segment out that is in memory and cannot be written."""
        with queue.turn:
            number = queue.owed.number(segment.first - 1, segment.last)

            def forget(position: Where) -> None:
                position.skip(segment.first - 1, segment.last)

            queue.discard(forget, number, "lost")
            if number:
                self._say(queue, "lost", "the oldest readings in memory are lost, since the store cannot be written")

    def recount(self, queue: Queue) -> None:
        """Counts what is left of a queue in a damaged store."""
        with queue.turn:
            lost = self._registry.count_late(queue)
            lost += queue.recount(*self._letters.kept(queue.name))
        if lost > 0:
            log.error("%s: %d readings are lost to the damaged store", queue.name, lost)

    def _say(self, queue: Queue, counter: str, what: str) -> None:
        now, number = time.monotonic(), getattr(queue, counter)
        at, before = self._said.get((queue.name, counter), (now - _SAY_EVERY_S, 0))
        if number > before and now - at >= _SAY_EVERY_S:
            log.error("%s: %s; %d so far", queue.name, what, number, extra={"destination": queue.name})
            self._said[queue.name, counter] = now, number
