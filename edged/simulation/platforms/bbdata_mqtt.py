"""BBData's MQTT broker and the pipeline behind it, stood in for.  Source: bbdata-website, submit-measures.md and
components.md; for the measures as over HTTP.

The numbers are the statements of the wire contract: 47 to 55.  What a measure's object alone decides (whether it is
known, what its unit takes) no client can be blamed for: it is in the error queue only.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from edged.reading import iso
from edged.simulation.platforms import _bbdata_objects, _bbdata_units, _strict_json
from edged.simulation.platforms._bbdata_body import Measure, measures
from edged.simulation.platforms._bbdata_objects import Known
from edged.simulation.platforms._broker import MqttStandIn
from edged.simulation.platforms._mqtt_packets import Connect, Subscribe
from edged.simulation.platforms._mqtt_records import Message, MqttModes
from edged.simulation.platforms._records import Accepted, Refusal

_KEYS = {"objectId", "token", "timestamp", "value", "comment", "owner"}
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", re.ASCII)
_PREFIX = "bbdata_"
_AHEAD_MS = 2000


@dataclass(frozen=True)
class Faulty:
    """A message in the error queue."""

    payload: bytes = field(repr=False)  # holds a token
    reason: str


class _Unusable(Exception):
    """A payload that is no measure for here; `statement` is None where no client can know that."""

    def __init__(self, statement: int | None, reason: str) -> None:
        super().__init__(reason)
        self.statement = statement


class BBDataMqtt(MqttStandIn):
    """Takes measures, one a message, with TLS only; whatever is wrong with one, the broker confirms it."""

    platform = "bbdata-mqtt"
    topic_statement = 51
    secret_in_payload = True
    made_up: ClassVar[dict[int, Known]] = _bbdata_objects.MADE_UP
    made_up_user: ClassVar[tuple[str, str]] = ("bbdata", "bbdata")  # the real ones
    modes: MqttModes

    def __init__(self, port: int = 0, **modes: Any) -> None:
        super().__init__(port, MqttModes(**modes), tls=True)
        self.users = dict([self.made_up_user])
        self.objects = dict(self.made_up)
        self.disabled: set[int] = set()
        self.qos: set[int] = set()  # what configs say; empty: any
        self.errors: list[Faulty] = []  # the error queue
        self.secrets = _secrets(self.users, self.objects)
        self._payloads: dict[tuple[str, int], bytes] = {}  # by object and time, as they came first

    def forget_identifiers(self) -> None:
        self.users.clear()
        self.objects.clear()
        self.secrets.clear()

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        self.users[options["username"]] = options["password"]
        self.qos.add(options["qos"])
        self.objects |= _bbdata_objects.of(targets)
        self.secrets = _secrets(self.users, self.objects)

    def example(self) -> str:
        username, password = self.made_up_user
        login = f'username = "{username}"\npassword = "{password}"\nclient_id = "{_PREFIX}example"\nqos = 1'
        return _bbdata_objects.example(self.platform, f"{self.address}\n{login}", self.objects)

    def client_fault(self, connect: Connect) -> str:
        if connect.client_id.startswith(_PREFIX) and connect.client_id != _PREFIX:
            return ""
        self.violation(48, f"client id {connect.client_id!r}")
        return f"does not begin with {_PREFIX} and a name"

    def subscribing(self, subscribe: Subscribe) -> None:
        super().subscribing(subscribe)
        self.violation(55, f"SUBSCRIBE {', '.join(subscribe.filters)}")

    def taken(self, message: Message) -> None:
        if message.retain:
            self.violation(51, "retain is set")
        if self.qos and message.qos not in self.qos:
            self.violation(54, f"QoS {message.qos}, but the config says {sorted(self.qos)}")
        try:
            self._store(message.payload)
        except _Unusable as error:
            self.errors.append(Faulty(message.payload, str(error)))
            self.refused(f"error queue: {error}")
            if error.statement is not None:
                self.violation(error.statement, str(error))

    def _store(self, payload: bytes) -> None:
        measure = _measure(payload)
        at, number = measure.time_ms, str(measure.object_id)
        who = f"objectId {number}"
        if at is None or at > self.modes.now_ms() + _AHEAD_MS:
            raise _Unusable(53, f"{who}: {measure.stamp} is in the future, it is {iso(self.modes.now_ms())}")
        known = self.objects.get(measure.object_id)
        if known is None or known.token != measure.token:
            raise _Unusable(None, f"{who}: the pair (objectId, token) does not exist")
        if measure.object_id in self.disabled:
            raise _Unusable(None, f"{who} is disabled")
        read = _bbdata_units.read(known.type, measure.text)
        if read is None:
            raise _Unusable(None, f"{who}: the value {measure.text!r} does not match the unit ({known.type})")
        if isinstance(read[1], float) and not math.isfinite(read[1]):
            raise _Unusable(53, f"{who}: {measure.text[:40]} is no measure (32)")
        if self._payloads.setdefault((number, at), payload) != payload:
            self.violation(3, f"{who} at {iso(at)}: came back as another message")
        self.store(number, Accepted(number, at, read[1]))


def _secrets(users: Mapping[str, str], objects: Mapping[int, Known]) -> set[str]:
    return {*users.values(), *(known.token for known in objects.values())}


def _measure(payload: bytes) -> Measure:
    """What a payload says.  Raises _Unusable."""
    try:
        document = _strict_json.parse(payload)
    except ValueError as error:
        raise _Unusable(52, f"no JSON: {error}") from None
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise _Unusable(52, f"not one object with exactly {', '.join(sorted(_KEYS))}")
    if not isinstance(document["comment"], str) or document["owner"] is not None:
        raise _Unusable(52, "comment must be a string, and owner null")
    if not isinstance(document["timestamp"], str) or not _STAMP.fullmatch(document["timestamp"]):
        raise _Unusable(53, f"timestamp {document['timestamp']!r} is not yyyy-MM-ddTHH:mm:ss.SSS")
    breaches: list[str] = []
    try:
        (measure,) = measures(document, False, False, lambda number, text: breaches.append(f"{text} ({number})"))
    except Refusal as refusal:
        reason = "; ".join(breaches) or json.loads(refusal.reply.body)["details"]
        raise _Unusable(53, f"as over HTTP: {reason}") from None
    return measure
