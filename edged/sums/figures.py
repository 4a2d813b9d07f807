"""What a config will do: readings, requests and bytes a day, how long its queues last and take to drain.

Nothing is modelled a second time: the daemon's own parts are run dry (`edged.sums.dry`), for as long a virtual time as
gives a few thousand readings, and what they did is scaled to a day or a month of 30 days.

What cannot be known is assumed: an exchange takes 0.2 s (5 ms with this machine itself); all values pass their limits;
a flush's phase against the sensors' grid is any; each platform says yes; events (a button, a pulse) do not happen, but
what a driver remembers is new at each read.
"""

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edged.config.config import Config, Destination, Sensor
from edged.daemon import schedule_of, shaping_of
from edged.drivers import EventDriver
from edged.reading import Values
from edged.sampling.schedule import Every, Schedule
from edged.store.writer import COUNTERS_A_DAY
from edged.sums.dry import EPOCH_S, DryRun, Plan
from edged.sums.values import Plant, Sample, named, samples
from edged.sums.wire import Load

DAY_S = 86_400.0
MONTH_DAYS = 30

_BUDGET = 8000  # readings of a run: of those for the store, and of those for all destinations together
_LEAST = 1000  # of the run of each destination
_READS = 120  # of the fastest sensor in a run
_BACKLOG = 120  # readings that are drained to begin with: more where that takes fewer than so many exchanges
_EXCHANGES = 8
_FLUSHES = 30  # that a run has at least, as far as the budget goes
_ROUNDS = 6  # of a destination's `every`, likewise
_CRON_TIMES = 200
_SLEW_S, _STEEPEST = 4.0, 0.05  # by which the sensors' grid moves against the senders in a run, and at most in 1 s
_MEMORY = Path("/dev/shm")  # so that a check does not wear the card


@dataclass(frozen=True)
class Sums:
    """The figures; of a destination that gets nothing there are none."""

    readings_per_day: float = 0.0
    requests_per_day: float = 0.0
    network_per_month: Load = field(default_factory=Load)
    card_bytes_per_day: float | None = 0.0  # None: this kernel does not count what a process writes
    card_bytes_per_day_offline: float | None = 0.0
    queue_lasts_s: dict[str, float] = field(default_factory=dict)
    drain_s: dict[str, float] = field(default_factory=dict)  # a day's backlog
    grows_per_day: dict[str, float] = field(default_factory=dict)  # readings beyond what the platform's limits let go
    notes: tuple[str, ...] = ()  # what was assumed

    def to_json(self) -> dict[str, Any]:
        """As `edged check --sums --json` prints them."""
        return {
            "readings_per_day": round(self.readings_per_day),
            "requests_per_day": round(self.requests_per_day),
            "network_bytes_per_month": self.network_per_month.total,
            "card_bytes_per_day": None if self.card_bytes_per_day is None else round(self.card_bytes_per_day),
            "queue_lasts_s": {name: round(seconds) for name, seconds in self.queue_lasts_s.items()},
            "drain_s": {name: round(seconds, 1) for name, seconds in self.drain_s.items()},
        }


@dataclass(frozen=True)
class _Outgoing:
    """What one destination is sent a day."""

    readings: float = 0.0
    requests: float = 0.0
    load: Load = field(default_factory=Load)
    drain_s: float = 0.0
    grows: float = 0.0
    weighed: bool = True  # whether the load is known


def work_out(config: Config, latency_s: float | None = None) -> Sums:
    """The figures of a config that has no errors.  Reads no device but those that `values` names."""
    with _quiet():
        return _sums(config, latency_s)


def _sums(config: Config, latency_s: float | None) -> Sums:
    sensors = [sensor for sensor in config.sensors.values() if sensor.enabled]
    sampled = samples(sensors)
    notes = []
    plants: list[Plant] = []
    for sensor in sensors:
        sample, note = _sample(sensor, sampled.get(sensor.name, {}), config)
        plants.append((sensor, sample))
        notes += [note] if note else []
    destinations = [each for each in config.destinations.values() if each.common.enabled]
    interval = config.daemon.flush_interval
    with tempfile.TemporaryDirectory(
        prefix="edged-check-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None
    ) as folder:
        whole = Plan(plants, destinations, interval, latency_s)
        online = _Stored.of(whole, Path(folder, "online"), online=True)
        offline = _Stored.of(whole, Path(folder, "offline"), online=False)
        out: dict[str, _Outgoing] = {}
        kept_per_s: dict[str, float] = {}
        for destination in destinations:
            name = destination.name
            plan = Plan(_wanted(plants, destination), [destination], interval, latency_s)
            out[name] = _outgoing(plan, max(_LEAST, _BUDGET // len(destinations)), Path(folder, f"to {name}"))
            kept_per_s[name] = offline.kept_per_s[name]
            if out[name].readings and not kept_per_s[name]:  # too rare for the run of all
                kept_per_s |= _Stored.of(plan, Path(folder, f"of {name}"), online=False).kept_per_s
    notes += [f"{name}: the bytes of its requests are not known here" for name, each in out.items() if not each.weighed]
    return Sums(
        readings_per_day=online.readings_per_day,
        requests_per_day=sum(each.requests for each in out.values()),
        network_per_month=sum((each.load for each in out.values()), Load()).times(MONTH_DAYS),
        card_bytes_per_day=online.written_per_day,
        card_bytes_per_day_offline=offline.written_per_day,
        queue_lasts_s={
            each.name: min(each.bounds.max_size / rate, each.bounds.max_age_s or math.inf)
            for each in destinations
            if (rate := kept_per_s[each.name])
        },
        drain_s={name: each.drain_s for name, each in out.items() if each.readings},
        grows_per_day={name: each.grows for name, each in out.items() if each.grows},
        notes=tuple(notes),
    )


def _sample(sensor: Sensor, found: Values, config: Config) -> tuple[Sample, str]:
    """What the sensor measures, with a value of each where one is known, and what is to be said of that."""
    note = ""
    if issubclass(sensor.driver, EventDriver):
        note = f"{sensor.name}: its events are not counted"
    if found:
        return found, note
    if names := [quantity.name for quantity in sensor.driver.quantities] or named(sensor, config):
        return dict.fromkeys(names), note
    return {"value": None}, f"{sensor.name}: what it measures is not known here; counted as one quantity"


def _wanted(plants: Sequence[Plant], destination: Destination) -> list[Plant]:
    """The sensors with what of theirs goes to the destination."""
    wanted: list[Plant] = []
    for sensor, sample in plants:
        its = {name: value for name, value in sample.items() if destination.mapping.target(sensor.series(name))}
        if its:
            wanted.append((sensor, its))
    return wanted


# --- rates


def reads_per_day(schedule: Schedule) -> float:
    """How often a schedule comes on a mean day."""
    if isinstance(schedule, Every):
        return DAY_S / schedule.interval
    at, times = 0.0, 0
    while times < _CRON_TIMES and (following := schedule.after(at, at, EPOCH_S)) < 366 * DAY_S:
        at, times = following, times + 1
    return times / (at if times == _CRON_TIMES else 366 * DAY_S) * DAY_S


def horizon(rates: Sequence[tuple[float, int]], budget: float, least: float) -> float:
    """Seconds of a run: whole cycles of as slow sensors as the budget of readings allows, and `least` if it does.

    `rates`: the reads a day of each sensor, and the readings of each read.
    """
    rates = [(a_day, number) for a_day, number in rates if a_day and number]
    if not rates:
        return 0.0
    fastest = DAY_S / max(a_day for a_day, _ in rates)
    within = budget / sum(a_day * number for a_day, number in rates) * DAY_S
    seconds = min(within, max(_READS * fastest, least))
    cycle = max((DAY_S / a_day for a_day, _ in rates if DAY_S / a_day <= seconds), default=seconds)
    return cycle * math.floor(seconds / cycle)


class _Rates:
    """Of the sensors of a plan."""

    def __init__(self, plants: Sequence[Plant]) -> None:
        self._a_day = {sensor.name: reads_per_day(schedule_of(sensor)) for sensor, _ in plants}
        self._each = {
            sensor.name: sum(shaping_of(sensor, name) is not None for name in sample) for sensor, sample in plants
        }

    def horizon(self, budget: float, least: float) -> float:
        return horizon([(self._a_day[name], self._each[name]) for name in self._a_day], budget, least)

    def readings_per_day(self, run: DryRun) -> float:
        """By what the run had of each read; for a sensor that was too slow for it, all of its quantities."""
        return sum(
            a_day * (run.taken[name] / run.reads[name] if run.reads[name] else self._each[name])
            for name, a_day in self._a_day.items()
        )


# --- the store


@dataclass(frozen=True)
class _Stored:
    """What the store does in a run of all."""

    readings_per_day: float
    written_per_day: float | None
    kept_per_s: dict[str, float]  # bytes on disk that each destination lacks

    @classmethod
    def of(cls, plan: Plan, folder: Path, *, online: bool) -> "_Stored":
        """A run with or without network.  The store is closed at its end, so that a last checkpoint is counted."""
        rates = _Rates(plan.sensors)
        seconds = rates.horizon(_BUDGET, _FLUSHES * plan.flush_interval)
        before = written()
        DryRun(replace(plan, sensors=()), folder / "empty").close()
        empty = written() - before
        slew = min(_STEEPEST, _SLEW_S / seconds) if online and seconds else 0.0
        run = DryRun(plan, folder / "full", slew)
        run.run(seconds, online=online)
        commits, began = run.log.commits, written()
        run.log.settled(0)
        run.log.flush()
        last = written() - began  # what a commit costs that comes only for the counters
        kept = {
            name: sum(run.log.bytes_of(*needed) for needed in line.queue.needs()) for name, line in run.lines.items()
        }
        run.close()
        bytes_ = written() - before - last - 2 * empty
        per_day, taken = rates.readings_per_day(run), sum(run.taken.values())
        days = taken / per_day if per_day else 0.0  # by readings, since a slewed grid has more of them
        a_day = max(0.0, bytes_) / days + last * max(0.0, COUNTERS_A_DAY - commits / days) if days else 0.0
        return cls(
            per_day,
            None if math.isnan(bytes_) else a_day,
            {name: size / days / DAY_S if days else 0.0 for name, size in kept.items()},
        )


def written() -> float:
    """Bytes that this thread has written to files so far; NaN where the kernel does not count them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/thread-self/io").read_text().splitlines():
            name, _, number = line.partition(":")
            if name == "wchar":
                return int(number)
    return math.nan


# --- the network


def _outgoing(plan: Plan, budget: float, folder: Path) -> _Outgoing:
    """A run of one destination: first as always, then without network, then what is queued goes out."""
    rates = _Rates(plan.sensors)
    rounds = max(_ROUNDS * each.common.every for each in plan.destinations)
    seconds = rates.horizon(budget, max(_FLUSHES * plan.flush_interval, rounds))
    if not seconds:
        return _Outgoing()
    run = DryRun(plan, folder / "online")
    (line,) = run.lines.values()
    run.run(seconds)
    run.close()
    settled = line.queue.delivered + line.queue.merged - line.settled_first
    per_day = rates.readings_per_day(run)
    drain_s = _drain_s(plan, per_day, folder)
    share = min(1.0, DAY_S / drain_s) if drain_s else 1.0  # that the platform's limits let go
    points = per_day * line.queue.delivered / max(1, line.queue.delivered + line.queue.merged)
    if points > line.points_a_day:
        share = min(share, line.points_a_day / points)
        drain_s = max(drain_s, points / line.points_a_day * DAY_S)
    scale = per_day * share / settled if settled else 0.0
    requests, load = line.requests * scale, line.load.times(scale)
    grows = 0.0 if line.thins else per_day * (1 - share)
    return _Outgoing(per_day, requests, load, drain_s, grows, line.weighed)


def _drain_s(plan: Plan, per_day: float, folder: Path) -> float:
    """Seconds in which a day's backlog of a destination goes out; a part of a day where that is enough to tell."""
    number = float(_BACKLOG)
    while True:
        run = DryRun(plan, folder / f"{number:.0f}")
        (line,) = run.lines.values()
        run.pile_up(min(1.0, number / per_day) * DAY_S)
        points = run.drain(line)
        run.close()
        exchanges = len(points) - 1
        if exchanges >= _EXCHANGES or number >= min(per_day, _BUDGET):
            break
        number *= 2 * _EXCHANGES / max(1, exchanges)
    if len(points) > 3:  # without the first exchange and the last, of which there are few in a day
        points = points[1:-1]
    (began, most), (ended, least) = points[0], points[-1]
    return (ended - began) * per_day / (most - least) if most > least else 0.0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the daemon's parts would say of devices and destinations."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)
