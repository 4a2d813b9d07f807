"""A broker made by hand, byte by byte, for what a real one cannot be made to do."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from edged.transports.mqtt import Broker
from tests.transports.certificates import Certificate

CONNECT, PUBLISH, PUBREL, PINGREQ = 1, 3, 6, 12
RESET, CLOSE = "reset", "close"


@dataclass(frozen=True)
class Conduct:
    """How it behaves on a connection."""

    is_mute: bool = False  # takes TCP and TLS, and says nothing
    code: int | None = 0  # of the CONNACK; None: there is none
    at_connect: str = ""  # RESET or CLOSE instead of a CONNACK
    after_connack: str = ""  # RESET or CLOSE
    at_publish: str = ""  # RESET or CLOSE, upon the first
    acks: int | None = None  # so many PUBLISH packets are acknowledged; None: all
    window: int = 0  # RESET when more are unacknowledged; 0: no limit
    pings: bool = True  # whether they are answered
    says: bytes = b""  # after the CONNACK


@dataclass
class Connection:
    """What came on one."""

    login: bytes = b""  # the body of the CONNECT
    published: list[tuple[str, bytes, int, bool]] = field(default_factory=list)  # topic, payload, QoS, retain
    others: list[int] = field(default_factory=list)  # kinds of all other packets
    most_unacknowledged: int = 0


class FakeBroker:
    """Serves in threads until its block is left; `conduct` is asked for the conduct on the n-th connection from 0."""

    def __init__(
        self, certificate: Certificate | None = None, conduct: Conduct | Callable[[int], Conduct] = Conduct()
    ) -> None:
        """Without a certificate there is no TLS."""
        self.received = b""  # all of it
        self.connections: list[Connection] = []
        self._certificate = certificate
        self._conduct = conduct if callable(conduct) else lambda number: conduct
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []

    @property
    def published(self) -> list[tuple[str, bytes, int, bool]]:
        """Of all connections, in order."""
        return [each for connection in self.connections for each in connection.published]

    def where(self, ca_file=None, **changes: Any) -> Broker:
        """Where it is, as a client takes it."""
        port = self._server.getsockname()[1]
        made = Broker(
            "127.0.0.1", port, "bbdata_test", "bbdata", "bbdata", ca_file=ca_file, tls=self._certificate is not None
        )
        return replace(made, **changes)

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
                self._speak(connection)
            else:
                made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                made.load_cert_chain(self._certificate.certificate, self._certificate.key)
                with made.wrap_socket(connection, server_side=True) as secure:
                    self._open.append(secure)
                    self._speak(secure)
        connection.close()

    def _speak(self, sock: socket.socket) -> None:
        conduct = self._conduct(len(self.connections))
        connection = Connection()
        self.connections.append(connection)
        while conduct.is_mute and (received := sock.recv(4096)):
            self.received += received
        unacknowledged: set[bytes] = set()
        acks = conduct.acks
        for kind, flags, body in self._packets(sock):
            if kind == CONNECT:
                connection.login = body
                if conduct.at_connect:
                    return _end(sock, conduct.at_connect)
                if conduct.code is not None:
                    sock.sendall(bytes([0x20, 2, 0, conduct.code]))
                if conduct.after_connack:
                    return _end(sock, conduct.after_connack)
                sock.sendall(conduct.says)
            elif kind == PUBLISH:
                qos, length = flags >> 1 & 3, int.from_bytes(body[:2], "big")
                topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
                number, payload = (rest[:2], rest[2:]) if qos else (b"", rest)
                connection.published.append((topic, payload, qos, bool(flags & 1)))
                if conduct.at_publish:
                    return _end(sock, conduct.at_publish)
                if not qos:
                    continue
                unacknowledged.add(number)
                connection.most_unacknowledged = max(connection.most_unacknowledged, len(unacknowledged))
                if conduct.window and len(unacknowledged) > conduct.window:
                    return _end(sock, RESET)
                if acks is None or acks > 0:
                    acks = None if acks is None else acks - 1
                    if qos == 1:
                        unacknowledged.discard(number)
                    sock.sendall((b"\x40\x02" if qos == 1 else b"\x50\x02") + number)
            elif kind == PUBREL:
                unacknowledged.discard(body)
                sock.sendall(b"\x70\x02" + body)
            else:
                connection.others.append(kind)
                if kind == PINGREQ and conduct.pings:
                    sock.sendall(b"\xd0\x00")
        return None

    def _packets(self, sock: socket.socket):
        """Kind, flags and body of each packet."""
        while head := sock.recv(1):
            length = shift = 0
            while True:
                (digit,) = _exactly(sock, 1)
                length |= (digit & 0x7F) << shift
                shift += 7
                if not digit & 0x80:
                    break
            body = _exactly(sock, length)
            self.received += head + body
            yield head[0] >> 4, head[0] & 15, body


def _exactly(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        if not (more := sock.recv(size - len(received))):
            raise ConnectionError
        received += more
    return received


def _end(sock: socket.socket, how: str) -> None:
    if how == RESET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):  # what is left unread would make a reset of it
            continue
    sock.close()
