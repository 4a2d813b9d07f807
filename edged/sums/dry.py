"""The daemon run dry, in virtual time: the real samplers, store and senders, without devices, network and threads.

It is a loop over events.  A sensor's read, a flush and a sender's step are events; an exchange takes the latency that
is assumed, and what it delivered is settled at its end, as in life: a flush in the meantime still writes it.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.config.config import Destination, Sensor
from edged.daemon import lane_of, schedule_of, shaping_of
from edged.reading import Reading
from edged.sampling.sampler import Sampler
from edged.sampling.shaping import Shaping
from edged.store.log import Log
from edged.sums.line import Line
from edged.sums.values import Plant, Sample, Source, Walk

EPOCH_S = 1_767_571_200  # a Monday, 0 h UTC: when every dry run begins

_PATIENCE_S = 3600.0  # without a reading that goes: a bug of a platform keeps it
_TURN_S = 0.001  # a sensor's turn on its bus
_WAKING_S = 0.0005  # until a sender that rested takes what has come


@dataclass(frozen=True)
class Plan:
    """What is run: sensors with a sample of each, destinations, the store."""

    sensors: Sequence[Plant]
    destinations: Sequence[Destination]
    flush_interval: float  # s
    latency_s: float | None = None  # of an exchange; None: by where it goes


class DryRun:
    """One run of a plan on a store in `folder`.  `run` lets virtual time pass; `close` lets go of the store.

    How old readings get until they are confirmed is decided by two phases: the sensors' grid and the senders' turns.
    Those of a real daemon are anybody's guess.  So a run may go through all of them: its grid comes by `slew` s too
    early in a second.
    """

    def __init__(self, plan: Plan, folder: Path, slew: float = 0.0) -> None:
        self.now = 0.0  # s since the run began
        self.taken: dict[str, int] = {sensor.name: 0 for sensor, _ in plan.sensors}  # readings that left shaping
        self.reads: dict[str, int] = dict(self.taken)
        self.log = Log(folder, plan.flush_interval, "dry", self.now_ms, self.now_ms)
        self.lines = {destination.name: Line(destination, self, plan.latency_s) for destination in plan.destinations}
        self._flush_interval = plan.flush_interval
        self._flushes = True
        self._flush_at = math.inf  # the next one
        self.online = True
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._slew = slew
        self._draw = random.Random(0)
        turns: dict[object, int] = {}
        for sensor, sample in plan.sensors:
            lane = lane_of(sensor)
            turns[lane] = turns.get(lane, -1) + 1
            self._add(sensor, sample, turns[lane] * _TURN_S)

    def now_ms(self) -> int:
        """The clock's time."""
        return round((EPOCH_S + self.now) * 1000)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Does something at a time, in s since the run began."""
        heapq.heappush(self._events, (time, next(self._numbers), action))

    def run(self, seconds: float, *, online: bool = True) -> None:
        """Lets the time pass, with or without network."""
        end = self.now + seconds
        self.online = online
        for line in self.lines.values() if online else ():
            line.wake()
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def pile_up(self, seconds: float) -> None:
        """Lets the time pass without network, and the store wait for the end with its one flush."""
        self._flushes = False
        self.run(seconds, online=False)
        self._flushes = True
        self.log.flush()

    def drain(self, line: Line) -> list[tuple[float, int]]:
        """A destination alone sends all that it lacks, and nothing new comes.

        Returns how many readings there were left at which time, exchange by exchange, from the beginning on.
        """
        self.online, self._events, self._flush_at = True, [], math.inf
        points = [(self.now, line.queue.queued)]
        line.wake()
        while self._events and line.queue.queued and self.now - points[-1][0] < _PATIENCE_S:
            self.now, _, action = heapq.heappop(self._events)
            action()
            if line.queue.queued != points[-1][1]:
                points.append((self.now, line.queue.queued))
        return points

    def close(self) -> None:
        """Flushes the rest and closes the files."""
        self.log.stop()

    # --- sampling

    def _add(self, sensor: Sensor, sample: Sample, turn: float) -> None:
        shapings: dict[str, Shaping | None] = {}

        def shaping(quantity: str) -> Shaping | None:
            if quantity not in shapings:
                shapings[quantity] = shaping_of(sensor, quantity)
            return shapings[quantity]

        def put(readings: list[Reading], offset_ms: int) -> None:
            self.taken[sensor.name] += len(readings)
            remembered = {f"sensor:{sensor.name}": self.reads[sensor.name]} if sensor.driver.remembers else {}
            self._put(readings, offset_ms, remembered)

        walks = {name: Walk(sensor.driver.quantity(name), value, self._draw) for name, value in sample.items()}
        schedule = schedule_of(sensor)
        source = Source(walks)
        sampler = Sampler(
            sensor.name, lambda: source, schedule, math.inf, shaping, put, lambda: (self.now_ms(), self.now_ms())
        )

        def read(due: float) -> None:
            self.reads[sensor.name] += 1
            sampler.begin(self.now)
            follow(due)

        def follow(due: float) -> None:
            if (following := schedule.after(due, max(due, 0.0), EPOCH_S + self._slew * self.now)) < math.inf:
                late = turn + self._draw.random() * _TURN_S
                self.at(following + late, lambda: read(following))

        follow(-math.inf)

    def _put(self, readings: Iterable[Reading], offset_ms: int, memory: Mapping[str, int]) -> None:
        self.log.put(readings, offset_ms, memory)
        self.flush_later()
        for line in self.lines.values() if self.online else ():
            if line.resting and line.queue.wake.is_set():
                line.wake(_WAKING_S)

    # --- the store

    def flush_later(self) -> None:
        """Lets the next flush come: there may be something for it."""
        at = self.now + min(self.log.due_s(), self._flush_interval)
        if self._flushes and at < self._flush_at:
            self._flush_at = at
            self.at(at, lambda: self._flush_in_time(at))

    def _flush_in_time(self, at: float) -> None:
        if at == self._flush_at:
            self._flush_at = math.inf
            self.log.flush_in_time()
            if self.log.due_s() <= self._flush_interval:
                self.flush_later()
