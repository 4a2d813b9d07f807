"""Datacake's limits over restarts: a write a field and second, points a day, and backlogs that are thinned."""

from itertools import pairwise
from typing import Any

import pytest

from tests.sending.conftest import NOW_MS

FIELDS = {f"s{n}.x": {"field": f"F{n}"} for n in range(10)}
DEVICE = "be525e29-4398-4fc1-a928-dead7fdfe218"
W = 1.1  # s between two writes to a field


@pytest.fixture
def datacake(rig):
    """A rig with ten fields that the stand-in knows."""

    def make(options: dict[str, Any] | None = None, **keys: Any) -> Any:
        it = rig("datacake", FIELDS, options, **keys)
        token = it.platform.options.token.reveal()
        fields = [{"field": field["field"], "type": "float"} for field in FIELDS.values()]
        it.stand_in.admit({"token": token, "device": DEVICE}, fields)
        return it

    return make


def backlog(it: Any, number: int, step_ms: int = 10_000) -> None:
    """So many readings of each field, up to now."""
    for name in FIELDS:
        it.put(name, *(float(n) for n in range(number)), time_ms=NOW_MS - number * step_ms, step_ms=step_ms)


@pytest.mark.guarantee(7)
@pytest.mark.statement(62)
@pytest.mark.pain("B10")
def test_a_backlog_drains_at_the_limit_and_never_above_it_across_restarts(datacake):
    it = datacake()
    backlog(it, 240)
    it.log.flush()
    busy = 0.0
    for _ in range(3):
        began = it.clock.seconds
        it.drive(until=began + 60 * W + 0.01)
        busy += it.clock.seconds - began
        it.log.flush()
        it = it.die_and_start()
    began = it.clock.seconds
    it.drive()
    busy += it.clock.seconds - began
    assert it.violations == []
    assert [len(readings) for readings in it.accepted().values()] == [240] * 10
    assert 240 * W <= busy <= 240 * W / 0.99


@pytest.mark.guarantee(7)
@pytest.mark.statement(65)
@pytest.mark.parametrize("policy", ["all", "mean"])
def test_a_days_points_are_not_exceeded_across_restarts_and_midnight(datacake, policy):
    it = datacake({"daily_points": 200, "backlog": policy}, daily_quota=200)
    backlog(it, 60)
    for _ in range(4):
        it.drive(until=it.clock.seconds + 20.0)
        it.log.flush()
        it = it.die_and_start()
    it.drive(until=it.clock.seconds + 3600.0)
    points = sum(map(len, it.accepted().values()))
    assert 0.95 * 200 <= points <= 200 or policy == "mean"
    if policy == "all":
        assert it.sender.status.state == "waiting"
        assert it.sender.status.waits_for == "00:00 UTC: the day's 200 points (daily_points) are spent"
        midnight = (NOW_MS // 86_400_000 + 1) * 86_400_000
        assert it.sender.status.until_ms == pytest.approx(midnight, abs=2)
        for _ in range(3):
            it.drive(until=it.clock.seconds + 86_400.0)
    assert it.violations == []
    assert (it.queued, it.sender.queue.dead) == (0, 0)
    assert sum(map(len, it.accepted().values())) == (600 if policy == "all" else points)


@pytest.mark.parametrize(("policy", "value"), [("mean", 14.5), ("last", 19.0), ("min", 10.0), ("max", 19.0)])
def test_a_backlog_that_comes_faster_than_the_limit_is_thinned(datacake, policy, value):
    it = datacake({"backlog": policy})
    backlog(it, 100, step_ms=200)  # five a second: two seconds are a point
    it.put("s0.x", 1.0, time_ms=NOW_MS + 5000)
    it.clock.advance(20.0)
    it.drive()
    assert it.violations == []
    accepted = it.accepted()[f"{DEVICE}/F1"]
    assert len(accepted) in (10, 11)
    values = [each for _, each in accepted]
    assert any(each == pytest.approx(value, abs=2.5) for each in values)
    queue = it.sender.queue
    assert queue.delivered + queue.merged == 1001
    assert (queue.queued, queue.delivered) == (0, sum(map(len, it.accepted().values())))


@pytest.mark.parametrize("policy", ["mean", "last", "min", "max"])
def test_readings_that_the_limit_carries_are_left_as_they_are(datacake, policy):
    it = datacake({"backlog": policy})
    backlog(it, 50, step_ms=3000)
    it.drive()
    assert [len(readings) for readings in it.accepted().values()] == [50] * 10
    assert it.sender.queue.merged == 0


@pytest.mark.parametrize("policy", ["mean", "last"])
def test_a_field_that_is_read_faster_than_the_limit_keeps_up(datacake, policy):
    it = datacake({"backlog": policy})
    for n in range(600):
        it.put("s0.x", float(n), time_ms=it.clock.now_ms())
        it.drive(until=it.clock.seconds + 0.2)
    assert it.queued <= 15
    assert it.violations == []
    times = [time for time, _ in it.accepted()[f"{DEVICE}/F0"]]
    assert len(times) >= 100
    assert max(later - earlier for earlier, later in pairwise(times)) <= 3000
