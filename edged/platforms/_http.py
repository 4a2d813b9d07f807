"""What platforms over HTTP have in common: their transport, and what a status means where they say nothing else."""

from collections.abc import Sequence

from edged.outcome import Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Platform, Transport, Wire
from edged.platforms._json import parsed
from edged.secret import redact
from edged.transports.http import HttpTransport, Reply, Request

TRANSIENT = frozenset({408, 425, 429})
PARKED = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 415, 421, 426, 451})  # and all redirects
TOO_LARGE = 413
PLAIN_TO_TLS = b"HTTP request to an HTTPS server"  # what servers written in Go say, as text, to a wrong scheme


class HttpPlatform(Platform):
    """A platform that is reached by HTTP requests, each of which is answered for all its readings."""

    def connect(self, wire: Wire) -> Transport:
        """One keep-alive session."""
        return HttpTransport(wire.timeout_s, wire.ca_file, wire.proxy)

    def encode(self, items: Sequence[Item]) -> Request:
        """The request that carries the items.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))


def verdict(reply: Reply, count: int, *, refuses_in_json: bool) -> Outcome | None:
    """What a status means for the `count` readings of its request; None where it is 2xx: the body has the word.

    Where the platform `refuses_in_json`, a refusal in any other text is not its own, so the url is wrong or something
    stands in between; it buries nothing.  An empty one says nothing either way: the status counts.
    """
    if 200 <= reply.status < 300 and not reply.is_html:
        return None
    said = f"HTTP {reply.status}" + (f": {reply.excerpt}" if reply.body else "")
    if reply.status == TOO_LARGE:  # mostly a proxy's, as a page; fewer readings pass, and a single one never will
        return Permanent(said, response(reply)) if count == 1 else Isolate(said)
    if reply.is_html and not 300 <= reply.status < 400:
        return Transient(f"HTML instead of the platform's answer, from a proxy or portal ({said})", reply.retry_after_s)
    match reply.status:
        case status if status in TRANSIENT or not 200 <= status < 500:
            return Transient(said, reply.retry_after_s)
        case status if 300 <= status < 400:
            return Parked(f"{said} (a redirect); check url")
        case status if status in PARKED:
            return Parked(f"{said}; check url, proxy, credentials and identifiers")
        case _ if PLAIN_TO_TLS in reply.body:
            return Parked(f"{said}; check url: https")
        case _ if refuses_in_json and reply.body and parsed(reply.body) is None:
            return Parked(f"{said}; not the platform's own words: check url and proxy")
        case _:
            return Permanent(said, response(reply)) if count == 1 else Isolate(said)


def response(reply: Reply) -> str:
    """The answer as a dead letter keeps it; blacked out before it is cut."""
    return redact(reply.body.decode("utf-8", "replace"))[:1000]
