"""One destination of a dry run: the real sender on the real platform, with a transport that only counts."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from edged.config.config import Destination
from edged.errors import SecretUnreadable
from edged.outcome import Delivered, Outcome
from edged.platforms import Item, Platform, Wire
from edged.reading import Entry
from edged.secret import Secret, public, replaced
from edged.sending.choosing import Manner
from edged.sending.mapping import Mapping
from edged.sending.rounds import phase_of
from edged.sending.sender import Sender
from edged.store.log import Log
from edged.store.queue import Queue
from edged.sums import wire
from edged.sums.wire import Load

log = logging.getLogger(__name__)

LATENCY_S = 0.2  # of an exchange over the internet: a mobile link's is longer, a cable's shorter
LOCAL_LATENCY_S = 0.005  # with this very machine

_LOCAL = ("localhost", "127.0.0.1", "::1")
_ECHOING = ("bbdata",)  # platforms whose answer holds what was sent
_PLACEHOLDER = public("x" * 32)  # for a secret that only the service can read


class Run(Protocol):
    """The dry run that a line is a part of."""

    now: float
    online: bool
    log: Log

    def now_ms(self) -> int:
        """The clock's time."""

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Does something at a time."""

    def flush_later(self) -> None:
        """Lets the next flush come."""


class Line:
    """A sender, its queue and, as a `Transport`, its connection."""

    def __init__(self, destination: Destination, run: Run, latency_s: float | None = None) -> None:
        """`latency_s` of an exchange; None: by where it goes."""
        self.name = destination.name
        self.requests = 0
        self.load = Load()
        self.settled_first = 0  # readings, by the first request: what had gathered by then is anybody's guess
        self.weighed = True  # whether the load is that of all requests
        self.resting = False  # until there are new readings, or for a time that they may end
        self._run = run
        self._latency_s = latency_s
        self._options = replaced(destination.options, _readable)
        self._echoes = destination.kind in _ECHOING
        self._now = 0.0  # the sender's time: within an exchange it is ahead of the run's
        self._busy = False
        self._turn = 0  # of its steps only the one that was asked for last is done
        self._last_exchange: float | None = None
        self._settles: list[Callable[[], None]] = []
        rules = destination.mapping.rules
        mapping = Mapping(tuple((pattern, replaced(target, _readable)) for pattern, target in rules))
        self._routes: set[object] = set()
        self.queue = run.log.open_queue(destination.name, mapping.choice, destination.bounds)
        platform = _dry(destination.platform, self)(self._options)
        self.thins = platform.limits.backlog != "all"  # what comes faster than the platform takes it
        self._points_a_day = platform.limits.points_a_day
        self._sender = Sender(
            cast(Queue, _Held(self.queue, self._settles)),
            platform,
            mapping,
            Wire(destination.timeout, destination.common.ca_file, destination.common.proxy or ""),
            Manner(
                batch_size=destination.common.batch_size,
                every=destination.common.every,
                phase=phase_of(destination.name),
                live_first=destination.common.drain == "live-first",
            ),
            monotonic=lambda: self._now,
            now_ms=run.now_ms,
        )

    @property
    def points_a_day(self) -> float:
        """What its platform takes of all its routes in a day."""
        return self._points_a_day * len(self._routes) or math.inf

    def routed(self, route: object) -> None:
        """A request goes this way."""
        self._routes.add(route)

    def wake(self, after_s: float = 0.0) -> None:
        """Lets the sender take a step."""
        if not self._busy:
            self.resting = False
            self._step_at(self._run.now + after_s)

    def _step_at(self, time: float) -> None:
        self._turn += 1
        turn = self._turn
        self._run.at(time, lambda: self._step(turn))

    def _step(self, turn: int) -> None:
        if turn != self._turn or not self._run.online:
            return
        self.queue.wake.clear()
        self._now = self._run.now
        try:
            wait = self._sender.step()
        except Exception:  # a bug in a platform: the real sender says so, and goes on with the next minute
            log.exception("%s: a bug in its sending; please report it", self.name)
            return
        self._busy = self._now > self._run.now  # an exchange is under way; what it delivers is settled at its end
        self.resting = not self._busy and (math.isinf(wait) or self._sender.status.state == "waiting")
        if self._busy:
            self._run.at(self._now, self._end)
        else:
            self._settle()
            if not math.isinf(wait):
                self._step_at(self._now + wait)

    def _end(self) -> None:
        self._busy = False
        self._settle()
        self._step_at(self._now)

    def _settle(self) -> None:
        for settle in self._settles:
            settle()
        if self.requests and not self.settled_first:
            self.settled_first, self.requests, self.load = len(self._settles), 0, Load()
        if self._settles:
            self._run.flush_later()
        self._settles.clear()

    # --- the transport

    def exchange(self, request: Any) -> None:
        """Counts what the request would cost, and lets the sender's time pass."""
        if wire.known(request):
            gap = self._now - self._last_exchange if self._last_exchange is not None else 0.0
            self.load += wire.idle(request, self._options, gap)
            self.load += wire.exchange(request, self._options, echoes=self._echoes)
            self.requests += wire.requests_in(request)
            local = wire.host_of(request, self._options) in _LOCAL
        else:
            self.requests += 1
            self.weighed = local = False
        if self._latency_s is None:
            self._latency_s = LOCAL_LATENCY_S if local else LATENCY_S
        self._now += self._latency_s
        self._last_exchange = self._now

    def abort(self) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """There is nothing to close."""


class _Held:
    """A queue whose `settle` is held back until the exchange is over."""

    def __init__(self, queue: Queue, settles: list[Callable[[], None]]) -> None:
        self._queue = queue
        self._settles = settles

    def settle(self, entry: Entry, **fate: Any) -> None:
        self._settles.append(lambda: self._queue.settle(entry, **fate))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def _dry(platform: type[Platform], line: Line) -> type[Platform]:
    """The platform with a connection that only counts, and an answer that is always a yes."""

    def connect(self: Platform, wire: Wire) -> Line:
        return line

    def judge(self: Platform, reply: Any, items: Sequence[Item]) -> list[Outcome]:
        line.routed(self.route(self.options, items[0].target))
        return [Delivered()] * len(items)

    def refuses(self: Platform, item: Item) -> None:
        return None

    return type(platform.__name__, (platform,), {"connect": connect, "judge": judge, "refuses": refuses})


def _readable(secret: Secret) -> Secret:
    """The secret, or a placeholder for one that this user cannot read."""
    try:
        secret.reveal()
    except SecretUnreadable:
        return _PLACEHOLDER
    return secret
