"""Datacake over HTTP.

Source: docs.datacake.de, "Record Measurements via API"; the platform's reference of mutations and concepts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from edged.options import Seconds, Template, Url, option
from edged.outcome import Again, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Limits
from edged.platforms._fields import is_unknown
from edged.platforms._http import PARKED, HttpPlatform, url_problem, verdict
from edged.platforms._json import dumps, parsed
from edged.platforms._value import as_type
from edged.platforms._wording import blames_identifiers
from edged.secret import Secret
from edged.transports.http import Reply, Request

MOST_POINTS = 7500  # a day and device, of the paid plans


@dataclass(frozen=True)
class Field:
    field: str = option(help="the field's identifier")
    device: Template | None = option(None, help="another device's UUID than the destination's")
    type: Literal["float", "int", "bool", "string"] | None = option(None, help="send the value as this type")


@dataclass(frozen=True)
class Options:
    token: Secret = option(help="API token whose user may record measurements")
    device: Template = option(help="the device's UUID")
    url: Url = option("https://api.datacake.co", help="the API's base")
    min_write_interval: Seconds = option(
        1.1, help="pause between two writes to a field; the platform allows one a second", minimum=0
    )
    max_entries_per_field: int = option(1, help="readings of one field in one request", minimum=1)
    backlog: Literal["all", "mean", "last", "min", "max"] = option(
        "all",
        help='what becomes of readings that come faster than they may be written: "all" waits, the others thin them',
    )
    daily_points: int | None = option(
        None,
        help="readings of one device in a UTC day, restarts included; when spent, it waits for 00:00 UTC",
        minimum=1,
    )


class Datacake(HttpPlatform):
    """Datacake (datacake.co): fields of devices, one write a second and field, whole seconds."""

    Options = Options
    Series = Field
    short = "field"
    example = """\
token = { credential = "datacake-token" }
device = "be525e29-4398-4fc1-a928-dead7fdfe218"
series = { "greenhouse.temperature" = "TEMPERATURE" }
"""

    @property
    def limits(self) -> Limits:
        """One write a second and field; of the readings within a second the last one wins over there.

        The day's quota is a device's.
        """
        return Limits(
            100,
            per_target=self.options.max_entries_per_field,
            target_interval=self.options.min_write_interval,
            resolution_ms=1000,
            backlog=self.options.backlog,
            points_a_day=self.options.daily_points or 0,
        )

    def encode(self, items: Sequence[Item]) -> Request:
        """A batch for one device."""
        device = str(self.route(self.options, items[0].target))
        return Request(
            f"{self.options.url.rstrip('/')}/v1/devices/{quote(device, safe='')}/record/?batch=true",
            dumps([entry(item) for item in items]),
            {"Authorization": f"Token {self.options.token.reveal()}", "Content-Type": "application/json"},
        )

    def judge(self, reply: Reply, items: Sequence[Item]) -> list[Outcome]:
        """All or nothing; any 2xx is a yes, with or without a body.  A refused device concerns its own series only."""
        outcomes = verdict(reply, items, refuses_in_json=False) or [Delivered()] * len(items)
        match outcomes[0]:
            case Transient(reason, wait_s) if reply.status < 500:
                outcomes = [Transient(reason, max(wait_s, self.options.min_write_interval))] * len(items)
            case Parked(reason) | Permanent(reason) if len(items) == 1 and _misses_the_field(reply, items[0]):
                outcomes = [Parked(f"{reason}; check field {items[0].target.field}", whole=False)]
            case Parked(reason) if _concerns_the_device(reply, items):
                device = self.route(self.options, items[0].target)
                outcomes = [Parked(f"{reason} (device {device})", whole=False)] * len(items)
            case Isolate() if 0 < len(named := _named(reply, items)) < len(items):
                outcomes = [each if index in named else Again() for index, each in enumerate(outcomes)]
        return outcomes

    @classmethod
    def usual(cls, series: str) -> str | None:
        """`SENSOR_QUANTITY`."""
        return re.sub(r"[^A-Z0-9]", "_", series.upper())

    @classmethod
    def place(cls, options: Any, target: Any) -> object:
        """A field of a device, whatever type is sent to it."""
        return cls.route(options, target), target.field

    @classmethod
    def route(cls, options: Any, target: Any) -> object:
        """The device."""
        return target.device or options.device

    @classmethod
    def check(cls, options: Any) -> Sequence[tuple[str, str]]:
        """The base's URL, behind which a path goes."""
        return [("url", problem)] if (problem := url_problem(options.url)) else []

    @classmethod
    def caution(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What is beyond the platform's published limit."""
        beyond = {
            "min_write_interval": options.min_write_interval < 1,
            "max_entries_per_field": options.max_entries_per_field > 1,
        }
        warning = "Datacake takes one write a second and field; more may be dropped"
        problems = [(key, warning) for key, is_beyond in beyond.items() if is_beyond]
        if (options.daily_points or 0) > MOST_POINTS:
            problems.append(
                ("daily_points", f"no plan of Datacake's has more than {MOST_POINTS}; what is beyond is dropped")
            )
        return problems


def _concerns_the_device(reply: Reply, items: Sequence[Item]) -> bool:
    return reply.status in (403, 404) or (reply.status not in PARKED and blames_identifiers(reply.text, items))


def _misses_the_field(reply: Reply, item: Item) -> bool:
    """To be repaired in the config, so not buried."""
    return reply.status >= 400 and reply.status not in PARKED and is_unknown(_name(item.target.field), reply)


def _named(reply: Reply, items: Sequence[Item]) -> set[int]:
    """The items that a refusal names: by a list of errors beside that of the entries, else by the fields' names."""
    answer = parsed(reply.body)
    if isinstance(answer, list) and len(answer) == len(items) and all(isinstance(e, dict | None) for e in answer):
        return {index for index, error in enumerate(answer) if error}
    return {index for index, item in enumerate(items) if _name(item.target.field).search(reply.text)}


def _name(field: str) -> re.Pattern[str]:
    """A pattern for a field's whole name."""
    return re.compile(rf"(?<!\w){re.escape(field)}(?!\w)")


def entry(item: Item) -> dict[str, Any]:
    """One entry; the stamp as a string of whole seconds, the only form in the platform's examples."""
    return {
        "field": item.target.field,
        "value": as_type(item.entry.value, item.target.type),
        "timestamp": str(item.entry.time_ms // 1000),
    }
