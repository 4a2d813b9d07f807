"""What platforms over HTTP have in common: their transport, and what a status means where they say nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime

from edged.outcome import Again, Delayed, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Platform, Transport, Wire
from edged.platforms._json import parsed
from edged.platforms._wording import blames_identifiers, says_throttled
from edged.secret import redact
from edged.transports.http import HttpTransport, Reply, Request

TRANSIENT = frozenset({408, 425, 429})
FALLS_OVER = frozenset({500, 502, 504})  # what a server says, or its proxy, that stumbled over a request
PARKED = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 415, 421, 426, 451})  # and all redirects
CHECK = {  # what may be wrong
    401: "credentials",
    403: "credentials, and what they may do",
    404: "url and identifiers",
    405: "url",
    407: "proxy",
}
TOO_LARGE = 413
AHEAD_MS = 1000  # a Date has whole seconds
MOST_AHEAD_MS = 3_600_000  # beyond, it is rather the server's clock that is wrong
_EARLIEST_MS = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)  # a server's clock that says less is wrong
PLAIN_TO_TLS = b"HTTP request to an HTTPS server"  # what servers written in Go say, as text, to a wrong scheme


class HttpPlatform(Platform):
    """A platform that is reached by HTTP requests, each of which is answered for all its readings."""

    def connect(self, wire: Wire) -> Transport:
        """One keep-alive session."""
        return HttpTransport(wire.timeout_s, wire.ca_file, wire.proxy)

    def encode(self, items: Sequence[Item]) -> Request:
        """The request that carries the items.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))


def verdict(reply: Reply, items: Sequence[Item], *, refuses_in_json: bool) -> list[Outcome] | None:
    """What a status means for each reading of its request; None where it is 2xx: the body has the word.

    Where the platform `refuses_in_json`, a refusal in any other text is not its own, so the url is wrong or something
    stands in between; it buries nothing.  An empty one says nothing either way: the status counts.  A yes is never XML.
    """
    if 200 <= reply.status < 300 and not _is_page(reply, json_due=True):
        return None
    said = f"HTTP {reply.status}" + (f": {reply.excerpt}" if reply.body else "")
    if reply.status == TOO_LARGE:  # mostly a proxy's, as a page; fewer readings pass, and a single one never will
        return [Permanent(said, response(reply)) if len(items) == 1 else Isolate(said, too_large=True)] * len(items)
    whole = _of_the_request(reply, items, said, refuses_in_json)
    return refused(reply, items, said) if whole is None else [whole] * len(items)


def _is_page(reply: Reply, json_due: bool) -> bool:
    """Whether it is no word of the platform's; where JSON is due, whatever begins like a page is none."""
    return reply.is_html or (json_due and reply.is_markup)


def _of_the_request(reply: Reply, items: Sequence[Item], said: str, refuses_in_json: bool) -> Outcome | None:
    """The outcome where no reading is to blame; None where one may be."""
    page = _is_page(reply, refuses_in_json or 200 <= reply.status < 300)
    if page and not 300 <= reply.status < 400:
        return Transient(f"HTML instead of the platform's answer, from a proxy or portal ({said})", reply.retry_after_s)
    if reply.status in TRANSIENT or not 200 <= reply.status < 500:
        return Transient(said, reply.retry_after_s, suspect=reply.status in FALLS_OVER)
    if 300 <= reply.status < 400:
        return Parked(f"{said} (a redirect); check url")
    if says_throttled(reply.text, items):
        return Transient(said, reply.retry_after_s)
    if reply.status in PARKED:
        return Parked(f"{said}; check {CHECK.get(reply.status, 'url, credentials and identifiers')}")
    if PLAIN_TO_TLS in reply.body:
        return Parked(f"{said}; check url: https")
    if refuses_in_json and reply.body and parsed(reply.body) is None:
        return Parked(f"{said}; not the platform's own words: check url and proxy")
    if blames_identifiers(reply.text, items):
        return Parked(f"{said}; check credentials and identifiers")
    return None


def refused(reply: Reply, items: Sequence[Item], said: str) -> list[Outcome]:
    """The outcomes where a reading is refused: if any is ahead of the server's clock it waits, and is to blame."""
    ahead = [_ahead_s(reply, item) for item in items]
    if any(ahead):
        return [Delayed(f"{said} (its time is ahead of the server's clock)", s) if s else Again() for s in ahead]
    return [Permanent(said, response(reply)) if len(items) == 1 else Isolate(said)] * len(items)


def _ahead_s(reply: Reply, item: Item) -> float:
    """Seconds until the reading's time is past on the server's clock; 0: it is, or that clock is not to be trusted."""
    if reply.date_ms is None or reply.date_ms < _EARLIEST_MS:
        return 0.0
    ahead_ms = item.entry.time_ms - reply.date_ms
    return ahead_ms / 1000 if AHEAD_MS < ahead_ms < MOST_AHEAD_MS else 0.0


def response(reply: Reply) -> str:
    """The answer as a dead letter keeps it; blacked out before it is cut."""
    return redact(reply.text)[:1000]


def url_problem(url: str) -> str:
    """What is wrong with a URL to which a path will be appended; "" if nothing is."""
    return "a path goes behind it: leave out what begins with ? or #" if "?" in url or "#" in url else ""
