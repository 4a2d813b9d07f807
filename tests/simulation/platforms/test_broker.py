"""What all stand-ins over MQTT have in common, on the plain one: sessions, handshakes, faults."""

import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from edged.simulation.platforms import ConnectionFault, open_stand_in
from edged.simulation.platforms._mqtt_records import Connection
from edged.simulation.platforms._mqtt_session import Conversation
from tests.simulation.platforms.wire import (
    ACCEPTED,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    connect,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
)


def until(condition: Callable[[], Any]) -> None:
    """Waits for what another thread does."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def payloads(stand_in: Any) -> list[bytes]:
    return [message.payload for message in stand_in.messages]


def violations(stand_in: Any) -> list[int]:
    return [violation.statement for violation in stand_in.snapshot()[1]]


# Sessions


def test_the_first_packet_is_connect(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in)
    client.send(publish("x"))
    assert client.ended
    assert stand_in.messages == []
    assert violations(stand_in) == [0]


def test_a_second_connect_ends_the_connection(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    client.send(connect())
    assert client.ended
    assert violations(stand_in) == [0]


@pytest.mark.parametrize("level", [3, 5])
def test_another_level_of_the_protocol(broker, wire, level):
    stand_in = broker("mqtt")
    client = wire(stand_in)
    assert client.ask(connect(level=level)) == b"\x20\x02\x00\x01"
    assert client.ended
    assert violations(stand_in) == [0]


def test_malformed_packets_end_the_connection_and_are_recorded(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    assert client.ask(publish("good"), b"\x00\x00") == puback()
    assert client.ended
    assert payloads(stand_in) == [b"good"]
    assert violations(stand_in) == [0]
    assert stand_in.connections[0].ended.startswith("malformed: ")


def test_a_nameless_client_is_taken_for_a_clean_session_only(broker, wire):
    stand_in = broker("mqtt")
    first, second = wire(stand_in).open(client_id=""), wire(stand_in).open(client_id="")
    assert first.silent
    assert second.silent
    assert wire(stand_in).ask(connect(client_id="", clean=False)) == b"\x20\x02\x00\x02"


def test_a_second_connection_of_a_client_ends_the_first(broker, wire):
    stand_in = broker("mqtt")
    first = wire(stand_in).open()
    second = wire(stand_in).open()
    assert first.ended
    assert second.silent
    assert [connection.ended for connection in stand_in.connections] == ["taken over", ""]


def test_one_and_a_half_keep_alives_of_silence_end_the_connection(broker, wire, clock):
    stand_in = broker("mqtt")
    client = wire(stand_in).open(keepalive=10)
    clock.advance(15.1)
    assert client.ended
    assert "keep-alives" in stand_in.connections[0].ended


def test_less_silence_does_not(broker, clock):
    connection = Connection(began=clock.monotonic())
    conversation = Conversation(broker("mqtt"), ConnectionFault(), connection)
    assert [answer.data for answer in conversation.feed(connect(keepalive=10))] == [ACCEPTED]
    for _ in range(3):
        clock.advance(15)
        conversation.check_time()
        assert not conversation.over
        assert [answer.data for answer in conversation.feed(PINGREQ)] == [PINGRESP]
    clock.advance(15.1)
    conversation.check_time()
    assert conversation.over


def test_without_a_keep_alive_silence_is_allowed(broker, wire, clock):
    client = wire(broker("mqtt")).open(keepalive=0)
    clock.advance(100_000)
    assert client.silent


def test_a_connection_without_connect_ends(broker, wire, clock):
    stand_in = broker("mqtt")
    client = wire(stand_in)
    client.send(connect()[:5])
    until(lambda: stand_in.connections and stand_in.connections[0].received == 5)
    clock.advance(60)
    assert client.ended


# Messages


@pytest.mark.statement(54)
def test_handshakes(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    client.send(publish("0", qos=0))
    assert client.ask(publish("1", 1)) == puback(1)
    assert client.ask(publish("2", 2, qos=2)) == pubrec(2)
    assert payloads(stand_in) == [b"0", b"1"]  # a PUBREC is no confirmation
    assert client.ask(pubrel(2)) == pubcomp(2)
    assert [(message.payload, message.qos) for message in stand_in.messages] == [(b"0", 0), (b"1", 1), (b"2", 2)]
    assert (stand_in.connections[0].publishes, stand_in.connections[0].confirmed) == (3, 3)
    assert violations(stand_in) == []


@pytest.mark.statement(54)
def test_a_message_of_qos_2_that_comes_again_is_taken_once(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    assert client.ask(publish("2", 5, qos=2)) == pubrec(5)
    assert client.ask(publish("2", 5, qos=2, dup=True)) == pubrec(5)
    assert client.ask(pubrel(5)) == pubcomp(5)
    assert client.ask(pubrel(5)) == pubcomp(5)
    assert payloads(stand_in) == [b"2"]
    assert violations(stand_in) == []


@pytest.mark.statement(54)
def test_a_clean_session_forgets_what_was_not_released(broker, wire):
    stand_in = broker("mqtt")
    first = wire(stand_in).open()
    assert first.ask(publish("2", 5, qos=2)) == pubrec(5)
    second = wire(stand_in).open()
    assert second.ask(pubrel(5)) == pubcomp(5)
    assert payloads(stand_in) == []


@pytest.mark.statement(54)
def test_a_kept_session_goes_on(broker, wire):
    stand_in = broker("mqtt")
    first = wire(stand_in).open(clean=False)
    assert first.ask(publish("2", 5, qos=2)) == pubrec(5)
    first.close()
    second = wire(stand_in)
    assert second.ask(connect(clean=False)) == b"\x20\x02\x01\x00"  # session present
    assert second.ask(pubrel(5)) == pubcomp(5)
    assert payloads(stand_in) == [b"2"]
    third = wire(stand_in).open()  # a clean one ends it
    assert third.ask(pubrel(5)) == pubcomp(5)
    assert payloads(stand_in) == [b"2"]


@pytest.mark.statement(54)
@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (publish("1", 1, dup=True), []),
        (publish("1", 1), [54]),
        (publish("other", 1, dup=True), [54]),
        (publish("other", 1), [54, 54]),
        (publish("other", 2), []),
    ],
)
def test_an_identifier_belongs_to_its_message_until_it_is_confirmed(broker, wire, again, expected):
    stand_in = broker("mqtt", withhold=1)
    client = wire(stand_in).open()
    client.send(publish("1", 1))
    assert client.silent
    assert client.ask(again)[:2] == b"\x40\x02"
    assert violations(stand_in) == expected


@pytest.mark.statement(54)
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_sent_for_the_first_time_is_no_duplicate(broker, wire, qos):
    stand_in = broker("mqtt")
    client = wire(stand_in).open(client_id="a")
    client.ask(publish("1", 1, qos=qos, dup=True))
    assert violations(stand_in) == [54]
    client.ask(publish("1", 1, qos=qos, dup=True))
    wire(stand_in).open(client_id="a").ask(publish("2", 2, qos=qos, dup=True))  # lost with the first connection
    wire(stand_in).open(client_id="b", clean=False).ask(publish("3", 3, qos=qos, dup=True))
    assert violations(stand_in) == [54]


@pytest.mark.statement(54)
def test_a_release_before_its_time(broker, wire):
    stand_in = broker("mqtt", withhold=1)
    client = wire(stand_in).open()
    client.send(publish("2", 5, qos=2))
    assert client.ask(pubrel(5)) == pubcomp(5)
    assert violations(stand_in) == [54]


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#", "$SYS/x"])
def test_topics_that_cannot_be_published_to(broker, wire, topic):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    client.send(publish("x", topic=topic))
    assert client.ended
    assert stand_in.messages == []
    assert violations(stand_in) == [0]


@pytest.mark.parametrize("raw", [puback(), pubrec(), pubcomp()])
def test_confirmations_of_nothing(broker, wire, raw):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    client.send(raw)
    assert client.ended
    assert violations(stand_in) == [0]


def test_nobody_hears_anything(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    assert client.ask(subscribe("a/#", "b", number=7)) == b"\x90\x04\x00\x07\x80\x80"
    assert client.ask(b"\xa2\x05\x00\x08\x00\x01a") == b"\xb0\x02\x00\x08"
    assert list(stand_in.refusals) == ["SUBSCRIBE a/#, b: there is nothing to be heard here"]
    assert client.silent


# Wills


@pytest.mark.parametrize("farewell", ["none", "keep-alive", "take-over", "malformed"])
def test_a_client_that_goes_without_a_word_has_its_will_published(broker, wire, clock, farewell):
    stand_in = broker("mqtt")
    client = wire(stand_in).open(will=("state", "offline", True))
    match farewell:
        case "none":
            client.close()
        case "keep-alive":
            clock.advance(100)
        case "take-over":
            wire(stand_in).open()
        case "malformed":
            client.send(b"\x00\x00")
    until(lambda: stand_in.messages)
    (message,) = stand_in.messages
    assert (message.topic, message.payload, message.retain, message.will) == ("state", b"offline", True, True)


def test_a_clean_end_drops_the_will(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open(will=("state", "offline", True))
    client.send(DISCONNECT)
    assert client.ended
    until(lambda: stand_in.connections[0].ended == "DISCONNECT")
    assert stand_in.messages == []


# Faults and modes


@pytest.mark.statement(54)
def test_confirmations_can_be_withheld(broker, wire):
    stand_in = broker("mqtt", withhold=2)
    client = wire(stand_in).open()
    client.send(publish("1", 1), publish("2", 2))
    assert client.silent
    assert client.ask(publish("3", 3)) == puback(3)
    stand_in.modes.withhold = math.inf
    client.send(publish("4", 4))
    assert client.silent
    stand_in.modes.withhold = 0
    assert client.ask(publish("4", 4, dup=True)) == puback(4)
    assert payloads(stand_in) == [b"1", b"2", b"3", b"4", b"4"]
    assert stand_in.resends == 1


@pytest.mark.statement(54)
@pytest.mark.parametrize(("withheld", "taken"), [("PUBREC", []), ("PUBCOMP", [b"2"])])
def test_either_confirmation_of_qos_2_can_be_withheld(broker, wire, withheld, taken):
    stand_in = broker("mqtt", withhold=math.inf, withheld=withheld)
    client = wire(stand_in).open()
    client.send(publish("2", 2, qos=2))
    if withheld == "PUBCOMP":
        assert client.read() == pubrec(2)
        client.send(pubrel(2))
    assert client.silent
    assert payloads(stand_in) == taken


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 255])
def test_any_code_can_refuse(broker, wire, code):
    stand_in = broker("mqtt")
    stand_in.fail(ConnectionFault(connack=code))
    client = wire(stand_in)
    assert client.ask(connect()) == bytes([0x20, 2, 0, code])
    assert client.ended
    stand_in.modes.connack = code
    assert wire(stand_in).ask(connect()) == bytes([0x20, 2, 0, code])
    stand_in.modes.connack = 0
    wire(stand_in).open()
    assert [connection.code for connection in stand_in.connections] == [code, code, 0]


@pytest.mark.case(23)
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stage", ["connect", "connack", "publish"])
def test_a_connection_can_be_cut_at_any_stage(broker, wire, stage, reset):
    stand_in = broker("mqtt")
    stand_in.fail(ConnectionFault(cut=stage, reset=reset))
    client = wire(stand_in)
    client.send(connect())
    if stage != "connect":
        assert client.read() == ACCEPTED
    if stage == "publish":
        client.send(publish("x"))
    if reset:
        with pytest.raises(ConnectionResetError):
            client.read()
    else:
        assert client.read() == b""
    assert stand_in.messages == []
    assert stand_in.connections[0].ended == "cut by a fault"
    assert wire(stand_in).open().ask(publish("x")) == puback()


def test_a_later_publish_can_be_the_one(broker, wire):
    stand_in = broker("mqtt")
    stand_in.fail(ConnectionFault(cut="publish", nth=3))
    client = wire(stand_in).open()
    client.send(publish("1", 1), publish("2", 2), publish("3", 3))
    assert (client.read(), client.read(), client.read()) == (puback(1), puback(2), b"")


@pytest.mark.parametrize("sent", range(9))
def test_a_connection_can_be_cut_at_every_byte_of_an_answer(broker, wire, sent):
    stand_in = broker("mqtt")
    stand_in.fail(ConnectionFault(cut_sent=sent, reset=True))
    client = wire(stand_in)
    client.send(connect() + publish("x"))
    assert client.rest() == (ACCEPTED + puback())[:sent]
    assert stand_in.connections[0].ended == "cut by a fault"


def test_a_connection_can_be_cut_within_a_packet(broker, wire):
    stand_in = broker("mqtt")
    stand_in.fail(ConnectionFault(cut_received=len(connect()) + len(publish("x")) + 5))
    client = wire(stand_in).open()
    client.send(publish("x", 1))
    assert client.read() == puback(1)
    client.send(publish("y", 2))
    assert client.ended
    assert payloads(stand_in) == [b"x"]


@pytest.mark.case(23)
@pytest.mark.parametrize("stage", ["connect", "connack", "publish"])
def test_packets_can_be_dropped_silently(broker, wire, clock, stage):
    stand_in = broker("mqtt")
    stand_in.fail(ConnectionFault(deaf=stage))
    client = wire(stand_in)
    client.send(connect())
    if stage != "connect":
        assert client.read() == ACCEPTED
    client.send(publish("x"), PINGREQ)
    until(lambda: stand_in.connections and stand_in.connections[0].publishes == 1)
    clock.advance(1000)  # nor does it mind the keep-alive
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.read()
    assert stand_in.messages == []


def test_the_whole_broker_can_go_deaf(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    stand_in.modes.deaf = True
    client.send(publish("x"))
    until(lambda: stand_in.connections[0].publishes == 1)
    stand_in.modes.deaf = False
    assert client.silent
    assert stand_in.messages == []


@pytest.mark.case(25)
@pytest.mark.parametrize("qos", [1, 2])
def test_too_many_unacknowledged_messages_end_the_connection(broker, wire, qos):
    stand_in = broker("mqtt", window=10)
    stand_in.fail(ConnectionFault(withhold=True), ConnectionFault(withhold=True))
    client = wire(stand_in).open()
    client.send(*(publish("x", number, qos=qos) for number in range(1, 11)))
    assert client.silent
    client.send(publish("x", 11, qos=qos))
    assert client.ended
    assert stand_in.connections[0].window == 11
    second = wire(stand_in).open()  # is counted anew
    second.send(*(publish("x", number, qos=qos) for number in range(1, 11)))
    assert second.silent
    third = wire(stand_in).open()
    for number in range(1, 21):
        assert third.ask(publish("x", number, qos=1)) == puback(number)
    assert stand_in.connections[2].window == 1


def test_a_poisonous_message_ends_the_connection(broker, wire):
    stand_in = broker("mqtt", poison=b"13")
    client = wire(stand_in).open()
    assert client.ask(publish("12")) == puback()
    client.send(publish("13"))
    assert client.ended
    assert payloads(stand_in) == [b"12"]


@pytest.mark.parametrize("which", ["CONNACK", "all"])
def test_answers_can_be_late(broker, which):
    stand_in = broker("mqtt", delay_s=0.0 if which == "CONNACK" else 3.0)
    conversation = Conversation(stand_in, ConnectionFault(delay_s=7.0 if which == "CONNACK" else 0.0), Connection(0.0))
    answers = list(conversation.feed(connect() + publish("x")))
    assert answers == ([(ACCEPTED, 7.0), (puback(), 0.0)] if which == "CONNACK" else [(ACCEPTED, 3.0), (puback(), 3.0)])


def test_a_late_answer_is_waited_for(broker, wire):
    client = wire(broker("mqtt", delay_s=0.5))
    client.send(connect())
    client.socket.settimeout(0.01)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(10)
    assert client.read() == ACCEPTED


# Its life


def test_stop_ends_connections_and_start_goes_on_with_what_was_accepted(broker, wire):
    stand_in = broker("mqtt")
    client = wire(stand_in).open()
    assert client.ask(publish("1")) == puback()
    port = stand_in.port
    stand_in.stop()
    assert client.ended
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port))
    stand_in.start()
    assert stand_in.port == port
    assert wire(stand_in).open().ask(publish("2")) == puback()
    assert payloads(stand_in) == [b"1", b"2"]


def test_stop_does_not_wait_for_late_answers():
    threads = threading.active_count()
    stand_in = open_stand_in("mqtt", delay_s=60).start()
    with socket.create_connection(("127.0.0.1", stand_in.port)) as connection:
        connection.sendall(connect())
        until(lambda: stand_in.connections and stand_in.connections[0].connect)
        stand_in.stop()
    until(lambda: threading.active_count() <= threads)


@pytest.mark.parametrize("platform", ["bbdata-mqtt", "mqtt"])
def test_no_thread_and_no_descriptor_is_left(broker, wire, platform):
    def opened() -> int:
        with socket.socket() as probe:
            return probe.fileno()

    threads, descriptors = threading.active_count(), opened()
    stand_in = open_stand_in(platform).start()
    stand_in.fail(ConnectionFault(cut="connack"), ConnectionFault(cut="connack", reset=True))
    for _ in range(10):
        client = wire(stand_in)
        assert client.ask(connect()) == ACCEPTED
        client.close()
    stand_in.stop()
    until(lambda: threading.active_count() <= threads)
    assert opened() <= descriptors


@pytest.mark.statement(6)
def test_connections_without_any_pause_are_flagged(broker, wire, clock):
    stand_in = broker("mqtt", hasty_s=0.020, connack=3)
    for _ in range(4):
        wire(stand_in).ask(connect())
    clock.advance(0.030)
    for _ in range(4):
        wire(stand_in).ask(connect())
    assert violations(stand_in) == []
    wire(stand_in).ask(connect())
    assert violations(stand_in) == [6]


@pytest.mark.statement(6)
@pytest.mark.parametrize(("connack", "expected"), [(3, [6]), (5, [])])
def test_connections_without_jitter_are_flagged(broker, wire, clock, connack, expected):
    stand_in = broker("mqtt", hasty_s=0.020, connack=connack)  # 5: wait for a person, as long as one likes
    for _ in range(6):
        wire(stand_in).ask(connect())
        clock.advance(5.0)
    assert violations(stand_in) == expected


@pytest.mark.statement(6)
def test_a_client_that_only_looks_in_is_not_judged(broker, wire, clock):
    stand_in = broker("mqtt", hasty_s=0.020)
    for _ in range(10):
        client = wire(stand_in).open()
        client.send(DISCONNECT)
        assert client.ended
        clock.advance(5.0)
    assert violations(stand_in) == []


@pytest.mark.statement(6)
@pytest.mark.pain("G1")
def test_so_are_clients_that_take_each_other_over(broker, wire):
    stand_in = broker("mqtt", hasty_s=0.020)
    kept = [wire(stand_in).open() for _ in range(6)]
    assert violations(stand_in) == [6]
    assert kept[-1].silent


@pytest.mark.statement(6)
def test_a_client_that_is_restarted_is_forgiven(broker, wire):
    stand_in = broker("mqtt", hasty_s=0.020, connack=3)
    for _ in range(3):
        for _ in range(4):
            wire(stand_in).ask(connect())
        stand_in.forgive()
    assert violations(stand_in) == []


@pytest.mark.statement(6)
def test_a_connection_that_was_of_use_may_be_followed_at_once(broker, wire):
    stand_in = broker("mqtt", hasty_s=0.020)
    for number in range(1, 10):
        client = wire(stand_in).open()
        assert client.ask(publish("x", number)) == puback(number)
        client.close()
        until(lambda: stand_in.connections[-1].ended)
    assert violations(stand_in) == []
