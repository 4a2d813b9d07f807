"""The state machine that drains a queue, step by step in time that the test gives, with a real store."""

import logging
import math
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import NoAnswer, SecretUnreadable
from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Limits, Wire
from edged.secret import plain, redact
from edged.sending.backoff import Backoff
from edged.sending.mapping import Mapping, Usual
from edged.sending.sender import PARKED_S
from tests.sending.conftest import EXCHANGE_S, NOW_MS, Bench, Clock, Scripted, in_order, open_bench
from tests.transports.broker import wait_until

SECRET = "the-made-up-token-of-the-sender-tests"


def all_of(outcome: Outcome) -> Callable[[list[Item]], list[Outcome]]:
    return lambda items: [outcome for _ in items]


def lines(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("edged.sending.")]


# --- delivery and order


@pytest.mark.guarantee(4)
def test_all_is_delivered_in_order_and_once(bench):
    it = bench(readings=10)
    it.put("a.x", *range(25))
    it.put("b.x", *range(100, 125))
    it.drive()
    assert it.fates("a.x") == [(n, "delivered") for n in range(25)]
    assert it.fates("b.x") == [(n, "delivered") for n in range(100, 125)]
    assert (it.queued, it.sender.queue.delivered, len(it.platform.requests)) == (0, 50, 5)
    assert it.platform.connections == 1
    assert (it.sender.status.state, it.sender.status.last_error) == ("ok", "")
    assert NOW_MS < (it.sender.status.last_delivery_ms or 0) <= it.clock.now_ms()


FATE = st.sampled_from(
    [
        Transient("not now"),
        Transient("not now", 30.0),
        Again(),
        Isolate("one of them"),
        Delayed("ahead", 7.0),
        Parked("fix it", whole=False),
        Parked("fix all"),
        None,  # no answer
    ]
)
LAST = st.sampled_from([Delivered(), Delivered(), Delivered(), Permanent("bad value", "response")])
SCRIPT = st.lists(st.tuples(st.sampled_from("abc"), st.lists(FATE, max_size=4), LAST), min_size=1, max_size=14)


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(4)
@settings(max_examples=60, deadline=None)
@given(script=SCRIPT, most=st.integers(1, 8))
def test_whatever_happens_each_reading_ends_once_and_in_order(script, most):
    """Each reading has its own list of what befalls it, one each time it is sent, and then its end."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        platform = Scripted(clock, Limits(most))
        mapping = Mapping((("*", Usual(str)),))
        it = open_bench(stack, Path(folder), clock, platform, mapping, Backoff(), Wire(1, None, ""))
        ends: dict[Any, Outcome] = {}
        befalls: dict[Any, list[Outcome | None]] = {}
        for number, (series, fates, last) in enumerate(script):
            befalls[number], ends[number] = list(fates), last
            it.put(series, number, time_ms=NOW_MS - 100_000 + number)
        judged: dict[Any, Outcome] = {}

        def answer(items: list[Item]) -> list[Outcome]:
            if len(items) == 1:  # to a request of one reading no platform says that one of them is to blame
                number = items[0].entry.value
                befalls[number] = [fate for fate in befalls[number] if not isinstance(fate, Isolate)]
            outcomes = [befalls[n].pop(0) if befalls[n] else ends[n] for n in (item.entry.value for item in items)]
            if None in outcomes:
                raise NoAnswer("cut")
            certain = [outcome for outcome in outcomes if outcome is not None]
            judged.update({item.entry.value: outcome for item, outcome in zip(items, certain, strict=True)})
            return certain

        platform.answer = answer
        arrived = it.platform.requests
        for _ in range(5):
            it.step()  # more comes while things go on
        extra = len(script)
        befalls[extra], ends[extra] = [], Delivered()
        it.put("a", extra)
        it.drive()

        settled = [entry.value for entry, _ in it.settled]
        assert sorted(settled) == list(range(extra + 1)), "each exactly once"
        assert in_order(entry for entry, _ in it.settled)
        for entry, fate in it.settled:
            assert judged[entry.value] == ends[entry.value], "never settled before its own end"
            assert fate == ("delivered" if isinstance(ends[entry.value], Delivered) else "bad value")
        first_sent: dict[str, list[Any]] = defaultdict(list)
        for request in arrived:
            for series, _, value in request.readings:
                if value not in first_sent[series]:
                    first_sent[series].append(value)
        assert all(values == sorted(values) for values in first_sent.values()), "sent first in order"
        for request in arrived:
            seen: dict[str, list[Any]] = defaultdict(list)
            for series, _, value in request.readings:
                seen[series].append(value)
            assert all(values == sorted(values) for values in seen.values())
        assert it.queued == 0
        it.log.flush()
        dead = list(it.log.dead_letters("there"))
        assert len(dead) == sum(isinstance(end, Permanent) for end in ends.values())


def test_a_wish_to_stop_is_not_lost_whenever_it_comes(bench):
    it = bench()

    class Late(threading.Event):
        def clear(self):
            it.sender.request_stop()  # just before the thread clears what it will wait for
            super().clear()

    it.sender.queue.wake = Late()
    it.sender.start()
    it.sender.join(10.0)
    assert "send there" not in {thread.name for thread in threading.enumerate()}


def test_a_reading_that_is_suspected_alone_is_the_culprit(bench):
    it = bench()
    it.put("a.x", 1)
    it.platform.answer = lambda items: [Isolate("one of them")]
    it.step()
    assert it.fates("a.x") == [(1, "one of them")]


@pytest.mark.guarantee(4)
def test_one_behind_a_suspect_of_its_series_does_not_overtake_it(bench):
    it = bench()
    it.put("a.x", 0, 1, 2, 3)
    answers = [[Isolate("?"), Again(), Transient("later"), Again()]]
    it.platform.answer = lambda items: answers.pop(0) if answers else [Delivered() for _ in items]
    it.drive()
    assert [value for _, _, value in it.platform.sent[4:]] == [0, 1, 2, 3]


# --- a culprit


@pytest.mark.statement(4)
@pytest.mark.pain("B7")
@pytest.mark.parametrize("culprit", [0, 37, 99])
def test_bisecting_finds_the_culprit_in_few_requests(bench, culprit):
    it = bench(readings=100)
    it.put("a.x", *range(100), step_ms=10)

    def answer(items):
        values = [item.entry.value for item in items]
        if culprit not in values:
            return [Delivered() for _ in items]
        return [Permanent("bad value") if len(values) == 1 else Isolate("HTTP 400") for _ in values]

    it.platform.answer = answer
    it.drive()
    assert len(it.platform.requests) <= 2 * math.ceil(math.log2(100)) + 1
    assert it.fates() == [(n, "bad value" if n == culprit else "delivered") for n in range(100)]
    assert sum(values == culprit for _, _, values in it.platform.sent) <= 8
    it.log.flush()
    (letter,) = it.log.dead_letters("there")
    assert (letter.series, letter.reason, letter.value) == ("a.x", "bad value", str(culprit))


@pytest.mark.pain("B7")
def test_a_named_culprit_costs_one_request_more(bench):
    it = bench()
    it.put("a.x", 0, 1, 2)
    it.put("b.x", 3, 4)
    guilty = {1: Permanent("HTTP 400: value", "the answer")}
    it.platform.answer = lambda items: (
        [guilty.get(item.entry.value, Again()) for item in items] if len(items) == 5 else all_of(Delivered())(items)
    )
    it.drive()
    assert [len(request.readings) for request in it.platform.requests] == [5, 4]
    assert it.fates("a.x") == [(0, "delivered"), (1, "HTTP 400: value"), (2, "delivered")]
    it.log.flush()
    (letter,) = it.log.dead_letters("there")
    assert letter.response == "the answer"


def test_a_request_that_would_be_too_large_is_halved_before_it_is_sent(bench):
    it = bench(body=2000)
    it.put("a.x", *("x" * 300 for _ in range(20)))
    it.drive()
    assert max(len(request.body) for request in it.platform.requests) <= 2000
    assert it.sender.queue.delivered == 20


def test_a_reading_that_alone_is_too_large_is_sent_for_the_platform_to_judge(bench):
    it = bench(body=100)
    it.put("a.x", "x" * 300)
    it.drive()
    assert it.sender.queue.delivered == 1


# --- trouble


@pytest.mark.statement(3)
@pytest.mark.pain("B1")
def test_a_lost_answer_is_followed_by_the_very_same_request(bench):
    it = bench(readings=10)
    it.put("a.x", *range(5))
    failures = [NoAnswer("cut"), NoAnswer("cut"), NoAnswer("cut")]

    def answer(items):
        if failures:
            raise failures.pop()
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.step()
    it.put("a.x", *range(5, 10))
    it.put("b.x", *range(10, 20))
    it.drive()
    bodies = [request.body for request in it.platform.requests[:4]]
    assert len(set(bodies)) == 1
    assert it.sender.queue.delivered == 20


@pytest.mark.statement(6)
def test_failures_in_a_row_are_spaced_by_growing_pauses(bench, monkeypatch):
    monkeypatch.setattr("random.random", lambda: 1.0)
    it = bench(backoff=_Full())
    it.put("a.x", 1)
    it.platform.answer = all_of(Transient("HTTP 503"))
    it.drive(until=1200.0)
    starts = [request.at for request in it.platform.requests]
    pauses = [round(later - earlier, 1) for earlier, later in pairwise(starts)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 20, 20]


class _Full(Backoff):
    """The longest waits, without jitter."""

    def __init__(self) -> None:
        super().__init__(first=1.0, max=20.0)

    def delay(self, failures: int, draw: Callable[[], float] = lambda: 1.0) -> float:
        return super().delay(failures, draw)


@pytest.mark.statement(5)
def test_retry_after_counts_where_it_is_longer(bench):
    it = bench(backoff=Backoff(first=1.0, max=2.0))
    it.put("a.x", 1)
    answers = [Transient("HTTP 503", 60.0), Transient("HTTP 503", 0.0)]
    it.platform.answer = lambda items: [answers.pop(0) if answers else Delivered() for _ in items]
    it.drive()
    first, second, third = (request.at for request in it.platform.requests)
    assert second - first >= 60
    assert third - second <= 2.1


def test_a_success_forgets_the_failures(bench):
    it = bench(backoff=_Full())
    answers = [Transient("x")] * 5 + [Delivered(), Transient("x"), Delivered()]
    it.platform.answer = lambda items: [answers.pop(0) for _ in items]
    it.put("a.x", 1)
    it.drive()
    it.put("a.x", 2)
    it.drive()
    starts = [request.at for request in it.platform.requests]
    assert starts[7] - starts[6] < 1.1


@pytest.mark.pain("F13")
def test_an_outage_is_two_lines(bench, caplog):
    it = bench(backoff=Backoff(first=1.0, max=60.0))
    caplog.set_level(logging.INFO, "edged.sending.sender")
    it.put("a.x", *range(5))

    def answer(items):
        if it.clock.seconds < 1000 + 24 * 3600:
            raise NoAnswer("[Errno 111] Connection refused")
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.step()
    assert it.sender.status.state == "backing-off"
    assert it.sender.status.last_error == "[Errno 111] Connection refused"
    it.drive(steps=20_000)
    assert len(it.platform.requests) > 1000
    first, last = lines(caplog)
    assert first == "there: cannot deliver: [Errno 111] Connection refused; all readings are kept; trying on"
    assert last == "there: delivers again"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert caplog.records[0].destination == "there"
    assert it.sender.status.state == "ok"


@pytest.mark.statement(8)
def test_a_parked_destination_is_tried_again_every_hour(bench, caplog):
    it = bench()
    it.put("a.x", *range(5))
    it.platform.answer = all_of(Parked("HTTP 401; check url, credentials and identifiers"))
    it.drive(until=1000 + 3 * PARKED_S + 10)
    assert it.sender.status.state == "parked"
    assert len(it.platform.requests) == 4
    starts = [request.at for request in it.platform.requests]
    assert all(later - earlier >= PARKED_S for earlier, later in pairwise(starts))
    assert it.platform.connections == 4, "a new connection each time: a secret may be another one"
    assert (it.settled, it.queued) == ([], 5)
    it.platform.answer = all_of(Delivered())
    it.drive()
    assert it.sender.queue.delivered == 5
    assert len(lines(caplog)) == 2
    assert "HTTP 401" in lines(caplog)[0]


@pytest.mark.statement(8)
@pytest.mark.guarantee(3)
@pytest.mark.pain("B3")
def test_a_parked_series_holds_up_no_other(bench, caplog):
    it = bench(readings=10)
    it.put("bad.x", *range(50))
    it.put("good.x", *range(100, 150))

    def answer(items):
        bad = [item.entry.series == "bad.x" for item in items]
        return [
            Parked("HTTP 404: no such object", whole=False) if b else Again() if any(bad) else Delivered() for b in bad
        ]

    it.platform.answer = answer
    it.drive(until=1000 + 0.9 * PARKED_S)
    assert it.fates() == [(n, "delivered") for n in range(100, 150)]
    assert it.sender.status.parked == {"bad.x": "HTTP 404: no such object"}
    assert (it.sender.status.state, it.sender.status.until_ms) == ("ok", None)
    tries = sum("bad.x" in {series for series, _, _ in request.readings} for request in it.platform.requests)
    assert tries == 1
    it.drive(until=1000 + 2.5 * PARKED_S)
    assert it.fates("bad.x") == []
    assert len(lines(caplog)) == 1
    it.platform.answer = all_of(Delivered())
    it.drive()
    assert it.fates("bad.x") == [(n, "delivered") for n in range(50)]
    assert it.sender.status.parked == {}
    assert len(lines(caplog)) == 2
    assert "bad.x is delivered again" in lines(caplog)[1]


@pytest.mark.statement(29)
def test_a_time_ahead_is_kept_aside_with_its_series(bench):
    it = bench()
    it.put("ahead.x", 1, 2)
    it.put("b.x", 3)
    ahead = {1: Delayed("date should be in the past", 30.0)}
    it.platform.answer = lambda items: [
        ahead.get(item.entry.value, Again() if 1 in [i.entry.value for i in items] else Delivered()) for item in items
    ]
    it.drive(until=1020.0)
    assert it.fates() == [(3, "delivered")]
    assert it.sender.status.state == "waiting"
    ahead.clear()
    it.platform.answer = all_of(Delivered())
    it.drive()
    assert it.fates("ahead.x") == [(1, "delivered"), (2, "delivered")]
    assert it.platform.requests[-1].at >= 1030


def test_a_secret_that_cannot_be_read_parks_and_recovers(bench, caplog):
    it = bench()
    it.put("a.x", 1)
    encode = it.platform.encode
    readable: list[bool] = []

    def unreadable(items):
        if not readable:
            raise SecretUnreadable("credential there is readable by the service only")
        return encode(items)

    it.platform.encode = unreadable
    it.step()
    assert (it.sender.status.state, it.platform.requests) == ("parked", [])
    assert "readable by the service only" in it.sender.status.last_error
    readable.append(True)
    it.drive()
    assert it.fates() == [(1, "delivered")]
    assert len(lines(caplog)) == 2


@pytest.mark.pain("F14")
@pytest.mark.pain("F15")
@pytest.mark.parametrize(
    "outcome",
    [
        Transient(f"HTTP 503: {SECRET}"),
        Parked(f"HTTP 401: {SECRET}"),
        Parked(f"HTTP 404: {SECRET}", whole=False),
        Permanent(f"HTTP 400: {SECRET}", f"you said {SECRET}"),
        Delivered(f"it took it, but said {SECRET}"),
        Delayed(f"ahead: {SECRET}", 5.0),
        NoAnswer(f"cut: {SECRET}"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_a_secret_goes_nowhere(bench, caplog, outcome):
    plain(SECRET)
    it = bench()
    it.put("a.x", 1)

    def answer(items):
        if isinstance(outcome, NoAnswer):
            raise outcome
        return [outcome]

    it.platform.answer = answer
    it.step()
    it.log.flush()
    status = it.sender.status
    kept = [str(letter) for letter in it.log.dead_letters("there")]
    shown = [*lines(caplog), status.last_error, str(status.parked), *kept, *(reason for _, reason in it.settled)]
    assert not any(SECRET in text for text in shown)
    assert any("***" in text for text in shown)


# --- pacing


@pytest.mark.statement(62)
@pytest.mark.guarantee(7)
def test_a_start_counts_as_a_write_to_every_place(bench):
    it = bench(per_target=1, target_interval=1.1)
    it.put("a.x", 1)
    assert it.step() == pytest.approx(1.1)
    assert it.sender.status.state == "waiting"
    it.drive()
    assert it.platform.requests[0].at >= 1001.1


@pytest.mark.statement(62)
@pytest.mark.statement(63)
@pytest.mark.guarantee(7)
def test_writes_to_a_place_are_spaced_from_the_end_of_the_one_before(bench):
    it = bench(per_target=1, target_interval=1.1)
    it.put("a.x", *range(10))
    it.put("b.x", *range(100, 103))
    it.drive()
    for series, count in (("a.x", 10), ("b.x", 3)):
        starts = [r.at for r in it.platform.requests if series in {name for name, _, _ in r.readings}]
        assert len(starts) == count
        assert all(later - earlier >= 1.1 + 0.01 - 1e-6 for earlier, later in pairwise(starts))
        assert max(b - a for a, b in pairwise(starts)) < 1.2, "and not slower than that"
    assert all(len({name for name, _, _ in r.readings}) == len(r.readings) for r in it.platform.requests)


@pytest.mark.parametrize("behind", [0.0, 0.2, 0.5, 0.7, 1.0])
def test_places_that_are_out_of_step_are_each_written_as_often_as_may_be_and_get_into_step(bench, behind):
    it = bench(per_target=1, target_interval=1.1, resolution_ms=1000)
    it.put("a.x", *range(60))
    it.drive(until=it.clock.seconds + 1.11 + behind)
    it.put("b.x", *range(100, 130))
    it.drive()
    for series, count in (("a.x", 60), ("b.x", 30)):
        starts = [r.at for r in it.platform.requests if series in {name for name, _, _ in r.readings}]
        assert len(starts) == count
        assert all(later - earlier >= 1.1 + 0.01 - 1e-6 for earlier, later in pairwise(starts))
        assert starts[-1] - starts[0] <= (count - 1) * 1.12 + 0.25 * 1.1
    together = [len(r.readings) for r in it.platform.requests]
    assert behind in (0.5, 0.7) or together.count(1) <= 33  # at most a quarter of the pause is waited for it


def test_places_of_other_routes_are_not_waited_for(bench, monkeypatch):
    it = bench(per_target=1, target_interval=1.1)
    monkeypatch.setattr(it.platform, "route", lambda options, target: target)
    for number in range(4):
        it.put(f"d{number}.x", *range(30))
    began = it.clock.seconds
    it.drive()
    assert it.clock.seconds - began <= 31 * (1.1 + EXCHANGE_S) + 4 * EXCHANGE_S  # a start counts as a write
    assert len(it.platform.requests) == 4 * 30


def test_requests_are_spaced(bench):
    it = bench(readings=2, request_interval=1.0)
    it.put("a.x", *range(9))
    it.drive()
    starts = [request.at for request in it.platform.requests]
    assert len(starts) == 5
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(starts))


@pytest.mark.statement(64)
def test_of_a_second_one_reading_is_sent_and_the_others_counted(bench):
    it = bench(per_target=1, target_interval=0.5, resolution_ms=1000)
    it.put("a.x", *range(40), time_ms=it.clock.now_ms() - 10_000, step_ms=250)
    it.drive()
    seconds = [time_ms // 1000 for _, time_ms, _ in it.platform.sent]
    assert len(set(seconds)) == len(seconds)
    assert (it.sender.queue.delivered, it.sender.queue.merged, it.queued) == (len(seconds), 40 - len(seconds), 0)
    last = {}
    for entry, _ in it.settled:
        last[entry.time_ms // 1000] = entry.value
    assert [value for _, _, value in it.platform.sent] == list(last.values()), "the last of each second"
    assert [entry.value for entry, _ in it.settled] == list(range(40))


@pytest.mark.statement(64)
def test_readings_that_come_in_the_same_second_wait_for_its_end(bench):
    it = bench(per_target=1, resolution_ms=1000)
    for value in range(30):  # 5 a second for 6 s
        it.put("a.x", value, time_ms=it.clock.now_ms())
        it.drive(until=it.clock.seconds + 0.2)
        it.clock.seconds = max(it.clock.seconds, 1000.0 + 0.2 * (value + 1))
    it.drive()
    seconds = [time_ms // 1000 for _, time_ms, _ in it.platform.sent]
    assert len(set(seconds)) == len(seconds) >= 6
    assert it.sender.queue.delivered + it.sender.queue.merged == 30


@pytest.mark.statement(64)
def test_what_comes_late_for_a_second_that_was_sent_is_merged(bench):
    it = bench(per_target=1, resolution_ms=1000)
    second = it.clock.now_ms() // 1000 * 1000 - 5000
    it.put("a.x", 1, time_ms=second + 100)
    it.drive()
    it.put("a.x", 2, time_ms=second + 900)
    it.put("a.x", 3, time_ms=second + 1000)
    it.drive()
    assert it.fates() == [(1, "delivered"), (2, "merged"), (3, "delivered")]
    assert [value for _, _, value in it.platform.sent] == [1, 3]


# --- the thread


def run_real(it: Bench) -> None:
    """The sender's thread in real time, on the bench's parts."""
    it.sender._monotonic = time.monotonic
    it.sender._resume = 0.0
    it.sender.start()


def test_the_thread_wakes_for_new_readings_and_ends_at_once(bench):
    it = bench()
    run_real(it)
    it.put("a.x", 1)
    wait_until(lambda: it.sender.queue.delivered == 1, "the reading")
    assert it.queued == 0
    started = time.monotonic()
    it.sender.stop()
    assert time.monotonic() - started < 2
    assert not it.sender._thread.is_alive()


def test_stop_ends_a_back_off_and_abandons_a_request(bench):
    it = bench(backoff=Backoff(first=3600.0, max=3600.0))
    aborted, entered = threading.Event(), threading.Event()

    def hang(request):
        entered.set()
        aborted.wait(30)
        raise NoAnswer("stopped")

    it.platform.exchange = hang
    it.platform.abort = aborted.set
    it.put("a.x", 1)
    run_real(it)
    assert entered.wait(10)
    it.sender.stop(grace_s=0.05)
    assert not it.sender._thread.is_alive()
    assert (it.settled, it.queued) == ([], 1)


def test_a_bug_does_not_end_the_thread(bench, caplog, monkeypatch):
    monkeypatch.setattr("edged.sending.exchange.BUG_S", 0.05)
    it = bench()
    bugs = [ZeroDivisionError("a bug")]

    def answer(items):
        if bugs:
            raise bugs.pop()
        return [Delivered() for _ in items]

    it.platform.answer = answer
    it.put("a.x", 1)
    run_real(it)
    wait_until(lambda: it.sender.queue.delivered == 1, "the reading")
    it.sender.stop()
    assert "please report it" in lines(caplog)[0]
    assert redact(SECRET) == SECRET or SECRET not in caplog.text


def test_batch_size_makes_requests_smaller_and_never_larger(bench, tmp_path, clock):
    with ExitStack() as stack:
        for size, expected in ((3, 3), (500, 100), (None, 100)):
            platform = Scripted(clock, Limits(100))
            mapping = Mapping((("*", Usual(str)),))
            it = open_bench(
                stack, tmp_path / str(size), clock, platform, mapping, Backoff(), Wire(1, None, ""), batch_size=size
            )
            it.put("a.x", *range(120), step_ms=1)
            it.drive()
            assert max(len(request.readings) for request in platform.requests) == expected
