"""MQTT 3.1.1 as bytes: what a client sends is read strictly, what a server answers is written.

Source: OASIS standard MQTT 3.1.1; § are its sections.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

LEVEL = 4  # of 3.1.1 (§3.1.2.2)
FAILURE = 0x80  # a SUBACK's code for a subscription that is refused (§3.9.3)

_LARGEST = 1024 * 1024  # bytes; the protocol allows 256 MiB


class Kind(IntEnum):
    """The control packets (§2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Malformed(ValueError):
    """Bytes that break the protocol: the connection has to be closed (§4.8)."""


@dataclass(frozen=True)
class Will:
    """What is published for a client that goes without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Connect:
    """A CONNECT; of another protocol level than 3.1.1's only the level is known."""

    level: int
    client_id: str = ""
    clean: bool = True
    keepalive_s: int = 0
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None


@dataclass(frozen=True)
class Publish:
    """A PUBLISH; without a packet identifier (QoS 0) its number is 0."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    number: int
    dup: bool
    retain: bool


class Short(NamedTuple):
    """A packet of no more than a kind and a packet identifier, or of a kind alone (then 0)."""

    kind: Kind
    number: int = 0


class Subscribe(NamedTuple):
    """A SUBSCRIBE."""

    number: int
    filters: tuple[str, ...]


Packet = Connect | Publish | Short | Subscribe


def take(buffer: bytearray) -> Iterator[Packet]:
    """The complete packets at the head of a buffer, which are taken off it one by one.  Raises Malformed."""
    while (size := _size(buffer)) is not None and len(buffer) >= sum(size):
        header, length = size
        first, body = buffer[0], bytes(buffer[header : header + length])
        del buffer[: header + length]
        yield _packet(first, body)


def connack(code: int, session_present: bool = False) -> bytes:
    """The answer to a CONNECT; 0 accepts it (§3.2)."""
    return bytes([Kind.CONNACK << 4, 2, session_present and code == 0, code])


def short(kind: Kind, number: int) -> bytes:
    """PUBACK, PUBREC, PUBCOMP or UNSUBACK (§3.4 to §3.7, §3.11)."""
    return bytes([kind << 4, 2]) + number.to_bytes(2, "big")


def suback(number: int, codes: bytes) -> bytes:
    """The answer to a SUBSCRIBE, a code a filter (§3.9)."""
    return bytes([Kind.SUBACK << 4, 2 + len(codes)]) + number.to_bytes(2, "big") + codes


def pingresp() -> bytes:
    """The answer to a PINGREQ (§3.13)."""
    return bytes([Kind.PINGRESP << 4, 0])


def _size(buffer: bytearray) -> tuple[int, int] | None:
    """Bytes of the fixed header and of what follows it (§2.2.3); None where more bytes are needed to know."""
    if buffer:
        _check(buffer[0])
    length = 0
    for place, digit in enumerate(buffer[1:5]):
        length |= (digit & 0x7F) << 7 * place
        if digit < 0x80:
            if length > _LARGEST:
                raise Malformed(f"a packet of {length} bytes")
            return place + 2, length
    if len(buffer) >= 5:
        raise Malformed("a remaining length of more than four bytes")
    return None


def _check(first: int) -> None:
    """The first byte: a kind that a client may send, with the flags that belong to it (§2.2.1, §2.2.2)."""
    kind, flags = first >> 4, first & 0x0F
    match kind:
        case 0 | Kind.CONNACK | Kind.SUBACK | Kind.UNSUBACK | Kind.PINGRESP | 15:
            raise Malformed(f"packet type {kind} from a client")
        case Kind.PUBLISH:
            is_right = flags & 0b0110 != 0b0110 and flags & 0b1110 != 0b1000  # QoS 3; DUP with QoS 0
        case Kind.PUBREL | Kind.SUBSCRIBE | Kind.UNSUBSCRIBE:
            is_right = flags == 0b0010
        case _:
            is_right = flags == 0
    if not is_right:
        raise Malformed(f"{Kind(kind).name} with the flags {flags:#06b}")


def _packet(first: int, body: bytes) -> Packet:
    kind, reader = Kind(first >> 4), _Reader(body)
    match kind:
        case Kind.CONNECT:
            return _connect(reader)
        case Kind.PUBLISH:
            return _publish(first, reader)
        case Kind.SUBSCRIBE:
            return _subscribe(reader)
        case Kind.UNSUBSCRIBE:
            packet = Short(kind, reader.identifier())
            reader.text()
            while not reader.is_over:
                reader.text()
        case Kind.PINGREQ | Kind.DISCONNECT:
            packet = Short(kind)
        case _:
            packet = Short(kind, reader.identifier())
    reader.end()
    return packet


def _connect(reader: "_Reader") -> Connect:  # §3.1
    protocol, level = reader.text(), reader.byte()
    if protocol != "MQTT":
        raise Malformed(f"the protocol is called {protocol!r}")
    if level != LEVEL:
        return Connect(level)
    flags = reader.byte()
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 0b11, bool(flags & 0x20)
    has_password, has_username = bool(flags & 0x40), bool(flags & 0x80)
    if flags & 0x01 or will_qos == 3 or (not has_will and flags & 0x38) or (has_password and not has_username):
        raise Malformed(f"CONNECT with the flags {flags:#010b} (§3.1.2.3)")
    keepalive_s, client_id = reader.number(), reader.text()
    will = Will(reader.text(), reader.binary(), will_qos, will_retain) if has_will else None
    username = reader.text() if has_username else None
    password = reader.binary() if has_password else None
    reader.end()
    return Connect(level, client_id, bool(flags & 0x02), keepalive_s, username, password, will)


def _publish(first: int, reader: "_Reader") -> Publish:  # §3.3
    qos = first >> 1 & 0b11
    topic = reader.text()
    number = reader.identifier() if qos else 0
    return Publish(topic, reader.rest(), qos, number, dup=bool(first & 0x08), retain=bool(first & 0x01))


def _subscribe(reader: "_Reader") -> Subscribe:  # §3.8
    number = reader.identifier()
    filters: list[str] = []
    while not (reader.is_over and filters):
        filters.append(reader.text())
        if reader.byte() > 2:
            raise Malformed("SUBSCRIBE for an impossible QoS (§3.8.3)")
    return Subscribe(number, tuple(filters))


class _Reader:
    """A packet's body, read from its beginning (§1.5)."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at == len(self._body)

    def end(self) -> None:
        if not self.is_over:
            raise Malformed("bytes behind the end of what a packet holds")

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def identifier(self) -> int:
        number = self.number()
        if number == 0:
            raise Malformed("the packet identifier 0 (§2.3.1)")
        return number

    def binary(self) -> bytes:
        return self._take(self.number())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise Malformed("a text that is no UTF-8 (§1.5.3)") from None
        if "\0" in text:
            raise Malformed("a text with NUL in it (§1.5.3)")
        return text

    def rest(self) -> bytes:
        return self._take(len(self._body) - self._at)

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._body):
            raise Malformed("a packet that ends too early")
        taken = self._body[self._at : self._at + count]
        self._at += count
        return taken
