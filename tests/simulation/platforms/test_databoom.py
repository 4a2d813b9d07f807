"""Statements 9 to 21, with the help centre's forms."""

import json
import tomllib
from typing import Any

import pytest

from edged.reading import Reading
from edged.simulation.platforms.databoom import Databoom

TIME_MS = 1_709_647_650_250
DATE = "2024-03-05T14:07:30.250+0000"
ARRAY = {
    "device": "0abc12def3",
    "date": DATE,
    "signals": [{"name": "room_temp", "value": 21.37}, {"name": "door_open", "value": 1}],
}
HISTORY = {
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


def history(date: Any = DATE, value: Any = 1.5) -> dict[str, Any]:
    return {"device": "0abc12def3", "signals": {"a": {"history": [{"date": date, "value": value}]}}}


@pytest.fixture
def databoom(client):
    authorised = {"Authorization": "Bearer made-up-databoom-token"}
    return lambda **modes: client("databoom", "/v1/signals/push", authorised, **modes)


@pytest.mark.statement(20)
def test_the_documented_forms_are_stored(databoom):
    client = databoom()
    for document in (ARRAY, HISTORY):
        answer = client.send(document)
        assert (answer.status, answer.json) == (200, {"message": "ALL_INFO_PROCESSED"})
    expected = [
        Reading("room_temp", TIME_MS, 21.37),
        Reading("door_open", TIME_MS, 1),
        Reading("room_temp", TIME_MS + 60_000, 21.41),
    ]
    assert client.accepted == expected
    assert client.stand_in.resends == 1
    assert client.violations == []


@pytest.mark.statement(20)
@pytest.mark.parametrize(("success", "status"), [("204", 204), ("empty", 200), ("other", 200)])
def test_undocumented_successes(databoom, success, status):
    client = databoom(success=success)
    answer = client.send(ARRAY)
    assert answer.status == status
    assert b"ALL_INFO_PROCESSED" not in answer.body
    assert len(client.accepted) == 2


@pytest.mark.statement(20)
def test_a_part_alone_can_be_processed(databoom):
    client = databoom(success="partial")
    assert client.send(ARRAY).json == {"message": "SOME_INFO_PROCESSED"}
    assert len(client.accepted) == 1
    assert client.send(history(value=1)).json == {"message": "ALL_INFO_PROCESSED"}
    assert len(client.accepted) == 2


@pytest.mark.statement(12)
@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_unknown_device_by_mode(databoom, status):
    client = databoom(unknown_device_status=status)
    assert client.send({**ARRAY, "device": "another"}).status == status
    assert client.violations == []


@pytest.mark.statement(13)
def test_errors_by_mode(databoom):
    client = databoom(invalid_status=422, error_body="empty")
    for answer in (client.send({**ARRAY, "signals": []}), client.send(ARRAY, headers={"Authorization": "Bearer x"})):
        assert answer.body == b""
        assert answer.status in (401, 422)
    assert client.violations == [13]


@pytest.mark.statement(3)
def test_another_value_at_the_same_moment(databoom):
    client = databoom()
    client.send(history(value=1))
    client.send(history(value=2))
    assert client.violations == [3]
    assert client.accepted == [("a", TIME_MS, 2)]


@pytest.mark.statement(9)
def test_only_post_on_the_one_path(databoom):
    client = databoom()
    assert client.send(ARRAY, path="/v1/signals/push/").status == 200
    assert client.send(ARRAY, path="/v2/signals/push").status == 404
    assert client.violations == []
    answer = client.send(ARRAY, method="PUT")
    assert answer.status == 405
    assert list(answer.json) == ["message"]
    assert client.violations == [9]


@pytest.mark.statement(10)
@pytest.mark.parametrize(
    ("header", "expected"),
    [("Bearer wrong", []), ("bearer made-up-databoom-token", [10]), ("Token x", [10]), (None, [10]), ("Bearer", [10])],
)
def test_authorization(databoom, header, expected):
    client = databoom()
    assert client.send(ARRAY, headers={"Authorization": header}).status == 401
    assert client.violations == expected


@pytest.mark.statement(10)
def test_a_token_without_the_right_to_publish(databoom):
    client = databoom(publish=False)
    assert client.send(ARRAY).status == 403
    assert client.violations == []


@pytest.mark.statement(11)
@pytest.mark.parametrize("document", [[ARRAY], "text", None, {**ARRAY, "extra": 1}])
def test_the_top_level(databoom, document):
    client = databoom()
    assert client.send(document).status == 400
    assert client.violations == [11]


@pytest.mark.statement(12)
@pytest.mark.parametrize(
    ("device", "status", "expected"), [("nonesuch", 404, []), ("", 400, [12]), (7, 400, [12]), (None, 400, [12])]
)
def test_the_device(databoom, device, status, expected):
    client = databoom()
    assert client.send({**ARRAY, "device": device}).status == status
    assert client.violations == expected


@pytest.mark.statement(13)
@pytest.mark.parametrize("signals", [[], {}, None, "room_temp", 3])
def test_signals_is_a_filled_array_or_object(databoom, signals):
    client = databoom()
    assert client.send({**ARRAY, "signals": signals}).status == 400
    assert client.violations == [13]


@pytest.mark.statement(14)
@pytest.mark.parametrize(
    "signals",
    [
        [{"value": 1}],
        [{"name": "a"}],
        [{"name": "", "value": 1}],
        [{"name": 7, "value": 1}],
        [{"name": "a", "value": 1, "meta": 1}],
        [{"name": "a", "value": 1, "date": DATE}],
        [{"name": "a", "value": 1}, {"name": "a", "value": 2}],
        ["a"],
    ],
)
def test_array_entries(databoom, signals):
    client = databoom()
    assert client.send({**ARRAY, "signals": signals}).status == 400
    assert client.violations == [14]
    assert client.accepted == []


@pytest.mark.statement(15)
def test_the_array_form_has_a_date(databoom, clock):
    client = databoom()
    document = {key: value for key, value in ARRAY.items() if key != "date"}
    clock.advance(5)
    assert client.send(document).status == 200
    assert client.violations == [15]
    assert client.accepted[0] == ("room_temp", TIME_MS + 5000, 21.37)


@pytest.mark.statement(16)
@pytest.mark.parametrize(
    "signals",
    [
        {"history": [{"date": DATE, "value": 1}]},  # flattened
        {"": {"history": [{"date": DATE, "value": 1}]}},
        {"a": {"history": []}},
        {"a": {"history": [{"date": DATE, "value": 1}], "unit": "°C"}},
        {"a": {"history": [{"value": 1}]}},
        {"a": {"history": [{"date": DATE, "value": 1, "quality": 1}]}},
        {"a": 21.37},
    ],
)
def test_the_history_form(databoom, signals):
    client = databoom()
    assert client.send({"device": "0abc12def3", "signals": signals}).status == 400
    assert client.violations == [16]


@pytest.mark.statement(16)
def test_a_description_may_stand_beside_the_history(databoom):
    client = databoom()
    signals = {"a": {"history": [{"date": DATE, "value": 1}], "description": "attic"}}
    assert client.send({"device": "0abc12def3", "signals": signals}).status == 200
    assert client.violations == []


@pytest.mark.statement(17)
@pytest.mark.parametrize("date", [DATE, "2024-03-05T14:07:30.250Z", "2024-03-05T14:07:30.25+00:00"])
def test_dates_with_a_zone(databoom, date):
    client = databoom()
    assert client.send(history(date)).status == 200
    assert client.accepted == [("a", TIME_MS, 1.5)]


BAD_DATES = ["2024-03-05T14:07:30.250", "2024-03-05 14:07:30Z", "2024-13-05T14:07:30Z", "yesterday", 1709647650, None]


@pytest.mark.statement(17)
@pytest.mark.parametrize("date", BAD_DATES)
def test_other_dates_are_refused(databoom, date):
    client = databoom()
    assert client.send(history(date)).status == 400
    assert client.violations == [17]


@pytest.mark.statement(17)
@pytest.mark.parametrize(
    ("date", "time_ms"),
    [
        ("2024-03-05T14:07:30.250", TIME_MS),
        ("2024-03-05T15:07:30.250+01:00", TIME_MS),
        ("03/05/2024", 1_709_596_800_000),
        ("Tue, 05 Mar 2024 14:07:30 GMT", TIME_MS - 250),
    ],
)
def test_the_lenient_mode_takes_what_javascript_takes(databoom, date, time_ms):
    client = databoom(dates="lenient")
    assert client.send(history(date)).status == 200
    assert client.accepted == [("a", time_ms, 1.5)]
    assert client.violations == []


@pytest.mark.statement(18)
@pytest.mark.parametrize("value", [-3, 0.5, "text", "", True])
def test_values(databoom, value):
    client = databoom()
    assert client.send(history(value=value)).status == 200
    assert client.accepted == [("a", TIME_MS, value)]


@pytest.mark.statement(18)
@pytest.mark.parametrize("value", ["null", "[1]", "{}", "1e999"])
def test_other_values_are_refused(databoom, value):
    client = databoom()
    body = json.dumps(history(value="VALUE")).replace('"VALUE"', value)
    assert client.send(raw=body.encode()).status == 400
    assert client.violations == [18]


@pytest.mark.statement(19)
def test_at_most_20_signals(databoom):
    client = databoom()
    signals = [{"name": f"s{n}", "value": n} for n in range(21)]
    assert client.send({**ARRAY, "signals": signals[:20]}).status == 200
    assert client.violations == []
    assert client.send({**ARRAY, "signals": signals}).status == 413
    assert client.violations == [19]


@pytest.mark.statement(19)
def test_at_most_200_points(databoom):
    client = databoom()
    points = [{"date": f"2024-03-05T14:00:00.{n:03}Z", "value": n} for n in range(201)]
    document: Any = {"device": "0abc12def3", "signals": {"a": {"history": points[:200]}}}
    assert client.send(document).status == 200
    assert client.violations == []
    document["signals"]["a"]["history"] = points
    assert client.send(document).status == 413
    assert client.violations == [19]


@pytest.mark.statement(19)
def test_at_most_256_kib(databoom):
    client = databoom()
    long = "x" * 131_072
    assert client.send(history(value=long * 2)).status == 413  # one reading cannot be made smaller
    assert client.violations == []
    signals = [{"name": name, "value": long} for name in "ab"]
    assert client.send({**ARRAY, "signals": signals}).status == 413
    assert client.violations == [19]


@pytest.mark.statement(21)
def test_meta_counts_once_and_new_names_are_reported(databoom):
    client = databoom()
    options = {"token": "made-up-databoom-token", "device": "0abc12def3"}
    client.stand_in.admit(options, [{"name": "room_temp"}])
    for unit in ("°C", "K"):
        signals = [{"name": "room_temp", "value": 1, "meta": {"unit": unit}}, {"name": "rom_temp", "value": 1}]
        client.send({**ARRAY, "signals": signals})
    assert client.stand_in.meta == {"room_temp": {"unit": "°C"}}
    assert client.stand_in.created == ["rom_temp"]


def test_the_example_is_a_table_for_it():
    with Databoom() as stand_in:
        table = tomllib.loads(stand_in.example())["destinations"]["databoom"]
        assert table["url"] == stand_in.url == f"http://127.0.0.1:{stand_in.port}/v1/signals/push"
        assert table["token"] in stand_in.secrets
        assert table["device"] in stand_in.known_devices
