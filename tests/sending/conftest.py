"""A sender that is driven step by step, in time that the test gives, with a real store."""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from edged import platforms
from edged.outcome import Delivered, Outcome
from edged.platforms import Item, Limits, Platform, Wire
from edged.reading import Entry, Reading
from edged.secret import plain
from edged.sending.backoff import Backoff
from edged.sending.choosing import Manner
from edged.sending.mapping import Mapping, Usual
from edged.sending.quota import Quota
from edged.sending.sender import Sender
from edged.simulation.platforms import HttpStandIn, open_stand_in
from edged.store.log import Log
from tests.store import abandon
from tests.transports.conftest import broker, tls

__all__ = ["broker", "tls"]  # fixtures of another folder

NOW_MS = 1_709_647_650_250  # 2024-03-05T14:07:30.250Z
EXCHANGE_S = 0.01  # what a scripted exchange takes


@dataclass
class Clock:
    """Monotonic seconds and UTC milliseconds, advanced together."""

    seconds: float = 1000.0

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return NOW_MS + round((self.seconds - 1000.0) * 1000)


@dataclass(frozen=True)
class Sent:
    """A scripted request: its readings as (series, time, value), and when it was sent."""

    readings: tuple[tuple[str, int, Any], ...]
    body: bytes
    at: float = field(default=0.0, compare=False)


class Scripted(Platform):
    """A platform without a network: `answer` is asked for what becomes of a request, and may raise NoAnswer."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        super().__init__(None)
        self.clock = clock
        self.requests: list[Sent] = []
        self.connections = 0
        self.answer: Callable[[list[Item]], list[Outcome]] = lambda items: [Delivered() for _ in items]
        self._limits = limits

    @property
    def limits(self) -> Limits:
        return self._limits

    def connect(self, wire: Wire) -> Any:
        self.connections += 1
        return self

    def encode(self, items: Any) -> Any:
        readings = tuple((item.entry.series, item.entry.time_ms, item.entry.value) for item in items)
        return Sent(readings, repr(readings).encode())

    def exchange(self, request: Sent) -> None:
        self.requests.append(Sent(request.readings, request.body, self.clock.monotonic()))
        self.clock.advance(EXCHANGE_S)

    def judge(self, reply: Any, items: Any) -> list[Outcome]:
        return self.answer(list(items))

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass

    @property
    def sent(self) -> list[tuple[str, int, Any]]:
        """All readings in the order in which they were sent."""
        return [reading for request in self.requests for reading in request.readings]


@dataclass
class Bench:
    """A sender with its store; `drive` lets it work until it has nothing more to do."""

    log: Log
    clock: Clock
    sender: Sender
    platform: Any
    settled: list[tuple[Entry, str]] = field(default_factory=list)  # with "delivered", "merged" or the reason

    def __post_init__(self) -> None:
        settle = self.sender.queue.settle

        def record(entry: Entry, *, merged: bool = False, reason: str = "", response: str = "") -> None:
            self.settled.append((entry, reason or ("merged" if merged else "delivered")))
            settle(entry, merged=merged, reason=reason, response=response)

        self.sender.queue.settle = record  # type: ignore[method-assign]

    def put(self, series: str, *values: Any, time_ms: int | None = None, step_ms: int = 1000) -> None:
        """Readings up to now, or from `time_ms` on."""
        first = self.clock.now_ms() - step_ms * len(values) if time_ms is None else time_ms
        self.log.put([Reading(series, first + step_ms * n, value) for n, value in enumerate(values)], 0)

    def step(self) -> float:
        return self.sender.step()

    def drive(self, until: float = math.inf, steps: int = 3000) -> None:
        """Steps, and lets the time pass that the sender waits, until it waits for readings or beyond `until`."""
        for _ in range(steps):
            wait = self.step()
            if math.isinf(wait):
                return
            if self.clock.seconds + wait > until:
                self.clock.seconds = until
                return
            self.clock.advance(wait)
        raise AssertionError(f"not done after {steps} steps: {self.sender.status}, {self.sender.queue.queued} queued")

    def fates(self, series: str | None = None) -> list[tuple[Any, str]]:
        """(value, fate) of what was settled, in order."""
        return [(entry.value, fate) for entry, fate in self.settled if series in (None, entry.series)]

    @property
    def queued(self) -> int:
        return self.sender.queue.queued


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(tmp_path, clock):
    """Makes benches with a scripted platform: `bench(readings=.., target_interval=.., ...)`, the keys of Limits."""
    with ExitStack() as stack:

        def make(
            backoff: Backoff = Backoff(),  # noqa: B008 (frozen)
            folder: str = "scripted",
            manner: dict[str, Any] | None = None,
            **limits: Any,
        ) -> Bench:
            platform = Scripted(clock, Limits(**{"readings": 100} | limits))
            targets = Mapping((("*", Usual(str)),))  # each series is its own target
            wire = Wire(1.0, None, "")
            return open_bench(stack, tmp_path / folder, clock, platform, targets, backoff, wire, **(manner or {}))

        yield make


@dataclass
class Rig(Bench):
    """A bench with a real platform, a real transport, and its stand-in or broker behind it."""

    stand_in: Any = None
    again: Any = None  # makes a bench anew on what is on disk

    def die_and_start(self) -> "Rig":
        """As if the process had been killed after the last flush, and started at once."""
        abandon(self.log)
        self.stand_in.forgive()
        made: Rig = self.again()
        return made

    @property
    def violations(self) -> list[Any]:
        violations: list[Any] = self.stand_in.snapshot()[1]
        return violations

    def accepted(self) -> dict[str, list[tuple[int, Any]]]:
        """What the stand-in has stored: target -> (time, value) in the order of arrival."""
        accepted: dict[str, list[tuple[int, Any]]] = {}
        for each in self.stand_in.snapshot()[0]:
            accepted.setdefault(each.target, []).append((each.time_ms, each.value))
        return accepted


@pytest.fixture
def rig(tmp_path, clock):
    """`rig(platform, series, options, **modes)`: `series` maps names to the keys of a target."""
    with ExitStack() as stack:

        def make(
            name: str,
            series: dict[str, dict[str, Any]],
            options: dict[str, Any] | None = None,
            backoff: Backoff = Backoff(first=1.0, max=10.0),  # noqa: B008 (frozen)
            timeout_s: float = 10.0,
            manner: dict[str, Any] | None = None,
            **modes: Any,
        ) -> Rig:
            modes = {"now_ms": clock.now_ms, "monotonic": clock.monotonic} | modes
            stand_in = stack.enter_context(open_stand_in(name, **modes))
            kind = platforms.find(name)
            assert kind is not None
            keys = _identifiers(stand_in) | (options or {})
            targets = Mapping(tuple((each, kind.Series(**target)) for each, target in series.items()))
            wire = Wire(timeout_s, None, "")

            def open_it() -> Rig:
                platform = kind(kind.Options(**keys))
                made = open_bench(stack, tmp_path / name, clock, platform, targets, backoff, wire, **(manner or {}))
                return Rig(made.log, clock, made.sender, platform, stand_in=stand_in, again=open_it)

            return open_it()

        yield make


def _identifiers(stand_in: HttpStandIn) -> dict[str, Any]:
    """The options that fit the stand-in's made-up identifiers."""
    keys: dict[str, Any] = {"url": stand_in.url}
    if stand_in.secret_in == "header":
        keys |= {"token": plain(stand_in.made_up_token), "device": stand_in.made_up_device}  # type: ignore[attr-defined]
    return keys


def open_bench(
    stack: ExitStack,
    folder: Any,
    clock: Clock,
    platform: Platform,
    mapping: Mapping,
    backoff: Backoff,
    wire: Wire,
    **manner: Any,
) -> Bench:
    """A bench with a store of its own in the folder, closed with the stack."""
    log = Log(folder, 60.0, "test", clock.now_ms)
    stack.callback(log.stop)
    queue = log.open_queue("there", mapping.choice)
    sender = Sender(
        queue,
        platform,
        mapping,
        wire,
        Manner(backoff, **{"every": 0.0} | manner),
        Quota.kept_in(log, "there", platform.limits.points_a_day),
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )
    stack.callback(sender._exchanges.close)
    return Bench(log, clock, sender, platform)


def in_order(entries: Iterable[Entry]) -> bool:
    """Whether the readings of each series are in the order of the store."""
    last: dict[str, int] = {}
    for entry in entries:
        if entry.seq <= last.get(entry.series, 0):
            return False
        last[entry.series] = entry.seq
    return True
