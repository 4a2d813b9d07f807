"""Statements 56 to 66."""

import tomllib
from typing import Any

import pytest

from edged.simulation.platforms import Fault
from edged.simulation.platforms.datacake import Datacake

DEVICE = "be525e29-4398-4fc1-a928-dead7fdfe218"
STAMP = "1709647650"
TIME_MS = 1_709_647_650_000
ROUTE = f"/v1/devices/{DEVICE}/record/"


def entry(field: str = "TEMPERATURE", value: Any = 21.37, stamp: Any = STAMP) -> dict[str, Any]:
    item = {"field": field, "value": value, "timestamp": stamp}
    return {key: value for key, value in item.items() if value is not ...}


@pytest.fixture
def datacake(client):
    authorised = {"Authorization": "Token made-up-datacake-key"}
    return lambda **modes: client("datacake", f"{ROUTE}?batch=true", authorised, **modes)


def test_the_documented_batch(datacake):
    client = datacake()
    assert client.send([entry(), entry("DOOR_OPEN", True)]).status == 200
    assert client.accepted == [(f"{DEVICE}/TEMPERATURE", TIME_MS, 21.37), (f"{DEVICE}/DOOR_OPEN", TIME_MS, True)]
    assert client.violations == []


@pytest.mark.statement(56)
@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("POST", ROUTE.rstrip("/") + "?batch=true", 404, [56]),
        ("POST", ROUTE, 400, [56]),
        ("POST", ROUTE + "?batch=false", 400, [56]),
        ("POST", ROUTE + "?batch=false&batch=true", 400, [56]),
        ("POST", ROUTE + "?batch=true&batch=true", 400, [56]),
        ("PUT", ROUTE + "?batch=true", 405, [56]),
        ("POST", "/api" + ROUTE + "?batch=true", 404, []),
    ],
)
def test_the_one_route(datacake, method, path, status, expected):
    client = datacake()
    assert client.send([entry()], method=method, path=path).status == status
    assert client.violations == expected


@pytest.mark.statement(57)
@pytest.mark.parametrize(
    ("header", "expected"), [("Token wrong", []), ("Bearer made-up-datacake-key", [57]), (None, [57]), ("Token", [57])]
)
def test_authorization(datacake, header, expected):
    client = datacake()
    answer = client.send([entry()], headers={"Authorization": header})
    assert (answer.status, answer.body) == (401, b"")
    assert client.violations == expected


@pytest.mark.statement(57)
def test_the_other_answers_of_authorization(datacake):
    assert datacake(empty_401=False).send([entry()], headers={"Authorization": "Token x"}).json.keys() == {"detail"}
    assert datacake(record_right=False).send([entry()]).status == 403
    client = datacake()
    assert client.send([entry()], path="/v1/devices/nonesuch/record/?batch=true").status == 404
    assert client.violations == []


@pytest.mark.statement(58)
@pytest.mark.parametrize(
    "document",
    [
        [],
        entry(),
        [7],
        [{"field": "TEMPERATURE"}],
        [{"value": 1}],
        [{**entry(), "unit": "K"}],
        [{**entry(), "field": 1}],
    ],
)
def test_the_shape_of_the_body(datacake, document):
    client = datacake()
    assert client.send(document).status == 400
    assert client.violations == [58]


@pytest.mark.statement(58)
def test_at_most_100_entries(datacake):
    client = datacake()
    assert client.send([entry(stamp=str(1709640000 + n)) for n in range(101)]).status == 413
    assert client.violations == [58]


@pytest.mark.statement(1)
def test_the_body_is_declared_and_strict_json(datacake):
    client = datacake()
    assert client.send([entry()], headers={"Content-Type": "text/plain"}).status == 415
    assert client.send(raw=b"[NaN]").status == 400
    assert client.violations == [1, 1]


@pytest.mark.statement(59)
def test_an_unknown_field(datacake):
    client = datacake()
    document = [entry(), entry("TEMPRATURE")]
    for _ in range(2):
        assert client.send(document[1:]).status == 400
    assert client.accepted == []
    client.stand_in.modes.unknown_field = "drop"
    assert client.send(document).status == 200
    assert len(client.accepted) == 1
    assert [reading.target for reading in client.stand_in.dropped] == [f"{DEVICE}/TEMPRATURE"]
    assert client.violations == []


@pytest.mark.statement(60)
@pytest.mark.parametrize(
    "stamp", [1709647650, "1709647650250", "1709647650.5", "2024-03-05T14:07:30Z", "12345678", "", True, "-170964765"]
)
def test_other_timestamps_are_refused(datacake, stamp):
    client = datacake()
    assert client.send([entry(stamp=stamp)]).status == 400
    assert client.violations == [60]


@pytest.mark.statement(60)
@pytest.mark.parametrize("stamp", [..., None])
def test_a_missing_timestamp_is_the_moment_of_arrival(datacake, stamp):
    client = datacake()
    assert client.send([entry(stamp=stamp)]).status == 200
    assert client.accepted[0][1] == TIME_MS
    assert client.violations == [60]


@pytest.mark.statement(60)
def test_the_future_is_refused(datacake):
    client = datacake()
    assert client.send([entry(stamp="1709647653")]).status == 400
    assert client.send([entry(stamp="1709647652")]).status == 200
    assert client.violations == []


@pytest.mark.statement(61)
@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("TEMPERATURE", 21, True),
        ("TEMPERATURE", "21", False),
        ("TEMPERATURE", True, False),
        ("METER", 1.5, True),
        ("COUNT", 3.0, True),
        ("COUNT", 3.5, False),
        ("DOOR_OPEN", False, True),
        ("DOOR_OPEN", 1, False),
        ("MODE", "eco", True),
        ("MODE", 1, False),
        ("POSITION", "(46.8,7.15)", True),
        ("POSITION", "46.8,7.15", False),
    ],
)
def test_values_match_their_field(datacake, field, value, fits):
    client = datacake()
    answer = client.send([entry("HUMIDITY", 40.0), entry(field, value)])
    assert answer.status == (200 if fits else 400)
    assert len(client.accepted) == (2 if fits else 0)
    if not fits:
        assert answer.json[0] == {}
        assert answer.json[1].keys() == {"value"}
    assert client.violations == []


@pytest.mark.statement(60)
def test_how_far_ahead_a_stamp_may_be_by_mode(datacake):
    client = datacake(ahead_ms=60_000)
    assert client.send([entry(stamp="1709647710")]).status == 200
    assert client.send([entry("HUMIDITY", stamp="1709647711")]).status == 400


@pytest.mark.statement(61)
@pytest.mark.parametrize(("mismatch", "status"), [("list", 400), ("detail", 400), ("drop", 200)])
@pytest.mark.parametrize("atomic", [True, False])
def test_a_mismatch_by_mode(datacake, mismatch, status, atomic):
    client = datacake(mismatch=mismatch, atomic=atomic)
    answer = client.send([entry("HUMIDITY", 40.0), entry("TEMPERATURE", "warm")])
    assert answer.status == status
    if status == 400:
        assert isinstance(answer.json, list if mismatch == "list" else dict)
    stored = status == 200 or not atomic
    assert client.accepted == [(f"{DEVICE}/HUMIDITY", TIME_MS, 40.0)] * stored
    dropped = [reading.target for reading in client.stand_in.dropped]
    assert dropped == [f"{DEVICE}/TEMPERATURE"] * (mismatch == "drop")
    assert client.violations == []


@pytest.mark.statement(61)
@pytest.mark.parametrize("value", ["null", "[1]", "{}", "1e999"])
def test_what_no_field_takes(datacake, value):
    client = datacake()
    body = f'[{{"field": "TEMPERATURE", "value": {value}, "timestamp": "{STAMP}"}}]'
    assert client.send(raw=body.encode()).status == 400
    assert client.violations == [61]


@pytest.mark.statement(62)
def test_one_write_a_second_and_field(datacake, clock):
    client = datacake()
    client.send([entry(stamp="1709647640")])
    clock.advance(0.5)
    assert client.send([entry("HUMIDITY")]).status == 200
    clock.advance(0.5)
    assert client.send([entry(stamp="1709647641")]).status == 200
    assert client.violations == []
    clock.advance(0.99)
    assert client.send([entry(stamp="1709647642")]).headers["Retry-After"] == "1"
    assert client.violations == [62]
    assert len(client.accepted) == 3


@pytest.mark.statement(62)
def test_the_second_counts_from_the_completion(datacake, clock):
    client = datacake()
    client.stand_in.fail(Fault(status=0, store=True, delay_s=0.001))
    stand_in = client.stand_in
    stand_in._stopping.wait = lambda seconds: clock.advance(5)  # the time that the answer takes
    client.send([entry(stamp="1709647640")])
    clock.advance(0.9)
    client.send([entry(stamp="1709647641")])
    assert client.violations == [62]


@pytest.mark.statement(62)
@pytest.mark.parametrize(("excess", "status"), [("429", 429), ("429-bare", 429), ("drop", 200)])
def test_what_becomes_of_an_excess(datacake, clock, excess, status):
    client = datacake(excess=excess)
    client.send([entry(stamp="1709647640")])
    answer = client.send([entry(stamp="1709647641"), entry("HUMIDITY")])
    assert answer.status == status
    assert ("Retry-After" in answer.headers) == (excess == "429")
    assert len(client.accepted) == (2 if excess == "drop" else 1)
    assert len(client.stand_in.dropped) == (1 if excess == "drop" else 0)


@pytest.mark.statement(63)
def test_a_field_once_a_request(datacake):
    twice = [entry(stamp="1709647640"), entry(stamp="1709647641")]
    client = datacake()
    assert client.send(twice).status == 429
    assert client.violations == [63]
    allowed = datacake(same_field_twice=True)
    assert allowed.send(twice).status == 200
    assert len(allowed.accepted) == 2
    assert allowed.violations == []


@pytest.mark.statement(64)
def test_a_second_has_one_value(datacake, clock):
    client = datacake()
    for value, expected in ((1.0, []), (1.0, []), (2.0, [64])):
        assert client.send([entry(value=value)]).status == 200
        assert client.violations == expected
        clock.advance(1.0)
    assert client.accepted == [(f"{DEVICE}/TEMPERATURE", TIME_MS, 2.0)]
    assert client.stand_in.resends == 1


@pytest.mark.statement(64)
def test_two_values_of_a_second_in_one_request(datacake):
    client = datacake(same_field_twice=True, excess="drop")
    client.send([entry(value=1), entry(value=2)])
    assert client.violations == [63, 64]


@pytest.mark.statement(65)
def test_the_quota_of_a_day(datacake, clock):
    client = datacake(daily_quota=2)
    assert client.send([entry(), entry("HUMIDITY")]).status == 200
    clock.advance(1)
    assert client.send([entry(), entry("HUMIDITY")]).status == 200  # a resend takes nothing
    assert client.violations == []
    assert client.send([entry("METER")]).status == 200
    assert client.violations == [65]
    assert len(client.accepted) == 2
    clock.advance(86_400)
    client.send([entry("METER")])
    assert len(client.accepted) == 3
    assert client.violations == [65]


@pytest.mark.statement(65)
@pytest.mark.parametrize(
    ("modes", "stored", "expected"), [({"quota_known": False}, 0, []), ({"quota_drop": False}, 1, [65])]
)
def test_the_modes_of_the_quota(datacake, modes, stored, expected):
    client = datacake(daily_quota=0, **modes)
    assert client.send([entry()]).status == 200
    assert len(client.accepted) == stored
    assert client.violations == expected


@pytest.mark.statement(66)
@pytest.mark.parametrize(
    ("status", "has_body", "filled"),
    [(200, True, True), (201, True, True), (200, False, False), (202, False, False), (204, True, False)],
)
def test_successes(datacake, status, has_body, filled):
    client = datacake(success_status=status, success_body=has_body)
    answer = client.send([entry()])
    assert (answer.status, bool(answer.body)) == (status, filled)
    assert len(client.accepted) == 1


def test_admitted_fields(datacake):
    client = datacake()
    targets = [
        {"field": "TEMP", "device": None, "type": None},
        {"field": "METER", "device": "another", "type": "int"},
    ]
    client.stand_in.admit({"token": "their own key", "device": DEVICE}, targets)
    key = {"Authorization": "Token their own key"}
    assert client.send([entry()], headers=key).status == 400
    assert client.send([entry("TEMP", "warm")], headers=key).status == 200
    elsewhere = "/v1/devices/another/record/?batch=true"
    assert client.send([entry("METER", 1.5)], headers=key, path=elsewhere).status == 400
    assert client.send([entry("METER", 15, stamp="1709647649")], headers=key, path=elsewhere).status == 200
    assert client.accepted[-1] == ("another/METER", TIME_MS - 1000, 15)
    assert client.violations == []


def test_the_example_is_a_table_for_it():
    with Datacake() as stand_in:
        table = tomllib.loads(stand_in.example())["destinations"]["datacake"]
        assert table["url"] == stand_in.url
        assert table["series"]["greenhouse.temperature"] in stand_in.devices[table["device"]]
