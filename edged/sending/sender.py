"""Drains one destination's queue through its platform: take a batch, send it, judge, settle.

One state machine for all platforms, one request at a time.  Within a series the order is kept: what is settled of it
is always all up to some reading.  Another series, or another destination, never waits for it.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from edged import clock
from edged.errors import NoAnswer, SecretUnreadable, StoreUnusable
from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Platform, Transport, Wire
from edged.reading import Entry
from edged.secret import Secret, redact, within
from edged.sending.backoff import Backoff
from edged.sending.batch import Lanes, Parcel, Selection
from edged.sending.mapping import Mapping
from edged.sending.status import Status
from edged.store.queue import Queue

log = logging.getLogger(__name__)

PARKED_S = 3600.0  # what is parked is tried again so often
_TAKE = 10_000  # readings looked at for one request where some merge; far more than any request holds
_BUG_S = 60.0
_ABANDON_S = 1.0
_UNREADABLE_S = 2.0  # between two looks into a store that cannot be read; its own log says why
# Of the pause between two writes to a place: so long one waits for others, and is in step with them from then on.
_TOGETHER = 0.25
_GATHER_S = 1.0  # a request that is not full waits so long after the one before, for more to go with it


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
        now_ms: Callable[[], int] = clock.now_ms,
        on_outcome: Callable[[Entry, Outcome], None] = lambda entry, outcome: None,
    ) -> None:
        """`on_outcome` hears each reading's final fate.  Times are passed in so that tests take none."""
        self.status = Status(queue.name)
        self.queue = queue
        self._platform = platform
        self._mapping = mapping
        self._lanes = Lanes(platform, mapping.target)
        self._wire = wire
        self._backoff = backoff
        most = platform.limits.readings
        self._limits = replace(platform.limits, readings=min(batch_size or most, most))
        self._take = self._limits.readings if self._limits.resolution_ms == 1 else _TAKE
        self._monotonic = monotonic
        self._now_ms = now_ms
        self._on_outcome = on_outcome
        self._transport: Transport | None = None
        self._batch: list[Parcel] = []  # taken and not settled, in order
        self._requests: list[list[Parcel]] = []  # the batch in the parts in which it is to be sent
        self._more = False  # the last batch had to leave something out
        self._idle = False  # waiting for readings, not for a time
        self._failures = 0  # transient ones in a row
        self._resume = 0.0  # monotonic time before which nothing is sent
        self._last_request = -math.inf  # end of the last one
        self._started = monotonic()
        self._held: dict[str, float] = {}  # series -> time until which it is left out (parked, delayed)
        self._written: dict[object, float] = {}  # place -> end of the last request that wrote to it
        self._sent_slots: dict[object, int] = {}
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

    def secrets(self) -> list[Secret]:
        """All that it sends with."""
        return list(within(self._platform.options, *(target for _, target in self._mapping.rules)))

    def _run(self) -> None:
        while True:
            self.queue.wake.clear()
            if self._stopping.is_set():  # looked at behind the clearing, so that no wish to stop is lost
                break
            try:
                wait = self.step()
            except StoreUnusable:
                wait = _UNREADABLE_S
            except Exception:  # a bug; this destination must not stand still for it for ever
                log.exception("%s: a bug interrupts its sending; please report it", self.queue.name)
                self._batch, self._requests = [], []
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
        del self._requests[0]
        refused = self._refused(parcels)
        if any(refused):
            self._apply(parcels, [outcome or Again() for outcome in refused], answered=False)
        elif (outcomes := self._send(parcels)) is None:
            self._requests[:0] = _halves(parcels)
        else:
            self._last_request = self._monotonic()
            for parcel in parcels:
                self._written[parcel.place] = self._last_request
            self._apply(parcels, outcomes, answered=True)
        return 0.0

    def _fill(self, now: float) -> float:
        """Takes the next batch; returns the seconds to wait where there is none yet."""
        gathering = 0.0 if self._more or self.queue.queued >= self._limits.readings else _GATHER_S
        if (early := self._last_request + max(self._limits.request_interval, gathering) - now) > 0:
            return early
        self._held = {series: until for series, until in self._held.items() if until > now}
        selection = Selection(
            self._lanes, self._limits, lambda place: self._free_at(place) - now, self._sent_slots, self._now_ms()
        )
        self.queue.take(self._take, blocked=self._held, fits=selection.fits)
        for entry in selection.late:
            self.queue.settle(entry, merged=True)
        if selection.soon <= _TOGETHER * self._limits.target_interval:
            return selection.soon
        self._more = selection.more or bool(selection.waits)
        self._batch = selection.parcels
        if self._batch:
            self._requests.append(list(self._batch))
            return 0.0
        self._idle = True
        waits = [until - now for until in self._held.values()] + selection.waits
        self.status.rests(waiting=bool(waits))
        return max(0.001, min(waits, default=math.inf))

    def _free_at(self, place: object) -> float:
        """When the platform takes the next write to a place.  At a start every place counts as just written."""
        interval = self._limits.target_interval
        return self._written.get(place, self._started) + interval if interval else 0.0

    def _pacing(self, parcels: list[Parcel], now: float) -> float:
        early = self._last_request + self._limits.request_interval - now
        if not self._limits.target_interval:
            return early
        return max(early, *(self._free_at(parcel.place) - now for parcel in parcels))

    def _refused(self, parcels: list[Parcel]) -> list[Outcome | None]:
        """What is known of the readings without asking the platform."""
        try:
            return [self._platform.refuses(parcel.item) for parcel in parcels]
        except SecretUnreadable as error:
            return [Parked(str(error))] * len(parcels)

    def _send(self, parcels: list[Parcel]) -> list[Outcome] | None:
        """One exchange; everything that can happen to it is an outcome.  None: it is too large, and is not sent."""
        items = [parcel.item for parcel in parcels]
        try:
            request = self._platform.encode(items)
            if len(items) > 1 and len(getattr(request, "body", b"")) > self._limits.body:
                return None
            if self._transport is None:
                self._transport = self._platform.connect(self._wire)
            return self._platform.judge(self._transport.exchange(request), items)
        except SecretUnreadable as error:
            return [Parked(str(error))] * len(items)
        except NoAnswer as error:
            return [Transient(str(error))] * len(items)

    # --- what became of it

    def _apply(self, parcels: list[Parcel], outcomes: list[Outcome], *, answered: bool) -> None:
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
                case Isolate(reason) if len(parcels) == 1:
                    parcel.fate = Permanent(reason)  # there is nobody else to blame
                case Isolate():
                    split.append(parcel)
                case Delayed(reason, wait_s):
                    self._held[parcel.series] = max(self._held.get(parcel.series, 0.0), now + wait_s)
                    self.status.say_once("delayed", reason)
                case Parked(reason, whole):
                    if whole:
                        parked = outcome
                    else:
                        self._held[parcel.series] = now + PARKED_S
                        for secret in within(parcel.item.target):
                            secret.refresh()
                        self.status.parks_series(parcel.series, reason)
        self._requests[:0] = [part for part in (unsent, *_halves(split)) if part]
        self._settle()
        self._drop_held()
        if parked:
            self._park_all(parked.reason, now)
        elif transient:
            self._back_off(transient, now)
        elif answered:
            self._failures = 0
            self.status.answered()

    def _settle(self) -> None:
        """Settles what is decided, series by series up to the first reading that is not."""
        open_series: set[str] = set()
        rest: list[Parcel] = []
        delivered: list[str] = []
        for parcel in self._batch:
            entry, fate = parcel.item.entry, parcel.fate
            if fate is None or entry.series in open_series:
                open_series.add(entry.series)
                rest.append(parcel)
                continue
            for earlier in parcel.merged:
                self.queue.settle(earlier, merged=True)
            if isinstance(fate, Permanent):
                self.queue.settle(entry, reason=redact(fate.reason), response=redact(fate.response))
                self.status.refused(entry.series, fate.reason)
            else:
                self.queue.settle(entry)
                self._sent_slots[parcel.place] = entry.time_ms // self._limits.resolution_ms
                delivered.append(entry.series)
                if isinstance(fate, Delivered) and fate.remark:
                    self.status.say_once("remark", fate.remark)
            self._on_outcome(entry, fate)
        self._batch = rest
        if delivered:
            self.status.delivered(delivered, self._now_ms())

    def _drop_held(self) -> None:
        """Forgets what is under way of series that are held; it is still queued, and is taken again afterwards."""
        self._batch = [parcel for parcel in self._batch if parcel.series not in self._held]
        parts = ([parcel for parcel in part if parcel.series not in self._held] for part in self._requests)
        self._requests = [part for part in parts if part]

    def _park_all(self, reason: str, now: float) -> None:
        self._resume = now + PARKED_S
        self._batch, self._requests = [], []
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        for secret in self.secrets():
            secret.refresh()  # a token that was rotated is found at the next try
        self.status.parks(reason)

    def _back_off(self, outcome: Transient, now: float) -> None:
        self._failures += 1
        self._resume = now + max(outcome.wait_s, self._backoff.delay(self._failures))
        self.status.backs_off(outcome.reason)


def _halves(parcels: list[Parcel]) -> list[list[Parcel]]:
    half = (len(parcels) + 1) // 2
    return [parcels[:half], parcels[half:]]


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
