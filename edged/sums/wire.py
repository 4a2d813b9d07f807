"""What an exchange costs on the network, layer by layer, from its request alone.

Counted is what a metered link counts: the bytes of IP packets in both directions.  The application's own bytes (a
request with its headers, an MQTT packet) are exact.  Estimated are the answers, TLS and TCP/IP: the sizes below are
those of a usual server behind nginx with a certificate of a public CA, over IPv4.  Left out: DNS, lost packets that
are sent again, a proxy's CONNECT, and whatever the link itself adds.

Sources: RFC 9112 (HTTP/1.1), MQTT 3.1.1 section 2, RFC 8446 section 5.2 (TLS 1.3 records), RFC 9293 (TCP).
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

KEEP_ALIVE_S = 60.0  # a server closes a connection that is idle for longer; nginx after 75 s, many proxies after 60
PING_S = 60.0  # MQTT's keep-alive: an idle connection is asked so often whether it lives

_ANSWER = 350  # bytes of an HTTP answer's status line and headers
_ANSWER_BODY = 40
_SEGMENT = 1400  # bytes that a packet carries
_PACKET = 52  # bytes of IPv4 and TCP headers with time stamps
_RECORD = 22  # bytes that TLS adds to each write
_HANDSHAKE = 5000  # bytes of a TLS 1.3 handshake: two certificates, and the tickets behind it
_HANDSHAKE_PACKETS = 10
_OPEN_AND_CLOSE = 7  # packets of TCP's own
_PUBACK = 4


@dataclass(frozen=True)
class Load:
    """Bytes, by layer."""

    sent: int = 0  # of the application: requests with their headers, or MQTT packets
    received: int = 0
    tls: int = 0
    tcp_ip: int = 0

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.sent + other.sent,
            self.received + other.received,
            self.tls + other.tls,
            self.tcp_ip + other.tcp_ip,
        )

    def times(self, factor: float) -> "Load":
        """So many of them."""
        return Load(*(round(number * factor) for number in (self.sent, self.received, self.tls, self.tcp_ip)))

    @property
    def total(self) -> int:
        """All of them."""
        return self.sent + self.received + self.tls + self.tcp_ip


def known(request: Any) -> bool:
    """Whether it is HTTP's or MQTT's; another package's platform may have a transport of its own."""
    if isinstance(request, tuple):
        return all(hasattr(message, key) for message in request for key in ("topic", "payload", "qos"))
    return all(hasattr(request, key) for key in ("url", "method", "headers", "body"))


def requests_in(request: Any) -> int:
    """What counts as requests: an HTTP request is one, of MQTT each message."""
    return sum(1 for message in request if not _is_once(message)) if isinstance(request, tuple) else 1


def host_of(request: Any, options: Any) -> str:
    """Where the request goes: an HTTP request knows it, of MQTT the platform's options."""
    return str(getattr(options, "host", "")) if isinstance(request, tuple) else urlsplit(request.url).hostname or ""


def exchange(request: Any, options: Any, *, echoes: bool = False) -> Load:
    """A request and its answer on an open connection; `echoes`: the answer holds what was sent."""
    if isinstance(request, tuple):
        tls = getattr(options, "tls", True)
        return sum((_message(message, tls) for message in request if not _is_once(message)), Load())
    head, body = _head(request), len(request.body)
    answer = _ANSWER + (body if echoes else _ANSWER_BODY)
    out, back = _segments(head) + _segments(body), _segments(answer)  # urllib3 writes head and body apart
    acknowledged = out // 2 + math.ceil(back / 2)
    tls = 3 * _RECORD if urlsplit(request.url).scheme == "https" else 0
    return Load(head + body, answer, tls, (out + back + acknowledged) * _PACKET)


def connection(request: Any, options: Any) -> Load:
    """Opening and closing a connection for such a request."""
    if isinstance(request, tuple):
        names = (getattr(options, key, "") or "" for key in ("client_id", "username"))
        sent, received, secure = 30 + sum(map(len, names)) + 2, 4, getattr(options, "tls", True)
    else:
        sent, received, secure = 0, 0, urlsplit(request.url).scheme == "https"
    packets = _OPEN_AND_CLOSE + (_HANDSHAKE_PACKETS if secure else 0) + (2 if sent else 0)
    return Load(sent, received, _HANDSHAKE if secure else 0, packets * _PACKET)


def idle(request: Any, options: Any, gap_s: float) -> Load:
    """What an idle time between two exchanges costs: a new connection, or over MQTT its pings."""
    if isinstance(request, tuple):
        pings, tls = int(gap_s // PING_S), 2 * _RECORD if getattr(options, "tls", True) else 0
        return Load(2 * pings, 2 * pings, tls * pings, 3 * _PACKET * pings)
    return connection(request, options) if gap_s > KEEP_ALIVE_S else Load()


def _head(request: Any) -> int:
    """Bytes of an HTTP request's line and headers, as `transports.http` sends them."""
    url = urlsplit(request.url)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {
        "Host": url.netloc,
        **_usual_headers(),
        **request.headers,
        "Content-Length": str(len(request.body)),
    }
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return len("\r\n".join(lines).encode())


@cache
def _usual_headers() -> dict[str, str]:
    """What every request has."""
    from edged.transports.http import HEADERS  # with it comes `requests`, which a config of brokers does not need

    return HEADERS


def _is_once(message: Any) -> bool:
    """Whether it goes but once on a connection, however often it is asked for."""
    return bool(getattr(message, "once", False))


def _message(message: Any, tls: bool) -> Load:
    """A publish and its confirmation, each a write of its own."""
    rest = 2 + len(message.topic.encode()) + len(message.payload) + (2 if message.qos else 0)
    size = 1 + max(1, math.ceil(rest.bit_length() / 7)) + rest
    answers, more = ((0, 0), (1, 0), (2, 1))[message.qos]  # PUBACK; PUBREC, PUBREL, PUBCOMP
    packets = _segments(size) + more + answers + (1 if answers else 0)
    records = (1 + more + answers) * _RECORD if tls else 0
    return Load(size + more * _PUBACK, answers * _PUBACK, records, packets * _PACKET)


def _segments(size: int) -> int:
    return math.ceil(size / _SEGMENT)
