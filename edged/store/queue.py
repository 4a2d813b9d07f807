"""A destination's view of the log: what it has not confirmed yet, to take in order and to settle."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any, Literal, Protocol

from edged.reading import Entry
from edged.series import Choice
from edged.store.position import Position
from edged.store.segment import Segment

# Once there is something to send, so many further readings are looked through for more to go with it.
LOOK_AHEAD = 2000

_MOST = 1 << 60  # of anything that is counted
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
        self.turn = threading.RLock()
        self.active = False  # a sender uses it
        self.full = False  # what comes is dropped
        self.over = False  # another object has taken its place
        self.position = Position.from_json(kept)
        for series in [series for series in self.position.behind if not choice.wants(series)]:
            del self.position.behind[series]  # no longer mapped: nothing of it is owed
        self.began: int = kept["began"]  # the log's last number when the destination was new
        self.open: bool = kept["open"]  # it is configured, and what comes is its own
        self.again: int = kept["again"]  # dead letters that are in the queue again
        self.removed: bool = kept["removed"]  # it left the config ...
        self.removed_s: float = kept["removed_h"] * 3600.0  # ... so long ago, in time that a daemon ran
        self.delivered: int = kept["delivered"]
        self.dead: int = kept["dead"]
        self.dropped: int = kept["dropped"]
        self.merged: int = kept["merged"]
        self.lost: int = kept["lost"]
        self.queued: int = kept["queued"]
        self.counted: int = kept["counted"]  # `queued` knows of all readings up to here
        self._log = log
        self._seen: dict[str, int] = {}  # series that are behind: the last reading of theirs that is at or before head
        self._taken: list[Entry] = []  # the last batch
        self._beside: set[int] = set()  # of the last batch what has had others put in front of it since
        self._came = self._refused = 0  # readings that came, as far as they are queued or dropped; since the start
        self._fallen: dict[int, str] = {}  # of the last batch what was dropped since, and the counter that has it
        if Choice.from_json(kept["choice"]) != choice:
            self.queued, self.counted = self.again, self.position.lowest  # to be counted anew

    @staticmethod
    def new(choice: Choice, last: int) -> dict[str, Any]:
        """What there is to keep of a new one, which gets what comes behind the log's `last` number."""
        counters = dict.fromkeys((*COUNTERS, "queued", "again", "removed_h"), 0)
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
            "removed_h": int(self.removed_s // 3600),
            "queued": self.queued,
            "again": self.again,
            "counted": self.counted,
            "delivered": self.delivered,
            "dead": self.dead,
            "dropped": self.dropped,
            "merged": self.merged,
            "lost": self.lost,
        }

    def owes(self, entry: Entry) -> bool:
        """Whether the reading is still to be delivered here."""
        return self.choice.wants(entry.series) and self.position.owes(entry.series, entry.seq)

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
                self._came += 1
                self.wake.set()
        else:
            self.position.skip(entry.seq - 1, entry.seq)
            if self.open and wanted:
                self.dropped += 1
                self._refused += 1
                self._log.settled(0)  # the count is to be right after a kill, too

    # --- looking through it

    def count(self) -> None:
        """Counts what has come since it counted last, by the headers of segments; only those begun are unpacked.

        Not while readings arrive or are taken.
        """
        begun = max([self.position.head, *self.position.behind.values()])
        while (segment := self._log.after(self.counted)) is not None:
            self.queued += self._owed_of(segment, self.counted, begun)
            self.counted = segment.last

    def _owed_of(self, segment: Segment, after: int, begun: int) -> int:
        """How many readings of the segment behind `after` are owed; all behind `begun` are, but for skips."""
        if segment.first > max(begun, after) and not self.position.touched(segment.first, segment.last):
            return sum(number for series, number in segment.counts.items() if self.choice.wants(series))
        return sum(1 for entry in segment.after(after) if self.owes(entry))

    def pending(self) -> Iterator[Entry]:
        """All that is queued, in order; dead letters that are tried again come first.  Raises StoreUnusable."""
        if self.again:
            yield from self._log.retried(self.name)
        yield from self.owed()

    def owed(self) -> Iterator[Entry]:
        """What is queued of the log itself, in order."""
        at = self.position.lowest
        while self.queued > self.again and (segment := self._log.after(self.position.past(at))) is not None:
            if any(self.choice.wants(series) for series in segment.counts):
                yield from (entry for entry in segment.after(at) if self.owes(entry))
            at = segment.last

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
            batch = _Batch(most, blocked, fits)
            if self.again:
                for entry in self._log.retried(self.name):
                    batch.offer(entry)
            self._take_behind(batch)
            self._take_ahead(batch)
            if self.position.skips:
                with self._log.lock:  # what comes may be skipped
                    self.position.tidy()
            self._taken, self._fallen, self._beside = sorted(batch.entries), {}, set()
            return list(self._taken)

    def _take_behind(self, batch: "_Batch") -> None:
        """Takes from the series that are behind, up to where the others are."""
        scanned = {series: at for series, at in self.position.behind.items() if batch.open_for(series)}
        found: set[str] = set()
        while scanned and not batch.full():
            start = self.position.past(min(scanned.values()))
            segment = self._log.ready(start) if start < self.position.head else None
            if segment is None:  # looked through all; what has nothing left is in step again
                for series in scanned:
                    if series not in found:
                        self._in_step(series)
                return
            here = {series for series, at in scanned.items() if at < segment.last and series in segment.counts}
            for entry in segment.after(start) if here else ():
                if entry.seq > self.position.head:
                    break
                if entry.series in here and entry.seq > scanned[entry.series] and self.owes(entry):
                    found.add(entry.series)
                    batch.offer(entry)
            if batch.full():
                return
            reached = min(segment.last, self.position.head)
            scanned = {series: max(at, reached) for series, at in scanned.items() if batch.open_for(series)}
            for series in scanned:
                if series not in found:  # nothing of it up to here; the next take need not look again
                    self.position.behind[series] = scanned[series]

    def _take_ahead(self, batch: "_Batch") -> None:
        """Takes from behind the head, and moves the head: a reading that is passed by puts its series behind."""
        looked = 0
        while not batch.full() and (looked < LOOK_AHEAD or not batch.entries):
            start = self.position.past(self.position.head)
            if (segment := self._log.ready(start)) is None:
                return
            wanted = {series for series in segment.counts if self.choice.wants(series)}
            if not any(batch.open_for(series) for series in wanted):
                looked += segment.last - start
                self._pass(segment, wanted)
                continue
            for entry in segment.after(start):
                if batch.full():
                    return
                if entry.series in wanted and self.owes(entry):
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
                if self._seen.get(entry.series) == entry.seq:
                    self._in_step(entry.series)
                else:
                    self.position.behind[entry.series] = entry.seq
            self._log.settled(entry.seq)

    def join(self, earlier: "Queue", began: int) -> None:
        """Gets what another queue is owed up to number `began` of the log, and its counters.

        Of its own it keeps what is behind that.
        """
        with self.turn:
            before: set[str] = set()
            behind = set(self.position.behind)
            at = min(earlier.position.lowest, began)
            while (segment := self._log.after(at)) is not None and segment.first <= max(began, self.position.head):
                (before if segment.first <= began else behind).update(segment.counts)
                if segment.last > began:
                    behind.update(segment.counts)
                at = segment.last
            with self._log.lock:
                self._beside = {entry.seq for entry in self._taken if self.owes(entry)}
                self.position = self.position.joined(earlier.position, began, sorted(behind))
                for series in sorted(before):
                    if not earlier.choice.wants(series):
                        self.position.skip(0, began, series)
                self.began = min(self.began, earlier.began)
                self._seen.clear()
                self.again += earlier.again
                for counter in COUNTERS:
                    setattr(self, counter, getattr(self, counter) + getattr(earlier, counter))
                self._log.settled(0)
            missing = self.missing()
            with self._log.lock:
                self.queued -= missing

    # --- what bounds, damage and people take away

    def owed_in(self, after: int, upto: int) -> int:
        """How many readings in that range of the log are owed.  Called with the turn held.  Raises StoreUnusable."""
        begun = max([self.position.head, *self.position.behind.values()])
        owed, at = 0, max(after, self.position.lowest)
        while at < upto and (segment := self._log.after(self.position.past(at))) and segment.first <= upto:
            if segment.last <= upto:
                owed += self._owed_of(segment, at, begun)
            else:
                owed += sum(1 for entry in segment.after(at) if entry.seq <= upto and self.owes(entry))
            at = segment.last
        return owed

    def missing(self) -> int:
        """How many readings are counted as queued and not there.  Called with the turn held.  Raises StoreUnusable."""
        with self._log.lock:
            queued, upto = self.queued, self.counted
        return queued - self.again - self.owed_in(self.position.lowest, upto)

    def recount(self, dead: int, again: Collection[int]) -> int:
        """Counts as lost what is not there any more; returns how many readings that is.

        `dead` letters are there, and those numbers of the ones that are in the queue again.  Called with the turn held.
        Raises StoreUnusable.
        """
        lost = self.dead - dead + self.again - len(again)
        with self._log.lock:
            gone = [e.seq for e in self._taken if e.seq < 0 and e.seq not in again and e.seq not in self._fallen]
            self._fallen.update(dict.fromkeys(gone, "lost"))
            self.queued += len(again) - self.again
            self.dead, self.again = dead, len(again)
        missing = self.missing()
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
            kept, came, refused = self.to_json(), self._came, self._refused
            fallen, beside = dict(self._fallen), set(self._beside)

        def undo() -> None:
            with self._log.lock:
                self.position = Position.from_json(kept)
                if self.full or not self.open:
                    self.position.skip(kept["counted"], self.counted)
                for name in (*COUNTERS, "again", "queued", "began"):
                    setattr(self, name, kept[name])
                self.queued += self._came - came
                self.dropped += self._refused - refused
                self._fallen, self._beside = fallen, beside
                self._seen.clear()

        return undo

    def shut_out(self, after: int) -> None:
        """Drops what has come behind `after`, all of it in memory, and whatever comes.  Called with the turn held."""
        with self._log.lock:
            upto = self.counted
            number = self.owed_in(after, upto)
            self.discard(lambda position: position.skip(after, upto), number, "dropped")
            self.full = True

    def discard(self, forget: Callable[[Position], None], number: int, counter: str) -> None:
        """Takes `number` readings away by `forget`, and counts them; what is on its way may still arrive.

        Called with the turn held.
        """
        with self._log.lock:
            owed = [entry for entry in self._taken if entry.seq not in self._fallen and self.owes(entry)]
            forget(self.position)
            self._fallen.update((entry.seq, counter) for entry in owed if not self.owes(entry))
            self._seen.clear()
            self.position.tidy()
            self.queued -= number
            setattr(self, counter, getattr(self, counter) + number)
            self._log.settled(0)


def _check(kept: Any) -> None:
    """Raises ValueError, TypeError or KeyError for a state that cannot be one."""
    skips = [number for after, upto, series in kept["skips"] for number in (after, upto) if isinstance(series, str)]
    numbers = [kept[name] for name in (*COUNTERS, "head", "began", "again", "queued", "counted", "removed_h")]
    for number in [*numbers, *kept["behind"].values(), *skips]:
        if type(number) is not int or not 0 <= number < _MOST:
            raise ValueError(f"{number!r:.50} in a place of numbers")


class _Batch:
    """A batch in the making: what it holds, and whether it takes more."""

    def __init__(self, most: int, blocked: Collection[str], fits: Callable[[Entry], bool]) -> None:
        self.entries: list[Entry] = []
        self._most = most
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
