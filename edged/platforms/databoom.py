"""Databoom over HTTP.

Source: Databoom help centre, "POST /signals/push", "HTTP via Python", "Data format to forward".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edged.options import Seconds, Template, Url, option
from edged.outcome import Delivered, Isolate, Outcome
from edged.platforms import Item, Limits
from edged.platforms._http import HttpPlatform, verdict
from edged.platforms._json import dumps, parsed
from edged.reading import Value, utc
from edged.secret import Secret
from edged.transports.http import Reply, Request, line

ALL_WELL = "ALL_INFO_PROCESSED"
MOST_KNOWN = 8  # unusual messages; one that varies is isolated no more often than that


@dataclass(frozen=True)
class Signal:
    name: str = option(help="the signal's token; an unknown one makes a new signal there")


@dataclass(frozen=True)
class Options:
    token: Secret = option(help="OAuth token with the Publish permission")
    device: Template = option(help="device token, from the device's page")
    url: Url = option("https://api.databoom.com/v1/signals/push", help="where to push")
    min_request_interval: Seconds = option(1.0, help="pause between two requests", minimum=0)
    max_signals: int = option(20, help="different signals in one request", minimum=1)
    max_points: int = option(200, help="readings in one request", minimum=1)


class Databoom(HttpPlatform):
    """Databoom (databoom.com): signals of one device, in the history form once there are several moments."""

    Options = Options
    Series = Signal
    short = "name"
    example = """\
token = { credential = "databoom-token" }
device = "0abc12def3"
series = { "greenhouse.temperature" = "room_temp", "host.*" = true }
"""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._known: set[str] = set()  # the first unusual messages that a single reading has met

    @property
    def limits(self) -> Limits:
        """The platform publishes none; these are the cautious ones of a SCADA driver for it."""
        options = self.options
        return Limits(options.max_points, targets=options.max_signals, request_interval=options.min_request_interval)

    def encode(self, items: Sequence[Item]) -> Request:
        """The array form for one moment, the history form for several."""
        return Request(
            self.options.url,
            dumps(body(self.options.device, items)),
            {"Authorization": f"Bearer {self.options.token.reveal()}", "Content-Type": "application/json"},
        )

    def judge(self, reply: Reply, items: Sequence[Item]) -> list[Outcome]:
        """All or nothing.  An unusual message is isolated once, then taken for a yes."""
        return verdict(reply, items, refuses_in_json=True) or [self._accepted(reply, len(items))] * len(items)

    def _accepted(self, reply: Reply, count: int) -> Outcome:
        answer = parsed(reply.body)
        message = answer.get("message") if isinstance(answer, dict) else None
        if message in (None, ALL_WELL):
            return Delivered()
        message = line(str(message))
        said = f"it took the readings, but said {message!r}"
        if message in self._known or len(self._known) >= MOST_KNOWN:
            return Delivered(said)
        if count > 1:
            return Isolate(said)
        self._known.add(message)
        return Delivered(said)

    @classmethod
    def usual(cls, series: str) -> str | None:
        """`sensor_quantity`."""
        return series.replace(".", "_")

    @classmethod
    def caution(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What is beyond the limits that are known to work."""
        known = {"max_signals": 20, "max_points": 200}
        problems = [
            (k, f"more than {most} in one request are not known to work")
            for k, most in known.items()
            if getattr(options, k) > most
        ]
        if options.min_request_interval < 1:
            problems.append(("min_request_interval", "more than one request a second is not known to work"))
        return problems


def body(device: str, items: Sequence[Item]) -> dict[str, Any]:
    """The body for one device; each point with its own date, since queued readings are old."""
    dates = {item.entry.time_ms for item in items}
    if len(dates) == 1 and len({item.target for item in items}) == len(items):
        signals = [{"name": item.target.name, "value": _value(item.entry.value)} for item in items]
        return {"device": device, "date": _date(items[0].entry.time_ms), "signals": signals}
    histories: dict[str, Any] = {}
    for item in items:
        history = histories.setdefault(item.target.name, {"history": []})["history"]
        history.append({"date": _date(item.entry.time_ms), "value": _value(item.entry.value)})
    return {"device": device, "signals": histories}


def _date(time_ms: int) -> str:
    """`2024-03-05T14:07:30.250+0000`, as the help centre's examples have it."""
    return utc(time_ms).replace(tzinfo=None).isoformat(timespec="milliseconds") + "+0000"


def _value(value: Value) -> Value:
    return int(value) if isinstance(value, bool) else value
