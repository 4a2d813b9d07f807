"""What holds for each platform, so that a new one is tested before it has a test of its own."""

import json
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import platforms
from edged.options import declarations
from edged.outcome import Again, Delayed, Delivered, Isolate, Parked, Permanent, Transient
from edged.platforms import Item, Platform
from edged.platforms._http import HttpPlatform
from edged.platforms._mqtt import MqttPlatform
from edged.reading import Entry, iso
from edged.secret import Secret, plain
from edged.transports.http import Reply
from edged.transports.mqtt import Confirmed, Refused

TOKEN = "0123456789abcdef0123456789abcdef"
TIME_MS = 1_709_647_650_250
ALL = platforms.names()
HTTP = [name for name in ALL if issubclass(platforms.find(name) or Platform, HttpPlatform)]
MQTT = [name for name in ALL if issubclass(platforms.find(name) or Platform, MqttPlatform)]


def made(declared: type, number: int = 0) -> Any:
    """An instance with something for each required key."""
    something: dict[Any, Any] = {Secret: plain(TOKEN), int: 4711 + number, str: f"name-{number}"}
    keys: dict[str, Any] = {}
    for name, declaration in declarations(declared).items():
        if declaration.required or declaration.type is Secret:
            kind = get_args(declaration.type)[0] if get_origin(declaration.type) else declaration.type
            keys[name] = something[kind]
    return declared(**keys)


def platform(name: str) -> Platform:
    found = platforms.find(name)
    assert found is not None
    return found(made(found.Options))


def items(chosen: Platform, count: int, value: Any = 21.37) -> list[Item]:
    return [Item(Entry(n, f"s.q{n % 2}", TIME_MS + 1000 * n, value), made(chosen.Series, n % 2)) for n in range(count)]


def texts(outcome: Any) -> str:
    return " ".join(str(getattr(outcome, key, "")) for key in ("reason", "response", "remark"))


@pytest.mark.parametrize("name", ALL)
def test_its_declaration_is_complete(name):
    found = platforms.find(name)
    assert found is not None
    assert found.__doc__
    assert found.example
    assert found.timeout_s > 0
    for declared in (found.Options, found.Series):
        for declaration in declarations(declared).values():
            assert declaration.help, declaration.name
    assert found.short == "" or found.short in declarations(found.Series)
    assert hash(made(found.Series)) == hash(made(found.Series))
    assert made(found.Series) == made(found.Series) != made(found.Series, 1)


def test_an_unknown_platform_is_none():
    assert platforms.find("nonesuch") is None
    assert platforms.find("_http") is None


@pytest.mark.statement(3)
@pytest.mark.pain("B1")
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [21.37, -1e-7, 10**12, True, 'ü\n"✓'])
def test_the_same_items_are_the_same_request(name, value):
    assert platform(name).encode(items(platform(name), 5, value)) == platform(name).encode(
        items(platform(name), 5, value)
    )


@pytest.mark.statement(2)
@pytest.mark.pain("F15")
@pytest.mark.parametrize("name", ALL)
def test_no_secret_is_where_it_does_not_belong(name):
    chosen = platform(name)
    request = chosen.encode(items(chosen, 3))
    shown = [repr(chosen.options), str(chosen.options), repr(items(chosen, 3))]
    if name in HTTP:
        shown.append(request.url)
        shown.append(repr(request))
    else:
        assert isinstance(chosen, MqttPlatform)
        shown += [repr(request), repr(chosen.broker(platforms.Wire(1, None, "")))]
    assert not any(TOKEN in text for text in shown)


@pytest.mark.statement(1)
@pytest.mark.parametrize("name", HTTP)
@given(
    values=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.integers() | st.text(), min_size=1
    )
)
def test_any_value_is_strict_json(name, values):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    chosen = platform(name)
    batch = [Item(Entry(n, "s.q", TIME_MS + n, value), made(chosen.Series)) for n, value in enumerate(values)]
    request = chosen.encode(batch)
    text = request.body.decode("utf-8")
    lines = request.headers["Content-Type"] == "application/x-ndjson"
    for document in text.removesuffix("\n").split("\n") if lines else [text]:
        json.loads(document, parse_constant=refuse)
    assert lines or request.headers["Content-Type"] == "application/json"


SAID = [
    b"",
    b"{}",
    b"[]",
    b'{"message":"ALL_INFO_PROCESSED"}',
    b"<html><title>x</title>",
    TOKEN.encode(),
    b"x" * 190 + TOKEN.encode() + b"y" * 1000,
    b"x" * 990 + TOKEN.encode(),
]
WORDS = st.sampled_from(
    [
        "objectId 4711: ",
        "objectId 4712: ",
        "objectId 99999999999999999999: ",
        "already exists for this object",
        f"same timestamp ({iso(TIME_MS)}) ",
        "date should be in the past ",
        "input='2124-03-05T14:07:30.250' ",
        "now='2024-03-05T14:07:30Z' ",
        "now='0001-01-01' ",
        "does not match the unit ",
        "FIELD_DOES_NOT_EXIST",
        TOKEN,
        "\n",
    ]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.lists(WORDS).map("".join),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["_values[0].token", "_values[1].value", "_values[7].x", "value", "token", "[2].comment", "message"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
EXCEPTIONS = st.sampled_from(
    [
        "WrongParamsException",
        "BadTokenException",
        "ForbiddenException",
        "ItemNotFoundException",
        "Not Found",
        "HttpMessageNotReadableException",
        "MethodArgumentTypeMismatchException",
    ]
)
BODY = (
    st.sampled_from(SAID)
    | st.binary(max_size=300)
    | ANY_JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda e, d: json.dumps({"exception": e, "details": d}).encode(), EXCEPTIONS | ANY_JSON, ANY_JSON)
    | ANY_JSON.map(lambda value: json.dumps({"message": value}).encode())
)
REPLY = st.builds(
    Reply,
    st.integers(100, 599) | st.sampled_from([200, 400, 401, 403, 404, 429, 500]),
    BODY,
    st.sampled_from(["", "application/json", "text/html; charset=UTF-8", "text/plain"]) | st.text(max_size=10),
    st.sampled_from([0.0, 30.0]),
)


@pytest.mark.statement(8)
@pytest.mark.statement(45)
@pytest.mark.parametrize("name", HTTP)
@given(reply=REPLY, count=st.integers(1, 5))
def test_any_reply_is_an_outcome_for_each_reading(name, reply, count):
    chosen = platform(name)
    sent = items(chosen, count)
    outcomes = chosen.judge(reply, sent)
    assert len(outcomes) == count
    assert {type(o) for o in outcomes} <= {Delivered, Transient, Delayed, Parked, Permanent, Isolate, Again}
    assert not all(isinstance(outcome, Again) for outcome in outcomes), "sent again for ever"
    if count == 1:
        assert not isinstance(outcomes[0], Isolate)
    for outcome in outcomes:
        if (
            200 <= reply.status < 300
            or reply.status in (401, 403, 408, 425, 429)
            or reply.status >= 500
            or (reply.is_html and reply.status != 413)
        ):
            assert not isinstance(outcome, Permanent)
        if isinstance(outcome, Delayed):
            assert 0 < outcome.wait_s < float("inf")
        if not 200 <= reply.status < 300:
            assert not isinstance(outcome, Delivered) or b"already exists" in reply.body
        assert TOKEN not in texts(outcome)
        if reply.body in SAID:
            assert TOKEN[:8] not in texts(outcome), "not even where a text is cut"
        for line in (getattr(outcome, "reason", ""), getattr(outcome, "remark", "")):
            assert len(line.splitlines()) <= 1
            assert len(line) < 1000


@pytest.mark.parametrize("name", MQTT)
@given(data=st.data())
def test_any_end_of_a_publish_is_an_outcome_for_each_reading(name, data):
    chosen = platform(name)
    confirmed = data.draw(st.lists(st.booleans(), min_size=1, max_size=5))
    sent = items(chosen, len(confirmed))
    outcomes = chosen.judge(Confirmed(tuple(confirmed)), sent)
    assert [isinstance(outcome, Delivered) for outcome in outcomes] == confirmed
    refused = chosen.judge(Refused(data.draw(st.integers(0, 255)), data.draw(st.text())), sent)
    assert {type(outcome) for outcome in refused} <= {Transient, Parked}
    assert len(refused) == len(sent)
