"""BBData's input API over HTTP, stood in for.  Source: bbdata-api at cef8cc5, InputController.kt and what it uses; for
the legacy generation the website's API description.

The numbers are the statements of the wire contract: 22 to 46, and 1 to 8 by the common part.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from edged.reading import Value, iso
from edged.simulation.platforms import _bbdata_objects, _bbdata_units, _strict_json
from edged.simulation.platforms._bbdata_body import Measure, measures, refusal, unreadable
from edged.simulation.platforms._bbdata_objects import Known
from edged.simulation.platforms._bbdata_units import UNITS
from edged.simulation.platforms._records import Accepted, Fault, Refusal, Reply, Request
from edged.simulation.platforms._server import HttpStandIn
from edged.simulation.platforms._stand_in import Modes

# In a 400 these tell of a clock, of the request or of identifiers: the reading itself may be sent again.
_NOT_THE_READING = (
    b"date should be in the past",
    b"MethodArgumentTypeMismatchException",
    b"BadTokenException",
    b'objectId": ',
    b'token": ',
)
_TYPES = {"float": 32, "int": 33, "bool": 34, "string": 35}  # their statements
_TRUE, _FALSE = {"true", "on", "yes", "1"}, {"false", "off", "no", "0"}


@dataclass
class BBDataModes(Modes):
    """What differs between the generations, or has to be provoked."""

    generation: Literal["v2", "legacy"] = "v2"
    legacy_bad_token_status: int = 401  # 30: not documented
    legacy_atomic: bool = True  # 39: else what stands before the first offender is stored
    legacy_duplicates: Literal["refuse", "take"] = "refuse"  # 37
    crash_midway: int | None = None  # 39: store so many items of the next request, answer 500; once
    kafka_down: bool = False  # 43: legacy only: nothing with ack=true is stored


class Checked(NamedTuple):
    """A measure that passed, ready to be stored."""

    measure: Measure
    time_ms: int
    echo: str
    value: Value | None  # None: dropped later, unseen (legacy)


class BBData(HttpStandIn):
    """Takes measures, one or many, all or none of them."""

    platform = "bbdata"
    secret_in = "body"
    shared_target = 44
    made_up: ClassVar[dict[int, Known]] = _bbdata_objects.MADE_UP
    modes: BBDataModes

    def __init__(self, port: int = 0, **modes: Any) -> None:
        super().__init__(port, BBDataModes(**modes))
        self.objects = dict(self.made_up)
        self.disabled: set[int] = set()  # 31
        self.dropped: list[Accepted] = []  # legacy: accepted, and lost in the pipeline for a wrong type
        self.secrets = {known.token for known in self.objects.values()}

    def forget_identifiers(self) -> None:
        self.objects.clear()
        self.secrets.clear()

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        objects = _bbdata_objects.of(targets)
        self.objects |= objects
        self.secrets.update(known.token for known in objects.values())

    def example(self) -> str:
        return _bbdata_objects.example(self.platform, self.address, self.objects)

    def readings(self, request: Request) -> Iterator[tuple[tuple[str, Any], Any]]:
        if request.query.get("simulate", "false").lower() in _TRUE:
            return  # nothing is sent but questions
        document = _strict_json.parse_or_none(request.body)
        for item in document if isinstance(document, list) else [document]:
            match item:
                case {"objectId": int() as number, "timestamp": str() as stamp, "value": value}:
                    yield (str(number), stamp), value

    def is_refusal(self, reply: Reply) -> bool:
        return not any(text in reply.body for text in _NOT_THE_READING)

    @property
    def _legacy(self) -> bool:
        return self.modes.generation == "legacy"

    def answer(self, request: Request) -> Reply:
        is_array = self._check_head(request)
        simulate, is_awaited = self._flag(request, "simulate", 42), self._flag(request, "ack", 43)
        try:
            document = self.document(request)
        except ValueError as error:  # 25; the breach is recorded under 1
            raise unreadable(str(error)) from None
        items = measures(document, is_array, self._legacy, self.violation)
        now = self.modes.now_ms()
        checked: list[Checked] = []
        try:
            for item in items:
                checked.append(self._check(item, now, checked))
        except Refusal:
            if self._legacy and not self.modes.legacy_atomic and not simulate:
                self._store_all(checked)
            raise
        if self._legacy and self.modes.kafka_down and is_awaited:  # 43
            raise refusal(500, "Internal Server Error", "the measures could not be put into the pipeline")
        if not simulate:
            self._store_all(checked)
        echoes = [self._echo(item) for item in checked]
        return Reply.json(200, echoes if is_array else echoes[0], indent=2)  # 40

    def _check_head(self, request: Request) -> bool:
        """Whether an array is due."""
        arrays = {"/input/measures": False, "/input/measures/bulk": True}
        if not self._legacy:
            arrays["/objects/values"] = True
        if request.route not in arrays:  # 46
            raise refusal(404, "Not Found", f"no such path: {request.route}")
        if request.method != "POST":
            self.violation(22, f"method {request.method}")
            raise refusal(405, "HttpRequestMethodNotSupportedException", f"{request.method} is not supported")
        if not request.is_json:
            self.violation(24, "Content-Type is not application/json")
            raise refusal(415, "HttpMediaTypeNotSupportedException", "Content-Type must be application/json")
        accepted = request.headers.get("Accept") or "*/*"
        if not any(form in accepted for form in ("*/*", "application/*", "application/json")):
            raise refusal(406, "HttpMediaTypeNotAcceptableException", "only application/json can be had")
        return arrays[request.route]

    def _flag(self, request: Request, name: str, statement: int) -> bool:
        """What the query says for it; the first counts where it says it twice."""
        texts = [text.lower() for text in request.values(name)] or ["false"]
        if len(texts) > 1 or texts[0] not in _TRUE | _FALSE:
            self.violation(statement, f"{name}={f'&{name}='.join(texts)}")
        if texts[0] in _TRUE | _FALSE:
            return texts[0] in _TRUE
        if texts[0] == "":  # bare: an old client means yes, and v2 takes the default, no
            return self._legacy
        raise refusal(400, "MethodArgumentTypeMismatchException", f"{name}: {texts[0]!r} is no boolean")

    def _check(self, item: Measure, now: int, before: list[Checked]) -> Checked:
        """38: in the server's order, and the first failure answers for the whole request."""
        at = now if item.time_ms is None else item.time_ms  # 41: one "now" for all
        who = f"objectId {item.object_id}"
        if at > now + (3_600_000 if self._legacy else 2000):  # 29
            clocks = f"input='{iso(at)}', now='{iso(now)}'"
            raise refusal(400, "WrongParamsException", f"{who}: date should be in the past ({clocks})")
        known = self.objects.get(item.object_id)
        if known is None or known.token != item.token:
            raise self._unknown_pair(who)
        if item.object_id in self.disabled:  # 31
            raise refusal(403, "ForbiddenException", f"{who} is disabled.")
        echo, value = self._read(item, known, who)
        if any((other.measure.object_id, other.time_ms) == (item.object_id, at) for other in before):  # 36
            raise refusal(400, "WrongParamsException", f"{who}: two or more values with the same timestamp")
        takes_again = self._legacy and self.modes.legacy_duplicates == "take"
        if self.stored(str(item.object_id), at) and not takes_again:  # 37
            text = f"{who}: a measure with the same timestamp ({iso(at)}) already exists for this object"
            raise refusal(400, "WrongParamsException", text)
        return Checked(item, at, echo, value)

    def _unknown_pair(self, who: str) -> Refusal:  # 30
        if self._legacy:
            return refusal(self.modes.legacy_bad_token_status, "BadTokenException", f"{who}: bad token")
        return refusal(404, "ItemNotFoundException", f"{who}: the pair (objectId, token) does not exist")

    def _read(self, item: Measure, known: Known, who: str) -> tuple[str, Value | None]:
        """The echo and the value (32 to 35)."""
        read = _bbdata_units.read(known.type, item.text)
        if read is None:
            if self._legacy:  # it is never told, so it has to be known
                self.violation(_TYPES[known.type], f"{who}: {item.text[:40]!r} is no {known.type}, and is lost unseen")
                return item.text, None
            text = f"{who}: the value '{item.text}' does not match the unit ({known.type})"
            raise refusal(400, "WrongParamsException", text)
        echo, value = read
        if isinstance(value, float) and not math.isfinite(value):
            self.violation(32, f"{who}: {item.text[:40]} is no measure")
        return (item.text if self._legacy else echo), value

    def _store_all(self, checked: list[Checked]) -> None:
        """39: all of them, unless the server is to crash on the way."""
        midway, self.modes.crash_midway = self.modes.crash_midway, None
        for item in itertools.islice(checked, midway):
            number = str(item.measure.object_id)
            if item.value is None:
                self.dropped.append(Accepted(number, item.time_ms, item.measure.text))
            else:
                self.store(number, Accepted(number, item.time_ms, item.value))
        if midway is not None:
            raise refusal(500, "Internal Server Error", "crashed midway")

    def _echo(self, item: Checked) -> dict[str, Any]:  # 40
        measure = item.measure
        if self._legacy:
            stamp = iso(item.time_ms).removesuffix("Z")
            return {
                "objectId": measure.object_id,
                "token": measure.token,
                "timestamp": stamp,
                "value": item.echo,
                "comment": measure.comment,
            }
        unit = UNITS[self.objects[measure.object_id].type]
        return {
            "objectId": measure.object_id,
            "timestamp": iso(item.time_ms),
            "value": item.echo,
            "comment": measure.comment,
            "unitName": unit.name,
            "unitSymbol": unit.symbol,
            "type": unit.type,
            "owner": 1,
        }


def broken(status: int = 500) -> Fault:
    """45: the server's own 500, or the page of the proxy before it."""
    if status == 500:
        body = refusal(500, "Internal Server Error", "the database is away").reply
        return Fault(500, body.body, body.headers)
    return Fault(status, b"<html><body><h1>Bad Gateway</h1></body></html>", {"Content-Type": "text/html"})
