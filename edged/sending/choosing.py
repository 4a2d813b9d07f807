"""Chooses what a destination sends next, and when: its pace, its rounds, its size, and what is left out for a while."""

import math
from dataclasses import dataclass, field, replace

from edged.outcome import Delivered
from edged.platforms import Limits
from edged.sending.backoff import Backoff
from edged.sending.batch import Lanes, Offer, Selection
from edged.sending.blame import Suspects
from edged.sending.pace import Pace
from edged.sending.parcel import Parcel
from edged.sending.parts import Part, Size
from edged.sending.quota import Quota, until_midnight
from edged.sending.rounds import Rounds
from edged.store.queue import Queue

_TAKE = 10_000  # readings looked at for one request where some merge; far more than any request holds
# Of the pause between two writes to a place: so long one waits for others, and is in step with them from then on.
_TOGETHER = 0.25
_AT_ONCE = 0.001  # s: never nothing, so that no time goes by in circles
_MOST_DOUBT = 64
_FRESH_MS = 30_000  # of `live_first`: what is older is a backlog


@dataclass(frozen=True)
class Manner:
    """How a destination sends, whatever its platform."""

    backoff: Backoff = field(default_factory=Backoff)
    batch_size: int | None = None  # readings; None: the platform's limit
    every: float = 1.0  # s: at most so often, sooner at the batch size
    phase: float = 0.0  # of this board and destination, from 0 to 1
    live_first: bool = False


class Chooser:
    """Of one destination.  Waits are in s; `now` is the monotonic time, `now_ms` the clock's."""

    def __init__(
        self, queue: Queue, lanes: Lanes, limits: Limits, manner: Manner, quota: Quota, started: float
    ) -> None:
        """`started`: monotonic time."""
        self.limits = replace(limits, readings=min(manner.batch_size or limits.readings, limits.readings))
        self.size = Size(self.limits.readings)
        self.suspects = Suspects()
        self.pace = Pace(limits, started)
        self.sent_slots: dict[tuple[object, bool], int] = {}  # by place and stream: the last one that was delivered
        self.held: dict[str, float] = {}  # series -> monotonic time until which it is left out
        self.spent = False  # whether what is left out is so for the day's points
        self.wait = 0.0  # where nothing is chosen: so long there is nothing to send, unless there are new readings
        self._queue = queue
        self._lanes = lanes
        self._live_first = manner.live_first
        self._quota = quota
        self._rounds = Rounds(manner.every, manner.phase)
        self._merges = limits.resolution_ms > 1 or limits.backlog != "all"
        self._more = queue.queued >= self.limits.readings  # there is enough for a request
        self._taken_at = queue.came  # readings that had come when it was last chosen from them
        self._by_number = False  # the round has begun early, for the number of readings that came
        self._doubt = 1  # batches that must come for it: more where what comes is mostly of series that are left out
        self._anew_at = -math.inf  # before it no backlog begins ...
        self._got_on = True  # ... and unless something has been delivered since the last one

    def opens_in(self, now: float, now_ms: int) -> float:
        """Seconds until what is queued may go; new readings may end the wait."""
        if not self._queue.queued:
            self._queue.wake_at = 0
            return 0.0
        came = self._queue.came >= self._enough_at
        self._by_number = came and not self._more
        wait = self._rounds.opens_in(now, now_ms, enough=self._more or came)
        self._queue.wake_at = self._enough_at if wait > 0 else 0
        return wait

    def choose(self, now: float, now_ms: int) -> list[Parcel]:
        """The next request's readings; none: there is nothing to send for `wait`.  Raises StoreUnusable."""
        self.held = {series: until for series, until in self.held.items() if until > now}
        selection = self._select(now, now_ms)
        if self._is_stale(selection, now, now_ms):
            self._anew_at, self._got_on = now + _FRESH_MS / 1000, False
            self._queue.begin_anew(now_ms // self.limits.resolution_ms * self.limits.resolution_ms)
            selection = self._select(now, now_ms)
        for entry in selection.late:
            self._queue.settle(entry, merged=True)
        if selection.soon <= _TOGETHER * self.limits.target_interval:
            self._more, self.wait, self._queue.wake_at = True, selection.soon, self._enough_at
            return []
        self._more = self._leaves_out(selection)
        if self._by_number:
            self._doubt = 1 if self._more else min(2 * self._doubt, _MOST_DOUBT)
        if not self._more:
            self._rounds.end(now, now_ms, 0.0 if selection.parcels else min(selection.slots, default=0.0))
        waits = [until - now for until in self.held.values()] + selection.pauses + selection.slots
        self.spent = selection.spent
        if selection.spent:
            waits.append(until_midnight(now_ms))
        self.wait = _AT_ONCE if selection.late else max(_AT_ONCE, min(waits, default=math.inf))
        return selection.parcels

    @property
    def _enough_at(self) -> int:
        """How many readings must have come for a round to begin early."""
        return self._taken_at + self._doubt * self.limits.readings

    def hold(self, series: str, until: float) -> None:
        """Leaves a series out until a time."""
        self.held[series] = max(self.held.get(series, 0.0), until)

    def released_in(self, now: float) -> float:
        """Seconds until the first of the series that are left out is tried again."""
        return min((until - now for until in self.held.values()), default=0.0)

    def delivered(self, parcel: Parcel) -> None:
        """The platform has it."""
        self._got_on = True
        self.sent_slots[parcel.place, parcel.is_new] = parcel.item.entry.time_ms // self.limits.resolution_ms

    def went(self, part: Part) -> None:
        """A request is judged: what got through tells of the size that fits, and of what does not get through."""
        got_through = [parcel for parcel in part.parcels if isinstance(parcel.fate, Delivered)]
        if got_through and not part.is_suspect:
            self.suspects.got_through()
        if len(got_through) == len(part):
            self.size.fitted(len(part))

    def _select(self, now: float, now_ms: int) -> Selection:
        offer = Offer(
            pause=lambda place: self.pace.place_in(place, now),
            room=lambda route, is_new: self._quota.left(route, now_ms, keep=self._live_first and not is_new),
            sent_slots=self.sent_slots,
            now_ms=now_ms,
            backlog_ends=self._queue.backlog_ends,
            suspects=self.suspects,
        )
        selection = Selection(self._lanes, replace(self.limits, readings=self.size.now), offer)
        most = max(2, self.size.now)  # a suspect with its witness
        self._queue.take(_TAKE if self._merges else most, blocked=self.held, fits=selection.fits)
        self._taken_at = self._queue.came
        return selection

    def _leaves_out(self, selection: Selection) -> bool:
        """Whether there is more to send as soon as the platform bears it."""
        return selection.more or bool(selection.pauses) or len(selection.parcels) >= self.size.now

    def _is_stale(self, selection: Selection, now: float, now_ms: int) -> bool:
        """Whether what is new has to wait for what is old, and must not."""
        if not (self._live_first and self._got_on) or now < self._anew_at or selection.oldest_ms is None:
            return False
        return self._leaves_out(selection) and selection.oldest_ms < now_ms - _FRESH_MS
