"""Where a platform's behaviour is not known, each way that it may behave is right for us."""

import json
from typing import Any

import pytest

from edged.secret import plain
from edged.simulation.platforms import Fault
from tests.sending.conftest import Rig
from tests.sending.test_delivery import COUNT, PLATFORMS, PUSH, assert_all_there, fill

POISON = 13.5
LOST = Fault(store=True, cut=True)


def put_one(it: Rig, value: float | str, series: str = "a.x") -> None:
    """One more reading, behind all others."""
    it.put(series, value, time_ms=it.clock.now_ms())
    it.clock.advance(2)


def letters(it: Rig) -> list[tuple[str, Any, str]]:
    it.log.flush()
    return [(letter.series, json.loads(letter.value), letter.reason) for letter in it.log.dead_letters("there")]


@pytest.mark.pain("B3")
@pytest.mark.pain("B7")
@pytest.mark.statement(4)
@PUSH
def test_a_reading_that_ends_every_connection_stops_no_other(rig, name):
    it = rig(name, PLATFORMS[name], poison=str(POISON).encode())
    put_one(it, POISON)
    fill(it)
    it.drive(until=it.clock.seconds + 1200)
    ((series, value, reason),) = letters(it)
    assert (series, value) == ("a.x", POISON)
    assert "no answer whenever it is sent" in reason
    assert {violation.statement for violation in it.violations} <= {3}  # it was lost on the way, and never came again
    assert [len(readings) for readings in it.accepted().values()] == [COUNT, COUNT]
    assert (it.sender.queue.delivered, it.queued) == (2 * COUNT, 0)


# --- Databoom


@pytest.mark.statement(20)
@pytest.mark.parametrize("success", ["empty", "partial"])
def test_databoom_with_other_words_for_yes(rig, success):
    it = rig("databoom", PLATFORMS["databoom"], success=success)
    fill(it)
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(8)
@pytest.mark.statement(12)
@pytest.mark.parametrize("status", [404, 403, 400])
def test_databoom_device_that_is_not_known_buries_nothing(rig, status):
    it = rig("databoom", PLATFORMS["databoom"], {"device": "another"}, unknown_device_status=status)
    fill(it)
    it.drive(until=it.clock.seconds + 100)
    assert (it.sender.status.state, it.sender.queue.dead, it.queued) == ("parked", 0, 2 * COUNT)
    it.stand_in.admit({"token": it.stand_in.made_up_token, "device": "another"}, [])
    it.drive()
    assert (it.sender.queue.delivered, it.sender.queue.dead, it.queued) == (2 * COUNT, 0, 0)
    assert {violation.statement for violation in it.violations} <= {12}


# --- BBData


@pytest.mark.statement(37)
@pytest.mark.statement(39)
@pytest.mark.statement(7)
@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("duplicates", ["refuse", "take"])
def test_bbdata_of_the_older_generation_after_lost_answers(rig, atomic, duplicates):
    modes = {"generation": "legacy", "legacy_atomic": atomic, "legacy_duplicates": duplicates}
    it = rig("bbdata", PLATFORMS["bbdata"], **modes)
    fill(it)
    it.stand_in.fail(LOST, LOST)
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(30)
@pytest.mark.statement(39)
def test_bbdata_of_the_older_generation_that_stores_what_stands_before_the_culprit(rig):
    series = PLATFORMS["bbdata"] | {"c.x": {"object": 4712, "token": plain("f" * 32)}}
    it = rig("bbdata", series, generation="legacy", legacy_atomic=False)
    it.put("a.x", *(float(n) for n in range(3)))
    it.put("c.x", 1.0, 2.0)
    it.put("b.x", *(float(n) for n in range(100, 103)))
    it.drive(until=it.clock.seconds + 60)
    assert list(it.sender.status.parked) == ["c.x"]
    assert (it.sender.queue.delivered, it.sender.queue.dead, it.queued) == (6, 0, 2)


# --- Datacake


@pytest.mark.statement(61)
@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("mismatch", ["list", "detail", "drop"])
def test_datacake_value_of_another_type_is_buried_alone(rig, mismatch, atomic):
    it = rig("datacake", PLATFORMS["datacake"], mismatch=mismatch, atomic=atomic)
    put_one(it, "a text")
    fill(it)
    it.drive()
    assert {violation.statement for violation in it.violations} <= {61}
    assert [len(readings) for readings in it.accepted().values()] == [COUNT, COUNT]
    dead = [(series, value) for series, value, _ in letters(it)]
    assert dead == ([] if mismatch == "drop" else [("a.x", "a text")])  # a drop without a word cannot be seen
    assert it.queued == 0


@pytest.mark.statement(59)
@pytest.mark.parametrize("unknown", ["reject", "drop"])
def test_datacake_field_that_does_not_exist_takes_no_neighbour_with_it(rig, unknown):
    it = rig("datacake", PLATFORMS["datacake"] | {"typo.x": {"field": "TYPO"}}, unknown_field=unknown)
    put_one(it, 1.0, "typo.x")
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert [len(readings) for readings in it.accepted().values()] == [COUNT, COUNT]
    assert it.sender.queue.dead == 0
    assert it.queued == (1 if unknown == "reject" else 0)


@pytest.mark.statement(60)
def test_datacake_reading_ahead_of_the_servers_clock_waits(rig, clock):
    it = rig("datacake", PLATFORMS["datacake"], now_ms=lambda: clock.now_ms() - 30_000)
    it.put("a.x", 1.0, time_ms=clock.now_ms() - 5000)
    it.put("b.x", 2.0, time_ms=clock.now_ms() - 60_000)
    it.drive(until=it.clock.seconds + 5)
    assert (it.sender.queue.delivered, it.queued, it.sender.queue.dead) == (1, 1, 0)
    it.drive(until=it.clock.seconds + 60)
    assert (it.sender.queue.delivered, it.queued, it.sender.queue.dead) == (2, 0, 0)
