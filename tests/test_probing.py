"""The parts of `edged probe`: what is told of a certificate, a clock and an answer, and the steps on real sockets."""

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edged.config.reader import require
from edged.errors import NoAnswer
from edged.outcome import Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Limits, Platform, Wire
from edged.platforms._bbdata import Object
from edged.platforms.bbdata_mqtt import BBDataMqtt
from edged.platforms.bbdata_mqtt import Options as MqttOptions
from edged.platforms.databoom import Databoom, Options, Signal
from edged.platforms.mqtt import Mqtt
from edged.platforms.mqtt import Options as AnyMqttOptions
from edged.probing import Finding, address, asking, certificate, network, secrets, skew
from edged.probing.address import Address
from edged.probing.preview import preview
from edged.probing.trials import items_for, sampled
from edged.reading import Entry
from edged.secret import from_file, plain
from tests.cli import SENSORS, config, databoom
from tests.conftest import without_root
from tests.transports.broker import free_port
from tests.transports.certificates import NOT_YET_VALID, Authority

LIMIT_S = 10.0
SHORT_S = 0.3
NOW_MS = 1_709_647_650_250  # 2024-03-05 14:07:30.250 UTC
DAY_MS = 86_400_000


# --- the way


class Door:
    """A server whose every connection is handled by a function, in a thread of its own."""

    def __init__(self, handle, certificate=None) -> None:
        self._handle = handle
        self._certificate = certificate
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._ends = threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._thread.join(5)
        self._server.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            if self._ends.is_set():
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._certificate is None:
                self._handle(connection)
                return
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.load_cert_chain(self._certificate.certificate, self._certificate.key)
            with made.wrap_socket(connection, server_side=True) as secured:
                self._handle(secured)


def relay(connection: socket.socket, port: int) -> None:
    """Hands a connection on to another port of this machine, until either end has had enough."""
    with socket.create_connection(("127.0.0.1", port)) as onward:

        def back() -> None:
            with contextlib.suppress(OSError):
                while part := onward.recv(65536):
                    connection.sendall(part)
                connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                onward.sendall(part)
            onward.shutdown(socket.SHUT_WR)
        thread.join(5)


def silence(connection: socket.socket) -> None:
    """Takes everything and says nothing."""
    while connection.recv(65536):
        pass


def proxy(connection: socket.socket) -> None:
    """CONNECT to a port of this machine, by whatever name."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    method, target, _ = head.split(b" ", 2)
    if method != b"CONNECT":
        connection.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        return
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    relay(connection, int(target.rpartition(b":")[2]))


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("probing") / "an authority")


def handshake(port: int, host: str = "localhost", ca_file: Path | None = None, limit_s: float = LIMIT_S) -> str:
    connected = network.connect(["127.0.0.1"], port, LIMIT_S)
    with connected.socket:
        return network.secure(connected.socket, Address(host, port, True), network.Trust(ca_file), limit_s)


def refusal(*arguments, **more) -> str:
    with pytest.raises(NoAnswer) as raised:
        handshake(*arguments, **more)
    return str(raised.value)


def test_a_name_and_an_address():
    assert "127.0.0.1" in network.resolve("localhost", 80, LIMIT_S)
    assert network.resolve("127.0.0.1", 80, LIMIT_S) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "..", "b\xfccher" * 20])
def test_a_name_that_there_is_not(host):
    with pytest.raises(NoAnswer) as raised:
        network.resolve(host, 80, LIMIT_S)
    assert str(raised.value).startswith(f"{host}: ")


def test_name_servers_that_say_nothing(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: never.wait(60))
    with pytest.raises(NoAnswer, match=r"^host\.example: no name server answers within 0\.1 s; check the network$"):
        network.resolve("host.example", 80, 0.1)
    never.set()


def test_a_connection_and_what_was_tried_before():
    with Door(silence) as door:
        connected = network.connect(["127.0.0.2", "127.0.0.1"], door.port, LIMIT_S)
    connected.socket.close()
    (failed,) = connected.failed
    assert connected.ip == "127.0.0.1"
    assert failed.startswith(f"127.0.0.2 port {door.port}: it refuses connections; ")


def test_what_is_told_of_a_connection():
    with Door(silence) as door, network.connect(["127.0.0.1"], door.port, LIMIT_S).socket as connection:
        made = network.Connected(connection, "127.0.0.1", 12.3, ("::1 port 1: Network is unreachable",))
        assert made.told == f"127.0.0.1 port {door.port}: connected in 12 ms; ::1 port 1: Network is unreachable"


def test_nobody_listens():
    with pytest.raises(NoAnswer, match="it refuses connections; check the port, and whether the server runs"):
        network.connect(["127.0.0.1"], free_port(), LIMIT_S)


def test_packets_that_are_swallowed():
    """A listener whose queue is full drops what comes."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        with pytest.raises(NoAnswer, match=r"no answer within 0\.3 s; check the port, and firewalls on the way"):
            network.connect(["127.0.0.1"], server.getsockname()[1], SHORT_S)


def test_a_certificate_that_is_right(authority):
    with Door(silence, authority.server("right", days=90)) as door:
        told = handshake(door.port, ca_file=authority.ca_file)
    assert told.startswith(f"TLSv1.3, verified by ca_file {authority.ca_file}; issued by an authority; valid until 20")
    assert told.endswith((", 89 days", ", 90 days"))


def test_one_that_ends_soon(authority):
    with Door(silence, authority.server("soon")) as door:
        told = handshake(door.port, ca_file=authority.ca_file)
    assert told.startswith("warning: the certificate is valid until 20")
    assert " only, 1 day: let it be renewed; TLSv1.3, verified by" in told


def test_one_that_has_ended(authority):
    with Door(silence, authority.server("old", days=-1)) as door:
        said = refusal(door.port, ca_file=authority.ca_file)
    assert said.startswith("not verified: the certificate has expired, by this machine's clock (20")


@pytest.mark.pain("C7")
def test_one_that_has_not_begun(tmp_path):
    authority = Authority(tmp_path / "of the future")
    with Door(silence, authority.server("early", days=-1, valid=NOT_YET_VALID)) as door:
        said = refusal(door.port, ca_file=authority.ca_file)
    assert said.startswith("not verified: the certificate is not valid yet by this machine's clock (20")
    assert said.endswith(" UTC); look at the clock: timedatectl")


def test_one_for_another_host(authority):
    with Door(silence, authority.server("other", host="DNS:other.example")) as door:
        said = [refusal(door.port, host, ca_file=authority.ca_file) for host in ("localhost", "127.0.0.1")]
    assert said[0] == "not verified: the certificate is for another host than localhost; check its name in the config"
    assert "for another host than 127.0.0.1; " in said[1]


def test_one_of_a_ca_that_is_not_trusted(authority, tmp_path):
    other = Authority(tmp_path / "other")
    with Door(silence, authority.server("unknown")) as door:
        for ca_file in (None, other.ca_file):
            said = refusal(door.port, ca_file=ca_file)
            assert said.startswith("not verified: the certificate is from a CA that is not trusted here, or ")


def test_one_that_signed_itself(authority):
    class Own:
        certificate, key = authority.ca_file, authority.folder / "ca.key"

    with Door(silence, Own) as door:
        assert refusal(door.port).startswith("not verified: the certificate is self-signed; ")


def test_what_is_no_tls():
    def http(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        silence(connection)

    with Door(http) as door:
        said = refusal(door.port)
    assert said == "it does not speak TLS on this port; check the port, and http against https"


def test_a_connection_that_ends_in_the_handshake():
    with Door(lambda connection: connection.recv(1)) as door:
        assert refusal(door.port) == "it closed the connection in the TLS handshake; check the port"


def test_a_handshake_that_never_comes_to_its_end():
    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB
        while not ends.wait(0.02):
            connection.sendall(b"\x02")

    ends = threading.Event()
    with Door(dribble) as door:
        assert refusal(door.port, limit_s=SHORT_S) == "no TLS handshake within 0.3 s; check the port"
        ends.set()


def test_a_ca_file_that_is_not_there(tmp_path):
    with Door(silence) as door:
        assert refusal(door.port, ca_file=tmp_path / "no.pem").startswith(f"ca_file {tmp_path}/no.pem cannot be read: ")


def test_a_certificate_through_a_proxy(authority):
    with Door(silence, authority.server("behind")) as door, Door(proxy) as between:
        connected = network.connect(["127.0.0.1"], between.port, LIMIT_S)
        with connected.socket:
            there = Address("localhost", door.port, True)
            network.tunnel(connected.socket, there, LIMIT_S)
            assert "issued by an authority" in network.secure(
                connected.socket, there, network.Trust(authority.ca_file), LIMIT_S
            )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 For\x07bidden\r\n\r\n", "the proxy does not connect to [::1]:443: HTTP/1.1 403 Forbidden"),
        (b"", "the proxy does not connect to [::1]:443: it closes the connection"),
        (b"x" * 20_000, f"the proxy does not connect to [::1]:443: {'x' * 100}"),
    ],
)
def test_a_proxy_that_will_not(answer, said):
    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with Door(refuse) as door, network.connect(["127.0.0.1"], door.port, LIMIT_S).socket as connection:
        with pytest.raises(NoAnswer) as raised:
            network.tunnel(connection, Address("::1", 443, True), LIMIT_S)
        assert str(raised.value) == said


def test_a_proxy_that_says_nothing():
    with Door(silence) as door, network.connect(["127.0.0.1"], door.port, LIMIT_S).socket as connection:
        with pytest.raises(NoAnswer) as raised:
            network.tunnel(connection, Address("far.example", 443, True), SHORT_S)
        assert str(raised.value) == "the proxy does not connect to far.example:443 within 0.3 s"


# --- what is told


@pytest.mark.parametrize(
    ("left_ms", "expected"),
    [
        (
            22 * DAY_MS,
            "TLSv1.3, verified by the system's store; issued by Let's Encrypt, R11; valid until 2024-03-27, 22 days",
        ),
        (
            21 * DAY_MS,
            "TLSv1.3, verified by the system's store; issued by Let's Encrypt, R11; valid until 2024-03-26, 21 days",
        ),
        (
            21 * DAY_MS - 1000,
            "warning: the certificate is valid until 2024-03-26 only, 20 days: let it be renewed; "
            "TLSv1.3, verified by the system's store; issued by Let's Encrypt, R11",
        ),
    ],
)
def test_days_left(left_ms, expected):
    ends = datetime.fromtimestamp((NOW_MS - 250 + left_ms) / 1000, UTC)
    issuer = ((("countryName", "US"),), (("organizationName", "Let's Encrypt"),), (("commonName", "R11"),))
    found = {"notAfter": f"{ends:%b %d %H:%M:%S %Y} GMT", "issuer": issuer}
    assert certificate.verified(found, "TLSv1.3", None, NOW_MS - 250) == expected


@pytest.mark.parametrize(
    ("date_s", "sent", "received", "ahead"),
    [
        (100, 100_000, 100_050, 0),
        (100, 100_999, 101_050, 0),  # the server's may be 100.999 at this
        (100, 101_200, 101_250, 201),
        (100, 105_000, 105_100, 4001),
        (100, 99_000, 99_990, -10),
        (100, 90_000, 97_000, -3000),
        (100, 90_000, 110_000, 0),  # so slow that nothing is known
    ],
)
def test_only_what_is_certain_of_a_skew(date_s, sent, received, ahead):
    assert skew.ahead_ms(date_s * 1000, sent, received) == ahead


@pytest.mark.parametrize(
    ("ahead", "ok", "begins"),
    [
        (0, True, "agrees with the server's, within 2 s"),
        (-2000, True, "agrees"),
        (2001, False, "this machine's clock is 2.0 s ahead of the server's: timedatectl "),
        (-90_000, False, "this machine's clock is 90.0 s behind the server's: "),
        (-1_700_000_000_000, False, "this machine's clock is 19675 days, 22:13:20 behind the server's: "),
    ],
)
def test_a_clock(ahead, ok, begins):
    found, message = skew.told(ahead)
    assert found is ok
    assert message.startswith(begins)


@pytest.mark.parametrize(
    ("url", "expected", "root"),
    [
        ("https://a.example/x?y=1", Address("a.example", 443, True), "https://a.example/"),
        ("http://a.example:81", Address("a.example", 81, False), "http://a.example:81/"),
        ("https://[::1]:8443/", Address("::1", 8443, True), "https://[::1]:8443/"),
    ],
)
def test_where_a_url_leads(url, expected, root):
    assert Address.of_url(url) == expected
    assert address.root(url) == root


def test_where_a_platform_connects_to():
    wire = Wire(LIMIT_S, None, "")
    own = BBDataMqtt(MqttOptions(client_id="bbdata_1", host="b.example"))
    assert address.of(own, wire) == Address("b.example", 8883, True)
    plain_mqtt = Mqtt(AnyMqttOptions(host="m.example", client_id="edged_1", tls=False))
    assert address.of(plain_mqtt, wire) == Address("m.example", 1883, False)
    assert address.of(Databoom(Options(token=plain("made-up"), device="d")), wire) == Address(
        "api.databoom.com", 443, True
    )
    assert address.of(Choosy({}), wire) is None


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("192.0.2.1", False), ("a.example", False)],
)
def test_this_machine(host, here):
    assert Address(host, 80, False).is_here is here


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (302, True), (404, True), (500, True), (407, False), (502, False)]
)
def test_any_answer_but_a_proxys_is_one(status, ok):
    assert asking.answered(status)[0] is ok


# --- what is asked


class Choosy(Platform):
    """Takes requests without a wrong reading; names the wrong one, or not."""

    limits = Limits(100)

    def __init__(self, wrong: dict[str, object]) -> None:
        super().__init__(None)
        self.wrong = wrong
        self.asked: list[list[str]] = []

    def probe(self, items):
        return items

    def exchange(self, items):
        self.asked.append([item.entry.series for item in items])
        return items

    def judge(self, reply, items):
        guilty = [self.wrong[item.entry.series] for item in items if item.entry.series in self.wrong]
        if not guilty:
            return [Delivered()] * len(items)
        if len(items) > 1 and not isinstance(guilty[0], Transient):
            return [Isolate("one of them")] * len(items)
        return [guilty[0]] * len(items)


def trials(count: int) -> list[Item]:
    return [Item(Entry(0, f"s.q{number}", NOW_MS, 21.5), Signal(name=f"q{number}")) for number in range(count)]


def test_each_culprit_is_found():
    platform = Choosy({"s.q3": Parked("its token", whole=False), "s.q17": Permanent("its type")})
    found: dict[str, Outcome] = {}
    asking.ask(platform, platform.exchange, trials(32), found)
    assert len(found) == 32
    assert {series for series, outcome in found.items() if not isinstance(outcome, Delivered)} == {"s.q3", "s.q17"}
    assert len(platform.asked) <= 2 * 2 * 5


def test_what_concerns_all_is_said_once():
    platform = Choosy({"s.q3": Transient("HTTP 503")})
    found: dict[str, Outcome] = {}
    asking.ask(platform, platform.exchange, trials(250), found)
    assert len(platform.asked) == 1
    assert list(asking.told(trials(250), found, lambda item: True)) == [Finding("credentials", False, "HTTP 503")]


def test_no_answer_is_said_once():
    def exchange(request):
        raise NoAnswer("no complete answer within 10 s")

    found: dict[str, Outcome] = {}
    asking.ask(Choosy({}), exchange, trials(3), found)
    (finding,) = asking.told(trials(3), found, lambda item: True)
    assert finding == Finding("credentials", False, "no complete answer within 10 s")


def test_requests_are_bounded():
    platform = Choosy({f"s.q{number}": Parked("no such object", whole=False) for number in range(100)})
    found: dict[str, Outcome] = {}
    asking.ask(platform, platform.exchange, trials(100), found)
    assert len(platform.asked) == asking.MOST_REQUESTS
    findings = list(asking.told(trials(100), found, lambda item: True))
    assert len(findings) == 100
    assert {finding.ok for finding in findings} == {False, None}
    assert "s.q99: not asked yet; put the others right, and probe again" in [finding.message for finding in findings]


@pytest.mark.parametrize(
    ("outcome", "typical", "ok", "message"),
    [
        (Delivered(), True, True, "s.q0: accepted, and not stored"),
        (Delivered("it said so"), True, True, "s.q0: accepted, and not stored; it said so"),
        (Parked("unknown", whole=False), True, False, "s.q0: unknown"),
        (Delayed("in the future", 3.0), True, False, "s.q0: in the future"),
        (Permanent("no int"), True, False, "s.q0: a value such as 21.5 is refused: no int"),
        (
            Permanent("no int"),
            False,
            None,
            "s.q0: known there, but whether it takes the sensor's values cannot be told: of 21.5, which is made up, "
            "it says no int",
        ),
    ],
)
def test_a_verdict(outcome, typical, ok, message):
    assert asking.verdict(trials(1)[0], outcome, typical=typical) == Finding("credentials", ok, message)


# --- what would be sent


def test_a_preview_shows_no_secret_readable_or_not(tmp_path):
    options = Options(token=from_file(str(tmp_path / "none")), device="0abc")
    shown = preview(Databoom, options, trials(2))
    assert shown.splitlines()[:4] == [
        "POST https://api.databoom.com/v1/signals/push",
        "Authorization: Bearer ***",
        "Content-Type: application/json",
        "",
    ]
    assert '    {"name": "q1", "value": 21.5}\n' in shown
    token = "0123456789abcdef0123456789abcdef"
    target = Object(object=7, token=plain(token))
    shown = preview(
        BBDataMqtt,
        MqttOptions(client_id="bbdata_1", password=plain("hidden-one")),
        [trials(1)[0]._replace(target=target)],
    )
    assert shown.startswith("PUBLISH bbdata_topic (QoS 1)\n{")
    assert '"token": "***"' in shown
    assert token not in shown


def test_a_preview_is_cut():
    shown = preview(
        Databoom, Options(token=plain("made-up"), device="0abc", max_points=100, max_signals=100), trials(450)
    )
    requests = shown.split("\n\nPOST ")
    assert len(requests) == 3
    assert "\n... and 70 more lines" in requests[0]
    assert shown.endswith("\n\n... and 2 more")


def test_what_there_is_to_send(tmp_path):
    text = (
        SENSORS
        + "[sensors.board.quantities.load_5m]\nenabled = false\n"
        + '[sensors.attic]\ndriver = "w1"\nid = "28-000000000000"\ninterval = "1m"\n'
        + '[sensors.off]\ndriver = "host"\ninterval = "1m"\nenabled = false\n'
        + databoom(series="*")
        + '"attic.temperature" = "attic"\n"board.load_1m" = false\n'
    )
    text = text.replace('series = { "*" = true }\n', '[destinations.databoom.series]\n"*" = true\n')
    read, _ = require(config(tmp_path, text))
    series = sampled(read)
    assert "board.load_5m" not in series
    assert not any(name.startswith("off.") for name in series)
    assert series["greenhouse.temperature"].unit == "°C"
    assert series["greenhouse.temperature"].typical
    assert not series["attic.temperature"].typical
    items = {item.entry.series: item for item in items_for(read.destinations["databoom"], series, NOW_MS)}
    assert "board.load_1m" not in items
    assert items["attic.temperature"].target == Signal(name="attic")
    assert items["board.uptime"].target == Signal(name="board_uptime")
    assert {item.entry.time_ms for item in items.values()} == {NOW_MS}


def test_a_secret_of_the_service_alone(tmp_path):
    path = tmp_path / "token"
    path.write_text("hidden-one")
    path.chmod(0o600)
    secret = from_file(str(path))
    with without_root():
        told = secrets.trouble(secret, "my place")
    assert told.startswith(
        f"file {path} cannot be read: Permission denied; as the service sees it: sudo -u edged edged"
    )
    assert told.endswith(" probe 'my place'")
    assert secrets.trouble(secret, "d") == ""
    assert secrets.trouble(from_file(str(tmp_path / "none")), "d").endswith("cannot be read: No such file or directory")
