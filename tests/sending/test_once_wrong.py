"""What once went wrong between readings that wait for one another: each of these did."""

import math
import random
from typing import Any

import pytest

from edged.errors import NoAnswer
from edged.outcome import Again, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item
from edged.reading import Reading
from edged.sending.backoff import Backoff
from edged.store import desk, joining
from edged.store import queue as queue_module
from tests.sending.conftest import NOW_MS, Bench

QUICK = Backoff(first=0.1, max=1.0)
DAY_S = 86_400


def step_until(it: Bench, until: float) -> None:
    it.drive(until=until)
    it.clock.seconds = max(it.clock.seconds, until)


def script(it: Bench, cut: Any = (), bad: Any = (), failing: Any = ()) -> None:
    """Values that no answer comes for, that are refused, and that meet HTTP 500."""

    def answer(items: list[Item]) -> list[Outcome]:
        values = {item.entry.value for item in items}
        if values & set(cut):
            raise NoAnswer("the connection was cut", sent=True)
        if values & set(failing):
            return [Transient("HTTP 500", suspect=True)] * len(items)
        if values & set(bad):
            return [Permanent("bad value") if len(items) == 1 else Isolate("HTTP 400")] * len(items)
        return [Delivered() for _ in items]

    it.platform.answer = answer


# 1: DATA LOSS


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(12)
def test_what_waits_for_its_commit_is_not_lost_where_a_backlog_begins(bench):
    it = bench(manner={"live_first": True}, readings=3)
    it.put("a.x", *range(20), time_ms=NOW_MS - 100_000)
    it.log.put([Reading("pulses.count", it.clock.now_ms() - 1, 7)], 0, {"sensor:pulses": 7})
    it.drive()
    it.log.flush()
    it.drive()
    assert it.fates("pulses.count") == [(7, "delivered")]
    assert it.queued == 0


# 2, 3: the witness, without any pause


def test_a_witness_that_is_refused_does_not_make_it_go_round_for_ever(bench):
    it = bench(backoff=QUICK)
    script(it, cut=[13], bad=[14])
    it.put("a.x", *range(10, 20))
    step_until(it, it.clock.seconds + 60)
    assert dict(it.fates())[14] == "bad value"
    assert [value for value, _ in it.fates()] == list(range(10, 20))
    assert len(it.platform.requests) < 60


@pytest.mark.statement(6)
def test_a_witness_makes_pauses_while_the_network_is_gone(bench):
    it = bench(backoff=Backoff(first=1.0, max=60.0))

    def answer(items: list[Item]) -> list[Outcome]:
        if items[0].entry.value == 14:
            raise NoAnswer("no route to host")
        raise NoAnswer("the connection was cut", sent=True)

    it.platform.answer = answer
    it.put("a.x", 13, 14)
    step_until(it, it.clock.seconds + 600)
    assert len(it.platform.requests) < 100


# 4: good readings are buried


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("timed_out", [False, True])
def test_a_bad_line_buries_nothing(bench, share, timed_out):
    chance = random.Random(1)
    it = bench(backoff=Backoff(first=1.0, max=60.0), readings=200)

    def answer(items: list[Item]) -> list[Outcome]:
        if chance.random() < share:
            raise NoAnswer("nothing came back", sent=True, timed_out=timed_out)
        return [Delivered() for _ in items]

    it.platform.answer = answer
    for number in range(500):
        for name in "abcde":
            it.put(f"{name}.x", number, time_ms=it.clock.now_ms())
        step_until(it, it.clock.seconds + 10)
    assert it.sender.queue.dead == 0


# 5: order


@pytest.mark.guarantee(4)
@pytest.mark.parametrize("failures", range(1, 14))
def test_a_reading_that_gets_through_in_the_end_is_not_overtaken(bench, failures):
    it = bench(backoff=QUICK)
    left, arrived = [failures], []

    def answer(items: list[Item]) -> list[Outcome]:
        values = [item.entry.value for item in items]
        if 1 in values and left[0]:
            left[0] -= 1
            raise NoAnswer("the connection was cut", sent=True)
        arrived.extend(values)
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.put("a.x", 1, 2, 3)
    step_until(it, it.clock.seconds + 600)
    assert list(dict.fromkeys(arrived)) == [1, 2, 3]


# 6: live-first while nothing gets through


@pytest.mark.guarantee(8)
def test_an_outage_leaves_nothing_in_the_position_of_live_first(bench):
    it = bench(manner={"live_first": True, "every": 1.0}, backoff=Backoff(first=1.0, max=300.0))

    def answer(items: list[Item]) -> list[Outcome]:
        raise NoAnswer("no complete answer within 30 s", sent=True, timed_out=True)

    it.platform.answer = answer
    for number in range(100):
        for name in "abcdefgh":
            it.put(f"{name}.x", number, time_ms=it.clock.now_ms())
        step_until(it, it.clock.seconds + 300)
    assert len(it.sender.queue.to_json()["skips"]) < 50


# 7: what live-first does where series come faster than they may go, or a line comes and goes


# 8: a day's points


@pytest.mark.guarantee(7)
def test_what_never_left_costs_no_points(bench):
    it = bench(points_a_day=500, backoff=Backoff(first=1.0, max=300.0))
    away = [True]

    def answer(items: list[Item]) -> list[Outcome]:
        if away[0]:
            raise NoAnswer("no route to host")
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.put("a.x", *range(10))
    step_until(it, it.clock.seconds + 4 * 3600)
    away[0] = False
    step_until(it, it.clock.seconds + 600)
    assert it.queued == 0


@pytest.mark.parametrize("live_first", [False, True])
def test_of_a_days_points_what_is_new_has_its_share(bench, live_first):
    it = bench(readings=20, points_a_day=200, manner={"live_first": live_first})
    it.put("a.x", *range(3000), time_ms=NOW_MS - 100_000_000)
    step_until(it, it.clock.seconds + DAY_S)
    fresh = 0
    for number in range(4):
        it.put("a.x", 5000 + number, time_ms=it.clock.now_ms())
        step_until(it, it.clock.seconds + 3600)
        fresh += (5000 + number, "delivered") in it.fates("a.x")
        step_until(it, it.clock.seconds + DAY_S - 3600)
    assert fresh >= 3 if live_first else fresh == 0


# 9: a wait that nothing ends


def test_readings_that_were_dropped_while_a_round_was_waited_for_do_not_make_it_deaf(bench):
    it = bench(manner={"every": 300.0, "phase": 0.5})
    it.put("a.x", 1)
    it.clock.advance(1.0)
    wait = it.step()
    assert 0 < wait <= 300
    desk.drop(it.log, "there")
    it.clock.advance(wait)
    assert math.isinf(it.step())
    it.sender.queue.wake.clear()
    it.put("a.x", 2)
    assert it.sender.queue.wake.is_set()


# 10: thinning


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("policy", ["mean", "last", "min", "max"])
def test_readings_of_an_earlier_time_are_not_all_thinned_into_one(bench, policy):
    """The clock was an hour ahead, and has been set; or dead letters of today are tried again beside a backlog."""
    it = bench(per_target=1, resolution_ms=1000, target_interval=1.0, backlog=policy)
    it.put("a.x", 0, time_ms=NOW_MS - 10_000)
    it.put("a.x", *range(1, 101), time_ms=NOW_MS - 3_600_000, step_ms=10_000)
    it.drive()
    assert it.sender.queue.merged == 0


# 11: memory


@pytest.mark.guarantee(8)
def test_buried_readings_leave_nothing_behind(bench):
    it = bench(backoff=QUICK)
    script(it, cut=range(0, 100, 5))
    it.put("a.x", *range(100))
    step_until(it, it.clock.seconds + 6000)
    assert (it.queued, it.sender.queue.dead) == (0, 20)
    assert len(it.sender._chooser.suspects) == 0


# 12: log lines


@pytest.mark.pain("F13")
def test_a_reading_that_meets_500_for_a_day_makes_few_lines(bench, caplog):
    it = bench(backoff=Backoff(first=1.0, max=300.0))
    script(it, failing=[13])
    it.put("a.x", 13)
    for number in range(24 * 60):
        it.put("b.x", 100 + number, time_ms=it.clock.now_ms())
        step_until(it, it.clock.seconds + 60)
    assert len(it.fates("b.x")) == 24 * 60
    assert len(caplog.records) < 100


# 13: retried dead letters and live-first


@pytest.mark.pain("B3")
def test_a_retried_poison_with_nothing_behind_it_stops_no_backlog(bench):
    """Found by chance: the letter is the only one of its stream, so no witness is ever called."""
    it = bench(manner={"live_first": True}, readings=3, backoff=Backoff(first=1.0, max=60.0))
    script(it, cut=[13])
    it.put("a.x", 13, 14, 15, time_ms=NOW_MS - 5000)
    step_until(it, it.clock.seconds + 600)
    assert it.sender.queue.dead == 1
    it.put("a.x", *range(20, 40), time_ms=NOW_MS - 1_000_000)
    desk.retry(it.log, "there")
    it.sender.queue.begin_anew(it.clock.now_ms())
    step_until(it, it.clock.seconds + 3600)
    assert it.queued <= 1


# 14: the config of the moment


@pytest.mark.guarantee(4)
def test_oldest_first_is_so_at_once_when_the_config_says_so(bench):
    it = bench(manner={"live_first": True}, readings=3, request_interval=1.0)
    it.put("a.x", *range(60), time_ms=NOW_MS - 100_000)
    step_until(it, it.clock.seconds + 5)
    it.log.flush()
    it.log.stop()
    it = bench(manner={"live_first": False}, readings=3, request_interval=1.0)
    it.put("a.x", 1000, time_ms=it.clock.now_ms())
    it.drive()
    assert it.fates()[-1] == (1000, "delivered")


# 15: the count, where readings come meanwhile


@pytest.mark.guarantee(1)
def test_what_comes_and_is_dropped_while_a_backlog_begins_is_not_owed(bench, monkeypatch):
    it = bench(manner={"live_first": True}, readings=2)
    queue = it.sender.queue
    it.put("a.x", 1, 2, 3, 4)
    queue.begin_anew(it.clock.now_ms())
    it.put("a.x", 5, time_ms=it.clock.now_ms() + 1)
    queue.full = True  # `drop-newest`
    in_one = joining.in_one

    def meanwhile(log: Any, where: Any) -> Any:
        made = in_one(log, where)
        it.put("a.x", 99)  # by a sensor's thread
        return made

    monkeypatch.setattr(queue_module, "in_one", meanwhile)
    queue.begin_anew(it.clock.now_ms())
    monkeypatch.undo()
    queue.full = False
    it.drive()
    assert (queue.queued, queue.delivered, queue.dropped) == (0, 5, 1)


# 16: rounds


# 17: a platform with a bug


def test_innocents_without_a_culprit_are_not_sent_again_without_a_pause(bench):
    it = bench()
    it.platform.answer = lambda items: [Again() for _ in items]
    it.put("a.x", 1, 2)
    step_until(it, it.clock.seconds + 10)
    assert len(it.platform.requests) < 50


# 18: the same, over a small budget


# 19: two in a row


@pytest.mark.pain("B3")
def test_two_readings_in_a_row_that_get_no_answer_stop_no_series(bench):
    """The witness of the first is the second; that others get through tells as much."""
    it = bench(backoff=QUICK)
    script(it, cut=[13, 14])
    it.put("a.x", *range(10, 20))
    for number in range(360):
        it.put("b.x", 100 + number, time_ms=it.clock.now_ms())
        step_until(it, it.clock.seconds + 10)
    assert len(it.fates("b.x")) >= 355
    assert [value for value, fate in it.fates("a.x") if fate == "delivered"] == [10, 11, 12, 15, 16, 17, 18, 19]


def test_readings_of_a_parked_series_begin_hardly_any_round(bench):
    it = bench(manner={"every": 300.0}, readings=50)
    it.platform.answer = lambda items: [
        Parked("HTTP 404", whole=False) if item.entry.series == "bad.x" else Delivered() for item in items
    ]
    for number in range(3000):
        it.put("bad.x", number, time_ms=it.clock.now_ms())
        if number % 10 == 0:
            it.put("good.x", number, time_ms=it.clock.now_ms())
        step_until(it, it.clock.seconds + 1)
    assert len(it.platform.requests) <= 3000 / 300 + 6
