"""MQTT exchanges with a real broker, and with a bad one made by hand."""

import contextlib
import gc
import socket
import ssl
import threading
import time
from dataclasses import replace

import pytest

from edged.errors import NoAnswer
from edged.transports.mqtt import Broker, Confirmed, Message, MqttTransport, Refused
from tests.transports.broker import free_port, wait_until

PATIENCE_S = 10.0

# paho leaves the socket of a failed handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


def where(broker, **changes) -> Broker:
    made = Broker(
        broker.host,
        broker.port,
        "bbdata_test",
        broker.username,
        broker.password,
        ca_file=broker.ca_file,
        max_inflight=10,
    )
    return replace(made, **changes)


@pytest.fixture
def connect(broker):
    """Opens transports to the broker: `connect(**changes of where)`."""
    with contextlib.ExitStack() as stack:

        def open_transport(timeout_s=PATIENCE_S, **changes):
            transport = MqttTransport(where(broker, **changes), timeout_s)
            stack.callback(transport.close)
            return transport

        yield open_transport


def messages(count: int, qos: int = 1, first: int = 0) -> tuple[Message, ...]:
    return tuple(Message("bbdata_topic", b'{"n": %d}' % n, qos) for n in range(first, first + count))


def mqtt_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "bbdata_test" in thread.name]


@pytest.mark.statement(51)
@pytest.mark.statement(54)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_are_delivered_in_order_and_confirmed(broker, connect, qos):
    transport = connect()
    for first in (0, 10, 20):
        assert transport.exchange(messages(10, qos, first)) == Confirmed((True,) * 10)
    received = broker.wait_for(30)
    assert [message.payload for message in received] == [b'{"n": %d}' % n for n in range(30)]
    assert {(message.topic, message.qos, message.retain) for message in received} == {("bbdata_topic", qos, False)}
    assert broker.log().count("as bbdata_test") == 1, "one connection for all"


@pytest.mark.statement(47)
def test_a_broker_of_another_authority_gets_no_connect(broker, connect, tls):
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        connect(ca_file=tls.other_ca_file).exchange(messages(1))
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        connect(ca_file=None).exchange(messages(1))
    wait_until(lambda: "alert" in broker.log() or "error" in broker.log(), "the broker to note it")
    assert "bbdata_test" not in broker.log()


@pytest.mark.statement(47)
@pytest.mark.case(22)
@pytest.mark.parametrize(
    ("certificate", "ca_file", "problem"),
    [
        ("good", "ca_file", ""),
        ("home_made", "home_made_ca_file", ""),
        ("wrong_host", "ca_file", "CERTIFICATE_VERIFY_FAILED"),
        ("expired", "ca_file", "CERTIFICATE_VERIFY_FAILED"),
        ("good", "home_made_ca_file", "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_only_a_verified_broker_hears_a_word(tls, certificate, ca_file, problem):
    with FakeBroker(getattr(tls, certificate), refuse_with=5) as fake:
        transport = MqttTransport(fake.where(getattr(tls, ca_file)), PATIENCE_S)
        if problem:
            with pytest.raises(NoAnswer, match=problem):
                transport.exchange(messages(1))
        else:
            assert isinstance(transport.exchange(messages(1)), Refused)
        transport.close()
    assert bool(fake.received) is not bool(problem)


@pytest.mark.statement(47)
def test_there_is_no_plain_connection(tls):
    with FakeBroker(None) as fake:
        transport = MqttTransport(fake.where(tls.ca_file), timeout_s=0.3)
        with pytest.raises(NoAnswer):
            transport.exchange(messages(1))
        transport.close()
    assert b"MQTT" not in fake.received
    assert b"bbdata" not in fake.received


@pytest.mark.statement(49)
def test_a_wrong_password_is_a_refusal(connect):
    transport = connect(password="another")
    refused = transport.exchange(messages(1))
    assert isinstance(refused, Refused)
    assert refused.code in (4, 5)
    assert mqtt_threads() == []


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_the_codes_of_a_refusal_are_those_of_mqtt_3_1_1(tls, code):
    with FakeBroker(tls.good, refuse_with=code) as fake:
        transport = MqttTransport(fake.where(tls.ca_file), PATIENCE_S)
        refused = transport.exchange(messages(1))
        transport.close()
    assert isinstance(refused, Refused)
    assert refused.code == code


def test_a_broker_that_is_down_gives_no_answer(tls):
    transport = MqttTransport(
        Broker("127.0.0.1", free_port(), "bbdata_test", "bbdata", "bbdata", ca_file=tls.ca_file), 5.0
    )
    with pytest.raises(NoAnswer, match="refused"):
        transport.exchange(messages(1))
    transport.close()


@pytest.mark.parametrize("host", ["", "mqtt..example.org", "a" * 64 + ".example.org", "a\0b"])
def test_a_host_that_is_none_gives_no_answer_each_time(tls, host):
    transport = MqttTransport(Broker(host, 8883, "bbdata_test", "bbdata", "bbdata", ca_file=tls.ca_file), 5.0)
    for _ in range(2):  # no dead connection is left in use
        with pytest.raises(NoAnswer):
            transport.exchange(messages(1))
    transport.close()


@pytest.mark.parametrize("silent", ["before TLS", "after TLS"])
def test_a_silent_broker_is_given_up(tls, silent):
    with FakeBroker(tls.good if silent == "after TLS" else None, refuse_with=None) as fake:
        transport = MqttTransport(fake.where(tls.ca_file), timeout_s=0.3)
        started = time.monotonic()
        with pytest.raises(NoAnswer):
            transport.exchange(messages(1))
        assert time.monotonic() - started < 5
        transport.close()


@pytest.mark.pain("A16")
@pytest.mark.statement(54)
def test_a_restart_of_the_broker_costs_one_exchange(broker, connect):
    transport = connect()
    transport.exchange(messages(5))
    broker.restart()
    answers = []
    for _ in range(3):
        try:
            answers.append(transport.exchange(messages(5, first=5)))
            break
        except NoAnswer as error:
            answers.append(error)
    assert answers[-1] == Confirmed((True,) * 5)
    assert {message.payload for message in broker.wait_for(10)} == {b'{"n": %d}' % n for n in range(10)}


@pytest.mark.statement(54)
def test_what_is_not_confirmed_is_not_called_confirmed(tls):
    with FakeBroker(tls.good, puback_at_most=3) as fake:
        transport = MqttTransport(fake.where(tls.ca_file), timeout_s=1.0)
        assert transport.exchange(messages(5)) == Confirmed((True, True, True, False, False))
        with pytest.raises(NoAnswer, match="not confirmed within 1 s"):
            transport.exchange(messages(2))
        transport.close()


@pytest.mark.case(25)
@pytest.mark.pain("A14")
@pytest.mark.parametrize("qos", [1, 2])
def test_never_more_in_flight_than_the_window(tls, qos):
    with FakeBroker(tls.good, puback_at_most=0) as fake:
        transport = MqttTransport(fake.where(tls.ca_file, max_inflight=10), timeout_s=0.5)
        for _ in range(3):  # a new connection each time: nothing of the one before is remembered
            with pytest.raises(NoAnswer):
                transport.exchange(messages(25, qos))
        transport.close()
    assert [fake.publishes(connection) for connection in range(3)] == [10, 10, 10]


@pytest.mark.statement(50)
def test_a_second_client_of_the_same_name_ends_the_first(broker, connect):
    first, second = connect(), connect()
    first.exchange(messages(1))
    second.exchange(messages(1, first=1))
    for _ in range(2):  # taken over: noticed at the latest by the exchange after the next
        with contextlib.suppress(NoAnswer):
            first.exchange(messages(1, first=2))
    assert {message.payload for message in broker.wait_for(3)} == {b'{"n": %d}' % n for n in range(3)}


def test_abort_ends_an_exchange(tls):
    with FakeBroker(tls.good, puback_at_most=0) as fake:
        transport = MqttTransport(fake.where(tls.ca_file), timeout_s=60.0)
        threading.Timer(0.3, transport.abort).start()
        started = time.monotonic()
        with pytest.raises(NoAnswer, match="stopped"):
            transport.exchange(messages(1))
        assert time.monotonic() - started < 10
        transport.close()
    assert mqtt_threads() == []


@pytest.mark.case(23)
# Its collection of garbage finds what failed handshakes of tests before it have left, paho's and the fake broker's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_threads_and_descriptors_are_gone_after_trouble(tls):
    def opened() -> int:
        gc.collect()
        with contextlib.closing(socket.socket()) as probe:
            return probe.fileno()

    with FakeBroker(tls.good, refuse_with=-1) as fake:  # cut at CONNECT
        transport = MqttTransport(fake.where(tls.ca_file), timeout_s=5.0)
        for _ in range(2):
            with pytest.raises(NoAnswer):
                transport.exchange(messages(1))
        before = opened()
        for _ in range(10):
            with pytest.raises(NoAnswer):
                transport.exchange(messages(1))
        # The other end is in this process too, and closes its sockets a moment later.
        wait_until(lambda: opened() <= before + 1, "the descriptors to be closed")
        transport.close()
    wait_until(lambda: mqtt_threads() == [], "the threads to end")


def test_no_representation_shows_the_password_or_a_payload(broker):
    assert broker.password not in repr(where(broker))
    assert "secret" not in repr(Message("topic", b"secret"))


class FakeBroker:
    """Answers CONNECT and PUBLISH byte by byte as told; `certificate` None: takes TCP and says nothing."""

    def __init__(self, certificate, *, refuse_with: int | None = 0, puback_at_most: int | None = None) -> None:
        self.received = b""
        self._certificate = certificate
        self._refuse_with = refuse_with  # -1: the connection is cut; None: nothing is said
        self._puback_at_most = puback_at_most
        self._publishes: list[int] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []

    def where(self, ca_file, max_inflight: int = 10) -> Broker:
        port = self._server.getsockname()[1]
        return Broker("127.0.0.1", port, "bbdata_test", "bbdata", "bbdata", max_inflight, ca_file)

    def publishes(self, connection: int) -> int:
        """How many PUBLISH packets came on a connection."""
        return self._publishes[connection]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(self._server.getsockname(), timeout=1).close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._server.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            if self._stopping.is_set():
                connection.close()
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._certificate is None:
                while received := connection.recv(4096):
                    self.received += received
            else:
                made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                made.load_cert_chain(self._certificate.certificate, self._certificate.key)
                with made.wrap_socket(connection, server_side=True) as secure:
                    self._open.append(secure)
                    self._answer(secure)
        connection.close()

    def _answer(self, connection: socket.socket) -> None:
        index = len(self._publishes)
        self._publishes.append(0)
        reader = connection.makefile("rb")
        with contextlib.closing(reader):
            while head := reader.read(1):
                self.received += head
                length, shift = 0, 0
                while True:
                    (digit,) = reader.read(1)
                    length |= (digit & 0x7F) << shift
                    shift += 7
                    if not digit & 0x80:
                        break
                body = reader.read(length)
                kind = head[0] >> 4
                if kind == 1:  # CONNECT
                    if self._refuse_with == -1:
                        return
                    if self._refuse_with is not None:
                        connection.sendall(bytes([0x20, 2, 0, self._refuse_with]))
                elif kind == 3:  # PUBLISH
                    self._publishes[index] += 1
                    topic = int.from_bytes(body[:2], "big")
                    if self._puback_at_most is None or sum(self._publishes) <= self._puback_at_most:
                        connection.sendall(b"\x40\x02" + body[2 + topic : 4 + topic])
