"""Any collector that takes readings by HTTP: JSON lines, a JSON list, or a text that each reading fills.

Source: RFC 9110 for the answers; jsonlines.org and the media type `application/x-ndjson` for lines of JSON.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edged.options import ReadingTemplate, Url, option
from edged.outcome import Delivered, Outcome, Parked, Transient
from edged.platforms import Item, Limits
from edged.platforms._http import HttpPlatform, verdict
from edged.platforms._json import dumps, is_strict
from edged.platforms._template import fill
from edged.reading import Entry, iso
from edged.secret import Secret
from edged.transports.http import Reply, Request

_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection"})  # the connection's own
_SAMPLE = Item(Entry(1, "sensor.quantity", 0, 1.5), None, "unit")


@dataclass(frozen=True)
class Named:
    name: str = option(help="the series' name over there")


@dataclass(frozen=True)
class Options:
    url: Url = option(help="where to send")
    method: Literal["POST", "PUT", "PATCH"] = option("POST", help="how to send")
    format: Literal["jsonl", "json", "template"] = option(
        "jsonl", help='"jsonl": a line of JSON a reading; "json": a list; "template": a request a reading'
    )
    template: ReadingTemplate = option("", help="the body, with {sensor}, {quantity}, {value}, {unit} and {time} in it")
    headers: dict[str, Secret] = option(None, help="what else goes with each request, credentials for instance")
    success: tuple[int, ...] = option((200, 201, 202, 204), help="the statuses that mean: taken")


class Http(HttpPlatform):
    """Any HTTP collector: readings as lines of JSON, as a list of JSON, or by a template."""

    Options = Options
    Series = Named
    short = "name"
    example = """\
url = "https://collector.example.org/readings"
headers = { Authorization = { credential = "collector-authorization" } }
series = { "greenhouse.*" = true }
"""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._makes_json = is_strict(_filled(options.template, _SAMPLE))

    @property
    def limits(self) -> Limits:
        """A template is for one reading; of the others so many that a request stays small."""
        return Limits(1 if self.options.format == "template" else 500)

    def encode(self, items: Sequence[Item]) -> Request:
        """The body by its format, with the content type that goes with it unless the config names another."""
        match self.options.format:
            case "jsonl":
                kind, body = "application/x-ndjson", b"".join(dumps(_point(item)) + b"\n" for item in items)
            case "json":
                kind, body = "application/json", dumps([_point(item) for item in items])
            case _:
                kind, body = self._by_template(items[0])
        own = {name: value.reveal() for name, value in _headers(self.options).items()}
        named = {name.lower() for name in own}
        usual = {"Accept": "*/*", "Content-Type": kind}
        headers = {name: value for name, value in usual.items() if name.lower() not in named} | own
        return Request(self.options.url, body, headers, self.options.method)

    def judge(self, reply: Reply, items: Sequence[Item]) -> list[Outcome]:
        """What `success` lists is a yes, but for a portal's page; any other status that is no error waits."""
        outcomes: list[Outcome] | None
        if reply.status not in self.options.success:
            outcomes = verdict(reply, items, refuses_in_json=False)
            waits = Parked(f"HTTP {reply.status}: neither an error nor one of success; check url and success")
            return outcomes or [waits] * len(items)
        if reply.is_html and b"<" in reply.body:  # many answer OK and call that HTML
            page = (
                f"HTML instead of the collector's answer, from a proxy or portal (HTTP {reply.status}: {reply.excerpt})"
            )
            return [Transient(page)] * len(items)
        return [Delivered()] * len(items)

    def refuses(self, item: Item) -> Outcome | None:
        """A text where the template has room for a number only."""
        if self._makes_json and not is_strict(_filled(self.options.template, item)):
            return Parked('the template makes no JSON of its texts; put "{value}" in quotes', whole=False)
        return None

    def _by_template(self, item: Item) -> tuple[str, bytes]:
        template = self.options.template
        if self._makes_json:
            return "application/json", _filled(template, item).encode()
        return "text/plain; charset=utf-8", fill(template, item).encode("utf-8", "replace")

    @classmethod
    def usual(cls, series: str) -> str | None:
        """The series itself."""
        return series

    @classmethod
    def check(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What goes together, and what HTTP allows."""
        problems = []
        if options.format == "template" and not options.template:
            problems.append(("template", 'is missing: format = "template" wants one'))
        if options.format != "template" and options.template:
            problems.append(("template", f'format = "{options.format}" has no use for it; write format = "template"'))
        if not options.success or not all(200 <= status <= 599 for status in options.success):
            problems.append(("success", "statuses from 200 to 599 are expected, at least one"))
        seen: set[str] = set()
        for name, value in _headers(options).items():
            if name.lower() in seen:
                problems.append(("headers", f"{name} is there twice; large and small letters make no difference"))
            seen.add(name.lower())
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                problems.append(("headers", f"{name!r} is no header's name"))
            elif name.lower() in _FRAMING:
                problems.append(("headers", f"{name} is not for you to set; leave it out"))
            if value.is_plain and not _can_be_sent(value.reveal()):
                problems.append(("headers", f"{name} holds a character that HTTP does not allow, a line break perhaps"))
        return problems

    @classmethod
    def caution(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What seldom means what it is to mean."""
        problems = []
        if odd := ", ".join(str(status) for status in options.success if status >= 300):
            problems.append(("success", f"with {odd} most servers say that nothing was taken"))
        if options.template.lstrip().startswith(("{", "[")) and not is_strict(_filled(options.template, _SAMPLE)):
            problems.append(("template", "it makes no JSON, so it is sent as plain text"))
        return problems


def _headers(options: Any) -> Mapping[str, Secret]:
    return options.headers or {}


def _can_be_sent(value: str) -> bool:
    """Whether HTTP has room for it in a header (RFC 9110, 5.5)."""
    return re.fullmatch(r"[!-~\x80-\xff][\t -~\x80-\xff]*", value) is not None


def _point(item: Item) -> dict[str, Any]:
    return {"series": item.target.name, "time": iso(item.entry.time_ms), "value": item.entry.value}


def _filled(template: str, item: Item) -> str:
    """The template with what the reading fills kept within JSON's strings."""
    return fill(template, item, lambda part: dumps(part).decode()[1:-1])
