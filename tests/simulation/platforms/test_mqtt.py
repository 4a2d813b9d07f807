"""The stand-in of any broker."""

import tomllib

import pytest

from edged.simulation.platforms import Accepted, Violation
from edged.simulation.platforms._mqtt_packets import Will
from edged.simulation.platforms.mqtt import Mqtt
from tests.simulation.platforms.wire import ACCEPTED, DISCONNECT, connect, puback, publish

NOW_MS = 1_709_647_650_250


def test_whatever_a_client_publishes_is_accepted(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open(client_id="any", username=None, password=None)
    assert client.ask(publish("21.37", topic="edged/pi/Küche/temperature")) == puback()
    assert client.ask(publish("21.37", 2, topic="edged/pi/Küche/temperature")) == puback(2)
    assert stand_in.snapshot() == ([Accepted("edged/pi/Küche/temperature", NOW_MS, "21.37")] * 2, [])
    assert stand_in.resends == 0
    (message, _) = stand_in.messages
    assert (message.topic, message.payload, message.qos, message.retain, message.again) == (
        "edged/pi/Küche/temperature",
        b"21.37",
        1,
        False,
        False,
    )


def test_retained_messages_are_kept_until_they_are_replaced(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    client.ask(publish("1", topic="a", retain=True))
    client.ask(publish("2", topic="a"))
    client.ask(publish("3", topic="b", retain=True))
    assert stand_in.retained == {"a": b"1", "b": b"3"}
    client.ask(publish("4", topic="a", retain=True))
    client.ask(publish("", topic="b", retain=True))
    assert stand_in.retained == {"a": b"4"}


def test_wills_are_kept_as_long_as_their_clients_are_there(broker, wire):
    stand_in = broker("mqtt")
    wire(stand_in).open(client_id="a", will=("a/state", "offline", True))
    going = wire(stand_in).open(client_id="b", will=("b/state", "offline", True))
    assert stand_in.wills == {
        "a": Will("a/state", b"offline", 1, True),
        "b": Will("b/state", b"offline", 1, True),
    }
    going.send(DISCONNECT)
    assert going.ended
    wire(stand_in).open(client_id="a")
    assert stand_in.wills == {}
    assert stand_in.retained == {"a/state": b"offline"}


def test_a_session_that_is_kept_has_no_will_left(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open(clean=False, will=("state", "offline", True))
    client.send(b"\x00")
    assert client.ended
    assert stand_in.wills == {}
    assert [message.payload for message in stand_in.messages] == [b"offline"]


def test_a_login_is_wanted_where_a_config_has_one(broker, wire):
    stand_in = broker("mqtt", bad_login=5)
    stand_in.admit({"username": None, "password": None}, [])
    assert wire(stand_in).ask(connect()) == ACCEPTED
    stand_in.admit({"username": "u", "password": "p"}, [])
    assert wire(stand_in).ask(connect()) == b"\x20\x02\x00\x05"
    assert wire(stand_in).ask(connect(username=None, password=None)) == b"\x20\x02\x00\x05"
    assert wire(stand_in).ask(connect(username="u", password="p")) == ACCEPTED


@pytest.mark.statement(2)
def test_a_password_stands_in_no_other_place(broker, wire):
    stand_in = broker("mqtt")
    secret = "a-made-up-password"
    stand_in.admit({"username": "u", "password": secret}, [])
    login = {"username": "u", "password": secret}
    wire(stand_in).open(**login).ask(publish("21.37", topic="edged/pi/x"))
    assert stand_in.violations == []
    wire(stand_in).open(client_id=f"pi-{secret}", **login)
    client = wire(stand_in).open(will=("state", secret, True), **login)
    client.ask(publish("21.37", 1, topic=f"edged/{secret}/x"))
    client.ask(publish(f"[{secret}]", 2))
    places = ["the client id", "a message", "a topic", "a message"]
    assert stand_in.violations == [Violation(2, f"a secret in {place}") for place in places]


def test_tls(broker, wire):
    stand_in = broker("mqtt", tls=True)
    assert wire(stand_in).open().ask(publish("1")) == puback()


@pytest.mark.parametrize("tls", [False, True])
def test_the_example_is_a_table_for_it(tls):
    with Mqtt(tls=tls) as stand_in:
        table = tomllib.loads(stand_in.example())["destinations"]["mqtt"]
        assert (table["host"], table["port"], table["tls"]) == ("127.0.0.1", stand_in.port, tls)
        assert table.get("ca_file") == (str(stand_in.modes.certificate) if tls else None)
