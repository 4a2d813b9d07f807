"""BBData over HTTP.

Source: BBData input API (bbdata-website, "API_Doc_input", "submit-measures") and the server's own code (bbdata-api,
InputController.kt, ExceptionAdviser.kt): a bulk is atomic, and its first offender answers for all.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from edged.options import Url, option
from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Limits
from edged.platforms._bbdata import Object, check_object, measure, refused, timestamp
from edged.platforms._bbdata_unanswered import Measure, Unanswered
from edged.platforms._http import HttpPlatform, response, verdict
from edged.platforms._json import dumps, parsed
from edged.transports.http import Reply, Request, line


@dataclass(frozen=True)
class Options:
    url: Url = option("https://bbdata.daplab.ch", help="the server's base")
    api: Literal["input", "objects"] = option("input", help='"input": /input/measures; "objects": /objects/values')
    ack: bool = option(True, help="let the server wait until the measure is safe there")


class BBData(HttpPlatform):
    """BBData (Big Building Data): objects, each with a token of its own."""

    Options = Options
    Series = Object
    timeout_s = 60.0  # with its message broker down the server answers very late, and has stored all the same
    example = """\
url = "https://bbdata.example.org"
series = { "greenhouse.temperature" = { object = 4711, token = { credential = "bbdata-4711" } } }
"""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._under_way: tuple[Measure, ...] = ()  # of the request that has no answer yet
        self._unanswered = Unanswered()
        self._asks = False  # what is sent next is only asked about, where unanswered requests held it
        self._asked = False  # the request under way asks

    @property
    def limits(self) -> Limits:
        """The server has none; 100 bounds what a culprit costs."""
        return Limits(100)

    def encode(self, items: Sequence[Item]) -> Request:
        """One measure alone or in an array, by the API's generation.

        Where an unanswered request may have stored several of them, a question instead: backwards, and simulated.
        """
        self._unanswered.note(self._under_way)
        self._under_way = ()
        self._asked = self._asks and len(items) > 1
        if self._asked:
            return self.request(items[::-1], simulate=True)
        self._under_way = tuple(map(_measure_of, items))
        return self.request(items, simulate=False)

    def probe(self, items: Sequence[Item]) -> Request:
        """A simulated request: the server checks object, token and value, and stores nothing."""
        return self.request(items, simulate=True)

    def request(self, items: Sequence[Item], *, simulate: bool) -> Request:
        """The request; with `simulate` the server makes every check and stores nothing.

        Written out, since a bare `simulate` counts as false over there, and the data would be stored.
        """
        measures = [
            measure(item) | ({"comment": c} if (c := item.target.comment) is not None else {}) for item in items
        ]
        single = self.options.api == "input" and len(items) == 1
        query = f"ack={'true' if self.options.ack else 'false'}" + ("&simulate=true" if simulate else "")
        path = "/objects/values" if self.options.api == "objects" else "/input/measures" + ("" if single else "/bulk")
        return Request(
            f"{self.options.url.rstrip('/')}{path}?{query}",
            dumps(measures[0] if single else measures),
            {"Content-Type": "application/json"},
        )

    def judge(self, reply: Reply, items: Sequence[Item]) -> list[Outcome]:
        """Names the culprit where the answer does; its neighbours are innocent."""
        if self._asked:
            return self._told(_judged(reply, items[::-1])[::-1], items)
        outcomes = _judged(reply, items)
        measures = [_measure_of(item) for item in items]
        if any(isinstance(outcome, Transient) for outcome in outcomes):
            self._unanswered.note(self._under_way)  # it may have stored them all the same
        elif all(isinstance(outcome, Delivered) for outcome in outcomes):
            self._unanswered.settle(set(measures))
        elif (index := _delivered(outcomes)) is not None:
            self._unanswered.rule_out(measures[index], set(measures[:index]))
            self._asks = len(self._unanswered.behind(measures[index]) & set(measures)) > 1
            self._unanswered.settle({measures[index]})
        self._under_way = ()
        return outcomes

    def _told(self, outcomes: list[Outcome], items: Sequence[Item]) -> list[Outcome]:
        """The outcomes for the items of a question, by those that the same answer to a delivery would have had."""
        self._asked = False
        if any(isinstance(outcome, Transient) for outcome in outcomes):
            return outcomes  # asked again later
        self._asks = False
        if all(isinstance(outcome, Delivered) for outcome in outcomes):
            return [Again()] * len(items)  # none is stored: all are welcome
        if (index := _delivered(outcomes)) is None:
            return outcomes
        measures = [_measure_of(item) for item in items]
        self._unanswered.rule_out(measures[index], set(measures[index + 1 :]))
        stored = {measures[index]} | self._unanswered.before(measures[index])
        self._unanswered.settle(stored)
        return [Delivered() if each in stored else Again() for each in measures]

    def refuses(self, item: Item) -> Outcome | None:
        """What the server would refuse, or take for something else than it is.  Raises SecretUnreadable."""
        return refused(item)

    @classmethod
    def place(cls, options: Any, target: Any) -> object:
        """The object."""
        return target.object

    @classmethod
    def caution_target(cls, target: Any) -> Sequence[tuple[str, str]]:
        """The lengths of token and comment."""
        return check_object(target)


def _measure_of(item: Item) -> Measure:
    return item.target.object, item.entry.time_ms


def _delivered(outcomes: Sequence[Outcome]) -> int | None:
    """The first that is delivered: of a refused request the one that the answer names as existing."""
    return next((index for index, outcome in enumerate(outcomes) if isinstance(outcome, Delivered)), None)


def _judged(reply: Reply, items: Sequence[Item]) -> list[Outcome]:
    """The outcomes for a request that was meant to store the items, in this order."""
    answer = parsed(reply.body)
    exception = line(str(answer["exception"])) if isinstance(answer, dict) and "exception" in answer else ""
    # The older generation's statuses are not documented: a bad token is one whatever the status.
    if exception and (400 <= reply.status < 500 or exception == "BadTokenException") and not reply.is_html:
        return _refused(reply, exception, answer.get("details"), items)
    outcomes = verdict(reply, items, refuses_in_json=True)
    if outcomes is None:
        echoes = not exception and _echoes(answer, items)
        outcomes = [Delivered() if echoes else Transient("the answer does not echo what was sent")] * len(items)
    return outcomes


def _echoes(answer: Any, items: Sequence[Item]) -> bool:
    """Whether the answer names the items' objects in their order, as a number or a text: a portal's JSON does not."""
    echoed = answer if isinstance(answer, list) else [answer]
    named = [str(each.get("objectId")) if isinstance(each, dict) else "" for each in echoed]
    return named == [str(item.target.object) for item in items]


def _refused(reply: Reply, exception: str, details: Any, items: Sequence[Item]) -> list[Outcome]:
    """The outcomes for an answer in the server's own words: `{"exception", "details"}`."""
    said = f"HTTP {reply.status} {exception}: {line(details) if isinstance(details, str) else reply.excerpt}"
    if isinstance(details, dict) and reply.status == 400:
        return _invalid(said, details, reply, items)
    text = details if isinstance(details, str) else ""
    named = re.search(r"objectId\s+(\d+)", text)
    of_object = [named is None or item.target.object == int(named[1]) for item in items]

    def culprits(guilty: Callable[[Item], bool], outcome: Outcome) -> list[Outcome]:
        """The outcome for those of the named object that are guilty; where none is found, look for it."""
        found = [its and guilty(item) for its, item in zip(of_object, items, strict=True)]
        if not any(found):
            return [outcome if len(items) == 1 else Isolate(said)] * len(items)
        return [outcome if guilt else Again() for guilt in found]

    if "already exists" in text:
        return culprits(lambda item: _names_time(text, item), Delivered())
    if "date should be in the past" in text:
        return culprits(lambda item: _names_time(text, item), Delayed(said, _ahead_s(text)))
    if exception in ("ForbiddenException", "ItemNotFoundException", "BadTokenException"):
        if named is None and len({item.target.object for item in items}) > 1:
            return [Isolate(said)] * len(items)
        return culprits(lambda item: True, Parked(f"{said}; check object and token", whole=False))
    if exception == "MethodArgumentTypeMismatchException":
        return [Parked(said)] * len(items)
    if "does not match the unit" in text and sum(of_object) == 1:
        return culprits(lambda item: True, Permanent(said, response(reply)))
    return verdict(reply, items, refuses_in_json=True) or [Isolate(said)] * len(items)


def _invalid(said: str, details: dict[str, Any], reply: Reply, items: Sequence[Item]) -> list[Outcome]:
    """Bean validation names every offender: `_values[3].token`, or just `token` for a measure alone."""
    if not details:
        return [Permanent(said, response(reply)) if len(items) == 1 else Isolate(said)] * len(items)
    outcomes: list[Outcome] = [Again() for _ in items]
    for key, message in details.items():
        match = re.fullmatch(r"(?:_?values)?(?:\[(\d+)\])?\.?(\w+)", key)
        index = int(match[1] or 0) if match and (match[1] or len(items) == 1) else len(items)
        if match is None or index >= len(items):
            return [Permanent(said, response(reply)) if len(items) == 1 else Isolate(said)] * len(items)
        message = line(str(message))
        if match[2] in ("token", "objectId", "comment"):  # of the config: to be repaired, not buried
            outcomes[index] = Parked(f"{match[2]}: {message}; check object, token and comment", whole=False)
        elif not isinstance(outcomes[index], Parked):
            outcomes[index] = Permanent(f"HTTP {reply.status}: {match[2]}: {message}", response(reply))
    return outcomes


def _names_time(text: str, item: Item) -> bool:
    """Whether the answer quotes the item's time, in any of the forms that the server prints."""
    stamp = timestamp(item.entry.time_ms)
    return stamp in text or stamp.removesuffix(".000") + "Z" in text


def _ahead_s(text: str) -> float:
    """Seconds that the refused time (`input='..'`) is ahead of the server's (`now='..'`); a minute if it is silent."""
    times = [re.search(rf"{name}='([^']+)'", text) for name in ("input", "now")]
    try:
        ahead, now = (datetime.fromisoformat(match[1].removesuffix("Z")) for match in times if match)
        return max(0.1, (ahead - now).total_seconds())
    except (ValueError, TypeError):
        return 60.0
