"""No reading waits for another one that cannot go: poison, size, time, and what is new before what is old."""

from itertools import pairwise
from typing import Any

import pytest

from edged.errors import NoAnswer
from edged.outcome import Delivered, Isolate, Permanent, Transient
from edged.platforms import Item
from edged.reading import Reading
from edged.sending.backoff import Backoff
from edged.series import Choice
from edged.store import desk
from tests.sending.conftest import NOW_MS, Bench, in_order

QUICK = Backoff(first=0.1, max=1.0)
CUT = {"sent": True}


def poison(it: Bench, *values: Any, error: Exception | None = None) -> None:
    """The platform never answers a request that holds one of the values."""

    def answer(items: list[Item]) -> list[Any]:
        if any(item.entry.value in values for item in items):
            raise error or NoAnswer("the connection was cut", sent=True)
        return [Delivered() for _ in items]

    it.platform.answer = answer


# --- a reading that gets no answer


@pytest.mark.pain("B3")
@pytest.mark.guarantee(1)
def test_a_reading_that_gets_no_answer_stops_no_other(bench):
    it = bench(backoff=QUICK)
    poison(it, 13)
    it.put("a.x", *range(50))
    it.put("b.x", *range(100, 150))
    it.drive(until=it.clock.seconds + 60)
    assert it.fates("b.x") == [(n, "delivered") for n in range(100, 150)]
    fates = dict(it.fates("a.x"))
    assert {n for n, fate in fates.items() if fate == "delivered"} == set(range(50)) - {13}
    assert fates[13] == "no answer whenever it is sent, while others get through: the connection was cut"
    assert in_order(entry for entry, _ in it.settled)
    assert len(it.platform.requests) < 40
    assert (it.queued, it.sender.queue.dead) == (0, 1)


def test_it_waits_while_no_other_gets_through(bench):
    it = bench(backoff=QUICK)
    poison(it, 13)
    it.put("a.x", 13)
    it.drive(until=it.clock.seconds + 600)
    assert (it.settled, it.queued) == ([], 1)


@pytest.mark.pain("A2")
def test_an_outage_buries_nothing_however_it_looks(bench):
    it = bench(backoff=QUICK)
    it.platform.answer = lambda items: (_ for _ in ()).throw(NoAnswer("cut", sent=True))
    it.put("a.x", *range(30))
    it.drive(until=it.clock.seconds + 200)
    assert it.sender.status.state == "backing-off"
    it.platform.answer = lambda items: [Delivered() for _ in items]
    it.drive()
    assert it.fates() == [(n, "delivered") for n in range(30)]


def test_a_reading_that_meets_500_again_and_again_stops_no_other_and_is_kept(bench):
    it = bench(backoff=QUICK)

    def answer(items: list[Item]) -> list[Any]:
        bad = any(item.entry.value == 13 for item in items)
        return [Transient("HTTP 500", suspect=True) if bad else Delivered() for _ in items]

    it.platform.answer = answer
    it.put("a.x", *range(20))
    it.put("b.x", *range(100, 120))
    it.drive(until=it.clock.seconds + 60)
    assert len(it.fates("b.x")) == 20
    assert [value for value, _ in it.fates("a.x")] == list(range(13))
    assert it.queued == 7  # it may be the server, so nothing is buried


def test_what_did_not_go_out_is_not_to_blame(bench):
    it = bench(backoff=QUICK)
    poison(it, 13, error=NoAnswer("no route to host"))
    it.put("a.x", *range(20))
    it.drive(until=it.clock.seconds + 60)
    assert {len(request.readings) for request in it.platform.requests} == {20}


# --- sizes


def test_requests_grow_smaller_where_they_are_too_large_and_larger_again(bench):
    it = bench()
    most = [30]

    def answer(items: list[Item]) -> list[Any]:
        if len(items) > most[0]:
            return [Isolate("HTTP 413", too_large=True)] * len(items)
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.put("a.x", *range(1000), step_ms=1)
    it.drive()
    sizes = [len(request.readings) for request in it.platform.requests]
    assert sum(size > 30 for size in sizes) <= len(sizes) / 4
    assert it.fates() == [(n, "delivered") for n in range(1000)]
    most[0] = 100
    it.put("a.x", *range(3000), step_ms=1)
    it.drive()
    assert max(len(request.readings) for request in it.platform.requests[-10:]) == 100


@pytest.mark.pain("B9")
def test_a_time_out_halves_the_request_and_the_next_ones(bench):
    it = bench(backoff=QUICK)

    def answer(items: list[Item]) -> list[Any]:
        if len(items) > 40:
            raise NoAnswer("no complete answer within 30 s", sent=True, timed_out=True)
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.put("a.x", *range(400), step_ms=1)
    it.drive()
    sizes = [len(request.readings) for request in it.platform.requests]
    assert sizes[:4] == [100, 50, 25, 25]
    assert sum(size > 40 for size in sizes) <= 4
    assert it.fates() == [(n, "delivered") for n in range(400)]


# --- the time


@pytest.mark.pain("C7")
def test_a_certificate_that_is_not_valid_yet_means_waiting_for_the_time(bench, monkeypatch, caplog):
    monkeypatch.setattr("edged.clock.synchronised", lambda: False)
    it = bench()

    def answer(items: list[Item]) -> list[Any]:
        raise NoAnswer("certificate is not yet valid", premature=True)

    it.platform.answer = answer
    it.put("a.x", 1)
    it.drive(until=it.clock.seconds + 3600)
    assert it.sender.status.state == "waiting"
    assert [record.getMessage() for record in caplog.records] == [
        "there: waits for the time, since this board's clock is not known to be right: certificate is not yet valid"
    ]
    assert 100 < len(it.platform.requests) < 400
    it.platform.answer = lambda items: [Delivered() for _ in items]
    it.drive()
    assert it.fates() == [(1, "delivered")]


def test_where_the_clock_is_right_it_is_the_servers_fault(bench, monkeypatch):
    monkeypatch.setattr("edged.clock.synchronised", lambda: True)
    it = bench(backoff=QUICK)
    poison(it, 1, error=NoAnswer("certificate is not yet valid", premature=True))
    it.put("a.x", 1)
    it.drive(until=it.clock.seconds + 60)
    assert (it.sender.status.state, it.queued) == ("backing-off", 1)


# --- live first


def outage(it: Bench, hours: int, every_s: int, *names: str) -> None:
    """Readings that came while nothing could be sent."""
    number = hours * 3600 // every_s
    for n in range(number):
        time_ms = NOW_MS - (number - n) * every_s * 1000
        for name in names:
            it.put(name, n, time_ms=time_ms)


@pytest.mark.parametrize("live_first", [True, False])
def test_what_is_new_goes_first_and_the_backlog_beside_it(bench, live_first):
    it = bench(readings=10, manner={"live_first": live_first}, request_interval=1.0)
    outage(it, 3, 10, "a.x", "b.x")
    ages = []
    for n in range(60):
        it.put("a.x", 10_000 + n, time_ms=it.clock.now_ms())
        before = it.clock.seconds
        it.drive(until=before + 10.0)
        ages.append(any(value == 10_000 + n for value, _ in it.fates("a.x")))
    assert all(ages[1:]) == live_first
    it.drive()
    assert it.queued == 0
    old = [value for value, _ in it.fates("a.x") if value < 10_000]
    new = [value for value, _ in it.fates("a.x") if value >= 10_000]
    assert (old, new) == (sorted(old), sorted(new))  # each of the two in order
    assert len(old) == 3 * 360


@pytest.mark.guarantee(7)
def test_within_a_rate_limit_live_first_is_as_quick_in_the_end(bench):
    ended = {}
    for live_first in (False, True):
        it = bench(
            folder=str(live_first),
            manner={"live_first": live_first, "every": 1.0, "phase": 0.3},
            per_target=1,
            target_interval=1.1,
            resolution_ms=1000,
        )
        began = it.clock.seconds
        outage(it, 2, 10, "a.x", "b.x", "c.x")
        fresh_after = None
        while it.queued > 3:
            for name in ("a.x", "b.x", "c.x"):
                it.put(name, "new", time_ms=it.clock.now_ms())
            now_ms = it.clock.now_ms()
            it.drive(until=it.clock.seconds + 10.0)
            came = [entry.time_ms for entry, fate in it.settled if entry.value == "new" and fate == "delivered"]
            if fresh_after is None and came and max(came) >= now_ms:
                fresh_after = it.clock.seconds - began
        ended[live_first] = it.clock.seconds - began
        if live_first:
            assert fresh_after is not None
            assert fresh_after <= 20.0
        writes: dict[str, list[float]] = {}
        for request in it.platform.requests:
            for series, _, _ in request.readings:
                writes.setdefault(series, []).append(request.at)
        for times in writes.values():
            assert min(later - earlier for earlier, later in pairwise(times)) >= 1.1
    assert ended[True] <= 1.02 * ended[False] + 10.0


@pytest.mark.statement(64)
def test_a_second_is_not_sent_twice_by_both_streams(bench):
    it = bench(manner={"live_first": True}, per_target=1, target_interval=0.5, resolution_ms=1000)
    outage(it, 1, 10, "a.x")
    for n in range(200):
        it.put("a.x", n, time_ms=it.clock.now_ms())
        it.drive(until=it.clock.seconds + 0.3)
    it.drive()
    sent = [(series, time_ms // 1000) for series, time_ms, _ in it.platform.sent]
    assert len(sent) == len(set(sent))
    assert it.queued == 0


@pytest.mark.statement(64)
def test_what_is_late_for_its_second_alone_in_the_queue_is_merged(bench):
    it = bench(per_target=1, resolution_ms=1000)
    slot_ms = NOW_MS // 1000 * 1000 - 5000
    it.put("a.x", 1, time_ms=slot_ms)
    it.drive()
    it.put("a.x", 2, time_ms=slot_ms + 500)
    it.drive()
    assert it.fates() == [(1, "delivered"), (2, "merged")]


# --- bugs


def test_a_bug_that_one_reading_meets_stops_no_other_series_and_is_seen(bench, caplog):
    it = bench()
    encode = it.platform.encode

    def stumble(items: list[Item]) -> Any:
        if any(item.entry.value == 13 for item in items):
            raise ZeroDivisionError("a bug")
        return encode(items)

    it.platform.encode = stumble
    it.put("a.x", *range(20))
    it.put("b.x", *range(100, 120))
    it.drive(until=it.clock.seconds + 30)
    assert len(it.fates("b.x")) == 20
    assert [value for value, _ in it.fates("a.x")] == list(range(13))
    assert (it.sender.status.state, it.sender.queue.dead, it.queued) == ("waiting", 0, 7)
    assert "a bug (ZeroDivisionError) interrupts it" in it.sender.status.last_error
    it.platform.encode = encode
    it.drive()
    assert it.queued == 0


def test_dead_letters_of_a_series_that_goes_nowhere_any_more_stop_nothing(bench):
    it = bench()
    it.platform.answer = lambda items: [Permanent("no")] * len(items)
    it.put("gone.x", 1, 2)
    it.drive()
    desk.retry(it.log, "there")
    queue = it.log.open_queue("there", Choice((("*", True), ("gone.x", False))))
    it.log.put([Reading("a.x", NOW_MS, 3)], 0)
    assert [entry.series for entry in queue.take(10)] == ["a.x"]
    assert queue.queued == 3
