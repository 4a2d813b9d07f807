"""Databoom, stood in for.  Source: Databoom help centre, "POST /signals/push" and "Data format to forward".

The numbers are the statements of the wire contract: 9 to 21, and 1 to 8 by the common part.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal

from edged.reading import Value
from edged.simulation.platforms import _iso, _strict_json
from edged.simulation.platforms._records import Accepted, Refusal, Reply, Request
from edged.simulation.platforms._server import HttpStandIn
from edged.simulation.platforms._stand_in import Modes

_STRICT_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:?00)", re.ASCII)


@dataclass
class DataboomModes(Modes):
    """What is not documented, or has to be provoked."""

    # 20; "partial" stores the first half of several points, and says something else than that all were processed
    success: Literal["documented", "204", "empty", "other", "partial"] = "documented"
    invalid_status: int = 400  # 11 to 18
    unknown_device_status: int = 404  # 12
    error_body: Literal["message", "empty"] = "message"  # 9 to 18
    publish: bool = True  # 10: whether the token may publish
    dates: Literal["strict", "lenient"] = "strict"  # 17
    max_signals: int = 20  # 19
    max_points: int = 200
    max_bytes: int = 256 * 1024


@dataclass(frozen=True)
class Point:
    """A value of a signal; without a date it gets the time of its arrival."""

    signal: str
    date: Any
    value: Any


class Databoom(HttpStandIn):
    """Takes pushes of signals in the array form and in the history form."""

    platform = "databoom"
    path = "/v1/signals/push"
    pace_s = 1.0
    made_up_token: ClassVar[str] = "made-up-databoom-token"
    made_up_device: ClassVar[str] = "0abc12def3"

    modes: DataboomModes

    def __init__(self, port: int = 0, **modes: Any) -> None:
        super().__init__(port, DataboomModes(**modes))
        self.secrets = {self.made_up_token}
        self.known_devices = {self.made_up_device}
        self.configured: set[str] = set()  # signals that an admitted config names
        self.created: list[str] = []  # 21: signals first seen in a push and named by no config; typos show here
        self.meta: dict[str, Any] = {}  # 21: signal -> meta, as it came with the first push
        self._seen: set[str] = set()

    def forget_identifiers(self) -> None:
        self.secrets.clear()
        self.known_devices.clear()

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        self.secrets.add(options["token"])
        self.known_devices.add(options["device"])
        self.configured.update(target["name"] for target in targets)
        self.paced(options.get("min_request_interval"))

    def example(self) -> str:
        return f"""\
[destinations.databoom]
platform = "databoom"
{self.address}
token = "{self.made_up_token}"
device = "{self.made_up_device}"
[destinations.databoom.series]
"*" = true
"""

    def readings(self, request: Request) -> Iterator[tuple[tuple[str, Any], Any]]:
        match _strict_json.parse_or_none(request.body):
            case {"date": str() as date, "signals": [*entries]}:
                for entry in entries:
                    match entry:
                        case {"name": str() as name, "value": value}:
                            yield (name, date), value
            case {"signals": dict() as signals}:
                for name, signal in signals.items():
                    match signal:
                        case {"history": [*points]}:
                            for point in points:
                                match point:
                                    case {"date": str() as date, "value": value}:
                                        yield (name, date), value

    def answer(self, request: Request) -> Reply:
        self._check_head(request)
        if not request.is_json:
            self.violation(1, "Content-Type is not application/json")
            raise self._refusal(415, "Content-Type must be application/json")
        try:
            document = self.document(request)
        except ValueError:
            raise self._refusal(400, "body is no JSON") from None
        points = self._points(document)
        self._check_size(request, points)
        readings = [self._reading(point) for point in points]
        self._check_device(document)
        self._note_signals(document)
        whole = self.modes.success != "partial" or len(readings) == 1
        for reading in readings if whole else readings[: len(readings) // 2]:
            earlier = self.store(f"{document['device']}/{reading.target}", reading)
            if earlier is not None and earlier.value != reading.value:
                self.violation(3, f"{reading.target} at {reading.time_ms}: {earlier.value!r} is now {reading.value!r}")
        return self._success(whole)

    def _check_head(self, request: Request) -> None:
        if request.route not in (self.path, self.path + "/"):  # 9, and nobody's fault but the config's
            raise self._refusal(404, "not found")
        if request.method != "POST":
            self.violation(9, f"method {request.method}")
            raise self._refusal(405, "method not allowed")
        scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or not token:
            self.violation(10, "Authorization is not 'Bearer <token>'")
        if scheme != "Bearer" or token not in self.secrets:
            raise self._refusal(401, "unauthorized")
        if not self.modes.publish:
            raise self._refusal(403, "the token lacks the permission to publish")

    def _points(self, document: Any) -> list[Point]:
        if not isinstance(document, dict) or not document.keys() <= {"device", "signals", "date"}:
            raise self._breach(11, "the top level is an object with device, signals and date only")
        if not isinstance(document.get("device"), str) or not document["device"]:
            raise self._breach(12, "device must be a non-empty string")
        signals = document.get("signals")
        if isinstance(signals, list) and signals:
            return self._array_points(signals, document.get("date"))
        if isinstance(signals, dict) and signals:
            return [point for name, signal in signals.items() for point in self._history_points(name, signal)]
        raise self._breach(13, "signals must be a non-empty array or object")

    def _array_points(self, entries: list[Any], date: Any) -> list[Point]:
        for entry in entries:
            if not isinstance(entry, dict) or not {"name", "value"} <= entry.keys() <= {"name", "value", "meta"}:
                raise self._breach(14, "an entry has name, value and meta only")
            if not isinstance(entry["name"], str) or not entry["name"]:
                raise self._breach(14, "name must be a non-empty string")
            if not isinstance(entry.get("meta", {}), dict):
                raise self._breach(14, "meta must be an object")
        if len({entry["name"] for entry in entries}) < len(entries):
            raise self._breach(14, "names must be unique")
        if date is None:
            self.violation(15, "array form without date")
        return [Point(entry["name"], date, entry["value"]) for entry in entries]

    def _history_points(self, name: str, signal: Any) -> Iterator[Point]:
        match signal:
            case {"history": [_, *_] as history} if name and signal.keys() <= {"history", "description"}:
                for point in history:
                    if not isinstance(point, dict) or point.keys() != {"date", "value"}:
                        raise self._breach(16, "a point has exactly date and value")
                    if point["date"] is None:
                        raise self._breach(17, "date is null")
                    yield Point(name, point["date"], point["value"])
            case _:
                raise self._breach(16, f"{name!r} must map to an object with a non-empty history")

    def _reading(self, point: Point) -> Accepted:
        return Accepted(point.signal, self._time_ms(point.date), self._value(point.value))

    def _time_ms(self, date: Any) -> int:
        if date is None:
            return self.modes.now_ms()
        try:
            if self.modes.dates == "lenient":
                return lenient_ms(date)
            if isinstance(date, str) and _STRICT_DATE.fullmatch(date):
                return _iso.parse(date)
        except ValueError:
            pass  # the same refusal as for a wrong form
        raise self._breach(17, f"date {date!r} is no ISO date-time with the zone Z, +0000 or +00:00")

    def _value(self, value: Any) -> Value:
        if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
            return value
        raise self._breach(18, f"value {value!r} is no finite number, string or boolean")

    def _check_size(self, request: Request, points: list[Point]) -> None:
        signals = len({point.signal for point in points})
        size = len(request.body)
        if signals > self.modes.max_signals or len(points) > self.modes.max_points:
            self.violation(19, f"{signals} signals with {len(points)} points")
            raise self._refusal(413, "too many signals or points")
        if size > self.modes.max_bytes:
            if len(points) > 1:  # a single value may be as long as its sensor made it
                self.violation(19, f"{size} bytes")
            raise self._refusal(413, "body too large")

    def _check_device(self, document: dict[str, Any]) -> None:
        if document["device"] not in self.known_devices:  # 12
            raise self._refusal(self.modes.unknown_device_status, "unknown device")

    def _note_signals(self, document: dict[str, Any]) -> None:
        signals = document["signals"]
        metas = {s["name"]: s.get("meta") for s in signals} if isinstance(signals, list) else dict.fromkeys(signals)
        for name, meta in metas.items():  # 21
            if name in self._seen:
                continue
            self._seen.add(name)
            if meta is not None:
                self.meta[name] = meta
            if name not in self.configured:
                self.created.append(name)

    def _success(self, whole: bool) -> Reply:  # 20
        match self.modes.success:
            case "204":
                return Reply(204)
            case "empty":
                return Reply(200)
            case "other":
                whole = False
        return Reply.json(200, {"message": "ALL_INFO_PROCESSED" if whole else "SOME_INFO_PROCESSED"})

    def _breach(self, statement: int, text: str) -> Refusal:
        self.violation(statement, text)
        return self._refusal(self.modes.invalid_status, text)

    def _refusal(self, status: int, message: str) -> Refusal:
        return Refusal(Reply(status) if self.modes.error_body == "empty" else Reply.json(status, {"message": message}))


def lenient_ms(date: Any) -> int:
    """Milliseconds of the forms that JavaScript's Date reads and the help centre shows.  Raises ValueError."""
    if not isinstance(date, str):
        raise ValueError(f"no text: {date!r}")
    for parse in (_iso.parse, _american_ms, _mail_ms):
        try:
            return parse(date)
        except ValueError:
            continue
    raise ValueError(f"no date: {date!r}")


def _american_ms(text: str) -> int:
    return _ms(datetime.strptime(text, "%m/%d/%Y").replace(tzinfo=UTC))


def _mail_ms(text: str) -> int:
    moment = parsedate_to_datetime(text)
    return _ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
