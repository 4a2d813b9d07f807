"""What platforms over HTTP have in common: their transport, and what a status means where they say nothing else."""

import json
from collections.abc import Sequence
from typing import Any

from edged.outcome import Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Platform, Transport, Wire
from edged.secret import redact
from edged.transports.http import HttpTransport, Reply, Request

TRANSIENT = frozenset({408, 425, 429})
PARKED = frozenset({401, 403, 404, 405, 406, 415})  # and all redirects


class HttpPlatform(Platform):
    """A platform that is reached by HTTP requests, each of which is answered for all its readings."""

    def connect(self, wire: Wire) -> Transport:
        """One keep-alive session."""
        return HttpTransport(wire.timeout_s, wire.ca_file, wire.proxy)

    def encode(self, items: Sequence[Item]) -> Request:
        """The request that carries the items.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))


def verdict(reply: Reply, count: int) -> Outcome | None:
    """What a status means for the `count` readings of its request; None where it is 2xx: the body has the word."""
    said = f"HTTP {reply.status}" + (f": {reply.excerpt}" if reply.body else "")
    if reply.is_html and not 300 <= reply.status < 400:
        return Transient(f"HTML instead of the platform's answer, from a proxy or portal ({said})", reply.retry_after_s)
    match reply.status:
        case status if status in TRANSIENT or not 200 <= status < 500:
            return Transient(said, reply.retry_after_s)
        case status if 300 <= status < 400:
            return Parked(f"{said} (a redirect); check url")
        case status if status in PARKED:
            return Parked(f"{said}; check url, credentials and identifiers")
        case status if 200 <= status < 300:
            return None
        case _:
            return Permanent(said, response(reply)) if count == 1 else Isolate(said)


def response(reply: Reply) -> str:
    """The answer as a dead letter keeps it; blacked out before it is cut."""
    return redact(reply.body.decode("utf-8", "replace"))[:1000]


def parsed(reply: Reply) -> Any:
    """The body as JSON; None where it is none."""
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def dumps(value: Any) -> bytes:
    """Compact, strict JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
