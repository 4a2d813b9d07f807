"""A destination's view of the log: what it has not confirmed yet, to take in order and to settle."""

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from edged.reading import Entry
from edged.store.position import Position
from edged.store.segment import Segment

# Once there is something to send, so many further readings are looked through for more to go with it.
LOOK_AHEAD = 2000


class Log(Protocol):
    """Where a queue reads: the store's log, on disk and in memory."""

    lock: threading.RLock  # guards every position; never held while the disk works

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`."""

    def settled(self, seq: int) -> None:
        """Notes that a reading has been settled, so that the disk learns of it."""

    def bury(self, destination: str, entry: Entry, reason: str, response: str) -> None:
        """Keeps a reading as a dead letter, in the commit that settles it."""


class Queue:
    """What one destination still lacks.  `take` and `settle` are for its one sender; `wake` is set by new readings."""

    def __init__(self, name: str, log: Log, wants: Callable[[str], bool], kept: dict[str, Any], mapping: str) -> None:
        """`kept` is what the store has of it (`to_json`); `mapping` stands for what `wants` says."""
        self.name = name
        self.wake = threading.Event()
        self._log = log
        self._wants = wants
        self._mapping = mapping
        self._wanted: dict[str, bool] = {}
        self._seen: dict[str, int] = {}  # series that are behind: the last reading of theirs that is at or before head
        self.position = Position.from_json(kept)
        for series in [series for series in self.position.behind if not self.wants(series)]:
            del self.position.behind[series]  # no longer mapped: nothing of it is owed
        self.delivered: int = kept["delivered"]
        self.dead: int = kept["dead"]
        self.merged: int = kept["merged"]
        same = kept["mapping"] == mapping
        self.queued: int = kept["queued"] if same else 0
        self._counted: int = kept["counted"] if same else self.position.lowest  # `queued` knows of all up to here
        self.count()

    def to_json(self) -> dict[str, Any]:
        """What the store keeps of it."""
        return self.position.to_json() | {
            "mapping": self._mapping,
            "queued": self.queued,
            "counted": self._counted,
            "delivered": self.delivered,
            "dead": self.dead,
            "merged": self.merged,
        }

    def wants(self, series: str) -> bool:
        """Whether readings of the series go here."""
        if (wanted := self._wanted.get(series)) is None:
            wanted = self._wanted[series] = self._wants(series)
        return wanted

    def arrived(self, entry: Entry) -> None:
        """A reading has been put into the log.  Called with the log's lock held."""
        self._counted = entry.seq
        if self.wants(entry.series):
            self.queued += 1
            self.wake.set()

    def count(self) -> None:
        """Counts what has come since it counted last, by the headers of segments; only those begun are unpacked.

        Not while readings arrive or are taken.
        """
        begun = max([self.position.head, *self.position.behind.values()])
        while (segment := self._log.after(self._counted)) is not None:
            if segment.first > max(begun, self._counted):
                self.queued += sum(number for series, number in segment.counts.items() if self.wants(series))
            else:
                owed = (e for e in segment.after(self._counted) if self.wants(e.series))
                self.queued += sum(1 for entry in owed if entry.seq > self.position.of(entry.series))
            self._counted = segment.last

    def take(
        self, most: int, most_a_series: int = 0, blocked: Collection[str] = (), fits: Callable[[Entry], bool] = bool
    ) -> list[Entry]:
        """The oldest readings not settled yet, in order: at most `most`, and `most_a_series` (0: any number).

        Series in `blocked` are left out.  `fits` may refuse a reading; its series is then left out of this batch.
        Nothing is changed: without `settle` the same are taken again.
        """
        batch = _Batch(most, most_a_series, blocked, fits)
        self._take_behind(batch)
        self._take_ahead(batch)
        return sorted(batch.entries)

    def _take_behind(self, batch: "_Batch") -> None:
        """Takes from the series that are behind, up to where the others are."""
        scanned = {series: at for series, at in self.position.behind.items() if batch.open_for(series)}
        while scanned and not batch.full():
            start = min(scanned.values())
            segment = self._log.after(start) if start < self.position.head else None
            if segment is None:  # looked through all; what has nothing left is in step again
                for series in scanned:
                    if series not in batch.counts:
                        self._in_step(series)
                return
            here = {series for series, at in scanned.items() if at < segment.last and series in segment.counts}
            for entry in segment.after(start) if here else ():
                if entry.seq > self.position.head:
                    break
                if entry.series in here and entry.seq > scanned[entry.series]:
                    batch.offer(entry)
            if batch.full():
                return
            reached = min(segment.last, self.position.head)
            scanned = {series: max(at, reached) for series, at in scanned.items() if batch.open_for(series)}
            for series in scanned:
                if series not in batch.counts:  # nothing of it up to here; the next take need not look again
                    self.position.behind[series] = scanned[series]

    def _take_ahead(self, batch: "_Batch") -> None:
        """Takes from behind the head, and moves the head: a reading that is passed by puts its series behind."""
        looked = 0
        while not batch.full() and (looked < LOOK_AHEAD or not batch.entries):
            if (segment := self._log.after(self.position.head)) is None:
                return
            wanted = {series for series in segment.counts if self.wants(series)}
            if not any(batch.open_for(series) for series in wanted):
                looked += segment.last - self.position.head
                self._pass(segment, wanted)
                continue
            for entry in segment.after(self.position.head):
                if batch.full():
                    return
                if entry.series in wanted:
                    batch.offer(entry)
                    self.position.behind.setdefault(entry.series, entry.seq - 1)
                    self._seen[entry.series] = entry.seq
                self.position.head = entry.seq
                looked += 1

    def _pass(self, segment: Segment, wanted: Iterable[str]) -> None:
        """Moves the head over a segment of which nothing can be taken now, without unpacking it."""
        for series in wanted:
            self.position.behind.setdefault(series, max(self.position.head, segment.first - 1))
            self._seen[series] = segment.last
        self.position.head = segment.last

    def _in_step(self, series: str) -> None:
        self.position.behind.pop(series, None)
        self._seen.pop(series, None)

    def settle(self, entry: Entry, *, merged: bool = False, reason: str = "", response: str = "") -> None:
        """Ends a reading's life here: delivered, merged into another, or (with a reason) dead.

        Must be called in the order of the readings of a series.
        """
        with self._log.lock:
            self.queued -= 1
            if reason:
                self.dead += 1
                self._log.bury(self.name, entry, reason, response)
            elif merged:
                self.merged += 1
            else:
                self.delivered += 1
            if self._seen.get(entry.series) == entry.seq:
                self._in_step(entry.series)
            else:
                self.position.behind[entry.series] = entry.seq
            self._log.settled(entry.seq)


class _Batch:
    """A batch in the making: what it holds, and whether it takes more."""

    def __init__(self, most: int, most_a_series: int, blocked: Collection[str], fits: Callable[[Entry], bool]) -> None:
        self.entries: list[Entry] = []
        self.counts: dict[str, int] = {}
        self._most = most
        self._most_a_series = most_a_series or most
        self._closed = set(blocked)
        self._fits = fits

    def full(self) -> bool:
        return len(self.entries) >= self._most

    def open_for(self, series: str) -> bool:
        return series not in self._closed

    def offer(self, entry: Entry) -> None:
        """Takes the reading, unless the batch is full or its series is closed; then none behind it is taken either."""
        if self.full() or entry.series in self._closed:
            return
        if not self._fits(entry):
            self._closed.add(entry.series)
            return
        self.entries.append(entry)
        count = self.counts[entry.series] = self.counts.get(entry.series, 0) + 1
        if count >= self._most_a_series:
            self._closed.add(entry.series)
