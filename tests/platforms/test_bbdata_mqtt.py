"""BBData over MQTT: the documented payload, the identity, and what a confirmation or a refusal means."""

import json
from pathlib import Path

import pytest

from edged.errors import SecretUnreadable
from edged.outcome import Delivered, Parked, Permanent, Transient
from edged.platforms import Item, Wire
from edged.platforms._bbdata import Object
from edged.platforms.bbdata_mqtt import BBDataMqtt, Options
from edged.reading import Entry
from edged.secret import from_env, plain
from edged.transports.mqtt import Confirmed, Message, Refused

TOKEN = "0123456789abcdef0123456789abcdef"


def platform(**options) -> BBDataMqtt:
    return BBDataMqtt(Options(**{"client_id": "bbdata_1234"} | options))


def item(value=21.37, time_ms=1_709_647_650_250, token=TOKEN, **target) -> Item:
    entry = Entry(1, "s.q", time_ms, value)
    return Item(entry, Object(object=4711, token=plain(token), **target))


@pytest.mark.statement(52)
@pytest.mark.statement(53)
@pytest.mark.parametrize(("comment", "sent"), [(None, ""), ("", ""), ("main meter", "main meter")])
def test_the_documented_payload(comment, sent):
    (message,) = platform().encode([item(comment=comment)])
    assert (message.topic, message.qos) == ("bbdata_topic", 1)
    assert json.loads(message.payload) == {
        "objectId": 4711,
        "token": TOKEN,
        "timestamp": "2024-03-05T14:07:30.250",
        "value": "21.37",
        "comment": sent,
        "owner": None,
    }


def test_a_message_an_item_in_order():
    messages = platform(topic="a/b", qos=2).encode([item(n) for n in range(3)])
    assert [json.loads(message.payload)["value"] for message in messages] == ["0", "1", "2"]
    assert {(message.topic, message.qos) for message in messages} == {("a/b", 2)}
    assert all(isinstance(message, Message) for message in messages)


def test_where_to_and_as_whom():
    broker = platform(host="mqtt.example.org", password=plain("made-up-password")).broker(Wire(60, Path("/ca.pem"), ""))
    assert (broker.host, broker.port, broker.client_id) == ("mqtt.example.org", 8883, "bbdata_1234")
    assert (broker.username, broker.password, broker.ca_file) == ("bbdata", "made-up-password", Path("/ca.pem"))
    assert platform().broker(Wire(60, None, "")).password == "bbdata"
    assert "made-up-password" not in repr(broker)


@pytest.mark.statement(54)
def test_only_what_is_confirmed_is_delivered():
    outcomes = platform().judge(Confirmed((True, False, True)), [item()] * 3)
    assert [type(outcome) for outcome in outcomes] == [Delivered, Transient, Delivered]


@pytest.mark.statement(48)
@pytest.mark.statement(49)
@pytest.mark.pain("G6")
@pytest.mark.parametrize(
    ("code", "expected"), [(1, Parked), (2, Parked), (3, Transient), (4, Parked), (5, Parked), (6, Parked)]
)
def test_a_refusal_waits_for_a_person_unless_the_server_is_away(code, expected):
    outcomes = platform().judge(Refused(code, "said so"), [item()] * 2)
    assert [type(outcome) for outcome in outcomes] == [expected] * 2
    for outcome in outcomes:
        assert isinstance(outcome, Transient) or (isinstance(outcome, Parked) and outcome.whole)
        assert "said so" in outcome.reason


@pytest.mark.statement(48)
@pytest.mark.statement(51)
@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, []),
        ({"client_id": "bbdata_"}, ["client_id"]),
        ({"client_id": "edged"}, ["client_id"]),
        ({"client_id": "my_bbdata_1"}, ["client_id"]),
        ({"client_id": "BBDATA_1"}, ["client_id"]),
        ({"client_id": "bbdata_\n"}, ["client_id"]),
        ({"client_id": "bbdata_ü 1"}, []),
        ({"client_id": "bbdata_" + "x" * 65_535}, ["client_id"]),
        ({"client_id": "x" * 70_000}, ["client_id"]),
        ({"username": "x" * 65_536}, ["username"]),
        ({"topic": ""}, ["topic"]),
        ({"topic": "a/#"}, ["topic"]),
        ({"topic": "a/+/b"}, ["topic"]),
        ({"topic": "$SYS"}, ["topic"]),
        ({"topic": "a\0"}, ["topic"]),
        ({"topic": "a/$b"}, []),
        ({"host": "localhost"}, []),
        ({"host": "mqtt.example.org."}, []),
        ({"host": "192.0.2.1"}, []),
        ({"host": "2001:db8::1"}, []),
        ({"host": ""}, ["host"]),
        ({"host": "."}, ["host"]),
        ({"host": "mqtt..example.org"}, ["host"]),
        ({"host": "mqtt.example.org:8883"}, ["host"]),
        ({"host": "mqtts://mqtt.example.org"}, ["host"]),
        ({"host": "me@mqtt.example.org"}, ["host"]),
        ({"host": "mqtt.example.org/x"}, ["host"]),
        ({"host": "mqtt example.org"}, ["host"]),
        ({"host": "mqtt.example.org\n"}, ["host"]),
    ],
)
def test_the_brokers_rules_are_checked(options, keys):
    problems = BBDataMqtt.check(platform(**options).options)
    assert [key for key, _ in problems] == keys
    assert all(len(problem) < 150 for _, problem in problems)


def test_the_window_and_the_warning():
    assert platform(max_inflight=7).limits.readings == 7
    assert [key for key, _ in BBDataMqtt.caution(platform(qos=0).options)] == ["qos"]
    assert BBDataMqtt.caution(platform().options) == ()


FIRST_MS = 1_451_606_400_000  # 2016-01-01T00:00:00Z, the earliest that is taken


@pytest.mark.parametrize(
    "taken",
    [
        item(),
        item(time_ms=FIRST_MS),
        item("open"),
        item("  "),
        item(2**31 - 1, type="int"),
        item(-(2**31), type="int"),
        item(True, type="int"),
        item(3.4e38, type="float"),
        item(1e-50, type="float"),
        item("21.5", type="float"),
        item("On", type="bool"),
        item(2.0, type="bool"),
        item(1e300, type="string"),
        item(1e300),
        item(2**31),
    ],
)
def test_what_may_be_right_is_published(taken):
    assert platform().refuses(taken) is None


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (item(time_ms=FIRST_MS - 1), "2016-01-01"),
        (item(""), "empty"),
        (item("", type="string"), "empty"),
        (item("", type="int"), "empty"),
        (item(2**31, type="int"), "'2147483648' as int"),
        (item(-(2**31) - 1, type="int"), "as int"),
        (item(1e10, type="int"), "'10000000000' as int"),
        (item("warm", type="int"), "'warm' as int"),
        (item(3.5e38, type="float"), "'3.5e+38' as float"),
        (item(10**400, type="float"), "as float"),
        (item("warm\n", type="float"), "as float"),
        (item("inf", type="float"), "as float"),
        (item("open", type="bool"), "'open' as bool"),
    ],
)
def test_what_the_platform_would_throw_away_is_not_published(refused, reason):
    outcome = platform().refuses(refused)
    assert isinstance(outcome, Permanent)
    assert reason in outcome.reason
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 100


def test_a_token_of_another_length_parks_its_object_and_is_not_quoted():
    outcome = platform().refuses(item("", token="e" * 31))
    assert isinstance(outcome, Parked)
    assert not outcome.whole
    assert "31 characters" in outcome.reason
    assert "eee" not in outcome.reason


def test_a_token_that_cannot_be_read_is_another_matter():
    with pytest.raises(SecretUnreadable):
        platform().refuses(Item(item().entry, Object(object=1, token=from_env("NONESUCH"))))
