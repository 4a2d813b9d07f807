"""MQTT exchanges with a real broker, and with a bad one made by hand."""

import contextlib
import gc
import itertools
import logging
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edged.errors import NoAnswer
from edged.transports.mqtt import Answer, Broker, Confirmed, Message, MqttTransport, Presence, Refused, TakenOver
from edged.transports.session import Session
from edged.transports.tls import context
from tests.transports.broker import Broker as Mosquitto
from tests.transports.broker import free_port, wait_until
from tests.transports.certificates import NOT_YET_VALID, Authority, Certificate
from tests.transports.fake_broker import CLOSE, PINGREQ, RESET, Conduct, FakeBroker

PATIENCE_S = 10.0
PRESENCE = Presence("edged/pi/status", "online", "offline")


def where(broker, **changes) -> Broker:
    made = Broker(broker.host, broker.port, "bbdata_test", broker.username, broker.password, ca_file=broker.ca_file)
    return replace(made, **changes)


@pytest.fixture
def connect():
    """Opens transports: `connect(broker, **changes of where)`, or to a fake one."""
    with contextlib.ExitStack() as stack:

        def open_transport(broker, timeout_s=PATIENCE_S, early_s=5.0, **changes):
            if isinstance(broker, Mosquitto):
                broker = where(broker)
            transport = MqttTransport(replace(broker, **changes), timeout_s, early_s)
            stack.callback(transport.close)
            return transport

        yield open_transport


def messages(count: int, qos: int = 1, first: int = 0) -> tuple[Message, ...]:
    return tuple(Message("bbdata_topic", b'{"n": %d}' % n, qos) for n in range(first, first + count))


def payloads(count: int, first: int = 0) -> list[bytes]:
    return [message.payload for message in messages(count, first=first)]


def first_ones(broker, count: int) -> list[bytes]:
    """The first of each payload, once there are `count`; over a restart the broker tells its subscriber some twice."""

    def received() -> list[bytes]:
        return list(dict.fromkeys(message.payload for message in broker.messages()))

    wait_until(lambda: len(received()) >= count, f"{count} payloads")
    return received()


def mqtt_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mqtt ")]


def exchange(transport: MqttTransport, what: Sequence[Message]) -> Answer | NoAnswer:
    """The reply, or the NoAnswer."""
    try:
        return transport.exchange(what)
    except NoAnswer as error:
        return error


# --- what is delivered


@pytest.mark.statement(51)
@pytest.mark.statement(54)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_are_delivered_in_order_and_confirmed(broker, connect, qos):
    transport = connect(broker)
    for first in (0, 10, 20):
        assert transport.exchange(messages(10, qos, first)) == Confirmed((True,) * 10)
    received = broker.wait_for(30)
    assert [message.payload for message in received] == payloads(30)
    assert {(message.topic, message.qos, message.retain) for message in received} == {("bbdata_topic", qos, False)}
    assert broker.log().count("as bbdata_test") == 1, "one connection for all"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained_is_what_is_to_be_retained(broker, connect, qos):
    transport = connect(broker)
    transport.exchange([Message("kept", b"1", qos, retain=True), Message("passing", b"2", qos)])
    broker.wait_for(2)
    assert broker.retained() == {"kept": b"1"}


def test_what_is_said_once_is_said_once_a_connection():
    with FakeBroker() as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        said, again = Message("config", b"c", once=True), Message("config", b"d", once=True)
        assert transport.exchange([said, *messages(1)]) == Confirmed((True, True))
        assert transport.exchange([said, *messages(1, first=1)]) == Confirmed((True, True))
        transport.exchange([again])
        transport.close()
        transport.exchange([said])
        transport.close()
    sent = [[payload for _, payload, _, _ in connection.published] for connection in fake.connections]
    assert sent == [[b"c", *payloads(2), b"d"], [b"c"]]


def test_what_is_said_once_is_said_again_until_it_is_confirmed():
    with FakeBroker(conduct=lambda number: Conduct(acks=0 if number == 0 else None)) as fake:
        transport = MqttTransport(fake.where(), timeout_s=0.3)
        said = Message("config", b"c", once=True)
        with pytest.raises(NoAnswer):
            transport.exchange([said])
        assert transport.exchange([said]) == Confirmed((True,))
        transport.close()
    assert len(fake.published) == 2


def test_what_is_said_once_is_no_progress_where_nothing_of_the_rest_is_confirmed():
    """Else a message that its broker will not have hides behind what each new connection begins with."""
    with FakeBroker(conduct=Conduct(acks=1)) as fake:
        transport = MqttTransport(fake.where(), timeout_s=0.3)
        with pytest.raises(NoAnswer, match=r"not confirmed within 0\.3 s") as raised:
            transport.exchange([Message("config", b"c", once=True), *messages(2)])
        assert (raised.value.sent, raised.value.timed_out) == (True, True)
        transport.close()
    assert len(fake.published) == 3


@pytest.mark.statement(54)
def test_what_is_not_confirmed_is_not_called_confirmed():
    with FakeBroker(conduct=lambda number: Conduct(acks=3 if number == 0 else 0)) as fake:
        transport = MqttTransport(fake.where(), timeout_s=0.3)
        partly = transport.exchange(messages(5))
        assert partly == Confirmed((True, True, True, False, False))
        assert partly.reason == "not confirmed within 0.3 s"
        with pytest.raises(NoAnswer, match=r"not confirmed within 0\.3 s") as raised:
            transport.exchange(messages(2))
        assert (raised.value.sent, raised.value.timed_out) == (True, True)
        transport.close()


@pytest.mark.case(25)
@pytest.mark.pain("A14")
@pytest.mark.pain("A9")
@pytest.mark.parametrize("qos", [1, 2])
def test_never_more_in_flight_than_the_window(qos):
    with FakeBroker(conduct=lambda number: Conduct(acks=0 if number < 3 else None)) as fake:
        transport = MqttTransport(fake.where(max_inflight=10), timeout_s=0.3)
        for _ in range(3):  # a new connection each time: nothing of the one before is remembered
            with pytest.raises(NoAnswer):
                transport.exchange(messages(25, qos))
        assert transport.exchange(messages(25, qos)) == Confirmed((True,) * 25)
        transport.close()
    assert [len(connection.published) for connection in fake.connections] == [10, 10, 10, 25]
    assert all(connection.most_unacknowledged <= 10 for connection in fake.connections)


@pytest.mark.case(25)
@pytest.mark.parametrize("qos", [1, 2])
def test_a_broker_of_a_small_window_gets_all(qos):
    def conduct(number):
        return Conduct(window=10, acks=0 if number < 5 else None, at_publish=RESET if number < 5 else "")

    waiting = list(messages(500, qos))
    with FakeBroker(conduct=conduct) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        while waiting:
            reply = exchange(transport, waiting[:10])
            if isinstance(reply, NoAnswer):
                assert reply.sent
                continue
            assert isinstance(reply, Confirmed)
            waiting = [m for m, done in zip(waiting[:10], reply.messages, strict=True) if not done] + waiting[10:]
        transport.close()
    assert len(fake.connections) == 6
    arrived = [payload for connection in fake.connections[5:] for _, payload, _, _ in connection.published]
    assert arrived == payloads(500)
    assert all(connection.most_unacknowledged <= 10 for connection in fake.connections)


# --- TLS, and without


@pytest.mark.statement(47)
def test_a_broker_of_another_authority_gets_no_connect(broker, connect, tls):
    for ca_file in (tls.other_ca_file, None):
        with pytest.raises(NoAnswer, match="certificate cannot be trusted") as raised:
            connect(broker, ca_file=ca_file).exchange(messages(1))
        assert (raised.value.sent, raised.value.timed_out, raised.value.premature) == (False, False, False)
    wait_until(lambda: "alert" in broker.log() or "error" in broker.log(), "the broker to note it")
    assert "bbdata_test" not in broker.log()


@pytest.mark.statement(47)
@pytest.mark.case(22)
@pytest.mark.parametrize(
    ("certificate", "ca_file", "problem"),
    [
        ("good", "ca_file", ""),
        ("home_made", "home_made_ca_file", ""),
        ("wrong_host", "ca_file", "IP address mismatch"),
        ("expired", "ca_file", "certificate has expired"),
        ("good", "home_made_ca_file", "unable to get local issuer certificate"),
    ],
)
def test_only_a_verified_broker_hears_a_word(tls, certificate, ca_file, problem):
    with FakeBroker(getattr(tls, certificate), Conduct(code=5)) as fake:
        transport = MqttTransport(fake.where(getattr(tls, ca_file)), PATIENCE_S)
        if problem:
            with pytest.raises(NoAnswer, match=f"^127.0.0.1: its certificate cannot be trusted: .*{problem}") as raised:
                transport.exchange(messages(1))
            assert not raised.value.premature
        else:
            assert isinstance(transport.exchange(messages(1)), Refused)
        transport.close()
    assert bool(fake.received) is not bool(problem)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("mqtt") / "authority")


@pytest.mark.statement(47)
@pytest.mark.pain("C7")
def test_a_certificate_that_is_not_valid_yet_is_told_apart(authority):
    certificate = authority.server("not-yet-valid", days=-1, valid=NOT_YET_VALID)
    with FakeBroker(certificate) as fake:
        transport = MqttTransport(fake.where(authority.ca_file), PATIENCE_S)
        with pytest.raises(NoAnswer, match="not yet valid") as raised:
            transport.exchange(messages(1))
        assert raised.value.premature
        assert not raised.value.sent
        transport.close()
    assert fake.received == b""


@pytest.fixture
def strict_broker(tmp_path, authority):
    """A broker that wants a certificate of each client, and a client's."""
    client = authority.client("pi")
    folder = tmp_path / "strict"
    folder.mkdir()
    made = Mosquitto(folder, authority.ca_file, authority.server("broker"), client=client)
    made.start()
    yield made, client
    made.close()


def test_a_client_shows_its_certificate(strict_broker, connect, authority):
    broker, client = strict_broker
    transport = connect(broker, cert_file=client.certificate, key_file=client.key)
    assert transport.exchange(messages(3)) == Confirmed((True,) * 3)
    broker.wait_for(3)
    other = Certificate(client.certificate, authority.client("other").key)
    with pytest.raises(NoAnswer, match="key values mismatch"):
        connect(broker, cert_file=other.certificate, key_file=other.key).exchange(messages(1))


def test_without_its_certificate_a_client_is_not_let_in(strict_broker, connect):
    broker, _ = strict_broker
    with pytest.raises(NoAnswer) as raised:
        connect(broker).exchange(messages(1))
    assert not raised.value.sent
    assert "as bbdata_test" not in broker.log()


def test_a_new_ca_file_is_taken_at_the_next_connection(broker, connect, tls, tmp_path):
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(tls.other_ca_file.read_bytes())
    transport = connect(broker, ca_file=ca_file)
    with pytest.raises(NoAnswer, match="cannot be trusted"):
        transport.exchange(messages(1))
    ca_file.unlink()
    with pytest.raises(NoAnswer, match=r"ca_file .*/ca.pem cannot be read: No such file"):
        transport.exchange(messages(1))
    ca_file.write_bytes(tls.ca_file.read_bytes())
    assert transport.exchange(messages(1)) == Confirmed((True,))


@pytest.mark.statement(47)
def test_where_tls_is_meant_there_is_no_plain_connection(tls):
    with FakeBroker(conduct=Conduct(is_mute=True)) as fake:
        transport = MqttTransport(fake.where(tls.ca_file, tls=True), timeout_s=0.3)
        with pytest.raises(NoAnswer) as raised:
            transport.exchange(messages(1))
        assert raised.value.timed_out
        transport.close()
    assert fake.received
    assert b"MQTT" not in fake.received
    assert b"bbdata" not in fake.received


@pytest.fixture
def plain_broker(tmp_path, tls):
    """A broker without TLS."""
    folder = tmp_path / "plain"
    folder.mkdir()
    made = Mosquitto(folder, tls.ca_file, None)
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_without_tls(plain_broker, connect, qos):
    transport = connect(plain_broker, tls=False)
    assert transport.exchange(messages(20, qos)) == Confirmed((True,) * 20)
    assert [message.payload for message in plain_broker.wait_for(20)] == payloads(20)


def test_user_name_and_password_may_be_left_out():
    with FakeBroker() as fake:
        for username, password in (("", ""), ("me", ""), ("me", "secret")):
            transport = MqttTransport(fake.where(username=username, password=password), PATIENCE_S)
            assert transport.exchange(()) == Confirmed(())
            transport.close()
    logins = [connection.login for connection in fake.connections]
    assert [login[7] for login in logins] == [0x02, 0x82, 0xC2]  # clean session, user name, password
    assert all(login.startswith(b"\0\4MQTT\4") for login in logins)  # MQTT 3.1.1


# --- refusals


@pytest.mark.statement(49)
def test_a_wrong_password_is_a_refusal(broker, connect):
    transport = connect(broker, password="another")
    refused = transport.exchange(messages(1))
    assert isinstance(refused, Refused)
    assert refused.code in (4, 5)
    wait_until(lambda: mqtt_threads() == [], "the thread to end")


@pytest.mark.pain("G6")
@pytest.mark.statement(48)
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 255])
def test_the_codes_of_a_refusal_are_those_of_mqtt_3_1_1(code):
    with FakeBroker(conduct=Conduct(code=code)) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        refused = transport.exchange(messages(1))
        transport.close()
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert refused.text
    assert (f"code {code}" in refused.text) is (code > 5)
    assert fake.published == []


# --- no answer


def test_a_broker_that_is_down_gives_no_answer(connect):
    transport = connect(Broker("127.0.0.1", free_port(), "bbdata_test"))
    with pytest.raises(NoAnswer, match=r"^127\.0\.0\.1: Connection refused$") as raised:
        transport.exchange(messages(1))
    assert (raised.value.sent, raised.value.timed_out, raised.value.premature) == (False, False, False)


@pytest.mark.parametrize("host", ["", "mqtt..example.org", "a" * 64 + ".example.org", "a\0b"])
def test_a_host_that_is_none_gives_no_answer_each_time(connect, caplog, host):
    transport = connect(Broker(host, 8883, "bbdata_test"))
    for _ in range(2):  # no dead connection is left in use
        with pytest.raises(NoAnswer) as raised:
            transport.exchange(messages(1))
        assert not raised.value.sent
    assert caplog.records == []


@pytest.mark.parametrize("silent", ["before TLS", "after TLS"])
def test_a_silent_broker_is_given_up(tls, silent):
    conduct = Conduct(is_mute=True) if silent == "before TLS" else Conduct(code=None)
    with FakeBroker(None if silent == "before TLS" else tls.good, conduct) as fake:
        transport = MqttTransport(fake.where(tls.ca_file, tls=True), timeout_s=0.3)
        with pytest.raises(NoAnswer, match="in time") as raised:
            transport.exchange(messages(1))
        assert (raised.value.sent, raised.value.timed_out) == (False, True)
        transport.close()
    wait_until(lambda: mqtt_threads() == [], "the thread to end")


@pytest.mark.parametrize("how", [RESET, CLOSE])
@pytest.mark.parametrize("when", ["at_connect", "after_connack", "at_publish"])
def test_a_connection_that_is_lost_without_a_confirmation_is_no_answer(when, how):
    with FakeBroker(conduct=Conduct(**{when: how})) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        with pytest.raises(NoAnswer, match="the connection ended") as raised:
            transport.exchange(messages(1))
        transport.close()
    assert not raised.value.timed_out
    assert len(fake.connections) == 1, "the sender's back-off counts it"
    if when != "after_connack":  # there it depends on who is faster
        assert raised.value.sent is (when == "at_publish")


@pytest.mark.parametrize(
    "says",
    [
        b"\x20\x03\0\0\0",
        b"\xf0\0",
        b"\x40\xff\xff\xff\x7f" + b"x" * 100_000,
        b"\x30\xff\xff\xff\x7f" + b"x" * 100_000,
        b"\x50\xff\xff\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 40\r\n\r\n<html><title>Bad Request</title></html>\r\n",
        b"\x40\x00",
        b"\x40\x01\0",
    ],
)
def test_a_broker_that_talks_nonsense_is_left(says):
    with FakeBroker(conduct=Conduct(says=says, acks=0)) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        with pytest.raises(NoAnswer) as raised:
            transport.exchange(messages(1))
        assert not raised.value.timed_out
        assert str(raised.value).isprintable()
        transport.close()


def test_an_acknowledgement_of_nothing_confirms_nothing():
    with FakeBroker(conduct=Conduct(says=b"\x40\x02\x00\x07\x70\x02\x00\x09", acks=0)) as fake:
        transport = MqttTransport(fake.where(), timeout_s=0.3)
        with pytest.raises(NoAnswer, match="not confirmed"):
            transport.exchange(messages(2, qos=2))
        transport.close()


def test_a_password_that_cannot_be_sent_is_not_quoted(connect):
    transport = connect(Broker("127.0.0.1", free_port(), "bbdata_test", "me", "made-up\udcff"))
    with pytest.raises(NoAnswer, match="client_id, username or password") as raised:
        transport.exchange(messages(1))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "made-up" not in str(raised.value)


# --- the connection between exchanges


@pytest.mark.pain("A15")
def test_a_start_without_the_broker_costs_nothing(broker, connect):
    broker.stop()
    transport = connect(broker)
    for _ in range(3):
        with pytest.raises(NoAnswer, match="refused"):
            transport.exchange(messages(3))
    broker.start()
    assert transport.exchange(messages(3)) == Confirmed((True,) * 3)
    assert first_ones(broker, 3) == payloads(3)


@pytest.mark.pain("A16")
@pytest.mark.statement(54)
def test_a_restart_of_the_broker_while_nothing_is_sent_costs_no_exchange(broker, connect):
    transport = connect(broker)
    transport.exchange(messages(5))
    broker.restart()
    assert transport.exchange(messages(5, first=5)) == Confirmed((True,) * 5)
    assert first_ones(broker, 10) == payloads(10)


def test_a_connection_that_died_unnoticed_costs_no_exchange():
    with FakeBroker(conduct=lambda number: Conduct(acks=1, at_publish="")) as fake, Relay(fake) as relay:
        transport = MqttTransport(relay.where(fake), PATIENCE_S)
        assert transport.exchange(messages(1)) == Confirmed((True,))
        relay.forget()  # as a router does that was restarted: what comes now is answered with a reset
        assert transport.exchange(messages(1, first=1)) == Confirmed((True,))
        transport.close()
    assert [len(connection.published) for connection in fake.connections] == [1, 1]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.statement(54)
def test_restarts_in_mid_flight_lose_nothing(broker, connect, qos):
    transport = connect(broker)
    waiting = list(messages(300, qos))
    for number in itertools.count():
        if not waiting:
            break
        if number in (3, 9):
            killer = threading.Thread(target=broker.restart)
            killer.start()
        reply = exchange(transport, waiting[:10])
        if isinstance(reply, Confirmed):
            waiting = [m for m, done in zip(waiting[:10], reply.messages, strict=True) if not done] + waiting[10:]
        else:
            assert isinstance(reply, NoAnswer)
            killer.join()
    killer.join()
    assert first_ones(broker, 300) == payloads(300), "all there, and in order"


@pytest.mark.case(23)
def test_pings_keep_it_open_and_notice_its_end():
    with FakeBroker(conduct=lambda number: Conduct(pings=number == 0)) as fake:
        lively = MqttTransport(fake.where(keepalive_s=1), PATIENCE_S)
        lively.exchange(messages(1))
        deaf = MqttTransport(fake.where(keepalive_s=1), PATIENCE_S)
        deaf.exchange(messages(1, first=1))
        wait_until(lambda: len(mqtt_threads()) == 1, "the deaf one to be noticed")
        assert deaf.exchange(messages(1, first=2)) == Confirmed((True,))
        assert lively.exchange(messages(1, first=3)) == Confirmed((True,))
        lively.close()
        deaf.close()
    assert PINGREQ in fake.connections[0].others
    assert [len(connection.published) for connection in fake.connections] == [2, 1, 1]


# --- another client with our id


@pytest.mark.statement(50)
def test_a_second_client_of_the_same_name_ends_the_first(broker, connect):
    first, second = connect(broker), connect(broker)
    first.exchange(messages(1))
    second.exchange(messages(1, first=1))
    assert first.exchange(messages(1, first=2)) == Confirmed((True,))
    assert {message.payload for message in broker.wait_for(3)} == set(payloads(3))


@pytest.mark.statement(50)
@pytest.mark.pain("G1")
@pytest.mark.parametrize("qos", [0, 1])
def test_one_of_two_clients_of_one_name_gives_way(broker, connect, qos):
    def run(number):
        transport = connect(broker, early_s=1.0)
        for count in range(1000):
            replies[number].append(exchange(transport, messages(1, qos, 10_000 * number + count)))
            if TakenOver("bbdata_test") in replies[0] + replies[1]:
                return
            time.sleep(0.03)  # the pace of the readings

    replies: tuple[list[Answer | NoAnswer], ...] = ([], [])
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given_way = [number for number in range(2) if TakenOver("bbdata_test") in replies[number]]
    assert len(given_way) == 1, replies
    assert sum(isinstance(reply, Confirmed) for reply in replies[1 - given_way[0]]) > 0
    assert broker.log().count("as bbdata_test") < 100, "no tight loop"


@pytest.mark.statement(50)
@pytest.mark.pain("G1")
def test_a_client_that_always_comes_back_at_once_is_noticed(broker, connect):
    other = Client(CallbackAPIVersion.VERSION2, "bbdata_test")
    other.username_pw_set(broker.username, broker.password)
    other.tls_set_context(context(broker.ca_file))
    other.connect(broker.host, broker.port)
    other.loop_start()  # comes back a second after each end
    transport = connect(broker)
    deadline = time.monotonic() + PATIENCE_S
    try:
        for number in itertools.count():
            reply = exchange(transport, messages(1, first=number))
            if isinstance(reply, TakenOver):
                break
            assert time.monotonic() < deadline, "it is never noticed"
            time.sleep(0.1)
    finally:
        other.disconnect()
        other.loop_stop()
    assert broker.log().count("already connected, closing old connection") < 12


@pytest.mark.statement(50)
@pytest.mark.parametrize("how", [CLOSE])
def test_a_broker_that_closes_for_what_is_sent_is_tried_on(how):
    with FakeBroker(conduct=lambda number: Conduct(at_publish=how if number < 8 else "")) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S, early_s=0.1)
        replies = [exchange(transport, messages(1)) for _ in range(9)]
        transport.close()
    assert all(isinstance(reply, NoAnswer) and reply.sent for reply in replies[:8])
    assert replies[8] == Confirmed((True,))
    assert len(fake.published) == 9


@pytest.mark.statement(50)
def test_a_silent_session_that_is_ended_each_time_is_taken_over():
    with FakeBroker(conduct=Conduct(after_connack=CLOSE)) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        replies = [exchange(transport, messages(1)) for _ in range(3)]
        transport.close()
    assert [type(reply) for reply in replies] == [NoAnswer, NoAnswer, TakenOver]


@pytest.mark.statement(50)
def test_a_session_that_lasts_clears_the_suspicion():
    with FakeBroker(conduct=lambda number: Conduct(after_connack="" if number == 2 else CLOSE)) as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S, early_s=0.1)
        replies = [exchange(transport, messages(1)) for _ in range(3)]
        assert [type(reply) for reply in replies] == [NoAnswer, NoAnswer, Confirmed]
        transport.close()


@pytest.mark.statement(50)
def test_the_silent_watch_leaves_time_for_the_messages():
    with FakeBroker(conduct=lambda number: Conduct(at_publish=CLOSE if number < 2 else "")) as fake:
        transport = MqttTransport(fake.where(), timeout_s=1.0)
        replies = [exchange(transport, messages(1)) for _ in range(3)]
        transport.close()
    assert [type(reply) for reply in replies] == [NoAnswer, NoAnswer, Confirmed]


@pytest.mark.case(23)
@pytest.mark.pain("G1")
def test_a_broker_in_trouble_is_not_another_client(caplog):
    def conduct(number):
        if number < 20:
            return Conduct(after_connack=RESET)
        if number < 25:
            return Conduct(at_publish=RESET)
        return Conduct(code=None) if number < 27 else Conduct()

    waiting = {series: [Message(f"s/{series}", b"%d" % n) for n in range(100)] for series in range(5)}
    with FakeBroker(conduct=conduct) as fake:
        transport = MqttTransport(fake.where(presence=PRESENCE), timeout_s=0.5)
        replies = []
        while any(waiting.values()):
            batch = [message for queue in waiting.values() for message in queue[:2]]
            replies.append(exchange(transport, batch))
            if isinstance(replies[-1], Confirmed):
                done = {message for message, ok in zip(batch, replies[-1].messages, strict=True) if ok}
                waiting = {s: [m for m in queue if m not in done] for s, queue in waiting.items()}
        transport.close()
    assert [type(reply) for reply in replies[:27]] == [NoAnswer] * 27
    assert {type(reply) for reply in replies[27:]} == {Confirmed}
    assert len(fake.connections) == 28
    for series in range(5):
        arrived = [payload for topic, payload, _, _ in fake.connections[27].published if topic == f"s/{series}"]
        assert arrived == [b"%d" % n for n in range(100)]
    assert caplog.records == []
    wait_until(lambda: mqtt_threads() == [], "the threads to end")


# --- being there


def test_a_client_says_that_it_is_there_and_that_it_goes(broker, connect):
    transport = connect(broker, presence=PRESENCE)
    transport.exchange(messages(1))
    assert [message.payload for message in broker.wait_for(2)] == [b"online", *payloads(1)]
    assert broker.retained() == {"edged/pi/status": b"online"}
    transport.exchange(messages(1, first=1))
    transport.close()
    assert [message.payload for message in broker.wait_for(4)][2:] == [*payloads(1, first=1), b"offline"]
    assert broker.retained() == {"edged/pi/status": b"offline"}
    assert broker.log().count("as bbdata_test") == 1
    assert f"Received DISCONNECT from {'bbdata_test'}" in broker.log()


def test_the_last_will_is_published_for_a_client_that_is_lost(broker, connect):
    with Relay(broker) as relay:
        transport = connect(where(broker, port=relay.port), presence=PRESENCE)
        transport.exchange(messages(1))
        relay.forget()
        assert broker.wait_for(3)[2].payload == b"offline"
        assert broker.retained() == {"edged/pi/status": b"offline"}
        assert transport.exchange(messages(1, first=1)) == Confirmed((True,))
        assert [message.payload for message in broker.wait_for(5)[3:]] == [b"online", *payloads(1, first=1)]
        assert broker.retained() == {"edged/pi/status": b"online"}


@pytest.mark.pain("A16")
def test_who_watches_sees_it_again_after_a_restart_of_the_broker_though_nothing_is_sent(broker, connect):
    transport = connect(broker, presence=PRESENCE)
    transport.exchange(messages(1))
    broker.stop()
    wait_until(lambda: transport._session.trouble, "the end of the session")
    assert transport.tend() == 60.0  # in vain
    broker.start()
    assert transport.tend() == 60.0
    assert broker.retained() == {"edged/pi/status": b"online"}
    before = broker.log().count("as bbdata_test")
    transport.tend()
    assert transport.exchange(messages(1, first=1)) == Confirmed((True,))
    assert broker.log().count("as bbdata_test") == before


def test_a_session_that_nobody_watches_is_not_tended(broker, connect):
    transport = connect(broker)
    transport.exchange(messages(1))
    assert transport.tend() == math.inf


_CLIENT = """\
import pathlib, sys, time
from edged.transports.mqtt import Broker, Message, MqttTransport, Presence
host, port, user, password, ca_file = sys.argv[1:]
presence = Presence("edged/pi/status", "online", "offline")
broker = Broker(host, int(port), "bbdata_test", user, password, ca_file=pathlib.Path(ca_file), presence=presence)
MqttTransport(broker, 10.0).exchange([Message("bbdata_topic", b"1")])
time.sleep(60)
"""


def test_the_last_will_is_published_for_a_client_that_is_killed(broker):
    where = (broker.host, broker.port, broker.username, broker.password, broker.ca_file)
    with subprocess.Popen([sys.executable, "-c", _CLIENT, *map(str, where)]) as client:
        try:
            broker.wait_for(2)
            assert broker.retained() == {"edged/pi/status": b"online"}
        finally:
            client.kill()
    assert [message.payload for message in broker.wait_for(3)] == [b"online", b"1", b"offline"]
    assert broker.retained() == {"edged/pi/status": b"offline"}


def test_where_the_farewell_is_not_confirmed_the_will_says_it(broker, connect):
    transport = connect(broker, presence=PRESENCE)
    transport.exchange(messages(1))
    transport.abort()
    transport.close()
    assert broker.wait_for(3)[2].payload == b"offline"
    assert "Received DISCONNECT from bbdata_test" not in broker.log()


def test_who_only_tries_the_login_says_nothing(broker, connect):
    transport = connect(broker, presence=PRESENCE)
    assert transport.exchange(()) == Confirmed(())
    transport.close()
    wait_until(lambda: "Received DISCONNECT from bbdata_test" in broker.log(), "its leave")
    assert broker.messages() == []
    assert broker.retained() == {}


def test_a_broker_that_does_not_confirm_the_farewell_is_left_all_the_same(monkeypatch):
    monkeypatch.setattr("edged.transports.mqtt._FAREWELL_S", 0.2)
    with FakeBroker(conduct=Conduct(acks=2)) as fake:
        transport = MqttTransport(fake.where(presence=PRESENCE), PATIENCE_S)
        transport.exchange(messages(1))
        transport.close()
    assert [payload for _, payload, _, _ in fake.published] == [b"online", *payloads(1), b"offline"]
    assert fake.connections[0].others == [], "no DISCONNECT, which would make the broker forget the will"


# --- its threads


def test_abort_ends_an_exchange():
    with FakeBroker(conduct=Conduct(acks=0)) as fake:
        transport = MqttTransport(fake.where(), timeout_s=60.0)
        threading.Timer(0.2, transport.abort).start()
        with pytest.raises(NoAnswer, match="stopped"):
            transport.exchange(messages(1))
        wait_until(lambda: mqtt_threads() == [], "the thread to end")
        transport.close()


@pytest.mark.parametrize("silent", ["TCP", "TLS", "name", "quiet"])
def test_abort_ends_connecting_too(tls, monkeypatch, silent):
    """In a TLS handshake, in a look-up of a name that hangs, and while nothing is said for another client's sake."""
    let_go = threading.Event()
    if silent == "name":
        looked_up = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: let_go.wait(30) and looked_up(*a, **k))
    conduct = {"TCP": Conduct(code=None), "quiet": Conduct(at_publish=CLOSE)}.get(silent, Conduct(is_mute=True))
    with FakeBroker(conduct=conduct) as fake:
        transport = MqttTransport(fake.where(tls.ca_file, tls=silent == "TLS"), timeout_s=60.0, early_s=60.0)
        for _ in range(2 if silent == "quiet" else 0):
            with pytest.raises(NoAnswer):
                transport.exchange(messages(1))
        threading.Timer(0.2, transport.abort).start()
        with pytest.raises(NoAnswer, match="stopped"):
            transport.exchange(messages(1))
        if silent == "name":  # the thread hangs on, and no other begins before it has ended
            threading.Timer(0.2, transport.abort).start()
            with pytest.raises(NoAnswer, match="has not ended yet"):
                transport.exchange(messages(1))
            assert len(mqtt_threads()) == 1
            let_go.set()
        wait_until(lambda: mqtt_threads() == [], "the thread to end")
        transport.close()


@pytest.mark.case(23)
def test_an_exception_in_a_callback_costs_one_connection_and_is_logged_once(monkeypatch, caplog):
    def broken(self, *arguments):
        raise ValueError("a bug")

    with FakeBroker() as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        for callback in ("_on_connect", "_on_publish"):
            caplog.clear()
            with monkeypatch.context() as patch:
                patch.setattr(Session, callback, broken)
                with pytest.raises(NoAnswer, match=r"a bug ended .* \(ValueError\)"):
                    transport.exchange(messages(1))
            assert [record.levelno for record in caplog.records] == [logging.ERROR]
            assert "a bug" in caplog.text
            assert transport.exchange(messages(1)) == Confirmed((True,))
            transport.close()
    wait_until(lambda: mqtt_threads() == [], "the threads to end")


def test_no_thread_to_be_had_is_no_answer(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with FakeBroker() as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(NoAnswer, match="can't start new thread"):
                transport.exchange(messages(1))
        assert transport.exchange(messages(1)) == Confirmed((True,))
        transport.close()


@pytest.mark.case(23)
@pytest.mark.parametrize("conduct", [Conduct(at_connect=RESET), Conduct(at_publish=CLOSE), Conduct(code=5)])
def test_threads_and_descriptors_are_gone_after_trouble(tls, conduct):
    def opened() -> int:
        with contextlib.closing(socket.socket()) as probe:
            return probe.fileno()

    with FakeBroker(tls.good, conduct) as fake:
        transport = MqttTransport(fake.where(tls.ca_file), timeout_s=5.0, early_s=0.01)
        gc.disable()  # none of them waits for it
        try:
            for _ in range(2):
                exchange(transport, messages(1))
            before = opened()
            for _ in range(20):
                exchange(transport, messages(1))
            # The other end is in this process too, and closes its sockets a moment later.
            wait_until(lambda: opened() <= before + 1, "the descriptors to be closed")
        finally:
            gc.enable()
        transport.close()
    wait_until(lambda: mqtt_threads() == [], "the threads to end")


def test_no_proxy_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("mqtt_proxy", f"http://127.0.0.1:{free_port()}")
    with FakeBroker() as fake:
        transport = MqttTransport(fake.where(), PATIENCE_S)
        assert transport.exchange(()) == Confirmed(())
        transport.close()


def test_a_host_with_an_address_that_swallows_everything_is_reached_by_the_next(monkeypatch):
    with FakeBroker() as fake, contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full:
        there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", fake.where().port))
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # until its backlog is full, and nothing is answered any more
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        swallowing = (*there[:4], full.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [swallowing, there])
        transport = MqttTransport(fake.where(), timeout_s=1.0)
        assert transport.exchange(messages(1)) == Confirmed((True,))
        transport.close()
        for filler in fillers:
            filler.close()


def test_the_hooks_of_paho_that_are_ours_are_there():
    """They are private: a release of paho without them has to be noticed."""
    assert callable(Client._create_socket)
    assert callable(Client._reset_sockets)


def test_no_representation_shows_the_password_or_a_payload(broker):
    assert broker.password not in repr(where(broker))
    assert "secret" not in repr(Message("topic", b"secret"))


@dataclass
class _Pair:
    near: socket.socket
    far: socket.socket


class Relay:
    """Passes bytes on between clients and a broker, until it forgets the connections that there are."""

    def __init__(self, broker) -> None:
        self._target = (broker.host, broker.port) if isinstance(broker, Mosquitto) else broker._server.getsockname()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._pairs: list[_Pair] = []

    def where(self, fake: FakeBroker) -> Broker:
        return fake.where(port=self.port)

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.forget()

    def forget(self) -> None:
        """All connections are gone: the broker is told, the client hears of it when it sends."""
        for pair in self._pairs:
            with contextlib.suppress(OSError):
                pair.far.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                pair = _Pair(near, socket.create_connection(self._target))
                self._pairs.append(pair)
                threading.Thread(target=self._upwards, args=(pair,), daemon=True).start()
                threading.Thread(target=self._downwards, args=(pair,), daemon=True).start()

    def _upwards(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while received := pair.near.recv(4096):
                pair.far.sendall(received)
        pair.near.close()  # with bytes unread, or after a failure: a reset

    def _downwards(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while received := pair.far.recv(4096):
                pair.near.sendall(received)
        pair.far.close()
