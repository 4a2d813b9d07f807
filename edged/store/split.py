"""A position in two: a backlog up to a mark, and what has come since, each taken and settled in its own order.

With `live-first` a destination gets what is new at once, and its backlog in the gaps.  So a series has two streams, and
where it is in the one says nothing of the other.  To all others it is a position as any.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edged.store.position import Position, Skip


@dataclass
class Split:
    """Up to `mark` the backlog counts, behind it the live part, which is at the mark at least."""

    mark: int
    backlog: Position
    live: Position

    @classmethod
    def at(cls, mark: int, position: Position) -> "Split":
        """A position as the two parts of it."""
        head, behind = position.head, position.behind
        backlog = Position(min(head, mark), {series: at for series, at in behind.items() if at < mark})
        live = Position(mark) if head <= mark else Position(head, {name: max(at, mark) for name, at in behind.items()})
        split = cls(mark, backlog, live)
        for skip in position.skips:
            split.skip(*skip)
        return split

    def part(self, seq: int) -> Position:
        """The one in which the sequence number is."""
        return self.live if seq > self.mark else self.backlog

    def owes(self, series: str, seq: int) -> bool:
        """Whether that reading of the series is still to be delivered."""
        return self.part(seq).owes(series, seq)

    @property
    def lowest(self) -> int:
        """The sequence number up to which all readings are settled."""
        lowest = self.backlog.lowest
        return lowest if lowest < self.mark else self.live.lowest

    def past(self, seq: int) -> int:
        """`seq`, or the end of the ranges that begin there and are owed of no series."""
        if seq < self.mark and (seq := self.backlog.past(seq)) < self.mark:
            return seq
        return max(seq, self.live.lowest, self.live.past(seq))

    def needs(self, last: int) -> list[tuple[int, int]]:
        """The ranges (after, up to) of the log that may hold what is owed; `last` is the log's last number."""
        return self.backlog.needs(self.mark) + self.live.needs(last)

    def intact(self, first: int, last: int) -> bool:
        """Whether all of first..last is still owed."""
        return all(part.intact(first, last) for part in self._parts(first, last))

    def forget(self, unwanted: Callable[[str], bool]) -> None:
        """Nothing is owed of those series any more."""
        self.backlog.forget(unwanted)
        self.live.forget(unwanted)

    def skip(self, after: int, upto: int, series: str = "") -> None:
        """Takes a range out."""
        if after < self.mark:
            self.backlog.skip(after, min(upto, self.mark), series)
        if upto > self.mark:
            self.live.skip(max(after, self.mark), upto, series)

    def settle(self, series: str, seq: int) -> None:
        """Everything of the series at or before `seq` is settled, in the part that it is in."""
        self.part(seq).settle(series, seq)

    def settle_to(self, seq: int) -> None:
        """Everything at or before `seq` is settled, of all series."""
        self.backlog.settle_to(min(seq, self.mark))
        if seq > self.mark:
            self.live.settle_to(seq)

    def tidy(self) -> None:
        """Forgets ranges that are behind what is settled anyway."""
        self.backlog.tidy()
        self.live.tidy()

    def unsee(self) -> None:
        """Forgets what is known of the last readings of series that are behind."""
        self.backlog.unsee()
        self.live.unsee()

    def _parts(self, first: int, last: int) -> Iterable[Position]:
        if first <= self.mark:
            yield self.backlog
        if last > self.mark:
            yield self.live

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the store."""
        return self.backlog.to_json() | {"live": self.live.to_json() | {"mark": self.mark}}


Where = Position | Split


def from_json(kept: dict[str, Any]) -> Where:
    """A position, split or not, as it was kept."""
    backlog = Position.from_json(kept)
    live = kept.get("live")
    return backlog if live is None else Split(live["mark"], backlog, Position.from_json(live))


def check(kept: dict[str, Any]) -> None:
    """Raises ValueError, TypeError or KeyError for what cannot be a position."""
    skips = [Skip(*skip) for skip in kept["skips"]]
    numbers = [kept["head"], *kept["behind"].values(), *(number for skip in skips for number in skip[:2])]
    if not all(isinstance(skip.series, str) for skip in skips):
        raise ValueError("a skip of no series")
    for number in numbers:
        whole(number)
    if (live := kept.get("live")) is not None:
        whole(live["mark"])
        check({**live, "live": None})


def whole(number: Any) -> None:
    """Raises ValueError for what is no number of a reading."""
    if type(number) is not int or not 0 <= number < 1 << 60:
        raise ValueError(f"{number!r:.50} in a place of numbers")
