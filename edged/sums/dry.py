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
from edged.store.segment import READINGS
from edged.sums.line import Line
from edged.sums.values import Plant, Sample, Source, Walk

EPOCH_S = 1_767_571_200  # a Monday, 0 h UTC: when every dry run begins

_TURN_S = 0.001  # a sensor's turn on its bus
_WAKING_S = 0.0005  # until a sender that rested takes what has come
_LONG_TAIL = 5 * READINGS  # then the store flushes before its interval is over
_DRIFT = 1.0162


@dataclass(frozen=True)
class Plan:
    """What is run: sensors with a sample of each, destinations, the store."""

    sensors: Sequence[Plant]
    destinations: Sequence[Destination]
    flush_interval: float  # s
    latency_s: float | None = None  # of an exchange; None: by where it goes


class DryRun:
    """One run of a plan on a store in `folder`.  `run` lets virtual time pass; `close` lets go of the store.

    Whether a flush meets readings that are on their way is decided by three phases: the sensors' grid, the senders'
    turns, the flushes.  Those of a real daemon are anybody's guess.  So a run may go through all of them: its flushes
    come a little late (always), and its grid by `slew` s too early in a second.
    """

    def __init__(self, plan: Plan, folder: Path, slew: float = 0.0) -> None:
        self.now = 0.0  # s since the run began
        self.taken: dict[str, int] = {sensor.name: 0 for sensor, _ in plan.sensors}  # readings that left shaping
        self.reads: dict[str, int] = dict(self.taken)
        self.log = Log(folder, plan.flush_interval, "dry", self.now_ms, self.now_ms)
        self.lines = {destination.name: Line(destination, self, plan.latency_s) for destination in plan.destinations}
        self._flush_interval = plan.flush_interval * _DRIFT
        self._flushes = True
        self._flushing = False  # a flush will come
        self._began = 0.0  # from when on flushes come every interval: the last one that came before its time
        self._tail = 0
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
        self._flush()

    def drain(self, line: Line) -> list[tuple[float, int]]:
        """A destination alone sends all that it lacks, and nothing new comes.

        Returns how many readings there were left at which time, exchange by exchange, from the beginning on.
        """
        self.online, self._events = True, []
        points = [(self.now, line.queue.queued)]
        line.wake()
        while self._events and line.queue.queued:
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
        readings = list(readings)
        self.log.put(readings, offset_ms, memory)
        self._tail += len(readings)
        self.flush_later()
        if (memory or self._tail > _LONG_TAIL) and self._flushes:
            self._began = self.now
            self._flush()
        for line in self.lines.values() if self.online else ():
            if line.resting and line.queue.wake.is_set():
                line.wake(_WAKING_S)

    # --- the store

    def flush_later(self) -> None:
        """Lets the next flush come: there is something for it."""
        if self._flushes and not self._flushing:
            self._flushing = True
            intervals = math.floor((self.now - self._began) / self._flush_interval) + 1
            began = self._began
            self.at(began + intervals * self._flush_interval, lambda: self._flush_in_turn(began))

    def _flush_in_turn(self, began: float) -> None:
        self._flushing = False
        if began == self._began:
            self._flush()
        else:  # one came before its time, and the next an interval after that
            self.flush_later()

    def _flush(self) -> None:
        self._tail = 0
        self.log.flush()
