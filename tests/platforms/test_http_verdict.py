"""What an answer means whatever the platform: by its status, its headers, and where that is not enough its text."""

import codecs
import json
import re
import time

import pytest

from edged.outcome import Again, Delayed, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item
from edged.platforms._http import url_problem, verdict
from edged.platforms._wording import blames_identifiers, says_throttled
from edged.platforms.databoom import Signal
from edged.reading import Entry, Value
from edged.transports.http import LONGEST_WAIT_S, MOST_BODY, Reply

TIME_MS = 1_795_565_340_000  # Wed, 25 Nov 2026 00:09:00 GMT


def item(name: str = "room_temp", value: Value = 21.37, time_ms: int = TIME_MS, series: str = "s.q") -> Item:
    return Item(Entry(1, series, time_ms, value), Signal(name=name))


def outcomes_of(reply: Reply, *items: Item) -> list[Outcome]:
    outcomes = verdict(reply, items or (item(),), refuses_in_json=True)
    assert outcomes is not None
    return outcomes


def judged(reply: Reply, *items: Item, refuses_in_json: bool = True) -> str:
    """A letter an outcome: a Again, i Isolate, l Delayed, t Transient, X permanent; P and p Parked, whole or not."""
    outcomes = verdict(reply, items or (item(),), refuses_in_json=refuses_in_json)
    if outcomes is None:
        return "-"
    letters = {Again: "a", Isolate: "i", Delayed: "l", Transient: "t", Permanent: "X"}
    return "".join(("P" if o.whole else "p") if isinstance(o, Parked) else letters[type(o)] for o in outcomes)


def says(text: str) -> Reply:
    return Reply(400, json.dumps({"message": text}).encode(), "application/json")


# --- throttled

THROTTLED = [
    "Request was throttled. Expected available in 1 second.",
    "Throttled",
    "ThrottlingException: Rate exceeded",
    "IO Throttle Error",
    "someone data rate limit reached, 1 seconds until throttle released",
    "Exceeded the limit of IO requests in a short period of time. Please reduce the rate of requests",
    "DEVICE rate limit reached!",
    "You have reached maximum request limit.",
    "API rate limit exceeded for 10.0.0.1.",
    "Too Many Requests",
    "TOO_MANY_REQUESTS",
    "you are being rate limited",
    "rate-limited",
    "RATE_LIMIT_EXCEEDED",
    "Quota exceeded for today",
    "you have exceeded your daily quota",
    "Retry later",
    "Please try again later.",
]
NOT_THROTTLED = [
    "signal 'throttled': a number is expected",
    '{"throttled": ["A valid number is required."]}',
    "HOST_THROTTLED: not a BOOL",
    "host.throttled is no number",
    "value exceeds the limit of 100",
    "the value is above its limit",
    "rate: a number is expected",
    "rate_limit: a valid number is required",
    "requests: too many decimals",
    "the value 'too many requests' does not match the unit (int)",
    "quota: invalid",
    "timestamp is in the future",
]


@pytest.mark.pain("G8")
@pytest.mark.parametrize("status", [400, 403, 409, 422])
@pytest.mark.parametrize("text", THROTTLED)
def test_throttling_by_any_status_waits(status, text):
    reply = Reply(status, json.dumps({"error": text}).encode(), "application/json", 30.0)
    for count in (1, 3):
        for outcome in outcomes_of(reply, *[item()] * count):
            assert isinstance(outcome, Transient)
            assert outcome.wait_s == 30.0
    assert judged(Reply(status, text.encode(), "text/plain")) == "t"


@pytest.mark.pain("G8")
@pytest.mark.parametrize("text", NOT_THROTTLED)
def test_what_only_sounds_like_it_is_refused(text):
    ours = [item(name) for name in ("throttled", "rate_limit", "rate", "requests", "quota")]
    ours += [item("alarm", "too many requests"), item("x", series="host.throttled")]
    assert not says_throttled(text, ours)
    assert judged(says(text), *ours) == "i" * len(ours)


def test_a_name_of_ours_hides_no_true_throttling():
    ours = [item("throttled"), item("requests"), item("limit"), item("is"), item("Request was")]
    for text in ("Request was throttled.", "too many requests", "rate limit exceeded"):
        assert says_throttled(f"{text} (throttled)", ours), text


# --- credentials and identifiers

IDENTIFIERS = [
    "Invalid token.",
    "invalid access token",
    "INVALID_TOKEN",
    "Token is invalid",
    "token expired",
    "The token 'abc' has been revoked",
    "unknown device",
    "Unknown device token",
    "DEVICE_NOT_FOUND",
    "Device with requested id wasn't found!",
    "device 0abc12def3 not found",
    'device "0abc12def3" does not exist',
    "No device found for device_id: 7",
    "no such device",
    "Device is disabled",
    "Device not registered",
    "invalid API key",
    "Invalid apikey",
    "API key not found",
    "wrong password",
    "missing credentials",
    "Unauthorized",
    "unauthorised",
    "user not authorized",
    "Authentication credentials were not provided.",
    "You do not have permission to perform this action.",
    "the token lacks the permission to publish",
    "Permission denied",
    "access denied",
    "bucket telemetry not found",
    'organization name "x" not found',
    "project unknown",
]
NOT_IDENTIFIERS = [
    "value is invalid",
    "invalid value",
    "invalid value for field token",
    "field token: unknown value",
    "token: value is not a number",
    "device 0abc: value of the unit not found",
    "device 0abc: invalid date",
    "Unexpected token N in JSON at position 12",
    "Unexpected token 'N', \"[NaN]\" is not valid JSON",
    "JSON parse error: Unrecognized token 'NaN': was expecting a JSON value",
    "Invalid JSON token at line 1",
    "date is in the future",
    "unknown unit",
    "the value 'unknown device' does not match the unit (int)",
    "the value 'unauthorized' does not match the unit (int)",
    "signal 'unauthorized': a number is expected",
    "user_temperature: invalid",
    "missing value",
    "this value is denied",
    "permission: a number is expected",
    "more than 200 points",
]


@pytest.mark.statement(8)
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("text", IDENTIFIERS)
def test_what_a_person_has_to_repair_buries_nothing(status, text):
    reply = Reply(status, json.dumps({"message": text}).encode(), "application/json")
    assert judged(reply) == "P"
    assert judged(reply, item(), item("b")) == "PP"


@pytest.mark.parametrize("text", NOT_IDENTIFIERS)
def test_a_value_that_is_refused_is_buried(text):
    ours = [item("unauthorized"), item("alarm", "unknown device"), item("door", "unauthorized"), item("permission")]
    assert not blames_identifiers(text, ours)
    assert judged(says(text), *ours) == "iiii"
    assert judged(says(text), ours[1] if "unknown device" in text else ours[2] if "value" in text else ours[0]) == "X"


@pytest.mark.parametrize(
    ("body", "parked"),
    [
        ({"device": ["Object with identifier=0abc does not exist."]}, True),
        ({"token": "invalid"}, True),
        ({"device": "unknown"}, True),
        ({"device": "0abc", "error": "unknown date"}, False),
        ({"device": "0abc", "signals": {"a": "unknown"}}, False),
        ({"user": "me", "detail": "value not found in enumeration"}, False),
        ({"code": "UNAUTHORIZED"}, True),
    ],
)
def test_the_forms_of_json(body, parked):
    assert blames_identifiers(json.dumps(body), [item()]) is parked


def test_a_text_made_to_take_long_does_not():
    for text in ("token " * 20_000, "invalid " * 20_000, "device" + " a" * 50_000, '"device": ' + "x " * 50_000):
        started = time.process_time()
        blames_identifiers(text, [item(f"name_{n}") for n in range(200)])
        says_throttled(text, [item(f"name_{n}") for n in range(200)])
        assert time.process_time() - started < 2


# --- ahead of the server's clock


@pytest.mark.statement(60)
@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_reading_ahead_of_the_servers_clock_waits_and_its_neighbours_go(status):
    ours = [item(time_ms=TIME_MS + ahead) for ahead in (-5000, 1000, 1001, 4250)]
    reply = Reply(status, b'{"detail":"timestamp is in the future"}', "application/json", date_ms=TIME_MS)
    assert judged(reply, *ours) == "aall"
    delayed = [outcome for outcome in outcomes_of(reply, *ours) if isinstance(outcome, Delayed)]
    assert [outcome.wait_s for outcome in delayed] == [1.001, 4.25]
    assert "ahead of the server's clock" in delayed[0].reason


@pytest.mark.parametrize(
    ("date_ms", "expected"),
    [
        (None, "ii"),  # it does not say
        (TIME_MS + 60_000, "ii"),  # none is ahead
        (0, "ii"),  # no clock that is right
        (1_420_070_400_000, "ii"),
        (TIME_MS - 5000, "ll"),
    ],
)
def test_without_the_servers_clock_a_refusal_is_what_it_is(date_ms, expected):
    assert judged(Reply(400, b'{"detail":"no"}', date_ms=date_ms), item(), item("b")) == expected


@pytest.mark.parametrize(("behind_ms", "expected"), [(3_599_999, "l"), (3_600_000, "X"), (30 * 86_400_000, "X")])
def test_a_servers_clock_that_is_behind_delays_no_refusal(behind_ms, expected):
    """Else it would delay each reading that is refused, whatever for, and all that follow in its series."""
    assert judged(Reply(400, b"{}", date_ms=TIME_MS - behind_ms)) == expected


@pytest.mark.parametrize("status", [401, 403, 413, 429, 500])
def test_what_is_no_matter_of_readings_is_not_blamed_on_their_time(status):
    assert "l" not in judged(Reply(status, b"{}", date_ms=TIME_MS - 5000))


# --- by status and headers


@pytest.mark.case(19)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 422, 429, 500, 503])
def test_a_page_is_a_proxys_word(status):
    title = "Access denied | HOST used Cloudflare to restrict access"
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>error code: 1015 rate limited</body>"
    for content_type in ("text/html; charset=UTF-8", ""):
        (outcome,) = outcomes_of(Reply(status, page.encode(), content_type))
        assert isinstance(outcome, Transient)
        assert "HTML" in outcome.reason
        assert not re.search("token|credential|identifier", outcome.reason)
        assert len(outcome.reason.splitlines()) == 1
        assert len(outcome.reason) < 300


@pytest.mark.case(20)
@pytest.mark.statement(5)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("wait_s", [0.0, 2.0, LONGEST_WAIT_S])
@pytest.mark.parametrize("body", [b"", b'{"message":"later"}', b"<html>later</html>", b"later"])
def test_the_servers_wish_to_wait_is_handed_on(status, wait_s, body):
    for outcome in outcomes_of(Reply(status, body, "", wait_s), item(), item("b")):
        assert isinstance(outcome, Transient)
        assert outcome.wait_s == wait_s


@pytest.mark.parametrize(
    ("reply", "one", "two"),
    [
        (Reply(200), "-", "-"),
        (Reply(299, b"anything"), "-", "-"),
        (Reply(103), "t", "tt"),
        (Reply(307, b"<html></html>"), "P", "PP"),
        (Reply(401), "P", "PP"),
        (Reply(404, b"{}"), "P", "PP"),
        (Reply(413), "X", "ii"),
        (Reply(413, b"<html></html>"), "X", "ii"),
        (Reply(400, b"Client sent an HTTP request to an HTTPS server.\n"), "P", "PP"),
        (Reply(400, b"\xff\xfe"), "P", "PP"),
        (Reply(400, b'{"message":'), "P", "PP"),
        (Reply(400, b"no json"), "P", "PP"),
        (Reply(400), "X", "ii"),
        (Reply(422, b"[]"), "X", "ii"),
    ],
)
def test_statuses(reply, one, two):
    assert judged(reply) == one
    assert judged(reply, item(), item("b")) == two


PAGES = [
    b"<script>top.location.href='http://10.0.0.1/login'</script>",
    b'<meta http-equiv="refresh" content="0;url=http://10.0.0.1/">',
    b"<!-- portal --><!-- of a hotel -->\n<html><title>Log in</title></html>",
    b"<head><title>Log in</title></head>",
    b'<?xml version="1.0"?>\n<!DOCTYPE html><html></html>',
    codecs.BOM_UTF8 + b"<!DOCTYPE html><html><title>Log in</title></html>",
    codecs.BOM_UTF8 + b" " * MOST_BODY + b"<html>",
    "\ufeff<html>Log in</html>".encode("utf-16-le"),
    "\ufeff\n<html>Log in</html>".encode("utf-16-be"),
    b" " * 300 + b"<HTML>",
]


@pytest.mark.case(19)
@pytest.mark.parametrize("status", [200, 400, 403, 422])
@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_known_whatever_it_calls_itself(page, content_type, status):
    for refuses_in_json in (True, False):
        assert judged(Reply(status, page, content_type), refuses_in_json=refuses_in_json) == "t"


def test_where_json_is_due_markup_is_none():
    fault = b"<fault>bad value</fault>"
    assert judged(Reply(200, fault)) == judged(Reply(400, fault)) == "t"
    assert judged(Reply(400, fault), refuses_in_json=False) == "X"


@pytest.mark.parametrize("body", [b"<html-like>no</html-like>", b"<!-- no end <html>", b"value < 5 <html>", b"<"])
def test_what_is_no_page(body):
    assert not Reply(400, body).is_html


@pytest.mark.parametrize("body", [b"<!---->" * 9000, b"<!--" * 16_000, b"<?" * 32_000, b"<! " + b" " * 64_000])
def test_a_page_made_to_take_long_does_not(body):
    started = time.process_time()
    assert not Reply(200, body).is_html
    assert time.process_time() - started < 1


def test_a_base_wants_no_query():
    for url in ("https://example.org", "https://example.org:8443/base/"):
        assert url_problem(url) == ""
    for url in ("https://example.org?", "https://example.org/?key=made-up-token", "https://example.org/#made-up-token"):
        assert "leave out what begins with ? or #" in url_problem(url)
        assert "made-up-token" not in url_problem(url)


def test_what_is_too_large_is_so_for_its_number():
    assert outcomes_of(Reply(413), item(), item("b")) == [Isolate("HTTP 413", too_large=True)] * 2
    assert outcomes_of(Reply(400), item(), item("b")) == [Isolate("HTTP 400")] * 2


def test_a_refusal_in_words_counts_where_no_json_is_due():
    assert judged(Reply(400, b"bad line"), refuses_in_json=False) == "X"
