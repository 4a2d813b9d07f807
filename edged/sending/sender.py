"""Drains one destination's queue through its platform: take a batch, send it, judge, settle.

One state machine for all platforms, one request at a time.  Within a series the order is kept.  Another series, or
another destination, never waits for it.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable

from edged import clock
from edged.errors import StoreUnusable
from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient, Untimed
from edged.platforms import Platform, Wire
from edged.reading import Entry
from edged.secret import Secret, within
from edged.sending import blame
from edged.sending.batch import Lanes
from edged.sending.choosing import Chooser, Manner
from edged.sending.exchange import BUG_S, Exchanges
from edged.sending.hand import Hand
from edged.sending.mapping import Mapping
from edged.sending.parcel import Parcel
from edged.sending.parts import Part, halves
from edged.sending.quota import Quota
from edged.sending.status import Status
from edged.store.queue import Queue

log = logging.getLogger(__name__)

PARKED_S = 3600.0  # what is parked is tried again so often
_ABANDON_S = 1.0
_UNREADABLE_S = 2.0  # between two looks into a store that cannot be read; its own log says why
_CLOCK_S = 10.0  # between two tries while a certificate is not valid yet by a clock that is not known to be right
_SPREAD_S = 1.0  # over which boards that start together send their first requests, by their phases
_BLAMES_NOBODY = 3


class Sender:
    """A destination's thread.  `start` and `stop` are its life; `step` is what the thread does over and over."""

    def __init__(
        self,
        queue: Queue,
        platform: Platform,
        mapping: Mapping,
        wire: Wire,
        manner: Manner,
        quota: Quota | None = None,
        unit: Callable[[str], str] = lambda series: "",
        monotonic: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = clock.now_ms,
        on_outcome: Callable[[Entry, Outcome], None] = lambda entry, outcome: None,
    ) -> None:
        """`unit` of a series; `on_outcome` hears each reading's final fate.  Times are passed in for tests."""
        self.status = Status(queue.name, now_ms)
        self.queue = queue
        self._platform = platform
        self._mapping = mapping
        self._exchanges = Exchanges(queue.name, platform, wire, self.status.stumbles)
        self._lanes = Lanes(platform, mapping.target, unit)
        self._manner = manner
        self._quota = quota or Quota(0, lambda: None, lambda points: None)
        self._monotonic = monotonic
        self._now_ms = now_ms
        platform.begin(queue.counted)
        if not manner.live_first:
            with contextlib.suppress(StoreUnusable):  # then what is new goes first, until the backlog is worked off
                queue.end_backlog()
        started = monotonic()
        self._chooser = Chooser(queue, self._lanes, platform.limits, manner, self._quota, started)
        self._hand = Hand(queue, on_outcome)
        self._resume = started + manner.phase * min(manner.every, _SPREAD_S)  # before it nothing is sent
        self._idle = False  # waiting for readings, not for a time
        self._failures = 0  # transient ones in a row
        self._blamed_nobody = 0  # requests in a row of which all readings are to be sent again
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
        self._exchanges.abort()

    def join(self, timeout_s: float) -> None:
        """Waits for the thread's end, at most so long."""
        self._thread.join(timeout_s)

    @property
    def is_parked(self) -> bool:
        """Whether nothing of what is queued can go before a person has repaired something."""
        status = self.status
        return status.state == "parked" or (bool(status.parked) and self._idle and status.until_ms is None)

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
            except Exception as error:  # a bug; this destination must not stand still for it for ever
                log.exception("%s: a bug interrupts its sending; please report it", self.queue.name)
                self._hand.leave_all()
                self._resume = self._monotonic() + BUG_S
                self.status.stumbles(f"a bug ({type(error).__name__}) interrupts it; please report it", BUG_S)
                continue
            if wait > 0:
                # New readings end a wait for readings; not a back-off, nor the gathering of a fuller request.
                wake = self.queue.wake if self._idle else self._stopping
                wake.wait(None if math.isinf(wait) else wait)
        self._exchanges.close()
        self._quota.close()

    # --- one turn

    def step(self) -> float:
        """Sends at most one request; returns the seconds after which there may be something to do."""
        now = self._monotonic()
        self._idle = False
        if now < self._resume:
            return self._resume - now
        if not self._hand.parts and (wait := self._fill(now)) > 0:
            return wait
        part = self._hand.parts[0]
        if (wait := self._chooser.pace.wait((parcel.place for parcel in part.parcels), now)) > 0:
            return wait
        items = [parcel.item for parcel in part.parcels]
        refused = self._exchanges.refused(items)
        if any(refused):
            del self._hand.parts[0]
            self._apply(part, [outcome or Again() for outcome in refused], answered=False)
        elif not self._quota.spend(self._lanes[part.parcels[0].series].route, len(part), self._now_ms()):
            self._hand.leave_all()  # it has cost its points before; what is left of the day does not do for it again
        elif (outcomes := self._exchanges.send(items)) is None:
            self._chooser.size.too_large(len(part))
            self._hand.parts[:1] = halves(part.parcels, suspect=part.suspect)
        else:
            del self._hand.parts[0]
            if all(map(_stayed_here, outcomes)):
                self._quota.give_back(self._lanes[part.parcels[0].series].route, len(part), self._now_ms())
            self._chooser.pace.sent((parcel.place for parcel in part.parcels), self._monotonic())
            self._apply(part, outcomes, answered=True)
        return 0.0

    def _fill(self, now: float) -> float:
        """Takes the next batch; returns the seconds to wait where there is none yet."""
        now_ms = self._now_ms()
        if (early := self._chooser.pace.request_in(now)) > 0:
            return early
        if (early := self._chooser.opens_in(now, now_ms)) > 0:
            self._idle = True
            return early
        if parcels := self._chooser.choose(now, now_ms):
            self._hand.take(parcels, suspect=parcels[0].item.entry.seq in self._chooser.suspects)
            return 0.0
        self._idle = True
        self._say_why_it_rests(now)
        return min(self._chooser.wait, self._exchanges.tend())

    def _say_why_it_rests(self, now: float) -> None:
        """Where nothing can be sent now.  A parked series is told by itself; if all are, so is the destination."""
        wait, parked = self._chooser.wait, self.status.parked.keys()
        if self._chooser.spent:
            self.status.waits_for_midnight(self._chooser.limits.points_a_day, wait)
        elif self._lanes and self._lanes.keys() <= parked:
            self.status.rests(wait, state="parked")
        elif self._chooser.held and self._chooser.held.keys() <= parked and wait >= self._chooser.released_in(now):
            self.status.rests(math.inf)
        else:
            self.status.rests(wait)

    # --- what became of it

    def _apply(self, part: Part, outcomes: list[Outcome], *, answered: bool) -> None:
        now = self._monotonic()
        unsent: list[Parcel] = []
        split: list[Parcel] = []
        transient: Transient | None = None
        whole: Parked | Untimed | None = None
        parked: dict[str, list[str]] = {}  # reason -> series
        for parcel, outcome in zip(part.parcels, outcomes, strict=True):
            match outcome:
                case Delivered() | Permanent():
                    parcel.fate = outcome
                case Transient() | Again():
                    transient = outcome if isinstance(outcome, Transient) else transient
                    behind = any(other.stream == parcel.stream for other in split)
                    (split if behind else unsent).append(parcel)
                case Isolate(reason) if len(part) == 1:
                    parcel.fate = Permanent(reason)  # there is nobody else to blame
                case Isolate(_, too_large):
                    split.append(parcel)
                    if too_large:
                        self._chooser.size.too_large(len(part))
                case Delayed(reason, wait_s):
                    self._chooser.hold(parcel.series, now + wait_s)
                    self.status.delays(reason)
                case Parked(reason, False):
                    self._chooser.hold(parcel.series, now + PARKED_S)
                    for secret in within(parcel.item.target):
                        secret.refresh()
                    parked.setdefault(reason, []).append(parcel.series)
                case Parked() | Untimed():
                    whole = outcome
        for reason, series in parked.items():
            self.status.parks_series(list(dict.fromkeys(series)), reason)
        if answered and len(unsent) == len(part) and not transient:
            self._blamed_nobody += 1
            if self._blamed_nobody >= _BLAMES_NOBODY:
                transient = Transient("it refuses a request again and again, and none of its readings")
        else:
            self._blamed_nobody = 0
        rest = [part if len(unsent) == len(part) else Part(unsent, part.suspect)] if unsent else []
        if rest and transient and transient.suspect:
            rest = self._failed(rest[0], transient, now)
        self._hand.parts[:0] = [*rest, *halves(split, suspect=part.suspect)]
        if part.is_witness and part.parcels[0].fate is not None:  # it was answered, so the line is not to blame
            self._hand.parts.append(Part([self._hand.suspect()], suspect=True, is_last=True))
        self._settle(part)
        self._hand.leave(self._chooser.held)
        if isinstance(whole, Untimed):
            self._resume = now + _CLOCK_S
            self.status.waits_for_time(whole.reason, _CLOCK_S)
        elif whole:
            self._park_all(whole.reason, now)
        elif transient:
            if not part.is_witness and self._hand.calls_witness():
                return
            if rest == [] and part.is_suspect and not self._failures:  # others get through: it alone is held
                self.status.delays(f"{part.parcels[0].series}: {transient.reason}")
            else:
                self._back_off(transient, now)
        elif answered:
            self._failures = 0
            self.status.answered()

    def _failed(self, part: Part, outcome: Transient, now: float) -> list[Part]:
        """What to send instead of a part that may be to blame for its failure; a lone one lets others go first."""
        if outcome.slow:
            self._chooser.size.too_large(len(part))
        judgement = blame.judge(part, outcome, self._chooser.suspects, self._hand.witness())
        if judgement.fate:
            part.parcels[0].fate = judgement.fate
        elif judgement.waits_as_after:
            wait_s = self._manner.backoff.delay(judgement.waits_as_after)
            self._chooser.hold(part.parcels[0].series, now + wait_s)
        return judgement.parts

    def _settle(self, part: Part) -> None:
        delivered = []
        for parcel in self._hand.settle():
            fate, series = parcel.fate, parcel.series
            self._chooser.suspects.pop(parcel.item.entry.seq, None)
            if isinstance(fate, Permanent):
                self.status.refused(series, fate.reason)
            elif isinstance(fate, Delivered):
                delivered.append(series)
                self._chooser.delivered(parcel)
                if fate.remark:
                    self.status.say_once("remark", fate.remark)
        if delivered:
            self.status.delivered(delivered, self._now_ms())
        self._chooser.went(part)

    def _park_all(self, reason: str, now: float) -> None:
        self._resume = now + PARKED_S
        self._hand.leave_all()
        self._exchanges.close()
        for secret in self.secrets():
            secret.refresh()  # a token that was rotated is found at the next try
        self.status.parks(reason, PARKED_S)

    def _back_off(self, outcome: Transient, now: float) -> None:
        self._failures += 1
        wait = max(outcome.wait_s, self._manner.backoff.delay(self._failures))
        self._resume = now + wait
        self.status.backs_off(outcome.reason, wait)


def _stayed_here(outcome: Outcome) -> bool:
    """Whether the request never went out."""
    return isinstance(outcome, Transient) and not (outcome.answered or outcome.suspect)


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
