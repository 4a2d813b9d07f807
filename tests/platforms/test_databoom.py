"""Databoom: the help centre's forms, and what each answer means."""

import json
from typing import Any

import pytest

from edged.outcome import Again, Delayed, Delivered, Isolate, Parked, Permanent, Transient
from edged.platforms import Item
from edged.platforms.databoom import Databoom, Options, Signal
from edged.reading import Entry
from edged.secret import plain
from edged.transports.http import Reply

TIME_MS = 1_709_647_650_250  # 2024-03-05T14:07:30.250Z


def platform(**options: Any) -> Databoom:
    keys: dict[str, Any] = {"token": plain("made-up-databoom-token"), "device": "0abc12def3"}
    return Databoom(Options(**keys | options))


def items(*points) -> list[Item]:
    return [
        Item(Entry(n, f"s.{name}", time_ms, value), Signal(name=name))
        for n, (name, time_ms, value) in enumerate(points)
    ]


def many(count: int = 2) -> list[Item]:
    return items(*(("room_temp", TIME_MS + n, 20.0 + n) for n in range(count)))


@pytest.mark.statement(10)
@pytest.mark.statement(15)
def test_one_moment_is_the_documented_array_form():
    request = platform().encode(items(("room_temp", TIME_MS, 21.37), ("door_open", TIME_MS, True)))
    assert (request.method, request.url) == ("POST", "https://api.databoom.com/v1/signals/push")
    assert request.headers == {"Authorization": "Bearer made-up-databoom-token", "Content-Type": "application/json"}
    assert json.loads(request.body) == {
        "device": "0abc12def3",
        "date": "2024-03-05T14:07:30.250+0000",
        "signals": [{"name": "room_temp", "value": 21.37}, {"name": "door_open", "value": 1}],
    }


@pytest.mark.statement(16)
def test_several_moments_are_the_documented_history_form():
    request = platform().encode(items(("room_temp", TIME_MS, 21.37), ("room_temp", TIME_MS + 60_000, 21.41)))
    assert json.loads(request.body) == {
        "device": "0abc12def3",
        "signals": {
            "room_temp": {
                "history": [
                    {"date": "2024-03-05T14:07:30.250+0000", "value": 21.37},
                    {"date": "2024-03-05T14:08:30.250+0000", "value": 21.41},
                ]
            }
        },
    }


@pytest.mark.statement(14)
def test_a_signal_twice_in_a_moment_does_not_go_into_the_array_form():
    body = json.loads(platform().encode(items(("a", TIME_MS, 1), ("a", TIME_MS, 2))).body)
    assert [point["value"] for point in body["signals"]["a"]["history"]] == [1, 2]


@pytest.mark.statement(18)
@pytest.mark.parametrize(
    ("value", "sent"), [(True, 1), (False, 0), (3, 3), (2.5, 2.5), ("ü ✓", "ü ✓"), ("\ud800", "?")]
)
def test_values(value, sent):
    (signal,) = json.loads(platform().encode(items(("a", TIME_MS, value))).body)["signals"]
    assert (type(signal["value"]), signal["value"]) == (type(sent), sent)


@pytest.mark.case(40)
def test_a_date_after_2038():
    body = json.loads(platform().encode(items(("a", 2_147_483_648_000, 1))).body)
    assert body["date"] == "2038-01-19T03:14:08.000+0000"


def test_the_cautious_limits():
    limits = platform().limits
    assert (limits.readings, limits.targets, limits.body, limits.request_interval) == (200, 20, 256 * 1024, 1.0)


@pytest.mark.statement(20)
@pytest.mark.parametrize(
    ("reply", "one", "two"),
    [
        (Reply(200, b'{"message":"ALL_INFO_PROCESSED"}'), Delivered, Delivered),
        (Reply(201, b'{"message":"ALL_INFO_PROCESSED"}'), Delivered, Delivered),
        (Reply(204), Delivered, Delivered),
        (Reply(200, b"no json"), Delivered, Delivered),
        (Reply(200, b"[1]"), Delivered, Delivered),
        (Reply(200, b'{"other": 1}'), Delivered, Delivered),
        (Reply(200, b'{"message":"SOME_INFO_PROCESSED"}'), Delivered, Isolate),
        (Reply(200, b'{"message":["a","b"]}'), Delivered, Isolate),
        (Reply(200, b'{"message":{"a":1}}'), Delivered, Isolate),
        (Reply(200, b"<html>log in</html>", "text/html"), Transient, Transient),
        (Reply(301), Parked, Parked),
        (Reply(302, b"<html>moved</html>", "text/html"), Parked, Parked),
        (Reply(400, b'{"message":"no"}'), Permanent, Isolate),
        (Reply(400, b'{"message":"unknown device"}'), Parked, Parked),
        (Reply(400, b'{"message":"invalid token"}'), Parked, Parked),
        (Reply(400, b'{"message":"Unexpected token N in JSON at position 7"}'), Permanent, Isolate),
        (Reply(422, b'{"message":"too many requests"}'), Transient, Transient),
        (Reply(401, b'{"message":"no"}'), Parked, Parked),
        (Reply(401), Parked, Parked),
        (Reply(403), Parked, Parked),
        (Reply(403, b"<!DOCTYPE html><title>Access denied</title>"), Transient, Transient),
        (Reply(404), Parked, Parked),
        (Reply(405), Parked, Parked),
        (Reply(406), Parked, Parked),
        (Reply(415), Parked, Parked),
        (Reply(408), Transient, Transient),
        (Reply(425), Transient, Transient),
        (Reply(429), Transient, Transient),
        *[(Reply(status, b'{"message":"no"}'), Parked, Parked) for status in (402, 407, 410, 421, 426, 451)],
        (Reply(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"), Parked, Parked),
        (Reply(400, b"bad request", "text/plain"), Parked, Parked),
        (Reply(400), Permanent, Isolate),
        (Reply(413), Permanent, Isolate),
        (Reply(413, b"<html>413 Request Entity Too Large</html>", "text/html"), Permanent, Isolate),
        (Reply(422), Permanent, Isolate),
        (Reply(500), Transient, Transient),
        (Reply(500, b'{"code":"HTTP_ERROR","message":"524: Origin Time-out"}'), Transient, Transient),
        (Reply(503), Transient, Transient),
        (Reply(599), Transient, Transient),
        (Reply(101), Transient, Transient),
    ],
)
def test_judge(reply, one, two):
    assert [type(outcome) for outcome in platform().judge(reply, many(1))] == [one]
    assert [type(outcome) for outcome in platform().judge(reply, many(2))] == [two, two]
    parked = platform().judge(reply, many(1))[0]
    assert not isinstance(parked, Parked) or parked.whole


@pytest.mark.statement(5)
@pytest.mark.parametrize("status", [429, 503, 200])
def test_retry_after_is_handed_on(status):
    reply = Reply(status, b"<html>", "text/html", 30.0)
    for outcome in platform().judge(reply, many()):
        assert isinstance(outcome, Transient)
        assert outcome.wait_s == 30.0


@pytest.mark.statement(20)
def test_an_unusual_message_is_isolated_once_and_then_a_yes():
    databoom = platform()
    reply = Reply(200, b'{"message":"SOME_INFO_PROCESSED"}')
    assert databoom.judge(reply, many(2))[0] == Isolate("it took the readings, but said 'SOME_INFO_PROCESSED'")
    (alone,) = databoom.judge(reply, many(1))
    assert isinstance(alone, Delivered)
    assert "SOME_INFO_PROCESSED" in alone.remark
    assert all(isinstance(outcome, Delivered) for outcome in databoom.judge(reply, many(2)))
    assert isinstance(databoom.judge(Reply(200, b'{"message":"ANOTHER"}'), many(2))[0], Isolate)


@pytest.mark.statement(20)
def test_a_message_that_varies_is_isolated_no_more_than_a_few_times():
    databoom = platform()
    requests = delivered = 0

    def send(count: int) -> None:
        nonlocal requests, delivered
        requests += 1
        reply = Reply(200, json.dumps({"message": f"processed by request {requests}"}).encode())
        outcomes = databoom.judge(reply, many(count))
        if isinstance(outcomes[0], Isolate):
            send(count - count // 2)
            send(count // 2)
        else:
            assert all(isinstance(o, Delivered) and "it took the readings, but said" in o.remark for o in outcomes)
            delivered += count

    for batch in range(1, 20):
        send(64)
        assert delivered == 64 * batch
    assert requests < 19 + 2 * 8 + 6  # one a batch, and once a way down to eight single ones


def test_a_reading_ahead_of_the_servers_clock_waits_and_its_neighbour_goes():
    reply = Reply(400, b'{"message":"date in the future"}', date_ms=1_795_565_340_000)
    outcomes = platform().judge(reply, items(("a", 1_795_565_340_000, 1), ("a", 1_795_565_342_500, 2)))
    assert isinstance(outcomes[0], Again)
    assert isinstance(outcomes[1], Delayed)
    assert outcomes[1].wait_s == 2.5


def test_a_dead_letter_keeps_the_answer():
    (outcome,) = platform().judge(Reply(400, b'{"message":"value too old"}'), many(1))
    assert outcome == Permanent('HTTP 400: {"message":"value too old"}', '{"message":"value too old"}')


@pytest.mark.case(19)
def test_a_proxys_page_does_not_blame_the_token():
    page = b"<!DOCTYPE html><html><title>Access denied | HOST used Cloudflare to restrict access</title>" + b"x" * 5000
    (outcome,) = platform().judge(Reply(403, page, "text/html; charset=UTF-8"), many(1))
    assert isinstance(outcome, Transient)
    assert "HTML" in outcome.reason
    assert "proxy" in outcome.reason
    assert "token" not in outcome.reason
    assert "credentials" not in outcome.reason
    assert len(outcome.reason) < 300


def test_usual_name_and_cautions():
    assert Databoom.usual("greenhouse.temperature") == "greenhouse_temperature"
    assert Databoom.caution(platform().options) == []
    beyond = platform(max_points=500, max_signals=30, min_request_interval=0.1).options
    assert {key for key, _ in Databoom.caution(beyond)} == {"max_points", "max_signals", "min_request_interval"}
