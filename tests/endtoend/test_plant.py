"""The main job: 25 simulated sensors, four destinations, a daemon that is stopped, cut off and killed."""

import random
import time
from itertools import pairwise

import pytest

from tests.endtoend.plant import FAST, FLUSH_S, SLOW, Plant


def check(plant: Plant, *, once: bool) -> None:
    """Every stored reading is at its destination, with its time and value, in order per series."""
    due = plant.due(plant.stored())
    for name, readings in due.items():
        accepted = plant.accepted(name)
        assert not readings.keys() - accepted.keys(), f"{name}: missing"
        for key, value in readings.items():
            assert accepted[key] == pytest.approx(value, rel=1e-6), (name, key)
        if once:
            assert not accepted.keys() - readings.keys(), f"{name}: never stored"
        order: dict[str, list[int]] = {}
        for target, time_ms in accepted:
            order.setdefault(target, []).append(time_ms)
        for target, times in order.items():
            assert times == sorted(times), f"{name}: {target} is out of order"
    for name, stand_in in plant.stand_ins.items():
        assert stand_in.snapshot()[1] == [], name


def grid(plant: Plant, sensors: list[str], step_ms: int) -> None:
    """The series have a reading at each point of the grid, none missing and none doubled."""
    stored = plant.stored()
    for sensor in sensors:
        slots = [round(entry.time_ms / step_ms) for entry in stored[f"{sensor}.temperature"]]
        assert all(later - earlier in (0, 1) for earlier, later in pairwise(slots)), (sensor, slots)
        assert sum(later == earlier for earlier, later in pairwise(slots)) <= 1  # the read at the start


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(4)
@pytest.mark.pain("A26")
def test_every_reading_arrives_once_in_order_with_its_time_and_value(plant, seconds):
    plant.start()
    time.sleep(seconds)
    status, took, log = plant.stop()
    assert status == 0, log
    assert took < 5.0
    plant.drain()
    check(plant, once=True)
    grid(plant, FAST, 1000)
    grid(plant, SLOW, 2000)
    assert all(stand_in.resends == 0 for stand_in in plant.stand_ins.values())
    sent = [(measure["objectId"], measure["time_ms"]) for measure in plant.broker.measures()]
    assert len(sent) == len(set(sent))


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(3)
@pytest.mark.pain("A1")
@pytest.mark.pain("A6")
@pytest.mark.pain("A16")
@pytest.mark.pain("A21")
def test_nothing_is_missing_after_an_outage_of_all_destinations(plant, seconds):
    plant.start()
    time.sleep(seconds / 3)
    for stand_in in plant.stand_ins.values():
        stand_in.stop()
    plant.broker.stop()
    time.sleep(seconds / 3)
    for stand_in in plant.stand_ins.values():
        stand_in.start()
    plant.broker.start()
    time.sleep(seconds / 3)
    status, _, log = plant.stop()
    assert status == 0, log
    plant.drain()
    check(plant, once=True)
    grid(plant, FAST, 1000)
    assert len(log.splitlines()) < 30, log  # a line when it begins and one when it ends, not one a try


@pytest.mark.guarantee(2)
@pytest.mark.pain("A20")
@pytest.mark.pain("A22")
def test_a_kill_loses_at_most_the_last_flush_interval(plant, seconds):
    plant.start()
    time.sleep(seconds / 2 + random.random())
    plant.kill()
    killed_ms = time.time_ns() // 1_000_000
    before = plant.stored()
    for entries in before.values():
        assert (
            entries[-1].time_ms > killed_ms - 2000 - FLUSH_S * 1000 - 500
        )  # the interval of the slowest, and the flush
    resends = {name: stand_in.resends for name, stand_in in plant.stand_ins.items()}
    sent = len(plant.broker.measures())
    delivered = len({(m["objectId"], m["time_ms"]) for m in plant.broker.measures()})
    assert sent == delivered
    plant.start()
    time.sleep(seconds / 2)
    status, _, log = plant.stop()
    assert status == 0, log
    plant.drain()
    check(plant, once=False)
    # What came twice was under way, or confirmed within the last flush interval: at most two rounds of readings.
    assert plant.stand_ins["bbdata"].resends == resends["bbdata"]
    assert plant.stand_ins["databoom"].resends - resends["databoom"] <= 3 * len(FAST)
    assert plant.stand_ins["datacake"].resends - resends["datacake"] <= 3 * len(SLOW)
    measures = [(measure["objectId"], measure["time_ms"]) for measure in plant.broker.measures()]
    assert len(measures) - len(set(measures)) <= 3 * len(FAST)
