"""Datacake: the documented batch, and what each answer means."""

import json
from typing import Any

import pytest

from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item
from edged.platforms.datacake import Datacake, Field, Options
from edged.reading import Entry
from edged.secret import plain
from edged.transports.http import Reply

TIME_MS = 1_709_647_650_250
DEVICE = "be525e29-4398-4fc1-a928-dead7fdfe218"


def platform(**options: Any) -> Datacake:
    keys: dict[str, Any] = {"token": plain("made-up-datacake-key"), "device": DEVICE}
    return Datacake(Options(**keys | options))


def item(value=21.37, field="ROOM_TEMP", time_ms=TIME_MS, **target) -> Item:
    return Item(Entry(1, "s.q", time_ms, value), Field(field=field, **target))


@pytest.mark.statement(56)
@pytest.mark.statement(57)
@pytest.mark.statement(60)
def test_the_documented_batch():
    request = platform().encode([item(), item(True, "DOOR_OPEN")])
    assert (request.method, request.url) == ("POST", f"https://api.datacake.co/v1/devices/{DEVICE}/record/?batch=true")
    assert request.headers == {"Authorization": "Token made-up-datacake-key", "Content-Type": "application/json"}
    assert json.loads(request.body) == [
        {"field": "ROOM_TEMP", "value": 21.37, "timestamp": "1709647650"},
        {"field": "DOOR_OPEN", "value": True, "timestamp": "1709647650"},
    ]


def test_another_device_and_another_base():
    request = platform(url="http://127.0.0.1:80/").encode([item(device="another")])
    assert request.url == "http://127.0.0.1:80/v1/devices/another/record/?batch=true"


@pytest.mark.parametrize(
    ("device", "path"),
    [
        ("my device", "my%20device"),
        ("a/b", "a%2Fb"),
        ("../x?y=1#z", "..%2Fx%3Fy%3D1%23z"),
        ("über", "%C3%BCber"),
        (DEVICE, DEVICE),
    ],
)
def test_a_device_stays_within_its_place_of_the_url(device, path):
    for request in (platform(device=device).encode([item()]), platform().encode([item(device=device)])):
        assert request.url == f"https://api.datacake.co/v1/devices/{path}/record/?batch=true"


@pytest.mark.statement(61)
@pytest.mark.parametrize(
    ("value", "wanted", "sent"),
    [
        (1.5, None, 1.5),
        (True, None, True),
        (1.5, "int", 2),
        (3, "float", 3.0),
        (1, "bool", True),
        (1.5, "string", "1.5"),
    ],
)
def test_values_by_type(value, wanted, sent):
    (entry,) = json.loads(platform().encode([item(value, type=wanted)]).body)
    assert (type(entry["value"]), entry["value"]) == (type(sent), sent)


@pytest.mark.statement(62)
@pytest.mark.statement(63)
def test_limits():
    limits = platform().limits
    assert (limits.readings, limits.per_target, limits.target_interval, limits.resolution_ms) == (100, 1, 1.1, 1000)


@pytest.mark.statement(65)
def test_what_becomes_of_a_backlog_is_the_senders_to_do():
    assert (platform().limits.backlog, platform().limits.points_a_day) == ("all", 0)
    limits = platform(backlog="mean", daily_points=500).limits
    assert (limits.backlog, limits.points_a_day) == ("mean", 500)


def test_a_place_is_a_field_of_a_device_whatever_its_type():
    options = platform().options
    assert Datacake.place(options, Field(field="A", type="int")) == Datacake.place(
        options, Field(field="A", device=DEVICE)
    )
    assert Datacake.place(options, Field(field="A")) != Datacake.place(options, Field(field="A", device="another"))
    assert Datacake.route(options, Field(field="A")) == DEVICE


UNKNOWN = b'{"detail":"Field does not exist: A","code":"FIELD_DOES_NOT_EXIST"}'


@pytest.mark.statement(66)
@pytest.mark.parametrize(
    ("reply", "one", "two"),
    [
        (Reply(200, b'{"success":true}'), Delivered, Delivered),
        (Reply(200), Delivered, Delivered),
        (Reply(201, b"[]"), Delivered, Delivered),
        (Reply(202, b"garbage \xff"), Delivered, Delivered),
        (Reply(204), Delivered, Delivered),
        (Reply(200, b"<html></html>", "text/html"), Transient, Transient),
        (Reply(400, b'{"detail":"no"}'), Permanent, Isolate),
        (Reply(400, b'[{},{},{"value":["not FLOAT"]}]'), Permanent, Isolate),
        (Reply(400, UNKNOWN), Parked, Isolate),
        (Reply(400, b'{"detail": "%s", "code": "FIELD_DOES_NOT_EXIST"}' % (b"x" * 500)), Parked, Isolate),
        (Reply(401), Parked, Parked),
        (Reply(401, b'{"detail":"Invalid token."}'), Parked, Parked),
        (Reply(403, b'{"detail":"no"}'), Parked, Parked),
        (Reply(404, b'{"detail":"Not found."}'), Parked, Parked),
        (Reply(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"), Parked, Parked),
        (Reply(400, b"no JSON", "text/plain"), Permanent, Isolate),
        (Reply(410), Parked, Parked),
        (Reply(413), Permanent, Isolate),
        (Reply(413, b"<html>413 Request Entity Too Large</html>", "text/html"), Permanent, Isolate),
        (Reply(429, b'{"detail":"Request was throttled."}', "", 1.0), Transient, Transient),
        (Reply(500), Transient, Transient),
        (Reply(502, b"<html></html>", "text/html"), Transient, Transient),
    ],
)
def test_judge(reply, one, two):
    assert [type(outcome) for outcome in platform().judge(reply, [item()])] == [one]
    assert [type(outcome) for outcome in platform().judge(reply, [item(), item(field="B")])] == [two, two]


@pytest.mark.pain("G7")
@pytest.mark.statement(62)
@pytest.mark.parametrize(("asked", "waits"), [(0.0, 1.1), (1.0, 1.1), (30.0, 30.0)])
def test_too_many_requests_wait_at_least_the_interval(asked, waits):
    (outcome,) = platform().judge(Reply(429, b"{}", "", asked), [item()])
    assert isinstance(outcome, Transient)
    assert outcome.wait_s == waits


@pytest.mark.statement(59)
def test_an_unknown_field_parks_its_series_only():
    (outcome,) = platform().judge(Reply(400, UNKNOWN), [item(field="TYPO")])
    assert isinstance(outcome, Parked)
    assert not outcome.whole
    assert "check field TYPO" in outcome.reason


UNKNOWN_FIELD = """\
{"detail":"Unknown field: FOO"}
{"FOO":["Invalid field."]}
{"detail":"no such field FOO"}
{"detail":"Field 'FOO' not found."}
{"detail":"x","code":"FIELD_DOES_NOT_EXIST"}
{"detail":"Unknown fields: FOO"}
{"detail":"Unknown field(s): FOO"}
{"detail":"Invalid fields: FOO"}
{"detail":"Fields not found: FOO"}
{"detail":"Field FOO not found on device"}
{"detail":"Measurement field FOO doesn't exist"}
{"detail":"Unrecognized field FOO"}
{"detail":"No field FOO"}
{"detail":"No field with identifier FOO"}
{"detail":"field identifier FOO unknown"}
{"detail":"unknown field_name FOO"}
{"error":"fieldName FOO does not exist"}
{"detail":"FOO is not a known field"}
{"detail":"FOO is not a valid field"}
{"detail":"FOO is unknown"}
{"detail":"Field FOO is not defined"}
{"detail":"ProductField matching query does not exist."}
{"field":["\\"FOO\\" is not a valid choice."]}
{"field":["Object with identifier=FOO does not exist."]}
[{"field":["Object with identifier=FOO does not exist."]}]
[{"field":["Field FOO does not exist in product."]}]
[{"field":["This is unknown."]}]
{"non_field_errors":["Field FOO does not exist"]}
{"errors":[{"field":"FOO","error":"not found"}]}
{"errors":[{"field":"FOO","code":"does_not_exist"}]}
{"errors":[{"name":"FOO","message":"Unknown field"}]}
Unknown field FOO
"""
REFUSED_VALUE = """\
{"detail":"field FOO: value of the unit not found"}
{"detail":"field FOO: unknown value"}
{"detail":"Field FOO: invalid value"}
{"detail":"invalid field value for FOO"}
{"detail":"Invalid field: FOO must be a number"}
{"detail":"invalid field FOO: not a number"}
{"detail":"Value for field FOO is invalid: unit does not exist"}
{"detail":"Field FOO: the timestamp does not exist"}
{"detail":"Field FOO out of range"}
{"detail":"FOO is invalid"}
{"detail":"unknown field: FOO_2"}
{"detail":"unknown field: timestamp"}
{"FOO":["A valid number is required."]}
{"FOO":["A valid boolean is required."]}
{"FOO":["Invalid."]}
{"errors":[{"field":"FOO","error":"invalid value"}]}
[{"value":["A valid number is required."]}]
[{"value":["not found among the values of FOO"]}]
"""


@pytest.mark.statement(59)
@pytest.mark.parametrize("said", UNKNOWN_FIELD.splitlines())
@pytest.mark.parametrize("status", [400, 422])
def test_an_unknown_field_waits_for_a_person_in_whatever_words(status, said):
    (outcome,) = platform().judge(Reply(status, said.encode()), [item(field="FOO")])
    assert isinstance(outcome, Parked)
    assert not outcome.whole
    assert "check field FOO" in outcome.reason


@pytest.mark.parametrize("said", REFUSED_VALUE.splitlines())
def test_a_refused_value_is_buried(said):
    (outcome,) = platform().judge(Reply(400, said.encode()), [item(field="FOO")])
    assert isinstance(outcome, Permanent)


@pytest.mark.parametrize(
    "said",
    [
        "[" * 30_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "[" + '"Field FOO is ",' * 4000 + "1]",
        '{"field":"FOO","error":"' + "field -_" * 8000 + '"}',
        "field " + "-" * 65_000 + " FOO",
    ],
    ids=range(5),
)
def test_an_answer_made_to_take_for_ever_does_not(said):
    (outcome,) = platform().judge(Reply(400, said.encode()), [item(field="FOO")])
    assert isinstance(outcome, Permanent)


@pytest.mark.parametrize("status", [302, 405])
def test_what_another_status_says_of_a_field_concerns_the_destination(status):
    (outcome,) = platform().judge(Reply(status, b'{"detail":"Unknown field: FOO"}'), [item(field="FOO")])
    assert isinstance(outcome, Parked)
    assert outcome.whole


def fates(reply: Reply, *items: Item) -> str:
    """A letter an outcome: a Again, i Isolate, X Permanent, l Delayed, t Transient, P the destination, p a series."""
    letters: dict[type[Outcome], str] = {Again: "a", Isolate: "i", Permanent: "X", Delayed: "l", Transient: "t"}
    outcomes = platform().judge(reply, items)
    return "".join(("P" if o.whole else "p") if isinstance(o, Parked) else letters[type(o)] for o in outcomes)


THREE = [item(field="ROOM_TEMP"), item(field="ROOM_TEMP_2"), item(field="DOOR")]


@pytest.mark.pain("B7")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('{"detail":"Field does not exist: DOOR","code":"FIELD_DOES_NOT_EXIST"}', "aai"),
        ('{"detail":"Field does not exist: DOOR, ROOM_TEMP","code":"FIELD_DOES_NOT_EXIST"}', "iai"),
        ('{"ROOM_TEMP_2":["A valid number is required."]}', "aia"),
        ('{"detail":"ROOM_TEMP: not a FLOAT"}', "iaa"),
        ('{"detail":"one of ROOM_TEMP, ROOM_TEMP_2, DOOR"}', "iii"),
        ('{"detail":"door is odd"}', "iii"),
        ('{"detail":"no"}', "iii"),
        ('[{},{},{"value":["not BOOL"]}]', "aai"),
        ('[{"value":["not FLOAT"]},null,{"value":["not BOOL"]}]', "iai"),
        ("[{},{},{}]", "iii"),
        ('[{},{"value":["not FLOAT"]}]', "iii"),
        ('["a","b","c"]', "iii"),
        ("[1,2,3]", "iii"),
        ("garbage DOOR", "aai"),
        ("", "iii"),
    ],
)
def test_whom_the_answer_names_is_sent_alone_and_its_neighbours_without_it(said, expected):
    assert fates(Reply(400, said.encode()), *THREE) == expected


@pytest.mark.statement(60)
def test_a_reading_ahead_of_the_servers_clock_waits():
    reply = Reply(400, b'{"detail":"timestamp is in the future"}', date_ms=1_795_565_340_000)
    ahead = item(field="DOOR", time_ms=1_795_565_344_000)
    assert fates(reply, THREE[0], ahead) == "al"
    assert fates(reply, ahead) == "l"


@pytest.mark.pain("G8")
@pytest.mark.parametrize("status", [400, 403, 422])
def test_throttling_by_another_status_waits_at_least_the_interval(status):
    (outcome,) = platform().judge(Reply(status, b'{"detail":"Request was throttled."}'), [item()])
    assert isinstance(outcome, Transient)
    assert outcome.wait_s == 1.1


@pytest.mark.parametrize(
    ("reply", "whole"),
    [
        (Reply(401), True),
        (Reply(401, b'{"detail":"Invalid token."}'), True),
        (Reply(403, b'{"detail":"no"}'), False),
        (Reply(404, b'{"detail":"no"}'), False),
        (Reply(405, b'{"detail":"no"}'), True),
        (Reply(400, b'{"detail":"Device not found"}'), False),
        (Reply(400, b'{"device":["does not exist"]}'), False),
        (Reply(400, b"Client sent an HTTP request to an HTTPS server.\n"), True),
    ],
)
def test_a_refused_device_parks_its_own_series_only(reply, whole):
    outcomes = platform().judge(reply, [item(device="typo"), item(field="B", device="typo")])
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert isinstance(outcome, Parked)
        assert outcome.whole is whole
        assert ("device typo" in outcome.reason) is not whole


def test_usual_name_and_cautions():
    assert Datacake.usual("greenhouse-2.temperature") == "GREENHOUSE_2_TEMPERATURE"
    assert Datacake.caution(platform(daily_points=7500).options) == []
    beyond = platform(min_write_interval=0.5, max_entries_per_field=2, daily_points=7501).options
    assert [key for key, _ in Datacake.caution(beyond)] == [
        "min_write_interval",
        "max_entries_per_field",
        "daily_points",
    ]
