"""The log's tail: what is in memory only.  Readings gather in runs; a flush makes segments of them, which then wait
for their commit: for a moment, or, where the disk cannot be written, packed and up to a bound.
"""

from bisect import bisect_right
from collections import deque

from edged.reading import Entry
from edged.store.segment import READINGS, Segment

_MOST_BYTES = 16 * 1024  # of a segment on disk: a quarter of the smallest bound
_SAME_CLOCK_MS = 20  # a clock that moved by more against the time since boot begins a new segment

_MARKS = 64  # in a flush interval, to tell how long a reading has been in memory

Ranges = list[tuple[int, int]]  # of sequence numbers: after the first, up to and with the second


class _Run:
    """Consecutive readings, measured while the clock was in step with the time since boot."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms
        self.entries: list[Entry] = []
        self.closed = False  # being made a segment; what comes now is of the next flush

    def takes(self, offset_ms: int) -> bool:
        return not self.closed and abs(offset_ms - self.offset_ms) <= _SAME_CLOCK_MS and len(self.entries) < READINGS


class Tail:
    """All of it is guarded by the log's lock, but for `segments_of` and `joined`."""

    def __init__(self, boot_id: str, last: int = 0, interval_ms: float = 1000.0) -> None:
        """`last` is the last sequence number that is on disk; `interval_ms` the flush interval."""
        self.last = last  # that was given
        self.waiting: list[Segment] = []
        self._runs: list[_Run] = []
        self._boot_id = boot_id
        # Readings, and when they came, in ms since boot; what comes before all of them is older than the interval.
        self._marks: deque[tuple[int, int]] = deque(maxlen=_MARKS + 1)
        self._mark_ms = interval_ms / _MARKS
        self.withheld = 0  # how often something was
        # Which time that was, and the first reading of what must be on disk before it is sent.
        self._withheld: deque[tuple[int, int]] = deque()

    def mark(self, boot_ms: int) -> None:
        """What is added from now on comes at that time."""
        if not self._marks or boot_ms - self._marks[-1][1] >= self._mark_ms:
            self._marks.append((self.last + 1, boot_ms))

    def came_ms(self, seq: int) -> int:
        """When the reading came, or a little earlier; 0: long ago."""
        return max((came_ms for first, came_ms in self._marks if first <= seq), default=0)

    def add(self, entry: Entry, offset_ms: int) -> None:
        """Appends a reading."""
        run = self._runs[-1] if self._runs else None
        if run is None or not run.takes(offset_ms):
            run = _Run(offset_ms)
            self._runs.append(run)
        run.entries.append(entry)
        self.last = entry.seq

    def withhold(self) -> None:
        """What comes from now on may be sent only when it has been let go."""
        self.withheld += 1
        self._withheld.append((self.withheld, self.last + 1))

    def let_go(self, withheld: int) -> bool:
        """What had been withheld when `withheld` was that may be sent; whether there was any."""
        before = len(self._withheld)
        while self._withheld and self._withheld[0][0] <= withheld:
            self._withheld.popleft()
        return len(self._withheld) < before

    @property
    def withholds(self) -> bool:
        """Whether there are readings that may not be sent yet."""
        return self.sendable < self.last

    @property
    def sendable(self) -> int:
        """The last sequence number that may be sent."""
        return self._withheld[0][1] - 1 if self._withheld else self.last

    def __len__(self) -> int:
        """How many runs there are, each of which becomes a segment."""
        return len(self._runs)

    def begins(self) -> int | None:
        """The first sequence number in memory."""
        if self.waiting:
            return self.waiting[0].first
        return self._runs[0].entries[0].seq if self._runs else None

    def after(self, seq: int, upto: int) -> Segment | None:
        """The first segment with a reading behind `seq`, of which those up to `upto` are given."""
        if seq >= upto:
            return None
        index = bisect_right(self.waiting, seq, key=lambda segment: segment.last)
        if index < len(self.waiting):
            segment = self.waiting[index]
            return segment if segment.last <= upto else self._part(segment.entries, segment.offset_ms, seq, upto)
        for run in self._runs:
            if run.entries[-1].seq > seq:
                return self._part(run.entries, run.offset_ms, seq, upto)
        return None

    def _part(self, entries: list[Entry], offset_ms: int, after: int, upto: int) -> Segment | None:
        first = entries[0].seq
        chosen = entries[max(0, after + 1 - first) : max(0, upto + 1 - first)]
        return Segment.of(chosen, self._boot_id, offset_ms) if chosen else None

    def forget(self, upto: int) -> None:
        """Lets go of the readings at or before `upto`, which nobody needs.  Not while segments are made of them."""
        while len(self._marks) > 1 and self._marks[1][0] <= upto + 1:
            self._marks.popleft()
        while self.waiting and self.waiting[0].last <= upto:
            del self.waiting[0]
        while self._runs and self._runs[0].entries[-1].seq <= upto:
            del self._runs[0]
        if self._runs:
            entries = self._runs[0].entries
            del entries[: max(0, upto + 1 - entries[0].seq)]

    def entries(self) -> list[Entry]:
        """All that is in memory."""
        waiting = [entry for segment in self.waiting for entry in segment.entries]
        return waiting + [entry for run in self._runs for entry in run.entries]

    def close(self) -> list[_Run]:
        """The runs to be made segments; what comes from now on goes into others."""
        if self._runs:
            self._runs[-1].closed = True
        return list(self._runs)

    def segments_of(self, runs: list[_Run], needed: Ranges) -> list[Segment]:
        """The segments of closed runs: of what is needed, and within each the sequence numbers are consecutive."""
        segments = []
        for run in runs:
            first, last = run.entries[0].seq, run.entries[-1].seq
            for after, upto in needed:
                if after < last and upto >= first:
                    part = run.entries[max(0, after + 1 - first) : upto + 1 - first]
                    segments += self._segments(part, run.offset_ms)
        return segments

    def _segments(self, entries: list[Entry], offset_ms: int) -> list[Segment]:
        """One, or several where it would be a large part of a small bound: a bound takes whole segments away."""
        segment = Segment.of(entries, self._boot_id, offset_ms)
        if segment.size <= _MOST_BYTES or len(entries) == 1:
            return [segment]
        middle = len(entries) // 2
        return self._segments(entries[:middle], offset_ms) + self._segments(entries[middle:], offset_ms)

    def closed(self, runs: list[_Run], segments: list[Segment]) -> None:
        """The segments take the place of their runs."""
        del self._runs[: len(runs)]
        self.waiting += segments

    def joined(self) -> list[Segment]:
        """The segments that wait as fewer and larger ones, after many flushes in a row that found no disk.

        A segment is joined with one that is not much longer, so that each reading is packed anew a few times only.
        """
        joined: list[Segment] = []
        for segment in self.waiting:
            while joined and _joins(joined[-1], segment):
                before = joined.pop()
                segment = Segment.of(before.entries + segment.entries, self._boot_id, before.offset_ms)
            joined.append(segment)
        return joined


def _joins(one: Segment, other: Segment) -> bool:
    """Whether two neighbours may be one segment."""
    count, more = one.last - one.first + 1, other.last - other.first + 1
    return (
        one.last + 1 == other.first
        and abs(one.offset_ms - other.offset_ms) <= _SAME_CLOCK_MS
        and count <= 2 * more
        and count + more <= READINGS
        and one.size + other.size <= _MOST_BYTES
    )


def union(ranges: Ranges) -> Ranges:
    """The ranges without overlaps, in order."""
    joined: Ranges = []
    for after, upto in sorted(ranges):
        if joined and after <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(upto, joined[-1][1]))
        else:
            joined.append((after, upto))
    return joined


def gaps(ranges: Ranges, last: int) -> Ranges:
    """What lies between the ranges (as `union` gives them), from the beginning up to `last`."""
    between, end = [], 0
    for after, upto in ranges:
        if after > end:
            between.append((end, after))
        end = upto
    return [*between, (end, last)] if last > end else between
