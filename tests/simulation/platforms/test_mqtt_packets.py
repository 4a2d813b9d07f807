"""MQTT 3.1.1 on the wire; § are sections of the standard."""

import pytest

from edged.simulation.platforms import _mqtt_packets as packets
from edged.simulation.platforms._mqtt_packets import Connect, Kind, Malformed, Publish, Short, Subscribe, Will
from tests.simulation.platforms.wire import (
    DISCONNECT,
    PINGREQ,
    connect,
    packet,
    puback,
    publish,
    pubrel,
    subscribe,
    text,
)

GOOD = [
    (connect("c", "u", "p", keepalive=10), Connect(4, "c", True, 10, "u", b"p", None)),
    (connect("c", None, None, clean=False), Connect(4, "c", False, 60)),
    (
        connect("c", None, None, will=("gone", "off", True)),
        Connect(4, "c", True, 60, will=Will("gone", b"off", 1, True)),
    ),
    (packet(0x10, text("MQTT") + b"\x05\x02 and what level 5 has"), Connect(5)),
    (publish("21.37", 258, topic="Küche"), Publish("Küche", b"21.37", 1, 258, False, False)),
    (publish("", qos=0, retain=True), Publish("bbdata_topic", b"", 0, 0, False, True)),
    (publish(b"\xff\x00", 65535, qos=2, dup=True), Publish("bbdata_topic", b"\xff\x00", 2, 65535, True, False)),
    (publish("x" * 20_000, 1), Publish("bbdata_topic", b"x" * 20_000, 1, 1, False, False)),
    (puback(7), Short(Kind.PUBACK, 7)),
    (pubrel(7), Short(Kind.PUBREL, 7)),
    (subscribe("a/#", "b"), Subscribe(1, ("a/#", "b"))),
    (packet(0xA2, b"\x00\x09" + text("a")), Short(Kind.UNSUBSCRIBE, 9)),
    (PINGREQ, Short(Kind.PINGREQ)),
    (DISCONNECT, Short(Kind.DISCONNECT)),
]
BAD = {
    "the protocol's name (§3.1.2.1)": connect(protocol="MQIsdp"),
    "CONNECT's reserved flag (§3.1.2.3)": connect(flags=0x01),
    "a will's QoS without a will (§3.1.2.6)": connect(flags=0x08),
    "a will's retain without a will (§3.1.2.7)": connect(flags=0x20),
    "a will of QoS 3 (§3.1.2.6)": connect(will=("t", "p", False), flags=0x18),
    "a password without a user (§3.1.2.9)": connect("c", None, "p"),
    "a user that is missing (§3.1.2.8)": connect("c", None, None, flags=0x80),
    "something behind CONNECT": packet(0x10, connect("c", None, None)[2:] + b"x"),
    "CONNECT's own flags (§2.2.2)": b"\x11" + connect()[1:],
    "NUL in a text (§1.5.3)": connect("a\0b"),
    "a lone surrogate (§1.5.3)": connect(b"\xed\xa0\x80"),
    "no UTF-8 (§1.5.3)": connect(b"\xff"),
    "a text that ends too early": packet(0x30, b"\x00\x09short"),
    "QoS 3 (§3.3.1.2)": b"\x36" + publish("x")[1:],
    "DUP with QoS 0 (§3.3.1.1)": publish("x", qos=0, dup=True),
    "the identifier 0 (§2.3.1)": publish("x", 0),
    "no room for an identifier": packet(0x32, text("topic")),
    "PUBREL's flags (§3.6.1)": b"\x60\x02\x00\x01",
    "a PUBACK that is too long": packet(0x40, b"\x00\x01\x00"),
    "SUBSCRIBE's flags (§3.8.1)": b"\x80" + subscribe("a")[1:],
    "SUBSCRIBE to nothing (§3.8.3)": packet(0x82, b"\x00\x01"),
    "SUBSCRIBE with QoS 3 (§3.8.3)": packet(0x82, b"\x00\x01" + text("a") + b"\x03"),
    "UNSUBSCRIBE from nothing (§3.10.3)": packet(0xA2, b"\x00\x01"),
    "packet type 0 (§2.2.1)": packet(0x00, b""),
    "packet type 15 (§2.2.1)": packet(0xF0, b""),
    "a server's packet": packet(0x20, b"\x00\x00"),
    "five bytes of length (§2.2.3)": b"\x30\xff\xff\xff\xff\x01",
    "much more than any message has": b"\x30\xff\xff\xff\x7f",
    "TLS": b"\x16\x03\x01\x02\x00",
}


@pytest.mark.parametrize(("raw", "value"), GOOD)
def test_packets(raw, value):
    buffer = bytearray(raw)
    assert list(packets.take(buffer)) == [value]
    assert buffer == b""


def test_byte_by_byte():
    buffer = bytearray()
    found: list[packets.Packet] = []
    for byte in b"".join(raw for raw, _ in GOOD):
        buffer.append(byte)
        found += packets.take(buffer)
    assert found == [value for _, value in GOOD]


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_malformed(raw):
    with pytest.raises(Malformed):
        list(packets.take(bytearray(raw)))


def test_what_cannot_become_a_packet_is_found_at_its_first_byte():
    with pytest.raises(Malformed):
        list(packets.take(bytearray(b"GET / HTTP/1.1"[:1])))


def test_what_comes_before_a_malformed_one_is_taken():
    arrived = packets.take(bytearray(PINGREQ + b"\x00\x00"))
    assert next(arrived) == Short(Kind.PINGREQ)
    with pytest.raises(Malformed):
        next(arrived)


def test_answers():
    assert packets.connack(0) == b"\x20\x02\x00\x00"
    assert packets.connack(0, session_present=True) == b"\x20\x02\x01\x00"
    assert packets.connack(5, session_present=True) == b"\x20\x02\x00\x05"
    assert packets.short(Kind.PUBACK, 258) == b"\x40\x02\x01\x02"
    assert packets.suback(1, b"\x80\x80") == b"\x90\x04\x00\x01\x80\x80"
    assert packets.pingresp() == b"\xd0\x00"


def test_no_representation_shows_a_password_or_a_payload():
    assert "secret" not in repr(list(packets.take(bytearray(connect(password="secret") + publish("secret")))))
