"""Datacake's record endpoint over HTTP, stood in for.  Source: docs.datacake.de, "Record Measurements via API", and the
reference of Datacake's own skill for its GraphQL side.

The numbers are the statements of the wire contract: 56 to 66, and 1 to 8 by the common part.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from edged.reading import Value
from edged.simulation.platforms import _strict_json
from edged.simulation.platforms._datacake_fields import ANY, FIELD_TYPES, fits
from edged.simulation.platforms._records import Accepted, Refusal, Reply, Request
from edged.simulation.platforms._server import HttpStandIn
from edged.simulation.platforms._stand_in import Modes

_ROUTE = re.compile(r"/v1/devices/([^/]+)/record(/?)")
_STAMP = re.compile(r"\d{9,10}", re.ASCII)
_MS_A_DAY = 86_400_000


@dataclass
class DatacakeModes(Modes):
    """What is not documented, or has to be provoked."""

    empty_401: bool = True  # 57: else {"detail": ...}
    record_right: bool = True  # 57: whether the key may record
    max_entries: int = 100  # 58
    unknown_field: Literal["reject", "drop"] = "reject"  # 59
    ahead_ms: int = 2000  # 60
    mismatch: Literal["list", "detail", "drop"] = "list"  # 61: 400 with either body, or left out of a 2xx
    atomic: bool = True  # 61: else what fits in a refused batch is stored
    write_interval_s: float = 1.0  # 62
    excess: Literal["429", "429-bare", "drop"] = "429"  # 62
    same_field_twice: bool = False  # 63: allowed in one request where the stamps differ
    daily_quota: int | None = None  # 65: points a device and UTC day
    quota_drop: bool = True  # 65: drop what is beyond; False: only record it
    quota_known: bool = True  # 65: the client has `daily_points`, so that going beyond is a violation
    success_status: Literal[200, 201, 202, 204] = 200  # 66
    success_body: bool = True  # 66: JSON, else nothing


@dataclass
class Write:
    """The latest accepted write of a field."""

    request: Request
    at: float  # s, monotonic: of its arrival, then of its completion


class Datacake(HttpStandIn):
    """Takes batches of dated field values."""

    platform = "datacake"
    pace_s = 1.0
    made_up_token: ClassVar[str] = "made-up-datacake-key"
    made_up_device: ClassVar[str] = "be525e29-4398-4fc1-a928-dead7fdfe218"
    made_up_fields: ClassVar[dict[str, str]] = {
        "TEMPERATURE": "FLOAT",
        "HUMIDITY": "FLOAT",
        "METER": "COUNTER",
        "COUNT": "INT",
        "DOOR_OPEN": "BOOL",
        "MODE": "STRING",
        "POSITION": "GEO",
    }
    modes: DatacakeModes

    def __init__(self, port: int = 0, **modes: Any) -> None:
        super().__init__(port, DatacakeModes(**modes))
        self.secrets = {self.made_up_token}
        self.devices: dict[str, dict[str, str]] = {self.made_up_device: dict(self.made_up_fields)}
        self.dropped: list[Accepted] = []  # answered with 2xx and not stored: unknown fields, excess, quota
        self._writes: dict[str, Write] = {}
        self._points: Counter[tuple[str, int]] = Counter()  # (device, UTC day) -> points

    def forget_identifiers(self) -> None:
        self.secrets.clear()
        self.devices.clear()

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        self.secrets.add(options["token"])
        self.paced(options.get("min_write_interval"))
        if options.get("device"):
            self.devices.setdefault(options["device"], {})
        for target in targets:
            fields = self.devices.setdefault(target.get("device") or options["device"], {})
            fields[target["field"]] = FIELD_TYPES[target["type"]] if target.get("type") else ANY

    def example(self) -> str:
        others = [f'# "SENSOR.QUANTITY" = "{name}"  # {kind}' for name, kind in self.made_up_fields.items()]
        return "\n".join(
            [
                "[destinations.datacake]",
                'platform = "datacake"',
                self.address,
                f'token = "{self.made_up_token}"',
                f'device = "{self.made_up_device}"',
                "[destinations.datacake.series]",
                '"greenhouse.temperature" = "TEMPERATURE"',
                *others[1:],
                "",
            ]
        )

    def readings(self, request: Request) -> Iterator[tuple[tuple[str, Any], Any]]:
        route = _ROUTE.fullmatch(request.route)
        match _strict_json.parse_or_none(request.body):
            case [*entries] if route:
                for entry in entries:
                    match entry:
                        case {"field": str() as field, "value": value, "timestamp": str() as stamp}:
                            yield (f"{route[1]}/{field}", stamp), value

    def is_refusal(self, reply: Reply) -> bool:
        return b"FIELD_DOES_NOT_EXIST" not in reply.body  # waits for a person, as an unknown device does

    def answer(self, request: Request) -> Reply:
        device = self._check_head(request)
        if not request.is_json:
            self.violation(1, "Content-Type is not application/json")
            raise _refusal(415, "Unsupported media type in request.")
        try:
            document = self.document(request)
        except ValueError as error:
            raise _refusal(400, f"JSON parse error - {error}") from None
        entries = self._entries(document)
        known, unknown = self._known(device, entries)
        readings, errors = self._readings(device, known)
        fitting = [reading for reading, error in zip(readings, errors, strict=True) if not error]
        refused = any(errors) and self.modes.mismatch != "drop"
        if not refused or not self.modes.atomic:
            kept = self._within_quota(device, self._within_rate(request, fitting))
            self._store_all(request, kept)
            self.dropped += [*unknown, *(reading for reading in readings if reading not in kept and not refused)]
        if refused:  # 61
            raise Refusal(Reply.json(400, errors)) if self.modes.mismatch == "list" else _refusal(400, "invalid value")
        return self._success()

    def finished(self, request: Request, at: float) -> None:
        for write in self._writes.values():
            if write.request is request:
                write.at = at

    def _check_head(self, request: Request) -> str:
        """The device; 56 and 57."""
        route = _ROUTE.fullmatch(request.route)
        if route is None:
            raise _refusal(404, "Not found.")
        if not route[2]:
            self.violation(56, "no slash behind record")
            raise _refusal(404, "Not found.")
        if request.method != "POST":
            self.violation(56, f"method {request.method}")
            raise _refusal(405, f'Method "{request.method}" not allowed.')
        if request.query != {"batch": "true"} or request.values("batch") != ["true"]:
            self.violation(56, f"query {urlsplit(request.path).query!r}, not batch=true")
            raise _refusal(400, "batch=true is missing")
        scheme, _, key = (request.headers.get("Authorization") or "").partition(" ")
        if scheme != "Token" or not key:
            self.violation(57, "Authorization is not 'Token <key>'")
        if scheme != "Token" or key not in self.secrets:
            raise Refusal(Reply(401)) if self.modes.empty_401 else _refusal(401, "Invalid token.")
        if not self.modes.record_right:
            raise _refusal(403, "You do not have permission to perform this action.")
        if route[1] not in self.devices:
            raise _refusal(404, "Not found.")
        return route[1]

    def _entries(self, document: Any) -> list[dict[str, Any]]:
        """58: the shape of the body."""
        if not isinstance(document, list) or not document:
            raise self._breach(58, "a non-empty array is due")
        if len(document) > self.modes.max_entries:
            self.violation(58, f"{len(document)} entries")
            raise _refusal(413, "too many entries")
        for entry in document:
            keys = entry.keys() if isinstance(entry, dict) else set()
            if not {"field", "value"} <= keys <= {"field", "value", "timestamp"} or not isinstance(entry["field"], str):
                raise self._breach(58, "an entry has field, value and timestamp only")
        return document

    def _known(self, device: str, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Accepted]]:
        """59: the entries for known fields, and those to be dropped."""
        fields = self.devices[device]
        unknown = [entry for entry in entries if entry["field"] not in fields]
        if unknown and self.modes.unknown_field == "reject":
            names = ", ".join(sorted({entry["field"] for entry in unknown}))
            detail = {"detail": f"Field does not exist: {names}", "code": "FIELD_DOES_NOT_EXIST"}
            raise Refusal(Reply.json(400, detail))
        dropped = [Accepted(f"{device}/{e['field']}", self._time_ms(e.get("timestamp")), e["value"]) for e in unknown]
        return [entry for entry in entries if entry["field"] in fields], dropped

    def _readings(self, device: str, entries: list[dict[str, Any]]) -> tuple[list[Accepted], list[dict[str, Any]]]:
        """The entries as readings, and beside each what is wrong with its value (61)."""
        fields = self.devices[device]
        readings = [
            Accepted(f"{device}/{entry['field']}", self._time_ms(entry.get("timestamp")), self._scalar(entry["value"]))
            for entry in entries
        ]
        errors = [
            {} if fits(fields[entry["field"]], entry["value"]) else {"value": [f"not {fields[entry['field']]}"]}
            for entry in entries
        ]
        return readings, errors

    def _time_ms(self, stamp: Any) -> int:
        """60: whole seconds as a string."""
        now = self.modes.now_ms()
        if stamp is None:
            self.violation(60, "no timestamp: queued readings must be stamped")
            return now // 1000 * 1000
        if not isinstance(stamp, str) or not _STAMP.fullmatch(stamp):
            raise self._breach(60, f"timestamp {stamp!r} is no string of Unix seconds")
        time_ms = int(stamp) * 1000
        if time_ms > now + self.modes.ahead_ms:
            raise _refusal(400, "timestamp is in the future")
        return time_ms

    def _scalar(self, value: Any) -> Value:
        """61: what no type of field takes."""
        if not fits(ANY, value):
            raise self._breach(61, f"value {value!r} is no number, boolean or string")
        checked: Value = value
        return checked

    def _within_rate(self, request: Request, readings: list[Accepted]) -> list[Accepted]:
        """62 and 63: the readings that are no excess; Refusal where the request is turned away for it."""
        kept: list[Accepted] = []
        for reading in readings:
            write = self._writes.get(reading.target)
            pause = request.arrived - write.at if write else float("inf")
            too_soon = pause < self.modes.write_interval_s
            if too_soon:
                self.violation(62, f"{reading.target}: {pause:.3f} s after the write before")
            twins = [other for other in kept if other.target == reading.target]
            twice = bool(twins) and not (
                self.modes.same_field_twice and all(other.time_ms != reading.time_ms for other in twins)
            )
            if twice:
                self.violation(63, f"{reading.target}: more than once in a request")
            if any(other.time_ms == reading.time_ms and other.value != reading.value for other in twins):
                self.violation(64, f"{reading.target} at {reading.time_ms}: two values in a request")
            if not too_soon and not twice:
                kept.append(reading)
        if len(kept) < len(readings) and self.modes.excess != "drop":
            headers = {"Retry-After": "1"} if self.modes.excess == "429" else {}
            raise Refusal(Reply.json(429, {"detail": "Request was throttled."}, headers=headers))
        return kept

    def _within_quota(self, device: str, readings: list[Accepted]) -> list[Accepted]:
        """65: what the day's quota still takes; a resend takes nothing of it."""
        quota = self.modes.daily_quota
        if quota is None:
            return readings
        day = (device, self.modes.now_ms() // _MS_A_DAY)
        kept = []
        for reading in readings:
            if not self.stored(reading.target, reading.time_ms):
                if self._points[day] >= quota:
                    if self.modes.quota_known:
                        self.violation(65, f"{reading.target}: more than {quota} points today")
                    if self.modes.quota_drop:
                        continue
                self._points[day] += 1
            kept.append(reading)
        return kept

    def _store_all(self, request: Request, readings: list[Accepted]) -> None:
        """64: a field has one value a second."""
        for reading in readings:
            earlier = self.store(reading.target, reading)
            if earlier is not None and earlier.value != reading.value:
                text = f"{reading.target} at {reading.time_ms}: {earlier.value!r} is now {reading.value!r}"
                self.violation(64, text)
        for target in {reading.target for reading in readings}:
            self._writes[target] = Write(request, request.arrived)

    def _success(self) -> Reply:  # 66
        status = self.modes.success_status
        if status == 204 or not self.modes.success_body:
            return Reply(status)
        return Reply.json(status, {"success": True})

    def _breach(self, statement: int, text: str) -> Refusal:
        self.violation(statement, text)
        return _refusal(400, text)


def _refusal(status: int, detail: str) -> Refusal:
    return Refusal(Reply.json(status, {"detail": detail}))
