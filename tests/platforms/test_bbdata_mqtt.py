"""BBData over MQTT: the documented payload, the identity, and what a confirmation or a refusal means."""

import json
from pathlib import Path

import pytest

from edged.outcome import Delivered, Parked, Transient
from edged.platforms import Item, Wire
from edged.platforms._bbdata import Object
from edged.platforms.bbdata_mqtt import BBDataMqtt, Options
from edged.reading import Entry
from edged.secret import plain
from edged.transports.mqtt import Confirmed, Message, Refused

TOKEN = "0123456789abcdef0123456789abcdef"


def platform(**options) -> BBDataMqtt:
    return BBDataMqtt(Options(**{"client_id": "bbdata_1234"} | options))


def item(value=21.37, **target) -> Item:
    entry = Entry(1, "s.q", 1_709_647_650_250, value)
    return Item(entry, Object(object=4711, token=plain(TOKEN), **target))


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
        ({"topic": ""}, ["topic"]),
        ({"topic": "a/#"}, ["topic"]),
        ({"topic": "a/+/b"}, ["topic"]),
        ({"topic": "$SYS"}, ["topic"]),
        ({"topic": "a\0"}, ["topic"]),
        ({"topic": "a/$b"}, []),
    ],
)
def test_the_brokers_rules_are_checked(options, keys):
    assert [key for key, _ in BBDataMqtt.check(platform(**options).options)] == keys


def test_the_window_and_the_warning():
    assert platform(max_inflight=7).limits.readings == 7
    assert [key for key, _ in BBDataMqtt.caution(platform(qos=0).options)] == ["qos"]
    assert BBDataMqtt.caution(platform().options) == ()
