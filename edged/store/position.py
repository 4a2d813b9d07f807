"""What one destination still lacks of the log: a number while its series are in step, and what is not.

A series may fall behind (its field is at the rate limit, its token is refused) and must not hold up the others; the
order within a series is kept.  So what is settled of a series is always all up to some sequence number, with one kind
of exception: ranges that the destination never gets, since they came while it was disabled or full, or are gone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Skip(NamedTuple):
    """Readings that are not owed: those after `after`, up to and with `upto`; of one series, or (empty) of all."""

    after: int
    upto: int
    series: str = ""


@dataclass
class Position:
    """Everything at or before `head` is settled, except of the series in `behind`: those up to their own number."""

    head: int = 0
    behind: dict[str, int] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)  # in the order in which they came about
    # Of series that are behind, as far as it is known: the last reading of theirs that is at or before head.
    seen: dict[str, int] = field(default_factory=dict, compare=False)

    def of(self, series: str) -> int:
        """The sequence number up to which all readings of the series are settled."""
        return self.behind.get(series, self.head)

    def owes(self, series: str, seq: int) -> bool:
        """Whether that reading of the series is still to be delivered."""
        if seq <= self.of(series):
            return False
        return not any(skip.after < seq <= skip.upto and skip.series in ("", series) for skip in self.skips)

    @property
    def lowest(self) -> int:
        """The sequence number up to which all readings are settled, so that no one here needs them."""
        # The head first: a flush asks while the sender's thread moves it, and may get it too low, never too high.
        return self.past(min([self.head, *self.behind.values()]))

    def past(self, seq: int) -> int:
        """`seq`, or the end of the ranges that begin there and are owed of no series."""
        for skip in sorted(skip for skip in self.skips if not skip.series):
            if skip.after <= seq < skip.upto:
                seq = skip.upto
        return seq

    def needs(self, last: int) -> list[tuple[int, int]]:
        """The ranges (after, up to) of the log that may hold what is owed; `last` is the log's last number."""
        ranges, start = [], self.lowest
        for skip in sorted(skip for skip in self.skips if not skip.series and skip.upto > start):
            if skip.after > start:
                ranges.append((start, skip.after))
            start = max(start, skip.upto)
        return [*ranges, (start, last)] if last > start else ranges

    def touched(self, first: int, last: int) -> bool:
        """Whether ranges that are not owed reach into first..last."""
        return any(skip.upto >= first and skip.after < last for skip in self.skips)

    def intact(self, first: int, last: int) -> bool:
        """Whether all of first..last is still owed."""
        return first > max([self.head, *self.behind.values()]) and not self.touched(first, last)

    def forget(self, unwanted: Callable[[str], bool]) -> None:
        """Nothing is owed of those series any more."""
        for series in list(filter(unwanted, self.behind)):
            del self.behind[series]

    def skip(self, after: int, upto: int, series: str = "") -> None:
        """Takes a range out."""
        last = next((index for index in reversed(range(len(self.skips))) if self.skips[index].series == series), None)
        if last is not None and (end := self.skips[last]).after <= after <= end.upto:
            self.skips[last] = Skip(end.after, max(end.upto, upto), series)
        elif upto > after:
            self.skips.append(Skip(after, upto, series))

    def pass_by(self, series: str, after: int, last: int) -> None:
        """The head is to move over readings of the series, those behind `after` up to `last`, that are not settled."""
        self.behind.setdefault(series, after)
        self.seen[series] = last

    def settle(self, series: str, seq: int) -> None:
        """Everything of the series at or before `seq` is settled."""
        if self.seen.get(series) == seq:
            self.in_step(series)
        else:
            self.behind[series] = seq

    def in_step(self, series: str) -> None:
        """Everything of the series at or before the head is settled."""
        self.behind.pop(series, None)
        self.seen.pop(series, None)

    def settle_to(self, seq: int) -> None:
        """Everything at or before `seq` is settled, of all series."""
        if seq < self.head:
            self.behind = {series: max(at, seq) for series, at in self.behind.items()}
        else:
            self.behind = {series: at for series, at in self.behind.items() if at > seq}
            self.head = seq
        self.tidy()

    def unsee(self) -> None:
        """Forgets what is known of the last readings of series that are behind."""
        self.seen.clear()

    def tidy(self) -> None:
        """Forgets ranges that are behind what is settled anyway."""
        if self.skips:
            self.head = self.past(self.head)
            behind = {series: self.past(at) for series, at in self.behind.items()}
            self.behind = {series: at for series, at in behind.items() if at != self.head}
            lowest = self.lowest
            self.skips = [s for s in self.skips if s.upto > (self.of(s.series) if s.series else lowest)]

    def joined(self, earlier: "Position", began: int, series: Iterable[str]) -> "Position":
        """What is owed of both: of `earlier` up to sequence number `began`, of this one behind it.

        `series` are those that have readings between `began` and where this one is.
        """
        behind = {series: at for series, at in earlier.behind.items() if at < began}
        joined = Position(min(earlier.head, began), behind)  # both may have been in use at the same time
        for skip in earlier.skips:
            joined.skip(skip.after, min(skip.upto, began), skip.series)
        done = max(self.lowest, began)
        joined.skip(began, done)
        for name in series:
            joined.skip(done, self.of(name), name)
        joined.skips += [Skip(max(after, began), upto, of) for after, upto, of in self.skips if upto > began]
        return joined

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the store; the head first, as in `lowest`."""
        return {"head": self.head, "behind": dict(self.behind), "skips": [list(skip) for skip in self.skips]}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Position":
        """As it was kept."""
        return cls(kept["head"], dict(kept["behind"]), [Skip(*skip) for skip in kept.get("skips", [])])
