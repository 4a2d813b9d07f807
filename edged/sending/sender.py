"""Drains one destination's queue through its platform: take a batch, send it, judge, settle.

One state machine for all platforms, one request at a time.  Within a series the order is kept: what is settled of it
is always all up to some reading.  Another series, or another destination, never waits for it.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from edged.errors import NoAnswer, SecretUnreadable
from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Platform, Transport, Wire
from edged.reading import Entry
from edged.secret import redact
from edged.sending.backoff import Backoff
from edged.sending.batch import Parcel, Selection
from edged.sending.mapping import Mapping
from edged.store.queue import Queue

log = logging.getLogger(__name__)

PARKED_S = 3600.0  # what is parked is tried again so often
_TAKE = 10_000  # readings looked at for one request; far more than any request holds
_BUG_S = 60.0
_ABANDON_S = 1.0
_GATHER_S = 1.0  # a request that is not full waits so long after the one before, for more to go with it


@dataclass
class Status:
    """How a destination is doing, for people."""

    state: str = "ok"  # "waiting", "backing-off", "parked"
    last_error: str = ""
    last_delivery_ms: int | None = None
    parked: dict[str, str] = field(default_factory=dict)  # series -> reason


class Sender:
    """A destination's thread.  `start` and `stop` are its life; `step` is what the thread does over and over."""

    def __init__(
        self,
        queue: Queue,
        platform: Platform,
        mapping: Mapping,
        wire: Wire,
        backoff: Backoff,
        batch_size: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        on_outcome: Callable[[Entry, Outcome], None] = lambda entry, outcome: None,
    ) -> None:
        """`on_outcome` hears each reading's final fate.  Times are passed in so that tests take none."""
        self.status = Status()
        self.queue = queue
        self._platform = platform
        self._mapping = mapping
        self._wire = wire
        self._backoff = backoff
        most = platform.limits.readings
        self._limits = replace(platform.limits, readings=min(batch_size or most, most))
        self._monotonic = monotonic
        self._now_ms = now_ms
        self._on_outcome = on_outcome
        self._transport: Transport | None = None
        self._batch: list[Parcel] = []  # taken and not settled, in order
        self._requests: deque[list[Parcel]] = deque()  # the batch in the parts in which it is to be sent
        self._more = False  # the last batch had to leave something out that could follow at once
        self._idle = False  # waiting for readings, not for a time
        self._failures = 0  # transient ones in a row
        self._resume = 0.0  # monotonic time before which nothing is sent
        self._last_request = -math.inf  # end of the last one
        self._started = monotonic()
        self._held: dict[str, float] = {}  # series -> time until which it is left out (parked, delayed)
        self._written: dict[object, float] = {}  # place -> end of the last request that wrote to it
        self._sent_slots: dict[object, int] = {}
        self._remarks: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"send {queue.name}", daemon=True)

    # --- life

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def stop(self, grace_s: float = 0.0) -> None:
        """Ends it; see `stop_all`."""
        stop_all([self], grace_s)

    def request_stop(self) -> None:
        """Asks the thread to end after the request under way."""
        self._stopping.set()
        self.queue.wake.set()

    def abort(self) -> None:
        """Abandons the request under way; what is not settled stays queued."""
        if (transport := self._transport) is not None:
            transport.abort()

    def join(self, timeout_s: float) -> None:
        """Waits for the thread's end, at most so long."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.queue.wake.clear()
            try:
                wait = self.step()
            except Exception:  # a bug; this destination must not stand still for it for ever
                log.exception("%s: a bug interrupts its sending; please report it", self.queue.name)
                self._batch, self._requests = [], deque()
                self._resume = self._monotonic() + _BUG_S
                continue
            if wait > 0:
                # New readings end a wait for readings; not a back-off, nor the gathering of a fuller request.
                wake = self.queue.wake if self._idle else self._stopping
                wake.wait(None if math.isinf(wait) else wait)
        if self._transport is not None:
            self._transport.close()

    # --- one turn

    def step(self) -> float:
        """Sends at most one request; returns the seconds after which there may be something to do."""
        now = self._monotonic()
        self._idle = False
        if now < self._resume:
            return self._resume - now
        if not self._requests and (wait := self._fill(now)) > 0:
            return wait
        parcels = self._requests[0]
        if (wait := self._pacing(parcels, now)) > 0:
            return wait
        outcomes = self._send(parcels)
        self._last_request = self._monotonic()
        for parcel in parcels:
            self._written[self._place(parcel)] = self._last_request
        self._requests.popleft()
        self._apply(parcels, outcomes)
        return 0.0

    def _fill(self, now: float) -> float:
        """Takes the next batch; returns the seconds to wait where there is none yet."""
        gathering = 0.0 if self._more or self.queue.queued >= self._limits.readings else _GATHER_S
        if (early := self._last_request + max(self._limits.request_interval, gathering) - now) > 0:
            return early
        self._held = {series: until for series, until in self._held.items() if until > now}
        selection = Selection(
            self._platform,
            self._limits,
            self._mapping.target,
            lambda place: self._free_at(place) - now,
            self._sent_slots,
            self._now_ms(),
        )
        self.queue.take(_TAKE, blocked=self._held, fits=selection.fits)
        for entry in selection.late:
            self.queue.settle(entry, merged=True)
        self._more = selection.more
        self._batch = selection.parcels
        if self._batch:
            self._requests.append(list(self._batch))
            return 0.0
        self._idle = True
        waits = [until - now for until in self._held.values()] + selection.waits
        self.status.state = "waiting" if waits else "ok"
        return max(0.001, min(waits, default=math.inf))

    def _place(self, parcel: Parcel) -> object:
        return self._platform.place(self._platform.options, parcel.item.target)

    def _free_at(self, place: object) -> float:
        """When the platform takes the next write to a place.  At a start every place counts as just written."""
        interval = self._limits.target_interval
        return self._written.get(place, self._started) + interval if interval else 0.0

    def _pacing(self, parcels: list[Parcel], now: float) -> float:
        free = [self._free_at(self._place(parcel)) for parcel in parcels]
        return max([*free, self._last_request + self._limits.request_interval]) - now

    def _send(self, parcels: list[Parcel]) -> list[Outcome]:
        """One exchange; everything that can happen to it is an outcome."""
        items = [parcel.item for parcel in parcels]
        try:
            request = self._platform.encode(items)
            if len(items) > 1 and len(getattr(request, "body", b"")) > self._limits.body:
                return [Isolate("the request would be too large")] * len(items)
            if self._transport is None:
                self._transport = self._platform.connect(self._wire)
            return self._platform.judge(self._transport.exchange(request), items)
        except SecretUnreadable as error:
            return [Parked(str(error))] * len(items)
        except NoAnswer as error:
            return [Transient(str(error))] * len(items)

    # --- what became of it

    def _apply(self, parcels: list[Parcel], outcomes: list[Outcome]) -> None:
        now = self._monotonic()
        unsent: list[Parcel] = []
        split: list[Parcel] = []
        transient: Transient | None = None
        parked: Parked | None = None
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            match outcome:
                case Delivered() | Permanent():
                    parcel.fate = outcome
                case Transient() | Again():
                    transient = outcome if isinstance(outcome, Transient) else transient
                    behind = any(other.series == parcel.series for other in split)
                    (split if behind else unsent).append(parcel)
                case Isolate():
                    split.append(parcel)
                case Delayed(reason, wait_s):
                    self._held[parcel.series] = max(self._held.get(parcel.series, 0.0), now + wait_s)
                    self._say("delayed", reason)
                case Parked(reason, whole):
                    if whole:
                        parked = outcome
                    else:
                        self._park(parcel.series, reason, now)
        half = (len(split) + 1) // 2
        parts = [part for part in (unsent, split[:half], split[half:]) if part]
        self._requests.extendleft(reversed(parts))
        self._settle()
        self._drop_held()
        if parked:
            self._park_all(parked.reason, now)
        elif transient:
            self._back_off(transient, now)
        else:
            self._recovered()

    def _settle(self) -> None:
        """Settles what is decided, series by series up to the first reading that is not."""
        open_series: set[str] = set()
        rest = []
        for parcel in self._batch:
            if parcel.fate is None or parcel.series in open_series:
                open_series.add(parcel.series)
                rest.append(parcel)
            else:
                self._settle_one(parcel, parcel.fate)
        self._batch = rest

    def _settle_one(self, parcel: Parcel, fate: Outcome) -> None:
        entry = parcel.item.entry
        for earlier in parcel.merged:
            self.queue.settle(earlier, merged=True)
        if isinstance(fate, Permanent):
            reason = redact(fate.reason)
            self.queue.settle(entry, reason=reason, response=redact(fate.response))
            self._say("refused", f"{entry.series}: {reason}; the reading is kept as a dead letter")
        else:
            self.queue.settle(entry)
            self._sent_slots[self._place(parcel)] = entry.time_ms // self._limits.resolution_ms
            self.status.last_delivery_ms = self._now_ms()
            self._unpark(entry.series)
            if isinstance(fate, Delivered) and fate.remark:
                self._say("remark", fate.remark)
        self._on_outcome(entry, fate)

    def _drop_held(self) -> None:
        """Forgets what is under way of series that are held; it is still queued, and is taken again afterwards."""
        self._batch = [parcel for parcel in self._batch if parcel.series not in self._held]
        parts = ([parcel for parcel in part if parcel.series not in self._held] for part in self._requests)
        self._requests = deque(part for part in parts if part)

    def _park(self, series: str, reason: str, now: float) -> None:
        self._held[series] = now + PARKED_S
        if series not in self.status.parked:
            self.status.parked[series] = reason = redact(reason)
            self.status.last_error = reason
            log.warning(
                "%s: %s is parked: %s; its readings are kept and tried again every hour",
                self.queue.name,
                series,
                reason,
                extra={"destination": self.queue.name, "series": series},
            )

    def _unpark(self, series: str) -> None:
        if self.status.parked.pop(series, None) is not None:
            extra = {"destination": self.queue.name, "series": series}
            log.warning("%s: %s is delivered again", self.queue.name, series, extra=extra)

    def _park_all(self, reason: str, now: float) -> None:
        self._resume = now + PARKED_S
        self._batch, self._requests = [], deque()
        if self._transport is not None:
            self._transport.close()
            self._transport = None  # a secret may be another one by then
        self._trouble("parked", reason, "all readings are kept; tried again every hour, at a restart and at a reload")

    def _back_off(self, outcome: Transient, now: float) -> None:
        self._failures += 1
        self._resume = now + max(outcome.wait_s, self._backoff.delay(self._failures))
        self._trouble("backing-off", outcome.reason, "all readings are kept; trying on")

    def _trouble(self, state: str, reason: str, then: str) -> None:
        """Notes that nothing gets through; logged when it begins, and when it becomes another kind."""
        reason = redact(reason)
        if self.status.state != state:
            log.warning(
                "%s: cannot deliver: %s; %s", self.queue.name, reason, then, extra={"destination": self.queue.name}
            )
        self.status.state, self.status.last_error = state, reason

    def _recovered(self) -> None:
        if self.status.state in ("parked", "backing-off"):
            extra = {"destination": self.queue.name}
            log.warning("%s: delivers again; %d waiting", self.queue.name, self.queue.queued, extra=extra)
        self._failures = 0
        self.status.state = "ok"

    def _say(self, kind: str, text: str) -> None:
        """Logs the first of a kind; what repeats is counted elsewhere."""
        if kind not in self._remarks:
            self._remarks.add(kind)
            log.warning("%s: %s", self.queue.name, redact(text), extra={"destination": self.queue.name})


def stop_all(senders: Iterable[Sender], grace_s: float) -> None:
    """Ends senders together: requests under way have `grace_s` to finish, then they are abandoned."""
    senders = list(senders)
    for sender in senders:
        sender.request_stop()
    for wait_s in (grace_s, _ABANDON_S):
        deadline = time.monotonic() + wait_s
        for sender in senders:
            sender.join(max(0.0, deadline - time.monotonic()))
        for sender in senders:
            sender.abort()
