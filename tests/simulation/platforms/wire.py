"""MQTT 3.1.1 by hand: packets as bytes, and a socket that sends them.  Source: OASIS standard MQTT 3.1.1."""

import contextlib
import socket
import ssl
from typing import Any

ACCEPTED = b"\x20\x02\x00\x00"
DISCONNECT = b"\xe0\x00"
PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return len(raw).to_bytes(2, "big") + raw


def packet(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes([digit | (0x80 if rest else 0)])
        if not rest:
            return bytes([first]) + length + body


def connect(
    client_id: str | bytes = "bbdata_test",
    username: str | None = "bbdata",
    password: str | None = "bbdata",
    *,
    clean: bool = True,
    keepalive: int = 60,
    will: tuple[str, str, bool] | None = None,  # topic, payload, retain; QoS 1
    level: int = 4,
    protocol: str = "MQTT",
    flags: int = 0,  # further ones
) -> bytes:
    flags |= (username is not None) << 7 | (password is not None) << 6 | clean << 1
    body = text(client_id)
    if will is not None:
        flags |= 0x04 | 0x08 | will[2] << 5
        body += text(will[0]) + text(will[1])
    body += b"".join(text(each) for each in (username, password) if each is not None)
    return packet(0x10, text(protocol) + bytes([level, flags]) + keepalive.to_bytes(2, "big") + body)


def publish(
    payload: str | bytes,
    number: int = 1,
    *,
    qos: int = 1,
    topic: str = "bbdata_topic",
    dup: bool = False,
    retain: bool = False,
) -> bytes:
    raw = payload if isinstance(payload, bytes) else payload.encode()
    identifier = number.to_bytes(2, "big") if qos else b""
    return packet(0x30 | dup << 3 | qos << 1 | retain, text(topic) + identifier + raw)


def subscribe(*filters: str, number: int = 1) -> bytes:
    return packet(0x82, number.to_bytes(2, "big") + b"".join(text(each) + b"\x01" for each in filters))


def puback(number: int = 1) -> bytes:
    return packet(0x40, number.to_bytes(2, "big"))


def pubrec(number: int = 1) -> bytes:
    return packet(0x50, number.to_bytes(2, "big"))


def pubrel(number: int = 1) -> bytes:
    return packet(0x62, number.to_bytes(2, "big"))


def pubcomp(number: int = 1) -> bytes:
    return packet(0x70, number.to_bytes(2, "big"))


class Wire:
    """A connection to a stand-in, as a client without opinions has it."""

    def __init__(self, stand_in: Any, tls: bool) -> None:
        self.stand_in = stand_in
        self.socket = socket.create_connection(("127.0.0.1", stand_in.port), timeout=10)
        if tls:
            trusting = ssl.create_default_context(cafile=stand_in.modes.certificate)
            self.socket = trusting.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(packets))

    def read(self) -> bytes:
        """The next packet; all of a server's are short.  Empty where the connection has ended."""
        head = self._exactly(2)
        return head + self._exactly(head[1]) if head else b""

    def ask(self, *packets: bytes) -> bytes:
        """Sends, and reads the next packet."""
        self.send(*packets)
        return self.read()

    def open(self, **parts: Any) -> "Wire":
        """Connects and is accepted."""
        assert self.ask(connect(**parts)) == ACCEPTED
        return self

    def rest(self) -> bytes:
        """All that comes until the connection ends, in whatever way."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(4096):
                received += more
        return received

    @property
    def silent(self) -> bool:
        """Whether nothing more comes but the answer to a ping."""
        return self.ask(PINGREQ) == PINGRESP

    @property
    def ended(self) -> bool:
        """Whether the other side has ended the connection; waits for it."""
        try:
            return self.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count and (more := self.socket.recv(count - len(received))):
            received += more
        return received
