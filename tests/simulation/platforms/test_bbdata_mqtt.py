"""Statements 47 to 55."""

import contextlib
import json
import socket
import ssl
import threading
import tomllib
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edged.simulation.platforms import ConnectionFault
from edged.simulation.platforms.bbdata_mqtt import BBDataMqtt
from tests.simulation.platforms.wire import (
    ACCEPTED,
    DISCONNECT,
    connect,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
)

TIME_MS = 1_709_647_650_250  # also the stand-in's clock
STAMP = "2024-03-05T14:07:30.250"
FLOAT, INT, BOOL, STRING = 4711, 4712, 4713, 4714


def fields(number: int = FLOAT, value: Any = "21.37", stamp: Any = STAMP, **others: Any) -> dict[str, Any]:
    known = BBDataMqtt.made_up[number]
    item = {"objectId": number, "token": known.token, "timestamp": stamp, "value": value, "comment": "", "owner": None}
    return {key: value for key, value in {**item, **others}.items() if value is not ...}


def measure(*args: Any, **kwargs: Any) -> str:
    return json.dumps(fields(*args, **kwargs))


@pytest.fixture
def bbdata(broker):
    return lambda **modes: broker("bbdata-mqtt", **modes)


def violations(stand_in: Any) -> list[int]:
    return [violation.statement for violation in stand_in.snapshot()[1]]


def accepted(stand_in: Any) -> list[tuple[str, int, Any]]:
    return [(reading.target, reading.time_ms, reading.value) for reading in stand_in.snapshot()[0]]


# 47 to 50: connecting


def test_the_documented_example_is_stored(bbdata, wire):
    stand_in = bbdata()
    example = (
        '{"objectId": 4711, "token": "0123456789abcdef0123456789abcdef", "timestamp": "2024-03-05T14:07:30.250",'
        ' "value": "21.37", "comment": "", "owner": null}'
    )
    assert wire(stand_in).open().ask(publish(example)) == puback()
    assert accepted(stand_in) == [("4711", TIME_MS, pytest.approx(21.37))]
    assert (violations(stand_in), stand_in.errors, list(stand_in.refusals)) == ([], [], [])


@pytest.mark.statement(47)
def test_a_connect_without_tls_is_closed(bbdata):
    stand_in = bbdata()
    with socket.create_connection(("127.0.0.1", stand_in.port)) as connection:
        connection.sendall(connect())
        with contextlib.suppress(ConnectionResetError):  # it has not read what is there
            assert connection.recv(1) == b""
    assert violations(stand_in) == [47]
    assert [each.connect for each in stand_in.connections] == [None]


@pytest.mark.statement(47)
@pytest.mark.parametrize("mistrust", ["authority", "name"])
def test_a_client_that_does_not_trust_it_sends_no_connect(bbdata, mistrust):
    stand_in = bbdata()
    trusting = ssl.create_default_context(cafile=stand_in.modes.certificate if mistrust == "name" else None)
    with (
        socket.create_connection(("127.0.0.1", stand_in.port)) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        trusting.wrap_socket(connection, server_hostname="mqtt.example.org" if mistrust == "name" else "localhost")
    assert [each.connect for each in stand_in.connections] == [None]
    assert violations(stand_in) == []


@pytest.mark.statement(47)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_its_certificate_stands_the_strictest_check(bbdata, host):
    stand_in = bbdata()
    trusting = ssl.create_default_context(cafile=stand_in.modes.certificate)
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN  # Python 3.13's default
    with socket.create_connection(("127.0.0.1", stand_in.port)) as connection:
        secure = trusting.wrap_socket(connection, server_hostname=host)
        certificate = secure.getpeercert()
        secure.close()
    assert certificate is not None
    assert str(certificate["notAfter"]).startswith("Dec 31 23:59:59 2049")
    assert "CA:FALSE" in stand_in.modes.certificate.read_text()


@pytest.mark.statement(47)
def test_a_probe_of_the_port_is_no_violation(bbdata):
    stand_in = bbdata()
    socket.create_connection(("127.0.0.1", stand_in.port)).close()
    stand_in.stop()
    assert violations(stand_in) == []


@pytest.mark.statement(48)
@pytest.mark.parametrize("client_id", ["", "edged", "bbdata_", "bbdata", "BBDATA_pi", " bbdata_pi"])
def test_a_foreign_client_id_is_refused(bbdata, wire, client_id):
    stand_in = bbdata()
    client = wire(stand_in)
    assert client.ask(connect(client_id)) == b"\x20\x02\x00\x02"
    assert client.ended
    assert violations(stand_in) == [48]
    assert list(stand_in.refusals) == [f"CONNACK 2: client id {client_id!r} does not begin with bbdata_ and a name"]


@pytest.mark.statement(49)
@pytest.mark.parametrize("code", [4, 5])
@pytest.mark.parametrize(
    ("username", "password"), [("bbdata", "wrong-password"), ("other", "bbdata"), ("bbdata", None), (None, None)]
)
def test_a_wrong_login_is_refused(bbdata, wire, code, username, password):
    stand_in = bbdata(bad_login=code)
    client = wire(stand_in)
    assert client.ask(connect(username=username, password=password)) == bytes([0x20, 2, 0, code])
    assert client.ended
    assert violations(stand_in) == []  # it is the config's
    assert "wrong-password" not in str(list(stand_in.refusals))


@pytest.mark.statement(49)
def test_no_tight_loop_of_refused_logins(bbdata, wire, clock):
    stand_in = bbdata(hasty_s=0.020)
    for pause, expected in ((0.03, []), (0.0, [49])):
        for _ in range(5):
            clock.advance(pause)
            wire(stand_in).ask(connect(password="wrong"))
        assert violations(stand_in) == expected


@pytest.mark.statement(50)
def test_a_second_session_ends_the_first(bbdata, wire):
    stand_in = bbdata()
    first = wire(stand_in).open()
    other = wire(stand_in).open(client_id="bbdata_other")
    second = wire(stand_in).open()
    assert first.ended
    assert second.ask(publish(measure())) == puback()
    assert other.silent
    assert stand_in.connections[0].ended == "taken over"


@pytest.mark.parametrize("level", [3, 5])
def test_only_level_4_of_the_protocol(bbdata, wire, level):
    assert wire(bbdata()).ask(connect(level=level)) == b"\x20\x02\x00\x01"


# 51 to 53: messages


@pytest.mark.statement(51)
@pytest.mark.parametrize("topic", ["", "bbdata/+", "#", "$bbdata"])
def test_topics(bbdata, wire, topic):
    stand_in = bbdata()
    client = wire(stand_in).open()
    client.send(publish(measure(), topic=topic))
    assert client.ended
    assert accepted(stand_in) == []
    assert violations(stand_in) == [51]


@pytest.mark.statement(51)
def test_any_other_topic_will_do(bbdata, wire):
    stand_in = bbdata()
    client = wire(stand_in).open()
    assert client.ask(publish(measure(), topic="a/b c/$d")) == puback()
    assert violations(stand_in) == []


@pytest.mark.statement(51)
def test_nothing_is_retained(bbdata, wire):
    stand_in = bbdata()
    assert wire(stand_in).open().ask(publish(measure(), retain=True)) == puback()
    assert violations(stand_in) == [51]


BAD = [
    (52, "no JSON"),
    (52, b"\xff"),
    (52, '{"value": NaN}'),
    (52, measure()[:-1] + ', "value": "2"}'),
    (52, f"[{measure()}]"),
    (52, "null"),
    *((52, measure(**{key: ...})) for key in fields()),
    (52, measure(extra=1)),
    (52, measure(comment=None)),
    (52, measure(comment=7)),
    (52, measure(owner=1)),
    *(
        (53, measure(stamp=stamp))
        for stamp in (
            None,
            1_709_647_650_250,
            "1709647650250",
            "",
            "2024-03-05T14:07:30",
            "2024-03-05T14:07:30.25",
            "2024-03-05T14:07:30.2500",
            "2024-03-05T14:07:30.250Z",
            "2024-03-05T14:07:30.250+00:00",
            "2024-03-05 14:07:30.250",
            "2024-03-05T14:07:60.000",
            "2024-02-30T14:07:30.250",
            "2015-12-31T23:59:59.999",
            "2024-03-05T14:07:32.251",
        )
    ),
    *((53, measure(objectId=number)) for number in ("4711", 4711.0, True, None, -1)),
    *((53, measure(token=token)) for token in ("a" * 31, "a" * 33, "", None, 7)),
    *((53, measure(value=value)) for value in ("", None)),
    (53, measure(comment="x" * 1025)),
    (53, measure(comment="\N{GRINNING FACE}" * 513)),
    *((53, measure(value=value)) for value in ("NaN", "-Infinity")),
]


@pytest.mark.statement(52)
@pytest.mark.statement(53)
@pytest.mark.parametrize(("statement", "payload"), BAD)
def test_what_no_client_should_send_is_confirmed_all_the_same(bbdata, wire, statement, payload):
    stand_in = bbdata()
    assert wire(stand_in).open().ask(publish(payload)) == puback()
    assert accepted(stand_in) == []
    assert violations(stand_in) == [statement]
    (error,) = stand_in.errors
    assert error.payload == (payload if isinstance(payload, bytes) else payload.encode())
    assert error.reason
    assert list(stand_in.refusals) == [f"error queue: {error.reason}"]
    token = BBDataMqtt.made_up[FLOAT].token
    assert token not in error.reason
    assert token not in repr(error)


@pytest.mark.statement(53)
@pytest.mark.parametrize(
    "payload",
    [
        measure(objectId=9999),
        measure(token="f" * 32),
        measure(FLOAT, "warm"),
        measure(INT, "5.0"),
        measure(INT, 1.0),
        measure(INT, "1e3"),
        measure(INT, "2147483648"),
        measure(BOOL, "2"),
        measure(BOOL, "1.0"),
    ],
)
def test_what_only_its_objects_tell_is_in_the_error_queue(bbdata, wire, payload):
    stand_in = bbdata()
    assert wire(stand_in).open().ask(publish(payload)) == puback()
    assert (accepted(stand_in), violations(stand_in)) == ([], [])
    assert len(stand_in.errors) == 1


@pytest.mark.statement(53)
def test_a_disabled_object(bbdata, wire):
    stand_in = bbdata()
    stand_in.disabled.add(FLOAT)
    assert wire(stand_in).open().ask(publish(measure())) == puback()
    assert accepted(stand_in) == []
    assert [error.reason for error in stand_in.errors] == ["objectId 4711 is disabled"]


@pytest.mark.statement(53)
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (measure(FLOAT, "0x1p3"), ("4711", TIME_MS, 8.0)),
        (measure(FLOAT, 21), ("4711", TIME_MS, 21.0)),
        (measure(INT, "+5"), ("4712", TIME_MS, 5)),
        (measure(BOOL, "On"), ("4713", TIME_MS, True)),
        (measure(STRING, "  "), ("4714", TIME_MS, "  ")),
        (measure(STRING, {"a": 1}), ("4714", TIME_MS, '{"a":1}')),
        (measure(FLOAT, "1", "2024-03-05T14:07:32.250"), ("4711", TIME_MS + 2000, 1.0)),
        (measure(FLOAT, "1", "2016-01-01T00:00:00.000"), ("4711", 1_451_606_400_000, 1.0)),
        (measure(FLOAT, "1", comment="x" * 1024), ("4711", TIME_MS, 1.0)),
        (measure(FLOAT, "1", comment="\N{GRINNING FACE}" * 512), ("4711", TIME_MS, 1.0)),
    ],
)
def test_what_is_right(bbdata, wire, payload, expected):
    stand_in = bbdata()
    assert wire(stand_in).open().ask(publish(payload)) == puback()
    assert accepted(stand_in) == [expected]
    assert (violations(stand_in), stand_in.errors) == ([], [])


@pytest.mark.statement(52)
def test_a_will_is_no_measure(bbdata, wire):
    stand_in = bbdata()
    wire(stand_in).open(will=("state", "offline", False))
    wire(stand_in).open()
    assert violations(stand_in) == [52]


# 54 and 55: confirmations


@pytest.mark.statement(2)
@pytest.mark.parametrize("secret", ["a-made-up-password", "a" * 32])
def test_secrets_stand_in_no_topic_and_no_client_id(bbdata, wire, secret):
    stand_in = bbdata()
    targets = [{"object": 1, "token": "a" * 32, "type": "float"}]
    stand_in.admit({"username": "u", "password": "a-made-up-password", "qos": 1}, targets)
    client = wire(stand_in).open(username="u", password="a-made-up-password")
    assert client.ask(publish(measure(objectId=1, token="a" * 32))) == puback()
    assert violations(stand_in) == []
    item = measure(objectId=1, token="a" * 32, timestamp="2024-03-05T14:07:29.000")
    client = wire(stand_in).open(client_id=f"bbdata_{secret}", username="u", password="a-made-up-password")
    assert client.ask(publish(item, topic=f"bbdata/{secret}")) == puback()
    assert violations(stand_in) == [2, 2]
    assert secret not in str(stand_in.violations)


@pytest.mark.statement(54)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_quality_of_service(bbdata, wire, qos):
    stand_in = bbdata()
    client = wire(stand_in).open()
    client.send(publish(measure(), 7, qos=qos))
    if qos == 1:
        assert client.read() == puback(7)
    if qos == 2:
        assert client.read() == pubrec(7)
        assert accepted(stand_in) == []
        assert client.ask(pubrel(7)) == pubcomp(7)
    assert client.silent
    assert len(accepted(stand_in)) == 1


@pytest.mark.statement(54)
def test_the_quality_of_service_is_the_configured_one(bbdata, wire):
    stand_in = bbdata()
    options = {"username": "someone", "password": "else", "qos": 2}
    stand_in.admit(options, [{"object": 1, "token": "a" * 32, "type": "int"}])
    client = wire(stand_in).open(username="someone", password="else")
    item = measure(objectId=1, token="a" * 32, value="5")
    assert client.ask(publish(item, 1, qos=2)) == pubrec(1)
    assert client.ask(pubrel(1)) == pubcomp(1)
    assert violations(stand_in) == []
    assert client.ask(publish(item, 2, qos=1)) == puback(2)
    assert violations(stand_in) == [54]


@pytest.mark.statement(54)
@pytest.mark.parametrize("reconnects", [False, True])
def test_a_redelivery_is_recognised(bbdata, wire, reconnects):
    stand_in = bbdata(withhold=1)
    client = wire(stand_in).open()
    client.send(publish(measure()))
    assert client.silent
    if reconnects:
        client = wire(stand_in).open()
        assert client.ask(publish(measure())) == puback()
    else:
        assert client.ask(publish(measure(), dup=True)) == puback()
    assert accepted(stand_in) == [("4711", TIME_MS, pytest.approx(21.37))]
    assert (stand_in.resends, violations(stand_in)) == (1, [])


@pytest.mark.statement(3)
@pytest.mark.parametrize("other", [measure(value="22"), measure(comment="new"), measure().replace(" ", "")])
def test_what_comes_again_is_the_same_to_the_byte(bbdata, wire, other):
    stand_in = bbdata()
    client = wire(stand_in).open()
    client.ask(publish(measure()))
    client.ask(publish(other, 2))
    assert violations(stand_in) == [3]


@pytest.mark.statement(55)
def test_a_subscription_fails_and_is_flagged(bbdata, wire):
    stand_in = bbdata()
    client = wire(stand_in).open()
    assert client.ask(subscribe("bbdata_topic", "#", number=3)) == b"\x90\x04\x00\x03\x80\x80"
    assert violations(stand_in) == [55]
    assert client.ask(publish(measure())) == puback()


# Whom it knows


def test_admitted_identifiers_replace_the_made_up_ones(bbdata, wire):
    stand_in = bbdata()
    stand_in.admit({"username": "u", "password": "p", "qos": 1}, [{"object": 1, "token": "a" * 32, "type": None}])
    stand_in.admit({"username": "v", "password": "q", "qos": 0}, [])
    assert wire(stand_in).ask(connect()) == b"\x20\x02\x00\x04"
    assert wire(stand_in).ask(connect(username="v", password="q")) == ACCEPTED
    client = wire(stand_in).open(username="u", password="p")
    client.ask(publish(measure(objectId=1, token="a" * 32), 1))
    client.ask(publish(measure(), 2))
    assert accepted(stand_in) == [("1", TIME_MS, "21.37")]
    assert len(stand_in.errors) == 1


def test_the_example_is_a_table_for_it():
    with BBDataMqtt() as stand_in:
        table = tomllib.loads(stand_in.example())["destinations"]["bbdata-mqtt"]
        assert (table["host"], table["port"]) == ("127.0.0.1", stand_in.port)
        assert table["ca_file"] == str(stand_in.modes.certificate)
        assert stand_in.users == {table["username"]: table["password"]}
        series = table["series"]["greenhouse.temperature"]
        assert stand_in.objects[series["object"]].token == series["token"]


# With paho


def paho(stand_in, **reconnect: Any) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, "bbdata_paho", **reconnect)
    client.username_pw_set("bbdata", "bbdata")
    client.tls_set(str(stand_in.modes.certificate))
    client.reconnect_delay_set(1, 1)
    client.connect("localhost", stand_in.port, keepalive=5)
    client.loop_start()
    return client


@pytest.mark.statement(54)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_is_satisfied(bbdata, qos):
    stand_in = bbdata()
    client = paho(stand_in)
    for second in range(30):
        stamp = f"2024-03-05T14:07:{second:02d}.000"
        client.publish("bbdata_topic", measure(FLOAT, str(second), stamp), qos).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    stand_in.stop()
    assert [value for _, _, value in accepted(stand_in)] == list(range(30))
    assert (violations(stand_in), stand_in.errors, stand_in.resends) == ([], [], 0)
    assert [connection.ended for connection in stand_in.connections] == ["DISCONNECT"]


@pytest.mark.statement(54)
@pytest.mark.parametrize("qos", [1, 2])
def test_paho_sends_again_what_was_not_confirmed(bbdata, qos):
    stand_in = bbdata()
    stand_in.fail(ConnectionFault(withhold=True, cut="publish", nth=4))
    client = paho(stand_in)
    sent = [
        client.publish("bbdata_topic", measure(FLOAT, str(second), f"2024-03-05T14:07:{second:02d}.000"), qos)
        for second in range(10)
    ]
    for each in sent:
        each.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    stand_in.stop()
    assert [value for _, _, value in accepted(stand_in)] == list(range(10))
    assert violations(stand_in) == []
    assert stand_in.resends == (3 if qos == 1 else 0)
    assert [connection.ended for connection in stand_in.connections] == ["cut by a fault", "DISCONNECT"]


@pytest.mark.statement(55)
def test_paho_is_told_that_it_may_not_subscribe(bbdata):
    stand_in = bbdata()
    told = threading.Event()
    codes: list[Any] = []
    client = paho(stand_in)

    def on_subscribe(client: Any, userdata: Any, mid: Any, reasons: Any, properties: Any) -> None:
        codes.extend(reasons)
        told.set()

    client.on_subscribe = on_subscribe
    client.subscribe("bbdata_topic")
    assert told.wait(10)
    client.disconnect()
    client.loop_stop()
    assert [code.is_failure for code in codes] == [True]
    assert violations(stand_in) == [55]


def test_a_goodbye_ends_the_connection(bbdata, wire):
    client = wire(bbdata()).open()
    client.send(DISCONNECT)
    assert client.ended
