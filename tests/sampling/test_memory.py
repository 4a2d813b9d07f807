"""What a driver remembers, on the real store: it never goes back, whatever ends or fails in between."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edged import clock
from edged.drivers import Driver, EventDriver
from edged.errors import NoReply
from edged.reading import Values
from edged.sampling.lane import Lane
from edged.sampling.memory import Memory
from edged.sampling.sampler import Sampler
from edged.sampling.schedule import Never
from edged.sampling.shaping import Shaping
from edged.store import disk
from edged.store.log import Log
from edged.store.tables import FILE
from tests.store import ALL, NOW_MS, abandon, files, open_log, settle_all

pytestmark = pytest.mark.guarantee(12)


class World:
    """What the driver finds: pulses since it looked last, and whether the line is broken."""

    def __init__(self) -> None:
        self.pulses = 0
        self.broken = False
        self.drivers: list[Driver] = []
        self.emit: Callable[[Values], None] = print

    def take(self) -> int:
        pulses, self.pulses = self.pulses, 0
        return pulses


class Counter(EventDriver):
    """Counts what the world has; an event comes when the test says so."""

    remembers = True

    def __init__(self, options: World, timeout_s: float) -> None:
        super().__init__(options, timeout_s)
        options.drivers.append(self)

    def count(self) -> int:
        self.memory = {"total": (self.memory or {"total": 0})["total"] + self.options.take()}
        return int(self.memory["total"])

    def read(self):
        yield 0.01
        total = self.count()
        if self.options.broken:
            raise NoReply("the line is broken")
        return {"total": total}

    def listen(self, emit):
        self.options.emit = lambda values: emit({"total": self.count()})
        return True


def sampler_of(log: Log, world: World, driver: type[Driver] = Counter) -> Sampler:
    memory = Memory("sensor:meter:counter", log.recall, log.put)
    return Sampler(
        "meter",
        lambda: driver(world, 5.0),
        Never(),
        5.0,
        lambda _: Shaping(),
        log.put,
        lambda: (NOW_MS, 0),
        memory,
    )


def read(sampler: Sampler) -> str:
    """One read to its end; returns why there is no reading."""
    wait = sampler.begin(0.0)
    while wait is not None:
        wait = sampler.resume(0.0)
    return sampler.health.error


def remembered(folder: Path) -> Any:
    """What a new process would recall."""
    log = open_log(folder)
    try:
        return recalled(log)
    finally:
        abandon(log)


def recalled(log: Log) -> Any:
    return (log.recall("sensor:meter:counter") or {"state": None})["state"]


@pytest.mark.pain("D10")
@pytest.mark.parametrize("seed", range(8))
def test_a_total_never_goes_back_whatever_happens(tmp_path, seed):
    draw = random.Random(seed)
    world = World()
    delivered: list[int] = [0]
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    sampler = sampler_of(log, world)

    def again() -> None:
        nonlocal log, queue, sampler
        log = open_log(tmp_path)
        queue = log.open_queue("web", ALL)
        sampler = sampler_of(log, world)

    for _ in range(150):
        world.pulses += draw.randrange(3)
        match draw.choice(["read", "read", "event", "break", "mend", "flush", "send", "send", "die", "stop", "reload"]):
            case "read":
                read(sampler)
            case "event":
                world.emit({})
            case "break" | "mend" as what:
                world.broken = what == "break"
            case "flush":
                log.flush()
            case "send":
                this = [int(entry.value) for entry in settle_all(queue)]
                assert this == sorted(this)
                assert min(this, default=delivered[-1]) >= delivered[-1]
                delivered += this
            case "die":
                abandon(log)
                again()
                # What was settled and not yet committed comes once more; what is new is not below it.
                first = [int(entry.value) for entry in queue.pending()]
                assert first == sorted(first)
                kept = recalled(log)
                assert delivered[-1] <= (kept or {"total": 0})["total"]
                delivered = [delivered[-1]] if not first else [first[0]]
            case "stop":
                sampler.close()
                log.stop()
                again()
            case "reload":
                sampler.retire()
                sampler = sampler_of(log, world)
    assert len(world.drivers) > 5
    sampler.close()
    log.stop()


@pytest.mark.pain("D10")
def test_a_stop_a_reload_and_a_failure_lose_no_pulse(tmp_path):
    world = World()
    log = open_log(tmp_path)
    sampler = sampler_of(log, world)
    for broken in (False, True, True, False):
        world.pulses, world.broken = 5, broken
        assert read(sampler) == ("the line is broken" if broken else "")
    assert sampler.last["total"].value == 20
    assert len(world.drivers) == 3  # one for each failure
    world.pulses = 1
    world.drivers[-1].count()  # type: ignore[attr-defined]  # since its last read
    sampler.retire()
    sampler = sampler_of(log, world)
    world.pulses = 1
    read(sampler)
    assert sampler.last["total"].value == 22
    world.pulses = 1
    world.drivers[-1].count()  # type: ignore[attr-defined]
    sampler.close()
    log.stop()
    assert remembered(tmp_path) == {"total": 23}


@pytest.mark.pain("D10")
def test_what_is_counted_while_it_is_closed_is_kept_on_a_lane_that_goes_on(tmp_path):
    class Last(Counter):
        def close(self):
            self.count()

    world = World()
    log = open_log(tmp_path)
    sampler = sampler_of(log, world, Last)
    read(sampler)
    lane = Lane("meters", clock.monotonic, time.time)
    lane.add(sampler_of(log, World(), Counter))
    lane.start()
    world.pulses = 7
    assert lane.remove(sampler).wait(10)
    sampler.retire()
    assert recalled(log) == {"total": 7}
    assert lane.remove(sampler_of(log, World())).wait(10)  # one that was never read as well
    lane.stop(10)
    log.stop()


@pytest.mark.pain("D11")
@pytest.mark.pain("D6")
def test_the_first_read_after_a_restart_goes_on_from_what_was_remembered(tmp_path):
    world = World()
    for total in (3, 6, 9):
        log = open_log(tmp_path)
        sampler = sampler_of(log, world)
        world.pulses = 3
        read(sampler)
        assert sampler.last["total"].value == total
        log.flush()
        abandon(log)


def test_nothing_is_written_while_nothing_is_new(tmp_path):
    world = World()
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    sampler = sampler_of(log, world)
    world.pulses = 1
    read(sampler)
    assert queue.take(10) == []  # not before it is on disk
    log.flush()
    assert [entry.value for entry in settle_all(queue)] == [1]
    log.flush()
    before, commits = files(tmp_path), log.commits
    for _ in range(10):
        read(sampler)
        assert [entry.value for entry in settle_all(queue)] == [1]
        log.flush()
    assert (files(tmp_path), log.commits) == (before, commits)
    sampler.close()
    abandon(log)


def test_where_it_is_not_known_what_was_remembered_there_is_no_reading_until_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(disk, "_AGAIN_S", 0.0)
    world = World()
    earlier = open_log(tmp_path)
    world.pulses = 7
    read(sampler_of(earlier, world))
    earlier.stop()
    store = tmp_path / FILE
    hidden = store.rename(tmp_path / "hidden")
    store.mkdir()  # neither to be opened nor to be read
    log = open_log(tmp_path)
    assert log.trouble
    sampler = sampler_of(log, world)
    caplog.clear()
    for _ in range(3):
        assert "what sensor:meter:counter was at last is not known: " in read(sampler)
    assert sampler.last == {}
    assert [r.message.split(" not known")[0] for r in caplog.records if "meter" in r.message] == [
        "meter: lost: what sensor:meter:counter was at last is"
    ]
    assert len(world.drivers) == 1  # it is not even made
    without = Sampler(
        "plain", lambda: Counter(World(), 5.0), Never(), 5.0, lambda _: Shaping(), log.put, lambda: (NOW_MS, 0)
    )
    assert read(without) == ""
    store.rmdir()
    hidden.rename(store)
    log.flush()
    world.pulses = 1
    assert read(sampler) == ""
    assert sampler.last["total"].value == 8
    sampler.close()
    log.stop()
    assert remembered(tmp_path) == {"total": 8}


def test_of_two_states_the_later_can_be_told(tmp_path):
    """A damaged store's pages may hold an old one as well; the salvage keeps that with the higher count."""
    world = World()
    counts = []
    for _ in range(3):
        log = open_log(tmp_path)
        sampler = sampler_of(log, world)
        world.pulses = 1
        read(sampler)
        read(sampler)
        counts.append(log.recall("sensor:meter:counter")["counted"])
        sampler.close()
        log.stop()
    assert counts == [1, 2, 3]


@pytest.mark.parametrize("state", [{1, 2}, float("nan"), object()], ids=["a set", "not a number", "an object"])
def test_what_cannot_be_kept_is_a_bug_of_its_driver_and_no_reading(tmp_path, state):
    class Wrong(Driver):
        remembers = True

        def read(self):
            yield 0.01
            self.memory = state
            return {"total": 1}

    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    sampler = sampler_of(log, World(), Wrong)
    assert read(sampler).startswith("a bug in its driver: ")
    log.flush()
    assert (log.stored, queue.queued) == (0, 0)
    log.stop()
    assert remembered(tmp_path) is None


def test_what_a_driver_does_to_its_own_copy_is_seen(tmp_path):
    class InPlace(Driver):
        remembers = True

        def read(self):
            yield 0.01
            self.memory = self.memory or []
            self.memory.append(len(self.memory))
            return {"total": len(self.memory)}

    log = open_log(tmp_path)
    sampler = sampler_of(log, World(), InPlace)
    for _ in range(3):
        read(sampler)
    log.flush()
    abandon(log)
    assert remembered(tmp_path) == [0, 1, 2]


def test_one_that_hangs_while_it_is_replaced_changes_nothing_when_it_returns(tmp_path):
    release, entered = threading.Event(), threading.Event()

    class Hanging(Counter):
        def read(self):
            yield 0.0
            entered.set()
            release.wait(10)
            return {"total": self.count()}

    world = World()
    log = open_log(tmp_path)
    old = sampler_of(log, world, Hanging)
    thread = threading.Thread(target=read, args=[old])
    thread.start()
    assert entered.wait(10)
    old.retire()
    new = sampler_of(log, world)
    world.pulses = 4
    read(new)
    world.pulses = 1
    release.set()
    thread.join(10)
    old.close()
    assert recalled(log) == {"total": 4}
    assert log.stored == 1
    new.close()
    log.stop()
