"""Takes a batch of what a destination is owed: of the series that are behind first, then from the head on.

Nothing is settled by it, but the head moves: a reading that it passes by puts its series behind.  Of a position in two,
what is new is taken first, and then as much of the backlog as fits beside it.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from edged.reading import Entry
from edged.series import Choice
from edged.store.owed import Owed
from edged.store.position import Position
from edged.store.segment import Segment
from edged.store.split import Split, Where

# Once there is something to send, so many further readings are looked through for more to go with it.
LOOK_AHEAD = 2000
_END = 1 << 60  # a number beyond all readings


class Log(Protocol):
    """Where it takes from."""

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`.  Raises StoreUnusable."""

    def ready(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`, of those that may be sent already.  Raises StoreUnusable."""


class Batch:
    """A batch in the making: what it holds, and what it takes."""

    def __init__(self, most: int, blocked: Collection[str], fits: Callable[[Entry], bool]) -> None:
        """At most `most` readings, none of the series in `blocked`; of a series nothing behind what `fits` refuses."""
        self.entries: list[Entry] = []
        self._most = most
        self._blocked = blocked
        self._closed = set(blocked)
        self._fits = fits

    def beside(self) -> "Batch":
        """The same batch for another stream: there it may take what is behind others that it could not take here."""
        other = Batch(self._most, self._blocked, self._fits)
        other.entries = self.entries
        return other

    def full(self) -> bool:
        return len(self.entries) >= self._most

    def open_for(self, series: str) -> bool:
        return series not in self._closed

    def offer(self, entry: Entry) -> None:
        """Takes the reading, unless the batch is full or its series is closed; then none behind it is taken either."""
        if entry.series in self._closed or self.full():
            return
        if self._fits(entry):
            self.entries.append(entry)
        else:
            self._closed.add(entry.series)


def take(batch: Batch, log: Log, choice: Choice, position: Where) -> None:
    """Fills the batch.  Raises StoreUnusable."""
    if isinstance(position, Split):
        _take(batch, log, choice, position.live, _END)
        _take(batch.beside(), log, choice, position.backlog, position.mark)
    else:
        _take(batch, log, choice, position, _END)


def _take(batch: Batch, log: Log, choice: Choice, position: Position, end: int) -> None:
    _take_behind(batch, log, Owed(log, choice, position), position)
    _take_ahead(batch, log, Owed(log, choice, position), position, end)


def _take_behind(batch: Batch, log: Log, owed: Owed, position: Position) -> None:
    """Takes from the series that are behind, up to where the others are."""
    scanned = {series: at for series, at in position.behind.items() if batch.open_for(series)}
    found: set[str] = set()
    while scanned and not batch.full():
        start = position.past(min(scanned.values()))
        segment = log.ready(start) if start < position.head else None
        if segment is None:  # looked through all; what has nothing left is in step again
            for series in scanned.keys() - found:
                position.in_step(series)
            return
        here = {series for series, at in scanned.items() if at < segment.last and series in segment.counts}
        for entry in segment.after(start) if here else ():
            if entry.seq > position.head:
                break
            if entry.series in here and entry.seq > scanned[entry.series] and entry in owed:
                found.add(entry.series)
                batch.offer(entry)
        if batch.full():
            return
        reached = min(segment.last, position.head)
        scanned = {series: max(at, reached) for series, at in scanned.items() if batch.open_for(series)}
        for series in scanned.keys() - found:  # nothing of it up to here; the next take need not look again
            position.behind[series] = scanned[series]


def _take_ahead(batch: Batch, log: Log, owed: Owed, position: Position, end: int) -> None:
    """Takes from behind the head, and moves the head; not beyond the reading with the number `end`."""
    looked = 0
    while not batch.full() and (looked < LOOK_AHEAD or not batch.entries):
        start = position.past(position.head)
        segment = log.ready(start) if start < end else None
        if segment is None or segment.first > end:
            if end < _END and ((behind := log.after(start)) is None or behind.first > end):
                position.head = end  # there is nothing more up to there, and nothing that waits for its commit
            return
        wanted = {series for series in segment.counts if owed.choice.wants(series)}
        if segment.last <= end and not any(
            batch.open_for(series) for series in wanted
        ):  # nothing of it can be taken: it stays packed
            looked += segment.last - start
            for series in wanted:
                position.pass_by(series, max(start, segment.first - 1), segment.last)
            position.head = segment.last
            continue
        touched = position.touched(segment.first, segment.last)
        for entry in segment.after(start):
            if batch.full():
                return
            if entry.seq > end:
                position.head = end
                return
            if entry.series in wanted and (not touched or entry in owed):
                batch.offer(entry)
                position.pass_by(entry.series, entry.seq - 1, entry.seq)
            position.head = entry.seq
            looked += 1
