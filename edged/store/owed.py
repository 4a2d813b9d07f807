"""What is owed of the log: the readings that a destination has chosen and that its position does not have yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from edged.reading import Entry
from edged.series import Choice, Left
from edged.store.segment import Segment
from edged.store.split import Where


class Log(Protocol):
    """Where it is read: the store's log, on disk and in memory."""

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`.  Raises StoreUnusable."""


@dataclass(frozen=True)
class Owed:
    """To one destination, with its position as it is now.  Raises StoreUnusable where the log does."""

    log: Log
    choice: Choice | Left
    position: Where

    def __contains__(self, entry: Entry) -> bool:
        return self.choice.wants(entry.series) and self.position.owes(entry.series, entry.seq)

    def __iter__(self) -> Iterator[Entry]:
        """In order."""
        return self.behind(0)

    def behind(self, seq: int) -> Iterator[Entry]:
        """Those behind a sequence number, in order."""
        at = max(seq, self.position.lowest)
        while (segment := self.log.after(self.position.past(at))) is not None:
            if any(self.choice.wants(series) for series in segment.counts):
                yield from (entry for entry in segment.after(at) if entry in self)
            at = segment.last

    def number(self, after: int, upto: int) -> int:
        """How many there are in that range; by the headers of segments: only those begun are unpacked."""
        owed, at = 0, max(after, self.position.lowest)
        while at < upto and (segment := self.log.after(self.position.past(at))) and segment.first <= upto:
            if segment.last <= upto:
                owed += self.of(segment, at)
            else:
                owed += sum(1 for entry in segment.after(at) if entry.seq <= upto and entry in self)
            at = segment.last
        return owed

    def of(self, segment: Segment, after: int) -> int:
        """How many readings of the segment behind `after`."""
        if segment.first > after and self.position.intact(segment.first, segment.last):
            return sum(number for series, number in segment.counts.items() if self.choice.wants(series))
        return sum(1 for entry in segment.after(after) if entry in self)
