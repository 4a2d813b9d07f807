"""A thousand boards at one server: they measure in the same instants, and must not ask in them.

The real senders, in virtual time, against a server that only counts; beside them a naive client, which sends what it
has measured at once and tries again every five seconds.
"""

import heapq
import itertools
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from edged.errors import NoAnswer
from edged.outcome import Delivered
from edged.platforms import Limits, Platform, Wire
from edged.reading import Entry
from edged.sending.choosing import Manner
from edged.sending.mapping import Mapping, Usual
from edged.sending.rounds import phase_of
from edged.sending.sender import Sender
from edged.store.queue import Queue

BOARDS = 1000
NOON_MS = 1_709_640_000_000
WINDOW_S = 0.1
RETRY_S = 5.0  # of the naive client


@dataclass
class World:
    """The time, what happens next, and the requests that the server has seen."""

    now: float = 0.0
    down: tuple[float, float] = (0.0, 0.0)  # of the server
    requests: list[float] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _turn: Any = field(default_factory=itertools.count)

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._turn), action))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()

    def now_ms(self) -> int:
        return NOON_MS + round(self.now * 1000)

    def request(self) -> bool:
        """A request arrives; whether it is answered."""
        self.requests.append(self.now)
        return not self.down[0] <= self.now < self.down[1]

    def peak(self, since: float, until: float, window_s: float = WINDOW_S) -> int:
        """The most requests in a window."""
        counts = Counter(int(at / window_s) for at in self.requests if since <= at < until)
        return max(counts.values(), default=0)


class Memory:
    """A queue in memory; of the store only what a sender sees."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wake = threading.Event()
        self.wake_at = self.came = self.backlog_ends = self.counted = 0
        self._entries: deque[Entry] = deque()

    @property
    def queued(self) -> int:
        return len(self._entries)

    def put(self, time_ms: int) -> None:
        self.came += 1
        self._entries.append(Entry(self.came, "s.x", time_ms, 1.0))

    def take(self, most: int, blocked: Any, fits: Callable[[Entry], bool]) -> list[Entry]:
        return list(itertools.takewhile(fits, itertools.islice(self._entries, most)))

    def settle(self, entry: Entry, **fate: Any) -> None:
        self._entries.popleft()

    def end_backlog(self) -> None:
        pass


class Board(Platform):
    """A board that measures every ten seconds at :00, with its sender and its connection."""

    limits = Limits(100)

    def __init__(self, world: World, number: int, every: float) -> None:
        super().__init__(None)
        self.queue = Memory("there")
        self._world = world
        self._turn = 0
        manner = Manner(every=every, phase=phase_of(f"10000000{number:08x}", "there"))
        mapping, wire = Mapping((("*", Usual(str)),)), Wire(30.0, None, "")
        times: dict[str, Any] = {"monotonic": lambda: world.now, "now_ms": world.now_ms}
        self._sender = Sender(cast(Queue, self.queue), self, mapping, wire, manner, **times)

    def measure(self) -> None:
        self.queue.put(self._world.now_ms())
        if self.queue.came >= self.queue.wake_at and self._sender._idle:
            self.step()
        self._world.at(self._world.now + 10.0, self.measure)

    def step(self, turn: int | None = None) -> None:
        if turn not in (None, self._turn):
            return  # woken in the meantime
        self._turn += 1
        turn = self._turn
        wait = self._sender.step()
        if wait != float("inf"):
            self._world.at(self._world.now + max(wait, 1e-6), lambda: self.step(turn))

    def connect(self, wire: Wire) -> Any:
        return self

    def encode(self, items: Any) -> Any:
        return items

    def exchange(self, items: Any) -> None:
        if not self._world.request():
            raise NoAnswer("connection refused")

    def judge(self, reply: Any, items: Any) -> Any:
        return [Delivered()] * len(items)

    def close(self) -> None:
        pass


class Naive:
    """Sends what it has as it measures; after a failure every five seconds until it is through."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failing = False

    def measure(self) -> None:
        if not self._failing:
            self.send()
        self._world.at(self._world.now + 10.0, self.measure)

    def send(self) -> None:
        self._failing = not self._world.request()
        if self._failing:
            self._world.at(self._world.now + RETRY_S, self.send)


def ours(every: float, down: tuple[float, float] = (0.0, 0.0), until: float = 120.0) -> World:
    random.seed(7)
    world = World(down=down)
    for number in range(BOARDS):
        board = Board(world, number, every)
        world.at(0.0, board.measure)
        world.at(0.0, board.step)
    world.run(until)
    return world


def naive(down: tuple[float, float] = (0.0, 0.0), until: float = 120.0) -> World:
    world = World(down=down)
    for _ in range(BOARDS):
        world.at(0.0, Naive(world).measure)
    world.run(until)
    return world


@pytest.mark.pain("G3")
def test_a_steady_fleet_spreads_over_the_interval(record_property):
    theirs = naive().peak(30, 120)
    assert theirs == BOARDS  # all in the instant in which all measure
    for every, share in ((1.0, 0.2), (10.0, 0.02), (60.0, 0.01)):
        peak = ours(every).peak(30, 120)
        record_property(f"peak of {BOARDS} boards in {WINDOW_S} s, every = {every:g}", f"{peak}, naive {theirs}")
        assert peak <= share * theirs


@pytest.mark.pain("G3")
def test_a_fleet_that_starts_together_does_not_ask_together():
    assert naive().peak(0, 5) == BOARDS
    assert ours(1.0).peak(0, 5) <= 0.2 * BOARDS


@pytest.mark.pain("G3")
def test_a_fleet_does_not_come_back_from_an_outage_as_one(record_property):
    down = (30.0, 900.0)
    theirs, world = naive(down, 1300.0), ours(1.0, down, 1300.0)
    peaks = theirs.peak(900, 1300), world.peak(900, 1300)
    record_property(
        f"peak of {BOARDS} boards in {WINDOW_S} s after an outage of 870 s", f"{peaks[1]}, naive {peaks[0]}"
    )
    assert peaks[0] >= BOARDS / 2
    assert peaks[1] <= 0.2 * BOARDS
    last_minutes = [sum(since <= at < since + 60 for at in world.requests) for since in (700, 760, 820)]
    assert max(last_minutes) <= BOARDS / 2  # while it is down, each asks every few minutes
