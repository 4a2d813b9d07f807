"""The generic MQTT platform: topics that MQTT can carry, payloads by template, what its config may say."""

import json
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import reader
from edged.outcome import Delivered, Parked, Permanent, Transient
from edged.platforms import Item, Wire
from edged.platforms._topic import level, topic_problem
from edged.platforms.mqtt import Mqtt, Options, Topic, Will
from edged.reading import Entry
from edged.secret import plain
from edged.transports.mqtt import Confirmed, Message, MqttTransport, Presence, Refused, TakenOver
from tests.transports.broker import wait_until
from tests.transports.conftest import broker, tls

__all__ = ["broker", "tls"]  # fixtures of another folder

TIME_MS = 1_709_647_650_250


def platform(**options) -> Mqtt:
    usual = {"host": "mqtt.example.org", "client_id": "edged_1234", "topic": "edged/pi/{sensor}/{quantity}"}
    return Mqtt(Options(**usual | options))


def item(value=21.37, series="greenhouse.temperature", unit="°C", topic="") -> Item:
    target = Topic(topic=topic) if topic else Mqtt.usual_target(series)
    return Item(Entry(1, series, TIME_MS, value), target, unit)


def published(value=21.37, series="greenhouse.temperature", unit="°C", topic="", **options) -> Message:
    (message,) = platform(**options).encode([item(value, series, unit, topic)])
    return message


# --- topics


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("edged/pi/{sensor}/{quantity}", "edged/pi/greenhouse/temperature"),
        ("{quantity}", "temperature"),
        ("x/{unit}/{time}/{value}", "x/°C/2024-03-05T14:07:30.250Z/21.37"),
        ("x/{ value }/{}", "x/{ value }/{}"),
    ],
)
def test_topics_are_filled(template, topic):
    (message,) = platform(topic=template).encode([item()])
    assert (message.topic, message.payload, message.qos, message.retain) == (topic, b"21.37", 1, False)


def test_a_series_may_have_a_topic_of_its_own():
    assert published(topic="home/greenhouse").topic == "home/greenhouse"


@pytest.mark.case(26)
@pytest.mark.parametrize(
    ("series", "topic"),
    [
        ("T2 candle 5W RGB+CW.power", "edged/pi/T2 candle 5W RGB%2BCW/power"),
        ("HM-1500 #1.power", "edged/pi/HM-1500 %231/power"),
        ("a/b.power", "edged/pi/a%2Fb/power"),
        ("Küche.power", "edged/pi/Küche/power"),
        ("$SYS.100%", "edged/pi/%24SYS/100%25"),
        ("a\0b.\n", "edged/pi/a%00b/%0A"),
        ("s.\ud800\uffff", "edged/pi/s/%ED%A0%80%EF%BF%BF"),
        ("hall.north.temp1", "edged/pi/hall.north/temp1"),
    ],
)
def test_names_that_mqtt_cannot_carry(series, topic):
    assert published(series=series).topic == topic


@pytest.mark.case(26)
@given(sensor=st.text(), quantity=st.text(), value=st.text(), unit=st.text())
def test_no_reading_makes_a_topic_that_is_none(sensor, quantity, value, unit):
    chosen = platform(topic="{sensor}/{quantity}/{value}{unit}")
    one = item(value, f"{sensor}.{quantity.replace('.', '')}", unit)
    (message,) = chosen.encode([one])
    assert not set(message.topic) & set("+#\0")
    assert not message.topic.startswith("$")
    assert message.topic.count("/") == 2
    assert topic_problem(message.topic) == ""
    message.topic.encode()
    assert chosen.refuses(one) is None


@pytest.mark.case(26)
@given(one=st.text(), other=st.text())
def test_no_two_names_become_one(one, other):
    assert (level(one) == level(other)) is (one == other)


def test_a_topic_that_only_the_reading_makes_impossible_parks_its_series():
    chosen = platform(topic="{unit}")
    for wrong in (item(unit=""), item(unit="x" * 70_000)):
        outcome = chosen.refuses(wrong)
        assert isinstance(outcome, Parked)
        assert not outcome.whole
        assert "no topic" in outcome.reason
        assert len(outcome.reason) < 150


@pytest.mark.case(26)
@pytest.mark.parametrize("value", ["", "x" * 70_000])
def test_a_topic_that_only_the_value_makes_impossible_costs_that_reading(value):
    chosen = platform(topic="{value}")
    outcome = chosen.refuses(item(value))
    assert isinstance(outcome, Permanent)
    assert "no topic" in outcome.reason
    assert len(outcome.reason) < 150
    assert chosen.refuses(item(21.37)) is None


# --- payloads


@pytest.mark.parametrize(
    ("template", "value", "payload"),
    [
        ("{value}", 21.37, "21.37"),
        ("{value}", True, "true"),
        ("{value}", 12, "12"),
        ("{value}", "wärm", "wärm"),
        ("{value} {unit} {time}", 1, "1 °C 2024-03-05T14:07:30.250Z"),
        ('{"value": {value}, "unit": "{unit}"}', 21.37, '{"value": 21.37, "unit": "°C"}'),
        ('{"value": {value}, "unit": {unit}}', 21.37, '{"value": 21.37, "unit": "°C"}'),
        ('{"value": {value}}', False, '{"value": false}'),
        ('{"value": {value}}', 'say "hi"\n', '{"value": "say \\"hi\\"\\n"}'),
        ('{"value": "{value}!"}', 'say "hi"\\', '{"value": "say \\"hi\\"\\\\!"}'),
        ('{"value": "{value}"}', 1e-7, '{"value": "1e-07"}'),
        ('[{value}, {"{quantity}": "{sensor}"}]', 1, '[1, {"temperature": "greenhouse"}]'),
        ("[{time}]", 1, '["2024-03-05T14:07:30.250Z"]'),
        ('{"a": "\\"{value}\\""}', 'x"y', '{"a": "\\"x\\"y\\""}'),
        ("{not json: {value}}", 'a"b', '{not json: a"b}'),
        ('"{value}"', 'a"b', '"a"b"'),
        ("", 1, ""),
    ],
)
def test_payloads(template, value, payload):
    assert published(value, payload=template).payload.decode() == payload


@given(value=st.text() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_payload_that_is_json_stays_json(value):
    message = published(value, payload='{"bare": {value}, "quoted": "x {value}", "unit": "{unit}"}')
    found = json.loads(message.payload)
    assert found["unit"] == "°C"
    replaced = value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    assert found["bare"] == replaced
    assert type(found["bare"]) is type(value)


@pytest.mark.case(28)
def test_payloads_are_utf_8_whatever_the_locale(monkeypatch):
    monkeypatch.setenv("LANG", "C")
    assert published("ü", payload="{value} {unit}").payload == b"\xc3\xbc \xc2\xb0C"


def test_every_message_has_the_qos_and_the_retain_of_the_config():
    message = published(qos=2, retain=True)
    assert (message.qos, message.retain, message.once) == (2, True, False)


# --- what the config may say


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, []),
        ({"host": "mqtts://mqtt.example.org"}, ["host"]),
        ({"client_id": ""}, ["client_id"]),
        ({"client_id": "ü" * 32_768}, ["client_id"]),
        ({"client_id": "x" * 65_535}, []),
        ({"username": "x" * 65_536}, ["username"]),
        ({"will": Will(topic="edged/status", offline="x" * 65_536)}, ["will"]),
        ({"topic": "edged/+/{sensor}"}, ["topic"]),
        ({"topic": "edged/#"}, ["topic"]),
        ({"topic": "$SYS/{sensor}"}, ["topic"]),
        ({"topic": ""}, ["topic"]),
        ({"topic": "a\tb"}, ["topic"]),
        ({"topic": "a/$b/%20"}, []),
        ({"topic": "x" * 70_000}, ["topic"]),
        ({"cert_file": Path("c"), "key_file": Path("k")}, []),
        ({"cert_file": Path("c"), "tls": False}, ["cert_file"]),
        ({"key_file": Path("k")}, ["key_file"]),
        ({"password": plain("made-up")}, ["password"]),
        ({"username": "me"}, []),
        ({"will": Will(topic="edged/status")}, []),
        ({"will": Will(topic="edged/#")}, ["will"]),
        ({"discovery": "homeassistant"}, []),
        ({"discovery": "homeassistant", "payload": '{"a": [{value}]}'}, []),
        ({"discovery": "homeassistant", "payload": '{"a": "{value}"}'}, []),
        ({"discovery": "homeassistant", "payload": "{value} {unit}"}, ["payload"]),
        ({"discovery": "homeassistant", "payload": '{"a": "{value} {unit}"}'}, ["payload"]),
        ({"discovery": "homeassistant", "topic": "x/{sensor}/{time}"}, ["topic"]),
        ({"host": "", "topic": "#", "client_id": ""}, ["host", "client_id", "topic"]),
    ],
)
def test_what_is_wrong(options, keys):
    assert [key for key, _ in Mqtt.check(platform(**options).options)] == keys


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, []),
        ({"qos": 0}, ["qos"]),
        ({"tls": False}, []),
        ({"tls": False, "username": "me"}, ["tls"]),
        ({"tls": False, "username": "me", "host": "127.0.0.1"}, []),
        ({"tls": False, "username": "me", "host": "localhost"}, []),
        ({"tls": True, "username": "me"}, []),
        ({"payload": "on {time}"}, ["payload"]),
        ({"payload": "", "topic": "e/{sensor}/{value}"}, []),
        ({"payload": '{"v": {value}'}, ["payload"]),
        ({"payload": ' ["{value}"'}, ["payload"]),
        ({"payload": '{"v": "{value}"}'}, []),
        ({"payload": "{value} [{unit}]"}, []),
        ({"will": Will(topic="edged/status")}, []),
        ({"will": Will(topic="edged/status", online="")}, ["will"]),
        ({"will": Will(topic="edged/status", offline="")}, ["will"]),
        ({"will": Will(topic="edged/status", online="", offline="")}, ["will"]),
        ({"will": Will(topic="edged/status", online="x", offline="x")}, ["will"]),
    ],
)
def test_what_is_worth_a_warning(options, keys):
    assert [key for key, _ in Mqtt.caution(platform(**options).options)] == keys


@pytest.mark.parametrize("payload", ['{"v": {value}', "on {time}"])
def test_what_discovery_refuses_is_not_warned_of_as_well(payload):
    options = platform(discovery="homeassistant", payload=payload).options
    assert [key for key, _ in Mqtt.check(options)] == ["payload"]
    assert Mqtt.caution(options) == []


def test_a_target_that_is_no_topic_is_an_error():
    assert [key for key, _ in Mqtt.check_target(Topic(topic="a/#"))] == ["topic"]
    assert Mqtt.check_target(Topic(topic="a/b")) == ()


@pytest.mark.case(26)
def test_of_a_name_that_is_written_otherwise_it_is_said():
    assert Mqtt.caution_series("greenhouse.temperature") == []
    assert Mqtt.caution_series("HM-1500 #1.power") == ["in topics 'HM-1500 #1' is written 'HM-1500 %231'"]


@pytest.mark.parametrize(
    ("options", "one", "other", "same"),
    [
        ({}, item(series="a.b"), item(series="a.c"), False),
        ({}, item(series="a.b"), item(topic="edged/pi/a/b"), True),
        ({}, item(series="a/b.c"), item(series="a%2Fb.c"), False),
        ({"topic": "x/{sensor}"}, item(series="a.b"), item(series="a.c"), True),
        ({"topic": "x"}, item(series="a.b"), item(series="a.c"), True),
        ({"topic": "x", "payload": "{sensor} {quantity} {value}"}, item(series="a.b"), item(series="a.c"), False),
        ({"topic": "x", "payload": "{sensor} {value}"}, item(series="a.b"), item(series="a.c"), True),
        ({"topic": "x", "payload": "{quantity} {value}", "retain": True}, item(series="a.b"), item(series="a.c"), True),
        ({}, item(topic="x"), item(topic="x"), True),
    ],
)
def test_two_series_on_one_topic(options, one, other, same):
    chosen = platform(**options)
    assert (Mqtt.place(chosen.options, one.target) == Mqtt.place(chosen.options, other.target)) is same


def test_true_is_the_series_itself():
    assert Mqtt.usual("a.b") == "a.b"
    assert Mqtt.usual_target("a.b") == Topic(topic="", series="a.b")


CONFIG = """\
[daemon]
{name}
state_dir = "{folder}/state"
[sensors."T2 candle 5W RGB+CW"]
driver = "host"
interval = "10s"
[sensors."HM-1500 #1"]
driver = "host"
interval = "10s"
[sensors."a/b"]
driver = "host"
interval = "10s"
[sensors."Küche"]
driver = "host"
interval = "10s"
[destinations.ha]
platform = "mqtt"
host = "mqtt.example.org"
topic = "edged/{{name}}/{{sensor}}/{{quantity}}"
discovery = "homeassistant"
will = {{}}
series = {{ "*" = true }}
"""


@pytest.mark.case(26)
@pytest.mark.parametrize("host", ["some.host.example", "pi's", "$pi", "h" * 64])
def test_hosts_and_sensors_of_any_name_reach_the_broker(broker, tmp_path, monkeypatch, host):
    monkeypatch.setattr("platform.node", lambda: host)
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(name="", folder=tmp_path))
    config, problems, _ = reader.read(file)
    assert config is not None, problems
    destination = config.destinations["ha"]
    chosen = Mqtt(destination.options)
    series = [f"{sensor}.{quantity}" for sensor in config.sensors for quantity in ("load_1m", "throttled")]
    readings = [
        Item(Entry(n, name, TIME_MS, name.endswith("throttled") or 0.5), destination.mapping.target(name))
        for n, name in enumerate(series)
    ]
    transport = MqttTransport(_there(chosen, broker), 10.0)
    reply = transport.exchange(chosen.encode(readings))
    transport.close()
    assert chosen.judge(reply, readings) == [Delivered()] * 8
    messages = broker.wait_for(1 + 8 + 8 + 1)
    topics = [message.topic for message in messages]
    assert topics[0] == topics[-1] == f"edged/{host}/status"
    states = topics[9:17]
    assert states[1] == f"edged/{host}/T2 candle 5W RGB%2BCW/throttled"
    assert len(set(states)) == 8
    assert all(topic.count("/") == 3 for topic in states)
    assert all(not set(topic) & set("+#\0") and not topic.startswith("$") for topic in topics)
    described = [message for message in messages if message.topic.startswith("homeassistant/")]
    assert len(described) == 8
    for message in described:
        prefix, component, node, name, last = message.topic.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert component in ("sensor", "binary_sensor")
        assert re.fullmatch("[a-zA-Z0-9_-]+", node)
        assert re.fullmatch("[a-zA-Z0-9_-]+", name)
        assert message.retain is False, "as a subscriber of before sees it"
        assert json.loads(message.payload)["state_topic"] in states
    assert len({message.topic for message in described}) == 8
    assert any("Küche load_1m".encode() in message.payload for message in described)


def test_a_name_that_spoils_the_topic_is_an_error_at_its_place(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(name='name = "greenhouse #1"', folder=tmp_path))
    config, problems, _ = reader.read(file)
    assert config is None
    (topic, will) = [str(problem) for problem in problems if problem.severity == "error"]
    assert ":19:9: destinations.ha.topic: 'edged/greenhouse #1/{sensor}/{quantity}' is no topic" in topic
    assert "destinations.ha.will: 'edged/greenhouse #1/status' is no topic" in will
    assert all(problem.endswith("; {name} in it is daemon.name") for problem in (topic, will))


@pytest.mark.pain("G2")
@pytest.mark.pain("G5")
def test_the_client_id_is_the_boards_and_the_same_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr("edged.board.serial", lambda state_dir: "10000000deadbeef")
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(name="", folder=tmp_path))
    ids = set()
    for _ in range(3):
        config, _, _ = reader.read(file)
        assert config is not None
        ids.add(Mqtt(config.destinations["ha"].options).broker(Wire(30, None, "")).client_id)
    assert ids == {"edged_10000000deadbeef"}


def _there(chosen: Mqtt, broker):
    made = chosen.broker(Wire(10.0, broker.ca_file, ""))
    return type(made)(
        broker.host,
        broker.port,
        made.client_id,
        broker.username,
        broker.password,
        ca_file=broker.ca_file,
        presence=made.presence,
    )


# --- where to, and what comes of it


@pytest.mark.parametrize(("options", "port"), [({}, 8883), ({"tls": False}, 1883), ({"port": 99, "tls": False}, 99)])
def test_the_port_is_the_registered_one(options, port):
    assert platform(**options).broker(Wire(30, None, "")).port == port


def test_where_to_and_as_whom():
    chosen = platform(
        username="me",
        password=plain("made-up-password"),
        cert_file=Path("/c.pem"),
        key_file=Path("/k.pem"),
        max_inflight=7,
        will=Will(topic="edged/status", online="up", offline="down"),
        qos=2,
    )
    made = chosen.broker(Wire(30, Path("/ca.pem"), ""))
    assert (made.host, made.client_id, made.tls) == ("mqtt.example.org", "edged_1234", True)
    assert (made.username, made.password) == ("me", "made-up-password")
    assert (made.ca_file, made.cert_file, made.key_file) == (Path("/ca.pem"), Path("/c.pem"), Path("/k.pem"))
    assert made.presence == Presence("edged/status", "up", "down", 2)
    assert made.max_inflight == chosen.limits.readings == 7
    assert "made-up-password" not in repr(made)
    assert platform().broker(Wire(30, None, "")).presence is None


@pytest.mark.pain("G1")
def test_what_comes_of_it():
    chosen, items = platform(), [item()] * 2
    assert chosen.judge(Confirmed((True, False)), items)[0] == Delivered()
    assert chosen.judge(Confirmed((True, False), "the broker closed it"), items)[1] == Transient("the broker closed it")
    (taken_over, _) = chosen.judge(TakenOver("edged_1234"), items)
    assert isinstance(taken_over, Parked)
    assert taken_over.whole
    assert taken_over.reason == "another client uses this id: edged_1234; give each board its own client_id"
    assert {type(outcome) for outcome in chosen.judge(Refused(6, "code 6"), items)} == {Parked}


def test_what_goes_in_front_is_not_taken_for_a_reading():
    chosen = platform(discovery="homeassistant")
    items = [item(series="a.b"), item(series="a.c")]
    assert len(chosen.encode(items)) == 4
    assert chosen.judge(Confirmed((True, True, True, True)), items) == [Delivered()] * 2
    outcomes = chosen.judge(Confirmed((True, False, False, True)), items)
    assert [type(outcome) for outcome in outcomes] == [Transient, Delivered]
    assert chosen.judge(Confirmed((False, False, False, False)), items)[0] != Delivered()


def test_a_probe_logs_in_and_publishes_nothing(broker):
    chosen = platform(will=Will(topic="edged/status"), discovery="homeassistant")
    request = chosen.probe([item()])
    assert request is not None
    transport = MqttTransport(_there(chosen, broker), 10.0)
    assert chosen.judge(transport.exchange(request), [item()]) == [Delivered()]
    assert chosen.judge(transport.exchange(request), []) == []
    transport.close()
    wait_until(lambda: "Received DISCONNECT from edged_1234" in broker.log(), "its leave")
    assert broker.messages() == []


def test_the_transport_of_its_options(broker):
    chosen = platform(
        host=broker.host, port=broker.port, username=broker.username, password=plain(broker.password), qos=2
    )
    transport = chosen.connect(Wire(10.0, broker.ca_file, ""))
    items = [item(n) for n in range(3)]
    assert chosen.judge(transport.exchange(chosen.encode(items)), items) == [Delivered()] * 3
    transport.close()
    assert [message.payload for message in broker.wait_for(3)] == [b"0", b"1", b"2"]


def test_nothing_is_connected_before_an_exchange():
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = platform(host="127.0.0.1", port=server.getsockname()[1]).connect(Wire(1.0, None, ""))
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
        transport.close()
