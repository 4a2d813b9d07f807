"""A collector over HTTP, stood in for: it takes lines of JSON and lists of JSON, and is strict about both.

Its wire contract is the user's: each reading is an object of `series`, `time` (ISO 8601, UTC, with milliseconds) and
`value`.  What breaks that is a violation with the number 0; 1 to 8 are found by the common part.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edged.simulation.platforms import _iso, _strict_json
from edged.simulation.platforms._records import Accepted, Refusal, Reply, Request
from edged.simulation.platforms._server import HttpStandIn
from edged.simulation.platforms._stand_in import Modes

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_LINES, _LIST = "application/x-ndjson", "application/json"


@dataclass
class HttpModes(Modes):
    """Collectors differ in little else that a client could notice."""

    success_status: int = 200
    max_bytes: int = 256 * 1024


class Http(HttpStandIn):
    """Takes readings; the headers that a destination sends are its credentials."""

    platform = "http"
    path = "/readings"
    made_up: ClassVar[dict[str, str]] = {"Authorization": "Bearer made-up-collector-token"}
    modes: HttpModes

    def __init__(self, port: int = 0, **modes: Any) -> None:
        super().__init__(port, HttpModes(**modes))
        self.clients: list[dict[str, str]] = [dict(self.made_up)]  # the headers of each
        self.templates = False  # whether a client sends texts of its own making, in which anything may stand
        self.secrets = set(_tokens(self.made_up))

    def forget_identifiers(self) -> None:
        self.clients.clear()
        self.secrets.clear()

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        headers = dict(options.get("headers") or {})
        self.clients.append(headers)
        self.templates |= options.get("format") == "template"
        self.secrets.update(_tokens(headers))

    def example(self) -> str:
        return f"""\
[destinations.http]
platform = "http"
{self.address}
headers = {{ Authorization = "{self.made_up["Authorization"]}" }}
[destinations.http.series]
"*" = true
"""

    def secret_headers(self) -> set[str]:
        return {name.lower() for headers in self.clients for name in headers}

    def readings(self, request: Request) -> Iterator[tuple[tuple[str, Any], Any]]:
        for point in _points(request.body, _kind(request)) or ():
            match point:
                case {"series": str() as series, "time": str() as time, "value": value}:
                    yield (series, time), value

    def answer(self, request: Request) -> Reply:
        if request.route != self.path:
            raise _refusal(404, "no such path")
        if request.method not in ("POST", "PUT", "PATCH"):
            raise _refusal(405, "POST, PUT and PATCH are taken")
        if not any(all(request.headers.get(k) == v for k, v in headers.items()) for headers in self.clients):
            raise _refusal(401, "the headers are not those of a client")
        if len(request.body) > self.modes.max_bytes:
            raise _refusal(413, f"more than {self.modes.max_bytes} bytes")
        for reading in self._read(request):
            earlier = self.store(reading.target, reading)
            if earlier is not None and earlier.value != reading.value:
                self.violation(3, f"{reading.target} at {reading.time_ms}: {earlier.value!r} is now {reading.value!r}")
        return Reply(self.modes.success_status)

    def _read(self, request: Request) -> list[Accepted]:
        """The readings of a body, all of which are right; none where it is a text that was taken as it is."""
        kind = _kind(request)
        points = _points(request.body, kind)
        readings = [reading for point in points or () if (reading := _reading(point)) is not None]
        if points and len(readings) == len(points) and kind in (_LINES, _LIST):
            if kind == _LINES and not request.body.endswith(b"\n"):
                self.violation(0, "the last line does not end")
            return readings
        if self.templates:  # each counts, since its time is its arrival's
            self.accepted.append(Accepted(request.route, self.modes.now_ms(), request.body.decode(errors="replace")))
            return []
        if kind not in (_LINES, _LIST):
            self.violation(0, f"Content-Type {kind!r}")
            raise _refusal(415, f"{_LINES} or {_LIST} is due")
        self.violation(1 if points is None else 0, "the body is not of objects with series, time and value")
        raise _refusal(400, "objects with series, time and value are due")


def _tokens(headers: Mapping[str, str]) -> Iterator[str]:
    """What is secret in headers: of an Authorization all that follows the scheme."""
    for name, value in headers.items():
        if name.lower() == "authorization":
            yield value.strip().split(" ", 1)[-1]


def _kind(request: Request) -> str:
    return (request.headers.get("Content-Type") or "").split(";")[0].strip().lower()


def _points(body: bytes, kind: str) -> list[Any] | None:
    """What stands in a body, line by line or in its list; None where anything of it is no JSON."""
    try:
        if kind == _LINES:
            return [_strict_json.parse(line) for line in body.splitlines()]
        document = _strict_json.parse(body)
    except ValueError:
        return None
    return document if isinstance(document, list) else []


def _reading(point: Any) -> Accepted | None:
    """The reading that an object is; None where it is none."""
    match point:
        case {"series": str() as series, "time": str() as time, "value": bool() | int() | float() | str() as value}:
            if len(point) == 3 and series and _TIME.fullmatch(time):
                try:
                    return Accepted(series, _iso.parse(time), value)
                except ValueError:  # a 30 February
                    return None
    return None


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(Reply.json(status, {"message": message}))
