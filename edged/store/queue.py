"""A destination's view of the log: what it has not confirmed yet, to take in order and to settle."""

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple, dataclass
from typing import Any, Literal, Protocol

from edged.reading import Entry
from edged.series import Choice, Left
from edged.store.joining import in_one, joined, left_over
from edged.store.owed import Owed
from edged.store.position import Position
from edged.store.segment import Segment
from edged.store.split import Split, Where, check, from_json, whole
from edged.store.taking import Batch, take

_MOST_SKIPS = 500
_AT_ITS_END = 2000  # readings that are looked through for where a backlog ends
COUNTERS = ("delivered", "dead", "dropped", "merged", "lost")


@dataclass(frozen=True)
class Bounds:
    """How much is kept for one destination."""

    max_size: int = 256 * 1024 * 1024  # bytes on disk
    max_age_s: float | None = None
    when_full: Literal["drop-oldest", "drop-newest"] = "drop-oldest"
    max_dead_letters: int = 10_000


class Log(Protocol):
    """Where a queue reads: the store's log, on disk and in memory."""

    lock: threading.RLock  # guards every position; never held while the disk works

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`.  Raises StoreUnusable."""

    def ready(self, seq: int) -> Segment | None:
        """The same, of those readings alone that may be sent already."""

    def settled(self, seq: int) -> None:
        """Notes that a reading has been settled, so that the disk learns of it."""

    def bury(self, destination: str, entry: Entry, reason: str, response: str) -> None:
        """Keeps a reading as a dead letter, in the commit that settles it."""

    def retried(self, destination: str) -> Iterator[Entry]:
        """The dead letters that are in the queue again; their sequence numbers are below all others."""


class Queue:
    """What one destination still lacks; it goes on existing while the destination is disabled or removed.

    `take` and `settle` are for its one sender; `wake` is set by new readings.  `turn` is held by whoever looks through
    it or drops from it, and is taken before all other locks of the store.
    """

    def __init__(self, name: str, log: Log, choice: Choice, bounds: Bounds, kept: dict[str, Any]) -> None:
        """`kept` is what the store has of it (`to_json`)."""
        _check(kept)
        self.name = name
        self.bounds = bounds
        self.choice = choice
        self.wake = threading.Event()
        self.wake_at = 0  # how many readings must have come for it
        self.turn = threading.RLock()
        self.active = False  # a sender uses it
        self.full = False  # what comes is dropped
        self.over = False  # another object has taken its place
        self.position = from_json(kept)
        self.began: int = kept["began"]  # the log's last number when the destination was new
        self.open: bool = kept["open"]  # it is configured, and what comes is its own
        self.again: int = kept["again"]  # dead letters that are in the queue again
        self.removed: bool = kept["removed"]  # it left the config ...
        self.removed_s: float = float(kept["removed_s"])  # ... so long ago, in time that a daemon ran
        self.delivered: int = kept["delivered"]
        self.dead: int = kept["dead"]
        self.dropped: int = kept["dropped"]
        self.merged: int = kept["merged"]
        self.lost: int = kept["lost"]
        self.queued: int = kept["queued"]
        self.counted: int = kept["counted"]  # `queued` knows of all readings up to here
        self._log = log
        self._taken: list[Entry] = []  # the last batch
        self._beside: set[int] = set()  # of the last batch what has had others put in front of it since
        self.came = 0  # readings that came and are queued, since the start
        self._refused = 0  # and those that are dropped
        self._fallen: dict[int, str] = {}  # of the last batch what was dropped since, and the counter that has it
        before = Choice.from_json(kept["choice"])
        self._chose: tuple[Choice, int] | None = None  # how it chose before, and up to which number
        if before != choice:
            self._chose = before, self.counted
            self.queued, self.counted = self.again, self.position.lowest  # to be counted anew

    @staticmethod
    def new(choice: Choice, last: int) -> dict[str, Any]:
        """What there is to keep of a new one, which gets what comes behind the log's `last` number."""
        counters = dict.fromkeys((*COUNTERS, "queued", "again", "removed_s"), 0)
        position = Position(last).to_json()
        flags = {"open": True, "removed": False}
        marks = {"counted": last, "began": last}
        return position | counters | flags | marks | {"choice": choice.to_json()}

    def to_json(self) -> dict[str, Any]:
        """What the store keeps of it."""
        return self.position.to_json() | {
            "choice": self.choice.to_json(),
            "bounds": list(astuple(self.bounds)),
            "open": self.open,
            "began": self.began,
            "removed": self.removed,
            "removed_s": int(self.removed_s),
            "queued": self.queued,
            "again": self.again,
            "counted": self.counted,
            "delivered": self.delivered,
            "dead": self.dead,
            "dropped": self.dropped,
            "merged": self.merged,
            "lost": self.lost,
        }

    @property
    def backlog_ends(self) -> int:
        """The sequence number up to which readings are of a backlog, which is taken beside what is new."""
        return self.position.mark if isinstance(self.position, Split) else 0

    @property
    def owed(self) -> Owed:
        """What is still to be delivered here of the log."""
        return Owed(self._log, self.choice, self.position)

    def needs(self) -> list[tuple[int, int]]:
        """The ranges (after, up to) of the log that this destination cannot do without."""
        return self.position.needs(self.counted) if self.queued > self.again else []

    def arrived(self, entry: Entry) -> None:
        """A reading has been put into the log.  Called with the log's lock held."""
        self.counted = entry.seq
        wanted = self.choice.wants(entry.series)
        if self.open and not self.full:
            if wanted:
                self.queued += 1
                self.came += 1
                if self.came >= self.wake_at and not self.wake.is_set():
                    self.wake.set()
        else:
            self.position.skip(entry.seq - 1, entry.seq)
            if self.open and wanted:
                self.dropped += 1
                self._refused += 1
                self._log.settled(0)  # the count is to be right after a kill, too

    # --- looking through it

    def count(self) -> None:
        """Counts what has come since it counted last.  Not while readings arrive or are taken."""
        if self._chose is not None:
            self._leave_out(*self._chose)
        while (segment := self._log.after(self.counted)) is not None:
            self.queued += self.owed.of(segment, self.counted)
            self.counted = segment.last

    def forget_left(self) -> None:
        """Nothing is owed any more of series that are not chosen any more, however much there is queued of them."""
        self._chose = None
        self.position.forget(lambda series: not self.choice.wants(series))

    def _leave_out(self, before: Choice, upto: int) -> None:
        """Drops what is queued of series that are not chosen any more, and counts it."""
        number, series = left_over(self._log, Left(before, self.choice), self.position, upto)
        self.dropped += number
        for name in series:
            self.position.skip(0, upto, name)
        self.forget_left()

    def pending(self) -> Iterator[Entry]:
        """All that is queued, in order; dead letters that are tried again come first.  Raises StoreUnusable."""
        if self.again:
            yield from self._log.retried(self.name)
        if self.queued > self.again:
            yield from self.owed

    def oldest_ms(self) -> int | None:
        """The time of the oldest reading that is queued."""
        first = next(self.pending(), None)
        return first.time_ms if first else None

    # --- taking and settling

    def take(self, most: int, blocked: Collection[str] = (), fits: Callable[[Entry], bool] = bool) -> list[Entry]:
        """The oldest readings not settled yet, in order: at most `most`.  Raises StoreUnusable.

        Series in `blocked` are left out.  `fits` may refuse a reading; its series is then left out of this batch.
        Nothing is changed: without `settle` the same are taken again.
        """
        with self.turn:
            batch = Batch(most, blocked, fits)
            if self.again:
                for entry in self._log.retried(self.name):
                    if batch.full():
                        break
                    if self.choice.wants(entry.series):  # else it waits for the day when it is mapped again
                        batch.offer(entry)
            take(batch, self._log, self.choice, self.position)
            with self._log.lock:  # what comes may be skipped
                self.position.tidy()
                if isinstance(self.position, Split) and self.position.lowest >= self.position.mark:
                    self.position = self.position.live  # the backlog is worked off
            self._taken, self._fallen, self._beside = sorted(batch.entries), {}, set()
            return list(self._taken)

    def settle(self, entry: Entry, *, merged: bool = False, reason: str = "", response: str = "") -> None:
        """Ends a reading's life here: delivered, merged into another, or (with a reason) dead.

        Must be called in the order of the readings of a series.
        """
        with self.turn, self._log.lock:
            if self.over:
                return  # by a sender that hung; its successor has the reading as well
            if (counter := self._fallen.pop(entry.seq, None)) is not None:
                setattr(self, counter, getattr(self, counter) - 1)  # a bound dropped it while it was on its way
            else:
                self.queued -= 1
            if reason:
                self.dead += 1
                self._log.bury(self.name, entry, reason, response)
            elif merged:
                self.merged += 1
            else:
                self.delivered += 1
            if entry.seq < 0:
                self.again -= counter is None
            elif entry.seq in self._beside:
                self.position.skip(entry.seq - 1, entry.seq, entry.series)
            elif counter is None:
                self.position.settle(entry.series, entry.seq)
            self._log.settled(entry.seq)

    def begin_anew(self, before_ms: int) -> None:
        """What is queued now becomes a backlog: what comes from now on is taken first.  Raises StoreUnusable.

        Of the very last readings, those from the time `before_ms` on count as what comes.
        """
        with self.turn:
            last = self.counted
            mark = next((e.seq - 1 for e in self.owed.behind(last - _AT_ITS_END) if e.time_ms >= before_ms), last)
            split = Split.at(mark, in_one(self._log, self.position))
            if len(split.backlog.skips) > _MOST_SKIPS:
                return  # it has begun anew so often that to do so once more costs more than it is good for
            with self._log.lock:
                if self.full or not self.open:
                    split.skip(last, self.counted)  # what has come meanwhile
                self.position = split
                self._log.settled(0)

    def end_backlog(self) -> None:
        """What is queued is taken in one order again.  Raises StoreUnusable."""
        with self.turn:
            last, position = self.counted, in_one(self._log, self.position)
            with self._log.lock:
                if position is not self.position:
                    if self.full or not self.open:
                        position.skip(last, self.counted)
                    self.position = position
                    self._log.settled(0)

    def join(self, earlier: "Queue", began: int) -> None:
        """Gets what another queue is owed up to number `began` of the log, and its counters.

        Of its own it keeps what is behind that.
        """
        with self.turn:
            position, before = joined(self._log, self.position, earlier.position, began)
            with self._log.lock:
                self._beside = {entry.seq for entry in self._taken if entry in self.owed}
                self.position = position
                for series in before:
                    if not earlier.choice.wants(series):
                        position.skip(0, began, series)
                self.began = min(self.began, earlier.began)
                self.again += earlier.again
                for counter in COUNTERS:
                    setattr(self, counter, getattr(self, counter) + getattr(earlier, counter))
                self._log.settled(0)
            missing = self.missing()
            with self._log.lock:
                self.queued -= missing

    # --- what bounds, damage and people take away

    def missing(self) -> int:
        """How many readings are counted as queued and not there.  Called with the turn held.  Raises StoreUnusable."""
        with self._log.lock:
            queued, upto = self.queued, self.counted
        return queued - self.again - self.owed.number(self.position.lowest, upto)

    def recount(self, dead: int, again: Collection[int]) -> int:
        """Counts as lost what is not there any more; returns how many readings that is.

        `dead` letters are there, and those numbers of the ones that are in the queue again.  Called with the turn held.
        Raises StoreUnusable.
        """
        missing = self.missing()  # first, since it may raise
        lost = self.dead - dead + self.again - len(again)
        with self._log.lock:
            gone = [e.seq for e in self._taken if e.seq < 0 and e.seq not in again and e.seq not in self._fallen]
            self._fallen.update(dict.fromkeys(gone, "lost"))
            self.queued += len(again) - self.again
            self.dead, self.again = dead, len(again)
        self.discard(lambda position: None, missing, "lost")
        with self._log.lock:
            self.lost = max(0, self.lost + lost)  # less, where what could not be read is there again
        return lost + missing

    def discard_again(self, entries: Collection[Entry]) -> None:
        """Takes dead letters away that are in the queue again.  Called with the turn held."""
        with self._log.lock:
            on_their_way = {entry.seq for entry in self._taken} - self._fallen.keys()
            self._fallen.update((entry.seq, "dropped") for entry in entries if entry.seq in on_their_way)
            self.again -= len(entries)
            self.queued -= len(entries)
            self.dropped += len(entries)

    def snapshot(self) -> Callable[[], None]:
        """What undoes all that is done to it from now on, but for what comes.  For one who holds the turn all along."""
        with self._log.lock:
            kept, came, refused = self.to_json(), self.came, self._refused
            fallen, beside = dict(self._fallen), set(self._beside)

        def undo() -> None:
            with self._log.lock:
                self.position = from_json(kept)
                if self.full or not self.open:
                    self.position.skip(kept["counted"], self.counted)
                for name in (*COUNTERS, "again", "queued", "began"):
                    setattr(self, name, kept[name])
                self.queued += self.came - came
                self.dropped += self._refused - refused
                self._fallen, self._beside = fallen, beside

        return undo

    def shut_out(self, after: int) -> None:
        """Drops what has come behind `after`, all of it in memory, and whatever comes.  Called with the turn held."""
        with self._log.lock:
            upto = self.counted
            number = self.owed.number(after, upto)
            self.discard(lambda position: position.skip(after, upto), number, "dropped")
            self.full = True

    def discard(self, forget: Callable[[Where], None], number: int, counter: str) -> None:
        """Takes `number` readings away by `forget`, and counts them; what is on its way may still arrive.

        Called with the turn held.
        """
        with self._log.lock:
            owed = [entry for entry in self._taken if entry.seq not in self._fallen and entry in self.owed]
            forget(self.position)
            self._fallen.update((entry.seq, counter) for entry in owed if entry not in self.owed)
            self.position.unsee()
            self.position.tidy()
            self.queued -= number
            setattr(self, counter, getattr(self, counter) + number)
            self._log.settled(0)


def _check(kept: Any) -> None:
    """Raises ValueError, TypeError or KeyError for a state that cannot be one."""
    check(kept)
    for name in (*COUNTERS, "began", "again", "queued", "counted", "removed_s"):
        whole(kept[name])
