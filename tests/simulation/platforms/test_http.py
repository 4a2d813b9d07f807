"""The collector: strict about lines and lists of readings, and open to a user's own template."""

import json
import tomllib
from typing import Any

import pytest

from edged.reading import Reading
from tests.simulation.platforms.conftest import NOW_MS

LINES = {"Content-Type": "application/x-ndjson"}
POINT = {"series": "greenhouse.temperature", "time": "2024-03-05T14:07:30.250Z", "value": 21.37}
TAKEN = Reading("greenhouse.temperature", NOW_MS, 21.37)


@pytest.fixture
def http(client):
    return lambda **modes: client("http", "/readings", {"Authorization": "Bearer made-up-collector-token"}, **modes)


def lines(*points: Any) -> bytes:
    return b"".join(json.dumps(point).encode() + b"\n" for point in points)


def test_lines_and_lists_are_taken(http):
    client = http()
    more = [POINT | {"series": "a", "value": value} for value in (True, 3, "ü")]
    assert client.send(raw=lines(POINT, more[0]), headers=LINES).status == 200
    assert client.send([more[1] | {"series": "b"}, more[2] | {"series": "c"}], method="PUT").status == 200
    expected = [TAKEN, ("a", NOW_MS, True), ("b", NOW_MS, 3), ("c", NOW_MS, "ü")]
    assert client.accepted == [tuple(reading) for reading in expected]
    assert client.violations == []


def test_what_comes_again_is_a_resend_and_what_comes_changed_a_violation(http):
    client = http()
    for value in (21.37, 21.37, 21.38):
        client.send([POINT | {"value": value}])
    assert client.stand_in.resends == 1
    assert client.violations == [3]
    assert len(client.accepted) == 1


@pytest.mark.statement(1)
@pytest.mark.parametrize("raw", [b"", b"{", b'[{"series":"a"}', b"[NaN]", b"\xff", b'[{"a":1,"a":2}]', b"[1] x"])
def test_no_json(http, raw):
    client = http()
    assert client.send(raw=raw).status == 400
    assert client.violations == [1]
    assert client.accepted == []


@pytest.mark.parametrize(
    "point",
    [
        {},
        [],
        1,
        {"series": "a", "time": POINT["time"]},
        POINT | {"unit": "°C"},
        POINT | {"series": ""},
        POINT | {"series": 1},
        POINT | {"value": None},
        POINT | {"value": []},
        POINT | {"time": "2024-03-05T14:07:30Z"},
        POINT | {"time": "2024-03-05T14:07:30.250"},
        POINT | {"time": "2024-03-05 14:07:30.250Z"},
        POINT | {"time": "2024-02-30T14:07:30.250Z"},
        POINT | {"time": 1709647650250},
    ],
)
def test_no_reading(http, point):
    for raw, headers in ((json.dumps([POINT, point]).encode(), {}), (lines(POINT, point), LINES)):
        client = http()
        assert client.send(raw=raw, headers=headers).status == 400
        assert client.violations == [0]
        assert client.accepted == []


def test_other_forms(http):
    client = http()
    assert client.send([]).status == 400
    assert client.send(POINT).status == 400
    assert client.send(raw=lines(POINT), headers={"Content-Type": "text/plain"}).status == 415
    assert client.send(raw=lines(POINT).rstrip(), headers=LINES).status == 200
    assert client.violations == [0, 0, 0, 0]


@pytest.mark.statement(8)
def test_what_the_config_may_have_wrong_is_no_violation(http):
    client = http()
    assert client.send([POINT], headers={"Authorization": "Bearer wrong"}).status == 401
    assert client.send([POINT], headers={"Authorization": None}).status == 401
    assert client.send([POINT], path="/elsewhere").status == 404
    assert client.send([POINT], method="DELETE").status == 405
    assert (client.violations, client.accepted) == ([], [])


@pytest.mark.statement(2)
def test_credentials_elsewhere(http):
    client = http()
    client.send([POINT | {"value": "Bearer made-up-collector-token"}])
    client.send([POINT], path="/readings?token=x")
    assert client.violations == [2, 2, 3]


def test_modes(http):
    client = http(success_status=204, max_bytes=200)
    assert client.send([POINT]).status == 204
    assert client.send([POINT] * 3).status == 413


@pytest.mark.statement(2)
def test_the_token_stands_in_a_header_of_the_config(http):
    client = http()
    for headers, body, expected in (
        ({}, [POINT], []),
        ({"X-Key": "made-up-collector-token"}, [POINT], [2]),
        ({}, [POINT | {"value": "made-up-collector-token"}], [2, 2]),
    ):
        client.send(body, headers=headers)
        assert [number for number in client.violations if number != 3] == expected
    authorization = "Bearer another-made-up-token"
    client.stand_in.admit({"headers": {"Authorization": authorization, "X-Key": "another-made-up-token"}}, [])
    headers = {"Authorization": authorization, "x-key": "another-made-up-token"}
    assert client.send([POINT], headers=headers).status == 200
    assert client.violations.count(2) == 2


def test_a_destinations_own_headers_and_templates(http):
    client = http()
    client.stand_in.admit({"headers": {"X-Key": "another-made-up-key"}, "format": "template"}, [])
    assert client.send([POINT]).status == 401, "the made-up ones are gone"
    key = {"X-Key": "another-made-up-key"}
    assert client.send(raw=b"t 21.37 \xff", headers=key | {"Content-Type": "text/plain"}).status == 200
    assert client.send({"any": "thing"}, headers=key).status == 200
    assert client.send([POINT], headers=key).status == 200
    texts = ["t 21.37 \N{REPLACEMENT CHARACTER}", '{"any": "thing"}']
    assert client.accepted == [*(("/readings", NOW_MS, text) for text in texts), tuple(TAKEN)]
    assert client.violations == []
    client.stand_in.admit({"headers": None}, [])
    assert client.send([POINT], headers={"Authorization": None}).status == 200, "another destination has none"


def test_its_example_is_toml(http):
    stand_in = http().stand_in
    table = tomllib.loads(stand_in.example())["destinations"]["http"]
    assert table["platform"] == "http"
    assert table["url"] == stand_in.url == f"http://127.0.0.1:{stand_in.port}/readings"
    assert table["series"] == {"*": True}
