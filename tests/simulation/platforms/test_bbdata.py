"""Statements 22 to 46."""

import http.client
import json
import tomllib
from typing import Any

import pytest

from edged.simulation.platforms import Fault
from edged.simulation.platforms.bbdata import BBData, broken

TIME_MS = 1_709_647_650_250  # also the stand-in's clock
STAMP = "2024-03-05T14:07:30.250"
FLOAT, INT, BOOL, STRING = 4711, 4712, 4713, 4714


def measure(number: int = FLOAT, value: Any = "21.37", stamp: Any = STAMP, **others: Any) -> dict[str, Any]:
    item = {"objectId": number, "token": BBData.made_up[number].token, "timestamp": stamp, "value": value, **others}
    return {key: value for key, value in item.items() if value is not ...}


@pytest.fixture
def bbdata(client):
    return lambda path="/objects/values", **modes: client("bbdata", path, {}, **modes)


def refused(answer: Any, status: int, exception: str, text: str = "") -> Any:
    assert answer.status == status
    assert list(answer.json) == ["exception", "details"]
    assert answer.json["exception"] == exception
    assert text in str(answer.json["details"])
    return answer.json["details"]


@pytest.mark.statement(22)
@pytest.mark.parametrize(
    ("path", "document", "fits"),
    [
        ("/input/measures", measure(), True),
        ("/input/measures/bulk", [measure()], True),
        ("/objects/values", [measure()], True),
        ("/input/measures", [measure()], False),
        ("/input/measures/bulk", measure(), False),
        ("/objects/values", measure(), False),
        ("/objects/values", [[measure()]], False),
        ("/input/measures", 7, False),
    ],
)
def test_objects_and_arrays(bbdata, path, document, fits):
    client = bbdata(path)
    answer = client.send(document)
    if fits:
        assert (answer.status, client.violations) == (200, [])
    else:
        refused(answer, 400, "HttpMessageNotReadableException")
        assert client.violations == [22]


@pytest.mark.statement(22)
def test_only_post(bbdata):
    client = bbdata()
    refused(client.send(method="PUT"), 405, "HttpRequestMethodNotSupportedException")
    assert client.violations == [22]


@pytest.mark.statement(23)
def test_an_empty_array(bbdata):
    client = bbdata()
    details = refused(client.send([]), 400, "WrongParamsException")
    assert list(details) == ["_values"]
    assert client.violations == [23]


@pytest.mark.statement(24)
def test_the_content_type(bbdata):
    client = bbdata()
    refused(client.send([], headers={"Content-Type": "text/json"}), 415, "HttpMediaTypeNotSupportedException")
    assert client.violations == [24]


def test_an_accept_header_that_excludes_json(bbdata):
    client = bbdata()
    refused(client.send([measure()], headers={"Accept": "text/html"}), 406, "HttpMediaTypeNotAcceptableException")


@pytest.mark.statement(25)
@pytest.mark.parametrize("body", [b"[", b'[{"objectId": 1, "value": NaN}]', b"", b"[] []"])
def test_malformed_json(bbdata, body):
    client = bbdata()
    details = refused(client.send(raw=body), 400, "HttpMessageNotReadableException")
    assert isinstance(details, str)
    assert client.violations == [1]


@pytest.mark.statement(26)
def test_all_offenders_are_listed(bbdata):
    client = bbdata()
    items = [
        measure(value=None),
        measure(),
        measure(value="", token="short", comment="x" * 1025),
        {"timestamp": STAMP},
        {**measure(), "objectId": -1},
    ]
    details = refused(client.send(items), 400, "WrongParamsException")
    assert set(details) == {
        "_values[0].value",
        "_values[2].value",
        "_values[2].token",
        "_values[2].comment",
        "_values[3].objectId",
        "_values[3].token",
        "_values[3].value",
        "_values[4].objectId",
    }
    assert client.violations == [26] * 4  # what is missing; the rest can be a config's doing


@pytest.mark.statement(26)
def test_the_single_path_names_fields_alone(bbdata):
    details = refused(bbdata("/input/measures").send(measure(value="")), 400, "WrongParamsException")
    assert list(details) == ["value"]


@pytest.mark.statement(26)
@pytest.mark.parametrize("comment", [None, ..., "", "x" * 1024, "🌱" * 512])
def test_good_comments(bbdata, comment):
    client = bbdata()
    assert client.send([measure(comment=comment)]).json[0]["comment"] == (None if comment is ... else comment)


@pytest.mark.statement(26)
def test_a_comment_is_measured_in_utf16(bbdata):
    details = refused(bbdata().send([measure(comment="🌱" * 513)]), 400, "WrongParamsException")
    assert list(details) == ["_values[0].comment"]


@pytest.mark.statement(27)
@pytest.mark.parametrize("number", ["4711", 4711.0, 1.9, True])
def test_an_object_id_is_an_integer(bbdata, number):
    client = bbdata()
    assert client.send([{**measure(), "objectId": number}]).status == 400
    assert client.violations == [27]


@pytest.mark.statement(28)
@pytest.mark.parametrize(
    ("stamp", "time_ms"),
    [
        (STAMP, TIME_MS),
        ("2024-03-05T14:07:30.250Z", TIME_MS),
        ("2024-03-05T15:07:30,25+01:00", TIME_MS),
        ("2024-03-05T14:07", TIME_MS - 30_250),
        ("2024-03-05", 1_709_596_800_000),
        ("2016-01-01T00:00:00.000", 1_451_606_400_000),
    ],
)
def test_timestamps(bbdata, stamp, time_ms):
    client = bbdata()
    assert client.send([measure(stamp=stamp)]).status == 200
    assert client.accepted == [("4711", time_ms, 21.37)]
    assert client.violations == []


@pytest.mark.statement(28)
@pytest.mark.parametrize(
    "stamp",
    [
        "2024-03-05 14:07:30",
        "1709647650",
        "1709647650250",
        1709647650,
        "",
        "null",
        "2024-03-05T14:07:60",
        "2024-03-05T24:00",
    ],
)
def test_unreadable_timestamps(bbdata, stamp):
    client = bbdata()
    details = refused(client.send([measure(stamp=stamp)]), 400, "HttpMessageNotReadableException")
    assert isinstance(details, str)
    assert client.violations == [28]


@pytest.mark.statement(28)
def test_a_time_before_2016_is_unreadable(bbdata):
    client = bbdata()
    answer = client.send([measure(stamp="2015-12-31T23:59:59.999")])
    refused(answer, 400, "HttpMessageNotReadableException")
    assert client.violations == []


@pytest.mark.statement(28)
def test_more_than_milliseconds_are_cut_and_flagged(bbdata):
    client = bbdata()
    assert client.send([measure(stamp="2024-03-05T14:07:30.1239")]).json[0]["timestamp"].endswith(".123Z")
    assert client.violations == [28]


@pytest.mark.statement(28)
def test_the_legacy_pattern_has_no_zone(bbdata):
    client = bbdata("/input/measures", generation="legacy")
    assert client.send(measure(stamp="2024-03-05T14:07:29")).status == 200
    assert client.send(measure(stamp="2024-03-05T14:07:30Z")).status == 400
    assert client.violations == [28]


@pytest.mark.statement(29)
@pytest.mark.parametrize(("generation", "tolerance_s"), [("v2", 2), ("legacy", 3600)])
def test_the_future(bbdata, clock, generation, tolerance_s):
    client = bbdata("/input/measures", generation=generation)
    clock.advance(-tolerance_s)
    assert client.send(measure()).status == 200
    clock.advance(-0.001)
    details = refused(client.send(measure()), 400, "WrongParamsException", "date should be in the past")
    assert details.startswith("objectId 4711: ")
    assert "input='2024-03-05T14:07:30.250Z'" in details
    assert "now='2024-03-05T" in details
    clock.advance(0.001)
    client.send(measure())  # put off, and not refused for good
    assert client.violations == []


@pytest.mark.statement(30)
@pytest.mark.parametrize("change", [{"token": "f" * 32}, {"objectId": 99}])
def test_an_unknown_pair(bbdata, change):
    client = bbdata()
    details = refused(client.send([{**measure(), **change}]), 404, "ItemNotFoundException", "does not exist")
    assert details.startswith("objectId ")
    assert client.violations == []


@pytest.mark.statement(30)
def test_a_bad_token_of_old(bbdata):
    client = bbdata("/input/measures", generation="legacy", legacy_bad_token_status=400)
    for _ in range(2):
        refused(client.send(measure(token="f" * 32)), 400, "BadTokenException")
    assert client.violations == []


@pytest.mark.statement(31)
def test_a_disabled_object(bbdata):
    client = bbdata()
    client.stand_in.disabled.add(FLOAT)
    assert refused(client.send([measure()]), 403, "ForbiddenException") == "objectId 4711 is disabled."
    client.stand_in.disabled.clear()
    assert client.send([measure()]).status == 200
    assert client.violations == []


@pytest.mark.statement(32)
@pytest.mark.parametrize(
    ("value", "echo", "stored"),
    [
        ("10", "10.0", 10.0),
        (10, "10.0", 10.0),
        ("123456789", "1.23456792E8", 123456792.0),
    ],
)
def test_float_units(bbdata, value, echo, stored):
    client = bbdata()
    assert client.send([measure(value=value)]).json[0]["value"] == echo
    assert client.accepted == [("4711", TIME_MS, stored)]
    assert client.violations == []


@pytest.mark.statement(32)
@pytest.mark.parametrize(
    ("value", "echo"),
    [("NaN", "NaN"), ("-Infinity", "-Infinity"), (1e40, "Infinity"), ("-1e40", "-Infinity"), (10**60, "Infinity")],
)
def test_no_measure_of_a_float_unit(bbdata, value, echo):
    client = bbdata()
    assert client.send([measure(value=value)]).json[0]["value"] == echo
    assert client.violations == [32]


@pytest.mark.statement(33)
@pytest.mark.parametrize(("value", "echo"), [("+5", "5"), (7, "7"), ("-2147483648", "-2147483648")])
def test_int_units(bbdata, value, echo):
    assert bbdata().send([measure(INT, value)]).json[0]["value"] == echo


@pytest.mark.statement(34)
@pytest.mark.parametrize(
    ("value", "echo"),
    [("TRUE", "true"), ("on", "true"), ("Yes", "true"), (1, "true"), (False, "false"), ("0", "false")],
)
def test_bool_units(bbdata, value, echo):
    assert bbdata().send([measure(BOOL, value)]).json[0]["value"] == echo


@pytest.mark.statement(35)
@pytest.mark.parametrize(
    ("value", "echo"),
    [("  ", "  "), ("Grüße", "Grüße"), ({"a": [1, None]}, '{"a":[1,null]}'), (True, "true"), (2.5, "2.5")],
)
def test_string_units(bbdata, value, echo):
    client = bbdata()
    assert client.send([measure(STRING, value)]).json[0]["value"] == echo
    assert client.accepted == [("4714", TIME_MS, echo)]


@pytest.mark.parametrize(
    ("number", "value"),
    [
        pytest.param(FLOAT, "true", marks=pytest.mark.statement(32)),
        pytest.param(FLOAT, "1.2.3", marks=pytest.mark.statement(32)),
        *(
            pytest.param(INT, value, marks=pytest.mark.statement(33))
            for value in ("5.0", 1.0, 1e3, " 5", 2147483648, "9" * 5000)
        ),
        *(pytest.param(BOOL, value, marks=pytest.mark.statement(34)) for value in ("2", 1.0, "1.", "maybe")),
    ],
)
def test_a_value_that_does_not_match_the_unit(bbdata, number, value):
    client = bbdata()
    details = refused(client.send([measure(number, value)]), 400, "WrongParamsException", "does not match the unit")
    assert details.startswith(f"objectId {number}: ")
    assert client.violations == []
    assert client.accepted == []


@pytest.mark.statement(32)
@pytest.mark.statement(33)
@pytest.mark.statement(34)
@pytest.mark.parametrize(("number", "value", "statement"), [(FLOAT, "warm", 32), (INT, "5.0", 33), (BOOL, "2", 34)])
def test_a_mismatch_of_old_is_lost_unseen(bbdata, number, value, statement):
    client = bbdata("/input/measures", generation="legacy")
    assert client.send(measure(number, value)).status == 200
    assert client.accepted == []
    assert [reading.target for reading in client.stand_in.dropped] == [str(number)]
    assert client.violations == [statement]


@pytest.mark.statement(36)
def test_the_same_moment_twice_in_a_body(bbdata):
    client = bbdata()
    twice = [measure(), measure(value="1", stamp="2024-03-05T15:07:30.250+01:00")]
    refused(client.send(twice), 400, "WrongParamsException", "two or more values with the same timestamp")
    assert client.send([measure(), measure(INT, "1")]).status == 200


@pytest.mark.statement(37)
def test_what_is_stored_already(bbdata):
    client = bbdata()
    client.send([measure()])
    details = refused(client.send([measure(INT, "1"), measure()]), 400, "WrongParamsException")
    assert details.startswith("objectId 4711: ")
    assert "same timestamp (2024-03-05T14:07:30.250Z) already exists for this object" in details
    assert client.accepted == [("4711", TIME_MS, 21.37)]
    assert client.violations == []


@pytest.mark.statement(37)
def test_what_is_stored_already_by_mode(bbdata):
    client = bbdata("/input/measures", generation="legacy", legacy_duplicates="take")
    for _ in range(2):
        assert client.send(measure()).status == 200
    assert client.accepted == [("4711", TIME_MS, pytest.approx(21.37))]
    assert client.stand_in.resends == 1


@pytest.mark.statement(39)
@pytest.mark.parametrize(("query", "stored"), [("", 1), ("?simulate=true", 0)])
def test_a_bulk_that_is_not_atomic_by_mode(bbdata, query, stored):
    client = bbdata(f"/input/measures/bulk{query}", generation="legacy", legacy_atomic=False)
    assert client.send([measure(), measure(token="f" * 32), measure(INT, "1")]).status == 401
    assert len(client.accepted) == stored


@pytest.mark.statement(38)
def test_the_order_of_the_checks(bbdata):
    client = bbdata()
    client.send([measure(INT, "1")])
    client.stand_in.disabled.add(INT)
    later = "2024-03-05T14:08:30"
    wrong = {"token": "f" * 32}
    for items, text in [
        ([measure(INT, "x", later, **wrong)], "in the past"),
        ([measure(INT, "x", **wrong)], "does not exist"),
        ([measure(INT, "x")], "is disabled"),
        ([measure(), measure(value="x")], "does not match the unit"),
        ([measure(value="x"), measure(INT, "x", later)], "objectId 4711"),  # the first item's failure answers
    ]:
        assert text in client.send(items).json["details"]
    client.stand_in.disabled.clear()
    twice = [measure(STRING), measure(STRING), measure(INT, "1")]
    assert "two or more" in client.send(twice).json["details"]
    assert "already exists" in client.send([measure(STRING), measure(INT, "1")]).json["details"]


@pytest.mark.statement(39)
def test_all_or_nothing(bbdata):
    client = bbdata()
    assert client.send([measure(), measure(INT, "no number")]).status == 400
    assert client.accepted == []


@pytest.mark.statement(39)
def test_a_crash_midway(bbdata):
    client = bbdata(crash_midway=1)
    items = [measure(), measure(INT, "1")]
    refused(client.send(items), 500, "Internal Server Error")
    assert len(client.accepted) == 1
    assert "already exists" in client.send(items).json["details"]
    assert client.send(items[1:]).status == 200
    assert client.violations == []


@pytest.mark.statement(40)
def test_the_answer_of_v2(bbdata):
    client = bbdata("/input/measures")
    answer = client.send(measure(comment="edged", stamp="2024-03-05T14:07:09"))
    assert answer.json == {
        "objectId": 4711,
        "timestamp": "2024-03-05T14:07:09.000Z",
        "value": "21.37",
        "comment": "edged",
        "unitName": "degree Celsius",
        "unitSymbol": "°C",
        "type": "float",
        "owner": 1,
    }
    assert b"\n" in answer.body


@pytest.mark.statement(40)
def test_the_answer_of_old(bbdata):
    client = bbdata("/input/measures/bulk", generation="legacy")
    items = [measure(value=10, stamp="2024-03-05T14:07:09"), measure(INT, "1")]
    first, second = client.send(items).json
    assert first == {**items[0], "timestamp": "2024-03-05T14:07:09.000", "value": "10", "comment": None}
    assert second["objectId"] == INT


@pytest.mark.statement(41)
@pytest.mark.parametrize("stamp", [None, ...])
def test_a_missing_timestamp_is_now(bbdata, stamp):
    client = bbdata()
    assert client.send([measure(stamp=stamp), measure(INT, "1", stamp=stamp)]).status == 200
    assert [time_ms for _, time_ms, _ in client.accepted] == [TIME_MS] * 2
    assert client.violations == [41, 41]


@pytest.mark.statement(42)
@pytest.mark.parametrize("text", ["true", "ON", "yes", "1"])
def test_simulate_checks_and_stores_nothing(bbdata, text):
    client = bbdata()
    assert client.send([measure()], path=f"/objects/values?simulate={text}").json[0]["value"] == "21.37"
    assert client.send([measure(value="x")], path=f"/objects/values?simulate={text}").status == 400
    assert client.accepted == []
    assert client.violations == []


@pytest.mark.statement(42)
def test_a_bare_simulate_stores_on_v2(bbdata):
    client = bbdata()
    assert client.send([measure()], path="/objects/values?simulate").status == 200
    assert len(client.accepted) == 1
    assert client.violations == [42]


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        pytest.param("simulate", 42, marks=pytest.mark.statement(42)),
        pytest.param("ack", 43, marks=pytest.mark.statement(43)),
    ],
)
def test_flags_are_booleans_and_come_once(bbdata, name, statement):
    client = bbdata()
    answer = client.send([measure()], path=f"/objects/values?{name}=maybe")
    refused(answer, 400, "MethodArgumentTypeMismatchException", name)
    assert client.violations == [statement]
    assert client.send([measure()], path=f"/objects/values?{name}=false&{name}=true").status == 200
    assert client.violations == [statement] * 2
    assert len(client.accepted) == 1, "the first counts"


@pytest.mark.statement(43)
def test_a_bare_ack(bbdata):
    for generation, status in (("v2", 200), ("legacy", 500)):
        client = bbdata("/input/measures?ack", generation=generation, kafka_down=True)
        assert client.send(measure()).status == status
        assert client.violations == [43]


@pytest.mark.statement(43)
def test_ack_waits_for_kafka_on_legacy_only(bbdata):
    path = "/input/measures?ack=true"
    assert bbdata(path, kafka_down=True).send(measure()).status == 200
    legacy = bbdata(path, kafka_down=True, generation="legacy")
    assert legacy.send(measure()).status == 500
    legacy.stand_in.modes.kafka_down = False
    assert legacy.send(measure()).status == 200
    assert legacy.violations == []


@pytest.mark.statement(44)
@pytest.mark.parametrize(("number", "expected"), [(FLOAT, [6, 44]), (INT, [6])])
def test_no_overlap_for_one_object(bbdata, number, expected):
    client = bbdata()
    client.stand_in.fail(Fault(delay_s=60))
    other = http.client.HTTPConnection("127.0.0.1", client.stand_in.port)
    other.request("POST", client.path, json.dumps([measure()]).encode())
    while not client.stand_in.requests:
        pass
    client.send([measure(number, "1")])
    other.close()
    assert client.violations == expected


@pytest.mark.statement(45)
def test_broken_servers(bbdata):
    client = bbdata()
    client.stand_in.fail(broken(), broken(502))
    refused(client.send([measure()]), 500, "Internal Server Error")
    answer = client.send([measure()])
    assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html")
    assert client.send([measure()]).status == 200


@pytest.mark.statement(46)
def test_an_unknown_path(bbdata):
    refused(bbdata("/input/mesures").send(measure()), 404, "Not Found")
    client = bbdata("/objects/values", generation="legacy")
    refused(client.send([measure()]), 404, "Not Found")
    assert client.violations == []


@pytest.mark.statement(2)
def test_no_token_in_a_header(bbdata):
    client = bbdata()
    client.send([measure()], headers={"bbtoken": measure()["token"]})
    assert client.violations == [2]


def test_admitted_objects(bbdata):
    client = bbdata()
    token = "a" * 32
    targets = [
        {"object": 1, "token": token, "type": "int"},
        {"object": 2, "token": token, "type": None, "comment": "x"},
    ]
    client.stand_in.admit({"api": "input"}, targets)
    item = {"token": token, "timestamp": STAMP, "value": "5"}
    assert client.send([{"objectId": 1, **item}, {"objectId": 2, **item}]).status == 200
    assert client.accepted == [("1", TIME_MS, 5), ("2", TIME_MS, "5")]
    assert client.send([measure()]).status == 404


def test_the_example_is_a_table_for_it():
    with BBData() as stand_in:
        table = tomllib.loads(stand_in.example())["destinations"]["bbdata"]
        assert table["url"] == stand_in.url
        series = table["series"]["greenhouse.temperature"]
        assert stand_in.objects[series["object"]].token == series["token"]


@pytest.mark.parametrize(("number", "known"), BBData.made_up.items())
def test_made_up_tokens_have_the_right_length(number, known):
    assert len(known.token) == 32


@pytest.mark.statement(4)
def test_only_a_fault_of_the_reading_is_final(bbdata):
    client = bbdata()
    for _ in range(2):
        assert client.send([measure(token="too short")]).status == 400
    assert client.violations == []
    for _ in range(2):
        assert client.send([measure(value="no number")]).status == 400
    assert client.violations == [4]
