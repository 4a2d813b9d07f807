"""A lane of sensors, driven by hand: no time passes but the one that the test gives."""

import heapq
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from edged.drivers import Driver, EventDriver
from edged.errors import CorruptReply, NoReply
from edged.reading import Reading, Values
from edged.sampling.lane import Lane
from edged.sampling.sampler import Sampler
from edged.sampling.schedule import Cron, Every, Never
from edged.sampling.shaping import Shaping

START = 1_000_000_000.0  # the wall clock when the monotonic one is 0: on every grid


@dataclass
class Time:
    """Both clocks, moved by hand."""

    now: float = 0.0
    wall_offset: float = START

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset

    def clocks(self) -> tuple[int, int]:
        return round(self.wall() * 1000), round(self.now * 1000)


@dataclass
class Bench:
    """A lane and what its sensors have put."""

    time: Time = field(default_factory=Time)
    put: list[Reading] = field(default_factory=list)
    offsets_ms: list[int] = field(default_factory=list)
    emit: Callable[[Values], None] = print  # what an event driver was told to call

    def __post_init__(self) -> None:
        self.lane = Lane("test", self.time.monotonic, self.time.wall)

    def sensor(self, name: str, driver: type[Driver], interval: float | None = 1.0, timeout_s: float = 5.0) -> Sampler:
        def put(readings: list[Reading], offset_ms: int) -> None:
            self.put.extend(readings)
            self.offsets_ms.append(offset_ms)

        schedule = Every(interval) if interval else Never()
        bench = self

        def make() -> Driver:
            return driver(bench, timeout_s)

        sampler = Sampler(name, make, schedule, timeout_s, lambda quantity: Shaping(), put, self.time.clocks)
        self.lane.add(sampler)
        return sampler

    def run(self, until: float) -> None:
        """Lets all happen that is due until then."""
        events = self.lane._events
        while events and events[0].at <= until:
            event = heapq.heappop(events)
            self.time.now = max(self.time.now, event.at)
            self.lane.step(event)
            events = self.lane._events
        self.time.now = until

    def times(self, series: str) -> list[float]:
        """When a series was measured, in s since the start."""
        return [reading.time_ms / 1000 - START for reading in self.put if reading.series == series]


class Quick(Driver):
    def read(self):
        yield from ()
        return {"x": 1.0}


class Slow(Driver):
    """Converts for 0.4 s."""

    def read(self):
        yield 0.4
        return {"x": 2.0}


class Hanging(Driver):
    """Blocks its lane for as long as the bus allows, then fails."""

    def read(self):
        self.options.time.now += self.timeout_s
        if self.timeout_s:
            raise NoReply("the bus hangs")
        yield 0.0


def test_every_sensor_is_read_at_the_start_and_then_on_the_grid():
    bench = Bench(Time(now=0.3))
    bench.sensor("a", Quick)
    bench.run(until=4.5)
    assert bench.times("a.x") == pytest.approx([0.3, 1, 2, 3, 4])
    assert set(bench.offsets_ms) == {round(START * 1000)}


def test_while_one_sensor_converts_the_others_are_read():
    bench = Bench()
    bench.sensor("slow", Slow)
    for n in range(10):
        bench.sensor(f"q{n}", Quick, interval=0.1)
    bench.run(until=3.05)
    assert bench.times("slow.x") == pytest.approx([0, 1, 2, 3][:3])  # the fourth is still converting
    for n in range(10):
        assert len(bench.times(f"q{n}.x")) == 31


def test_a_reading_has_the_time_at_which_it_was_begun():
    bench = Bench()
    bench.sensor("slow", Slow)
    bench.run(until=0.5)
    assert bench.times("slow.x") == [0.0]


@pytest.mark.guarantee(5)
@pytest.mark.pain("E10")
def test_a_hanging_sensor_delays_its_bus_by_its_timeout_until_it_is_backed_off():
    bench = Bench()
    bench.sensor("hung", Hanging, timeout_s=0.5)
    bench.sensor("good", Quick)
    bench.run(until=120.0)
    times = bench.times("good.x")
    assert max(later - earlier for earlier, later in pairwise(times)) <= 1.5
    assert len([t for t in times if t > 60]) >= 57  # tried every 30 s only


class Flaky(Driver):
    """Answers from 20 s on."""

    def read(self):
        yield from ()
        if self.options.time.now < 20:
            raise NoReply("no reply at 0x76 on bus 1")
        return {"x": 3.0}


@pytest.mark.guarantee(5)
@pytest.mark.pain("E3")
def test_a_lost_sensor_is_back_without_a_restart_and_says_so_once(caplog):
    bench = Bench()
    with caplog.at_level(logging.INFO):
        sampler = bench.sensor("roof", Flaky)
        bench.run(until=19.0)
        assert sampler.health.error == "no reply at 0x76 on bus 1"
        bench.run(until=60.0)
    assert [record.message for record in caplog.records] == [
        "roof: lost: no reply at 0x76 on bus 1",
        "roof: back after 5 failed reads",
    ]
    assert bench.times("roof.x")[0] <= 20 + 30
    assert sampler.health.error == ""


class CorruptOnce(Driver):
    replies = 0

    def read(self):
        yield 0.01
        CorruptOnce.replies += 1
        if CorruptOnce.replies == 1:
            raise CorruptReply("wrong checksum")
        return {"x": 4.0}


def test_a_damaged_reply_is_read_again_at_once(caplog):
    CorruptOnce.replies = 0
    bench = Bench()
    bench.sensor("a", CorruptOnce)
    bench.run(until=0.9)
    assert len(bench.put) == 1
    assert not caplog.records


class AlwaysCorrupt(Driver):
    reads = 0

    def read(self):
        yield 0.01
        AlwaysCorrupt.reads += 1
        raise CorruptReply("wrong checksum")


def test_but_only_once():
    AlwaysCorrupt.reads = 0
    bench = Bench()
    sampler = bench.sensor("a", AlwaysCorrupt)
    bench.run(until=0.9)
    assert AlwaysCorrupt.reads == 2
    assert sampler.health.failures == 1


class Endless(Driver):
    def read(self):
        while True:
            yield 0.2


def test_a_read_that_does_not_end_is_given_up_after_its_timeout():
    bench = Bench()
    sampler = bench.sensor("a", Endless, timeout_s=1.0)
    bench.run(until=1.5)
    assert sampler.health.error == "no complete reading within 1 s"


class Buggy(Driver):
    def read(self):
        yield from ()
        return {"x": 1 // 0}


def test_a_bug_in_a_driver_is_one_sensors_failure(caplog):
    bench = Bench()
    sampler = bench.sensor("bad", Buggy)
    bench.sensor("good", Quick)
    bench.run(until=10.5)
    assert sampler.health.error == "a bug in its driver: ZeroDivisionError"
    assert len(bench.times("good.x")) == 11
    assert len([record for record in caplog.records if record.exc_info]) == 1


class Button(EventDriver):
    def read(self):
        yield from ()
        return {"state": False}

    def listen(self, emit):
        self.options.emit = emit
        return True


def test_an_event_is_stamped_and_put_when_it_comes():
    bench = Bench()
    bench.sensor("door", Button, interval=None)
    bench.run(until=3.25)
    bench.emit({"state": True})
    assert [(reading.time_ms / 1000 - START, reading.value) for reading in bench.put] == [(0, False), (3.25, True)]


@pytest.mark.pain("C4")
def test_a_step_of_the_clock_realigns_the_schedule_without_a_burst(caplog):
    bench = Bench()
    bench.sensor("a", Quick, interval=10.0)
    bench.run(until=12.0)
    bench.time.wall_offset += 86_400 * 120 + 3.3
    bench.lane._realign()
    bench.run(until=32.0)
    assert len(bench.put) == 4
    assert all(reading.time_ms % 10_000 == 0 for reading in bench.put)
    assert "the clock was set by +10368003.3 s" in caplog.text


def test_a_removed_sensor_is_read_no_more_and_lets_go_of_its_device():
    closed = []

    class Closing(Quick):
        def close(self):
            closed.append(True)

    bench = Bench()
    sampler = bench.sensor("a", Closing)
    bench.lane.start()
    bench.lane.remove(sampler)
    bench.lane.stop(5.0)
    assert not bench.lane._events
    assert closed in ([], [True])  # nothing to close where it was removed before its first read


@pytest.mark.guarantee(5)
def test_a_device_that_hangs_when_it_is_let_go_of_keeps_nobody_waiting():
    closing, ends = threading.Event(), threading.Event()

    class Stuck(Quick):
        def close(self):
            closing.set()
            ends.wait(30)

    bench = Bench()
    stuck, quick = bench.sensor("stuck", Stuck), bench.sensor("quick", Quick)
    bench.run(until=0.5)
    bench.lane.start()
    gone = bench.lane.remove(stuck)
    assert closing.wait(10)

    def stop() -> None:
        bench.lane.remove(quick)
        bench.lane.request_stop()

    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive()
    assert not gone.is_set()
    ends.set()
    bench.lane.stop(10)
    assert gone.is_set()


def test_limits_are_said_once_and_the_end_of_it_too(caplog):
    bench = Bench()
    values = iter([20.0, 900.0, 901.0, 21.0])

    class Jumping(Driver):
        def read(self):
            yield from ()
            return {"x": next(values)}

    sampler = bench.sensor("a", Jumping)
    sampler._shaping = lambda quantity: Shaping(high=85.0)
    bench.run(until=3.5)
    assert [reading.value for reading in bench.put] == [20.0, 21.0]
    assert sampler.health.rejected == 2
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "a.x: 900.0 is out of range and not sent",
        "a.x: in range again",
    ]


def bugs(caplog) -> int:
    return len([record for record in caplog.records if record.exc_info])


class Deaf(EventDriver):
    """Can be read, but not listened to."""

    error: Exception = NoReply("no edge detection")

    def read(self):
        yield from ()
        return {"state": False}

    def listen(self, emit):
        raise self.error


class DeafByBug(Deaf):
    error = RuntimeError("queue")


class Nothing(Driver):
    def read(self):
        yield from ()


class Unclosable(Driver):
    def read(self):
        yield from ()
        raise NoReply("silent")

    def close(self):
        raise RuntimeError("not open")


@pytest.mark.guarantee(5)
@pytest.mark.parametrize(
    ("driver", "error", "tracebacks"),
    [
        (Deaf, "no edge detection", 0),
        (DeafByBug, "a bug in its driver: RuntimeError", 1),
        (Nothing, "a bug in its driver: AttributeError", 1),
        (Unclosable, "silent", 1),
    ],
)
def test_whatever_a_driver_raises_the_others_of_its_bus_go_on(caplog, driver, error, tracebacks):
    bench = Bench()
    bad = bench.sensor("bad", driver)
    bench.sensor("good", Quick)
    bench.run(until=10.5)
    assert bad.health.error == error
    assert bad.health.failures == 4  # 0, 1, 3, 7 s
    assert len(bench.times("good.x")) == 11
    assert bugs(caplog) == tracebacks
    assert len([record for record in caplog.records if "lost" in record.message]) == 1


@pytest.mark.parametrize("value", [Decimal("21.5"), b"x", None, [1.0]])
def test_what_is_no_value_never_reaches_the_store(caplog, value):
    class Odd(Driver):
        def read(self):
            yield from ()
            return {"x": 1.0, "y": value}

    bench = Bench()
    sampler = bench.sensor("odd", Odd)
    bench.run(until=10.5)
    assert bench.put == []
    assert sampler.last == {}
    assert sampler.health.error == "a bug in its driver: TypeError"
    assert bugs(caplog) == 1


def test_nor_does_that_of_an_event(caplog):
    bench = Bench()
    bench.sensor("door", Button, interval=None)
    bench.run(until=1.0)
    events: list[dict[str, Any]] = [{"state": b"x"}, {"state": b"y"}, {"state": True}]
    for event in events:
        bench.emit(event)
    assert [reading.value for reading in bench.put] == [False, True]
    assert bugs(caplog) == 1


@pytest.mark.guarantee(5)
def test_a_bug_of_ours_does_not_end_the_lane(caplog):
    read = threading.Event()

    class Seen(Quick):
        def read(self):
            yield from ()
            read.set()
            return {"x": 1.0}

    class Broken(Every):
        def after(self, due, now, offset):
            raise ValueError("a bug")

    bench = Bench()
    bench.sensor("bad", Quick).schedule = Broken(1.0)
    bench.sensor("good", Seen)
    bench.lane.start()
    assert read.wait(5)
    bench.lane.stop(5)
    assert bugs(caplog) == 1
    assert [event.at for event in bench.lane._events if event.sampler.name == "bad"] == [30.0]


class Debounced(Button):
    """Measures 0.5 s after its begin; an event comes meanwhile."""

    def read(self):
        yield 0.25
        if self.options.emit is not print:
            self.options.emit({"state": True})
        yield 0.25
        return {"state": False}


def test_a_read_of_what_reports_events_is_behind_those_that_came_meanwhile():
    bench = Bench()
    bench.sensor("door", Debounced, interval=10.0)
    bench.run(until=11.0)
    assert bench.times("door.state") == [0.5, 10.25, 10.5]
    assert [reading.value for reading in bench.put] == [False, True, False]


def test_what_was_good_before_is_not_the_last_of_a_failed_read():
    bench = Bench()
    values = iter([{"x": 1.0}])

    class Once(Driver):
        def read(self):
            yield from ()
            return next(values, None)

    sampler = bench.sensor("a", Once)
    bench.run(until=0.5)
    assert list(sampler.last) == ["x"]
    bench.run(until=1.0)
    assert sampler.last == {}


class FailsAt(Driver):
    """Fails for 100 s from its second read on, at 1 h."""

    def read(self):
        yield from ()
        if 3600 <= self.options.time.now < 3700:
            raise NoReply("silent")
        return {"x": 1.0}


@pytest.mark.pain("E3")
@pytest.mark.parametrize("schedule", [Every(3600.0), Cron("0 * * * *")])
def test_a_sensor_that_is_read_rarely_is_tried_again_soon_and_is_back_on_its_schedule(monkeypatch, schedule):
    monkeypatch.setenv("TZ", "UTC")
    bench = Bench(Time(wall_offset=1_000_000_800.0))  # a full hour
    sampler = bench.sensor("a", FailsAt, interval=3600.0)
    sampler.schedule = schedule
    bench.run(until=3 * 3600.0)
    times = [reading.time_ms / 1000 - 1_000_000_800 for reading in bench.put]
    assert times[0] == 0
    assert 3700 <= times[1] <= 3730
    assert times[2:] == [7200, 10_800]
    assert sampler.missed == 0


def test_an_outage_counts_what_was_missed_once():
    bench = Bench()
    sampler = bench.sensor("roof", Flaky)  # tried at 0, 1, 3, 7, 15, 31
    bench.run(until=40.5)
    assert len(bench.times("roof.x")) == 10
    assert 24 <= sampler.missed <= 31


def test_a_step_of_the_clock_does_not_put_off_the_next_try():
    bench = Bench()
    sampler = bench.sensor("door", Flaky, interval=None)
    bench.run(until=16.0)
    bench.time.wall_offset += 1000.0
    bench.lane._realign()
    bench.run(until=40.0)
    assert sampler.health.error == ""
