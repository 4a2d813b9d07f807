"""BBData over HTTP: the documented measures, and what each answer of both generations means."""

import json

import pytest

from edged.outcome import Again, Delayed, Delivered, Isolate, Parked, Permanent, Transient
from edged.platforms import Item, bbdata
from edged.platforms._bbdata import Object
from edged.platforms.bbdata import BBData, Options
from edged.platforms.bbdata_mqtt import BBDataMqtt
from edged.reading import Entry, iso
from edged.secret import from_env, plain
from edged.simulation.platforms import open_stand_in
from edged.transports.http import HttpTransport, Reply

TIME_MS = 1_709_647_650_250
TOKEN = "0123456789abcdef0123456789abcdef"


def platform(**options) -> BBData:
    return BBData(Options(**options))


def item(object_id=4711, time_ms=TIME_MS, value=21.37, **target) -> Item:
    entry = Entry(1, f"s.q{object_id}", time_ms, value)
    return Item(entry, Object(object=object_id, token=plain(TOKEN), **target))


MEASURE = {"objectId": 4711, "token": TOKEN, "timestamp": "2024-03-05T14:07:30.250", "value": "21.37"}


@pytest.mark.statement(22)
@pytest.mark.parametrize(
    ("options", "count", "path"),
    [
        ({}, 1, "/input/measures?ack=true"),
        ({}, 2, "/input/measures/bulk?ack=true"),
        ({"ack": False}, 2, "/input/measures/bulk?ack=false"),
        ({"api": "objects"}, 1, "/objects/values?ack=true"),
        ({"api": "objects"}, 2, "/objects/values?ack=true"),
    ],
)
def test_the_documented_measures(options, count, path):
    second = {
        "objectId": 4712,
        "token": TOKEN,
        "timestamp": "2024-03-05T14:07:31.000",
        "value": "10",
        "comment": "edged",
    }
    items = [item(), item(4712, 1_709_647_651_000, 10, comment="edged")][:count]
    request = platform(**options).encode(items)
    assert (request.method, request.url) == ("POST", f"https://bbdata.daplab.ch{path}")
    assert request.headers == {"Content-Type": "application/json"}
    single = count == 1 and options.get("api") != "objects"
    assert json.loads(request.body) == (MEASURE if single else [MEASURE, second][:count])


@pytest.mark.statement(42)
@pytest.mark.parametrize("api", ["input", "objects"])
def test_a_simulated_request_is_checked_like_any_other_and_stores_nothing(api):
    transport = HttpTransport(10.0)
    with open_stand_in("bbdata") as stand_in:
        stand_in.admit({}, [{"object": 4711, "token": TOKEN, "type": "int"}])
        bbdata = platform(url=stand_in.url, api=api)
        good, bad = [item(value=5)], [item(value=5.5)]
        assert bbdata.judge(transport.exchange(bbdata.request(good, simulate=True)), good) == [Delivered()]
        assert isinstance(bbdata.judge(transport.exchange(bbdata.request(bad, simulate=True)), bad)[0], Permanent)
        assert stand_in.snapshot() == ([], [])
    transport.close()


@pytest.mark.statement(33)
@pytest.mark.parametrize(
    ("value", "wanted", "sent"),
    [
        (21.0, "int", "21"),
        (21.6, "int", "22"),
        (5, None, "5"),
        (5, "float", "5.0"),
        (True, None, "true"),
        (False, "int", "0"),
        (1.0, "bool", "true"),
        ("open", None, "open"),
        (1e-7, None, "1e-07"),
    ],
)
def test_values_are_text_of_the_units_type(value, wanted, sent):
    assert json.loads(platform().encode([item(value=value, type=wanted)]).body)["value"] == sent


def error(status: int, exception: str, details, content_type="application/json") -> Reply:
    return Reply(status, json.dumps({"exception": exception, "details": details}, indent=2).encode(), content_type)


ECHO = {"objectId": 4711, "timestamp": "2024-03-05T14:07:30.250Z", "value": "21.37"}
LEGACY_ECHO = MEASURE | {"timestamp": "2024-03-05T14:07:30.250", "comment": None}


@pytest.mark.statement(40)
@pytest.mark.statement(45)
@pytest.mark.statement(46)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(200, json.dumps(ECHO).encode()), Delivered),
        (Reply(200, json.dumps([ECHO]).encode()), Delivered),
        (Reply(200, json.dumps(LEGACY_ECHO).encode()), Delivered),
        (Reply(200), Transient),
        (Reply(204), Transient),
        (Reply(200, b"garbage \xff"), Transient),
        (Reply(200, b"[]"), Transient),
        (Reply(200, json.dumps([ECHO, ECHO]).encode()), Transient),
        (Reply(200, b'"ok"'), Transient),
        (Reply(200, b'{"status":"login","url":"http://portal"}'), Transient),
        (Reply(200, json.dumps(ECHO | {"objectId": 4712}).encode()), Transient),
        (Reply(200, json.dumps(ECHO | {"objectId": "4711"}).encode()), Delivered),
        (Reply(200, b"<html>log in</html>", "text/html"), Transient),
        (error(200, "WrongParamsException", "objectId 4711: no"), Transient),
        (error(200, "BadTokenException", "objectId 4711: bad token"), Parked),
        (error(500, "BadTokenException", "objectId 4711: bad token"), Parked),
        (error(400, "BadTokenException", "bad token"), Parked),
        (error(401, "BadTokenException", "objectId 4711: bad token"), Parked),
        (error(400, "WrongParamsException", {"token": "size must be between 32 and 32"}), Parked),
        (error(400, "WrongParamsException", {"objectId": "must not be null"}), Parked),
        (error(400, "WrongParamsException", {"value": "must not be empty"}), Permanent),
        (error(400, "WrongParamsException", {"comment": "size must be between 0 and 1024"}), Parked),
        (error(400, "WrongParamsException", {"_values[0].value": "must not be empty"}), Permanent),
        (error(400, "WrongParamsException", {"_values": "must not be empty"}), Permanent),
        (error(400, "WrongParamsException", {"_values[7].value": "must not be empty"}), Permanent),
        (error(400, "WrongParamsException", {}), Permanent),
        (error(400, "WrongParamsException", {"": None}), Permanent),
        (error(400, "WrongParamsException", None), Permanent),
        (error(400, "WrongParamsException", "objectId 4711: the value 'x' does not match the unit (int)"), Permanent),
        (error(400, "WrongParamsException", "objectId 4711: two or more values with the same timestamp"), Permanent),
        (
            error(400, "WrongParamsException", f"same timestamp ({iso(TIME_MS)}) already exists for this object"),
            Delivered,
        ),
        (
            error(400, "WrongParamsException", "objectId 4711: same timestamp (?) already exists for this object"),
            Delivered,
        ),
        (error(400, "WrongParamsException", "objectId 4711: date should be in the past"), Delayed),
        (error(400, "HttpMessageNotReadableException", "JSON parse error: x\n at [Source: y]"), Permanent),
        (error(400, "MethodArgumentTypeMismatchException", "simulate: 'maybe'"), Parked),
        (error(403, "ForbiddenException", "objectId 4711 is disabled."), Parked),
        (error(404, "ItemNotFoundException", "objectId 4711: the pair (objectId, token) does not exist"), Parked),
        (error(404, "Not Found", "no such path"), Parked),
        (error(405, "HttpRequestMethodNotSupportedException", "GET"), Parked),
        (error(406, "HttpMediaTypeNotAcceptableException", ""), Parked),
        (error(415, "HttpMediaTypeNotSupportedException", ""), Parked),
        (error(429, "TooManyRequests", {"value": "later"}), Transient),
        (error(500, "Internal Server Error", "database"), Transient),
        (error(400, "X", "y", "text/html"), Transient),
        (Reply(401), Parked),
        (Reply(301), Parked),
        (Reply(400), Permanent),
        (Reply(413), Permanent),
        (Reply(413, b"<html>Too Large</html>", "text/html"), Permanent),
        (Reply(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"), Parked),
        (Reply(400, b"no such virtual host", "text/plain"), Parked),
        (Reply(407, b"proxy", "text/plain"), Parked),
        (Reply(502, b"<html>Bad Gateway</html>", "text/html"), Transient),
        (Reply(503), Transient),
    ],
)
def test_judge_a_measure_alone(reply, expected):
    (outcome,) = platform().judge(reply, [item()])
    assert type(outcome) is expected, outcome
    for text in (getattr(outcome, "reason", ""), getattr(outcome, "remark", "")):
        assert len(text.splitlines()) <= 1


EXISTS = f"a measure with the same timestamp ({iso(TIME_MS)}) already exists for this object"


@pytest.mark.statement(37)
@pytest.mark.parametrize(
    "value", ["door already exists", EXISTS, "date should be in the past", f"objectId 1: {EXISTS}"]
)
@pytest.mark.parametrize(
    ("exception", "text"),
    [
        ("WrongParamsException", "objectId 4711: the value '{}' does not match the unit (float)"),
        ("HttpMessageNotReadableException", 'JSON parse error: no number: "{}"'),
        ("HttpMessageNotReadableException", "objectId 4711: {}"),
    ],
)
def test_a_value_that_is_quoted_says_nothing(exception, text, value):
    refusal = error(400, exception, text.format(value))
    assert isinstance(platform().judge(refusal, [item()])[0], Permanent)
    expected = "Xa" if "does not match" in text else "ii"
    assert kinds(refusal, [item(), item(1)]) == expected


@pytest.mark.statement(37)
@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2024-03-05T14:07:30.250", "D"),
        ("2024-03-05T14:07:30.25Z", "D"),
        ("2024-03-05T15:07:30.250+01:00", "D"),
        ("Tue Mar 05 14:07:30 UTC 2024", "D"),  # what else could it be, of a measure alone
        ("2024-03-05T14:07:30.251Z", "i"),
        ("2024-03-05T14:07:30.250+01:00", "i"),
    ],
)
def test_a_measure_exists_where_its_own_object_and_time_are_named(stamp, expected):
    text = f"a measure with the same timestamp ({stamp}) already exists for this object"
    assert kinds(error(400, "WrongParamsException", f"objectId 4711: {text}"), [item()]) == expected
    assert kinds(error(400, "WrongParamsException", f"objectId 471: {text}"), [item()]) == "i"
    assert kinds(error(400, "WrongParamsException", f"objectId {'9' * 5000}: {text}"), [item()]) == "i"


def test_an_answer_with_very_many_fields_is_kept_once(monkeypatch):
    blacked_out = []

    def kept(reply: Reply) -> str:
        blacked_out.append(reply)
        return "kept"

    monkeypatch.setattr(bbdata, "response", kept)
    found = {f"_values[{n % 2}].f{n}": "bad" for n in range(5000)}
    outcomes = platform().judge(error(400, "WrongParamsException", found), [item(), item(1)])
    assert [isinstance(outcome, Permanent) and outcome.response for outcome in outcomes] == ["kept", "kept"]
    assert len(blacked_out) == 1
    assert kinds(error(400, "WrongParamsException", {f"_values[{'1' * 5000}].value": "bad"}), [item(), item(1)]) == "ii"


@pytest.mark.parametrize("details", ["objectId 4711: bad token", "bad token"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_a_bad_token_of_the_older_generation_parks_the_object(status, details):
    (outcome,) = platform().judge(error(status, "BadTokenException", details), [item()])
    assert isinstance(outcome, Parked)
    assert not outcome.whole


BATCH = [item(1), item(2), item(3), item(2, TIME_MS + 1000)]
AGAIN = Again()


def echo(*objects) -> Reply:
    return Reply(200, json.dumps([ECHO | {"objectId": number} for number in objects]).encode())


def kinds(reply: Reply, items=None) -> str:
    """A letter an outcome: Delivered D, Again a, Isolate i, Parked series p, Parked whole P, X permanent, l delayed."""
    letters = {Delivered: "D", Again: "a", Isolate: "i", Permanent: "X", Delayed: "l", Transient: "t"}
    outcomes = platform().judge(reply, items or BATCH)
    return "".join(("P" if o.whole else "p") if isinstance(o, Parked) else letters[type(o)] for o in outcomes)


@pytest.mark.statement(38)
@pytest.mark.pain("B7")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (echo(1, 2, 3, 2), "DDDD"),
        (echo("1", "2", 3, 2), "DDDD"),
        (echo(1, 2, 3), "tttt"),
        (echo(2, 1, 3, 2), "tttt"),
        (echo(1, 2, 3, None), "tttt"),
        (Reply(200, b"[1, 2, 3, 2]"), "tttt"),
        (Reply(200, json.dumps(ECHO).encode()), "tttt"),
        (error(400, "WrongParamsException", {"_values[1].value": "must not be empty"}), "aXaa"),
        (error(400, "WrongParamsException", {"_values[0].token": "size", "_values[3].comment": "size"}), "paap"),
        (error(400, "WrongParamsException", {"_values[1].token": "size", "_values[1].value": "empty"}), "apaa"),
        (error(400, "WrongParamsException", {"_values[1].value": "empty", "_values[1].token": "size"}), "apaa"),
        (error(400, "WrongParamsException", {"[2].value": "must not be empty"}), "aaXa"),
        (error(400, "WrongParamsException", {"_values[9].value": "must not be empty"}), "iiii"),
        (error(400, "WrongParamsException", {"value": "must not be empty"}), "iiii"),
        (error(400, "WrongParamsException", {"nonsense!": 1}), "iiii"),
        (error(400, "WrongParamsException", {}), "iiii"),
        (error(400, "WrongParamsException", ["a"]), "iiii"),
        (error(400, "WrongParamsException", f"objectId 2: same timestamp ({iso(TIME_MS)}) already exists"), "aDaa"),
        (
            error(400, "WrongParamsException", "objectId 2: same timestamp (2024-03-05T14:07:31.250) already exists"),
            "aaaD",
        ),
        (error(400, "WrongParamsException", "objectId 2: same timestamp (another form) already exists"), "iiii"),
        (error(400, "WrongParamsException", f"objectId 9: same timestamp ({iso(TIME_MS)}) already exists"), "iiii"),
        (error(400, "WrongParamsException", "objectId 2: does not match the unit"), "iiii"),
        (error(400, "WrongParamsException", "objectId 3: does not match the unit"), "aaXa"),
        (error(400, "WrongParamsException", "objectId 2: two or more values with the same timestamp"), "iiii"),
        (error(400, "HttpMessageNotReadableException", "JSON parse error"), "iiii"),
        (error(400, "MethodArgumentTypeMismatchException", "simulate"), "PPPP"),
        (error(403, "ForbiddenException", "objectId 2 is disabled."), "apap"),
        (error(404, "ItemNotFoundException", "objectId 2: the pair does not exist"), "apap"),
        (error(404, "ItemNotFoundException", "objectId 9: the pair does not exist"), "iiii"),
        (error(404, "ItemNotFoundException", "nobody named"), "iiii"),
        (error(401, "BadTokenException", "objectId 2: bad token"), "apap"),
        (error(200, "BadTokenException", "objectId 2: bad token"), "apap"),
        (error(404, "Not Found", "no such path"), "PPPP"),
        (error(500, "Internal Server Error", "crashed midway"), "tttt"),
        (Reply(413), "iiii"),
        (Reply(400, b"garbage"), "PPPP"),
        (Reply(413, b"<html></html>", "text/html"), "iiii"),
        (Reply(403, b"<html></html>", "text/html"), "tttt"),
    ],
)
def test_judge_a_bulk(reply, expected):
    assert kinds(reply) == expected


@pytest.mark.statement(29)
@pytest.mark.parametrize("form", ["{}", "{}Z"])
def test_a_time_ahead_is_waited_for_by_the_servers_clock(form):
    stamps = [form.format(text) for text in ("2024-03-05T14:07:31.250", "2024-03-05T14:07:27.000")]
    text = "objectId 2: date should be in the past (input='{}', now='{}')".format(*stamps)
    outcomes = platform().judge(error(400, "WrongParamsException", text), BATCH)
    assert [type(outcome) for outcome in outcomes] == [Again, Again, Again, Delayed]
    assert isinstance(outcomes[3], Delayed)
    assert outcomes[3].wait_s == 4.25


def test_a_whole_second_is_recognised_in_its_short_form():
    batch = [item(1, 1_709_647_650_000), item(1, 1_709_647_651_000)]
    text = "objectId 1: same timestamp (2024-03-05T14:07:31Z) already exists"
    assert kinds(error(400, "WrongParamsException", text), batch) == "aD"


def test_what_people_read_is_one_short_line():
    details = "objectId 2: JSON parse error: " + "x" * 5000 + "\n at [Source: (PushbackInputStream); line: 1]"
    for outcome in platform().judge(error(400, "HttpMessageNotReadableException", details), BATCH):
        assert isinstance(outcome, Isolate)
        assert len(outcome.reason) < 300
        assert outcome.reason.isprintable()


def test_an_object_is_a_place():
    assert BBData.place(None, Object(object=1, token=plain(TOKEN), type="int")) == 1
    assert platform().limits.readings == 100
    assert BBData.usual("a.b") is None


def test_a_comment_that_is_too_long_parks_its_object_only():
    (outcome,) = platform().judge(error(400, "WrongParamsException", {"comment": "size"}), [item(comment="c" * 1025)])
    assert isinstance(outcome, Parked)
    assert not outcome.whole
    assert "check object, token and comment" in outcome.reason


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({}, []),
        ({"comment": "x" * 1024}, []),
        ({"comment": "x" * 1025}, ["comment"]),
        ({"comment": "\N{GRINNING FACE}" * 512}, []),
        ({"comment": "\N{GRINNING FACE}" * 513}, ["comment"]),  # two UTF-16 units each
        ({"token": plain("f" * 31)}, ["token"]),
        ({"token": plain("f" * 33), "comment": "x" * 1025}, ["token", "comment"]),
        ({"token": from_env("NONESUCH")}, []),
    ],
)
@pytest.mark.parametrize("declared", [BBData, BBDataMqtt])
def test_what_no_object_can_have_is_seen_in_the_config(declared, keys, wrong):
    target = Object(**{"object": 1, "token": plain(TOKEN)} | keys)
    problems = declared.caution_target(target)
    assert [key for key, _ in problems] == wrong
    assert not any("ffff" in message for _, message in problems)


@pytest.mark.statement(32)
@pytest.mark.statement(33)
@pytest.mark.statement(34)
@pytest.mark.pain("B8")
@pytest.mark.parametrize("declared", [BBData, BBDataMqtt])
@pytest.mark.parametrize(
    ("value", "wanted", "taken"),
    [
        (21.37, "float", True),
        (-0.0, "float", True),
        (10, "float", True),
        (3.4028234e38, "float", True),
        (1e-50, "float", True),  # the nearest that 32 bits have is 0
        (" 21.5 ", "float", True),
        ("1e3", "float", True),
        (3.5e38, "float", False),
        (1e40, "float", False),  # would be Infinity there
        (10**400, "float", False),
        ("1e40", "float", False),
        ("1e400", "float", False),
        ("NaN", "float", False),
        ("nan", "float", False),
        ("Infinity", "float", False),
        ("-inf", "float", False),
        ("1f", "float", False),  # Java's, and a measure there
        ("0x1p3", "float", False),
        ("1_000", "float", False),  # Python's
        ("٣", "float", False),
        ("1.2.3", "float", False),
        ("", "float", False),
        (-0.4, "int", True),
        (2147483647.4, "int", True),
        (-2147483648, "int", True),
        ("5.0", "int", True),
        (2147483647.6, "int", False),
        (-2147483649, "int", False),
        ("five", "int", False),
        ("1e99", "int", False),
        (True, "bool", True),
        (0.0, "bool", True),
        (-0.0, "bool", True),
        ("YES", "bool", True),
        ("maybe", "bool", False),
        (" on ", "bool", False),
        ("NaN", "bool", False),
        ("NaN", "string", True),
        ("  ", "string", True),
        ("", "string", False),
        ("", None, False),
        ("NaN", None, True),  # the object may hold texts
    ],
)
def test_what_would_be_swallowed_or_misread_is_refused_here(declared, value, wanted, taken):
    outcome = declared(declared.Options()).refuses(item(value=value, type=wanted))
    assert outcome is None if taken else isinstance(outcome, Permanent)


@pytest.mark.parametrize("declared", [BBData, BBDataMqtt])
def test_what_the_config_has_wrong_parks_its_series(declared):
    for wrong in (item(comment="c" * 1025), Item(item().entry, Object(object=1, token=plain("f" * 31)))):
        outcome = declared(declared.Options()).refuses(wrong)
        assert isinstance(outcome, Parked)
        assert not outcome.whole
        assert isinstance(declared(declared.Options()).refuses(item(time_ms=0)), Permanent)


@pytest.mark.statement(33)
@pytest.mark.parametrize(("value", "sent"), [(-0.4, "0"), (-0.0, "0"), (2147483647.4, "2147483647"), ("5.0", "5")])
def test_an_int_has_no_point_and_no_sign_of_zero(value, sent):
    assert json.loads(platform().encode([item(value=value, type="int")]).body)["value"] == sent


def test_a_probe_asks_and_stores_nothing():
    request = platform().probe([item(), item(4712)])
    assert request.url.endswith("/input/measures/bulk?ack=true&simulate=true")
    assert [measure["objectId"] for measure in json.loads(request.body)] == [4711, 4712]


@pytest.mark.statement(40)
def test_the_longest_echo_is_read_to_its_end():
    transport = HttpTransport(10.0)
    with open_stand_in("bbdata") as stand_in:
        stand_in.admit({}, [{"object": 4711, "token": TOKEN, "type": "string"}])
        bbdata = platform(url=stand_in.url)
        batch = [item(time_ms=TIME_MS + n, value="✓" * 100, comment="✓" * 500) for n in range(100)]
        assert len(bbdata.encode(batch).body) > 128 * 1024
        assert bbdata.judge(transport.exchange(bbdata.encode(batch)), batch) == [Delivered()] * 100
    transport.close()


@pytest.mark.parametrize("url", ["https://bbdata.example.org?x=1", "https://bbdata.example.org/#y"])
def test_a_base_that_no_path_can_follow_is_an_error(url):
    assert [key for key, _ in BBData.check(BBData.Options(url=url))] == ["url"]
    assert BBData.check(BBData.Options()) == []
