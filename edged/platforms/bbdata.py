"""BBData over HTTP.

Source: BBData input API (bbdata-website, "API_Doc_input", "submit-measures") and the server's own code (bbdata-api,
InputController.kt, ExceptionAdviser.kt): a bulk is atomic, and its first offender answers for all.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from edged.options import Url, option
from edged.outcome import Again, Delayed, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Limits
from edged.platforms._bbdata import Object, check_object, measure, refused
from edged.platforms._bbdata_unanswered import Measure, Unanswered
from edged.platforms._http import HttpPlatform, response, url_problem, verdict
from edged.platforms._json import dumps, parsed
from edged.reading import utc
from edged.transports.http import Reply, Request, line

_UNREADABLE = "HttpMessageNotReadableException"  # quotes what was sent
_FIELDS = 4  # of a measure, that an answer may find fault with


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
        self._under_way: dict[Measure, int] = {}  # of the request that has no answer yet
        self._unanswered = Unanswered()
        self._asks = False  # what is sent next is only asked about, where unanswered requests held it
        self._asked = False  # the request under way asks

    @property
    def limits(self) -> Limits:
        """The server has none; 100 bounds what a culprit costs."""
        return Limits(100)

    def begin(self, last: int) -> None:
        """Nothing is concluded for what an earlier run may have sent."""
        self._unanswered.begin(last)

    def encode(self, items: Sequence[Item]) -> Request:
        """One measure alone or in an array, by the API's generation.

        Where an unanswered request may have stored several of them, a question instead: backwards, and simulated.
        """
        self._unanswered.note(self._under_way)  # it got no answer; whether it went out at all makes no difference
        self._under_way = {}
        self._asked = self._asks and len(items) > 1
        if self._asked:
            return self.request(items[::-1], simulate=True)
        self._under_way = _sent(items)
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
        sent = _sent(items)
        self._under_way = {}
        if any(isinstance(outcome, Transient) for outcome in outcomes):
            self._unanswered.note(sent)  # it may have stored them all the same
        elif all(isinstance(outcome, Delivered) for outcome in outcomes):
            self._unanswered.settle(sent, sent.keys())
        elif (index := _delivered(outcomes)) is not None:
            existing, new = _measure_of(items[index]), {_measure_of(item) for item in items[:index]}
            self._unanswered.rule_out(existing, new)
            self._asks = len(self._unanswered.behind(existing) & sent.keys()) > 1
            self._unanswered.settle(sent, {existing})
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
        sent = _sent(items)
        existing, new = _measure_of(items[index]), {_measure_of(item) for item in items[index + 1 :]}
        self._unanswered.rule_out(existing, new)
        stored = {existing} | (self._unanswered.before(existing) & sent.keys())
        self._unanswered.settle(sent, stored)
        return [Delivered() if _measure_of(item) in stored else Again() for item in items]

    def refuses(self, item: Item) -> Outcome | None:
        """What the server would refuse, or take for something else than it is.  Raises SecretUnreadable."""
        return refused(item)

    @classmethod
    def place(cls, options: Any, target: Any) -> object:
        """The object."""
        return target.object

    @classmethod
    def check(cls, options: Any) -> Sequence[tuple[str, str]]:
        """The base's URL, behind which a path goes."""
        return [("url", problem)] if (problem := url_problem(options.url)) else []

    @classmethod
    def caution_target(cls, target: Any) -> Sequence[tuple[str, str]]:
        """The lengths of token and comment."""
        return check_object(target)


def _measure_of(item: Item) -> Measure:
    return item.target.object, item.entry.time_ms


def _sent(items: Sequence[Item]) -> dict[Measure, int]:
    """The measures in their order, each with its reading's sequence number."""
    return {_measure_of(item): item.entry.seq for item in items}


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
    text = details if isinstance(details, str) and exception != _UNREADABLE else ""
    named = re.search(r"objectId\s+(\d+)", text)
    of_object = [named is None or str(item.target.object) == named[1] for item in items]

    def culprits(guilty: Callable[[Item], bool], outcome: Outcome, *, sole: bool = True) -> list[Outcome]:
        """The outcome for those of the named object that are guilty; where none is found, look for it.

        A `sole` reading of a request is guilty anyway.
        """
        found = [its and guilty(item) for its, item in zip(of_object, items, strict=True)]
        if not any(found):
            return [outcome if sole and len(items) == 1 else Isolate(said)] * len(items)
        return [outcome if guilt else Again() for guilt in found]

    if "does not match the unit" in text:  # first, since it quotes the value, which may say anything
        found = sum(of_object) == 1 or len(items) == 1
        return culprits(lambda item: found, Permanent(said, response(reply)))
    if match := re.search(r"same timestamp \(([^()]*)\) already exists", text):
        unknown = _moment(match[1]) is None and all(of_object)  # another form of the time that was sent
        return culprits(lambda item: _is_time(match[1], item), Delivered(), sole=unknown)
    if "date should be in the past" in text:
        time = match[1] if (match := re.search(r"input='([^']*)'", text)) else ""
        return culprits(lambda item: _is_time(time, item), Delayed(said, _ahead_s(text)))
    if exception in ("ForbiddenException", "ItemNotFoundException", "BadTokenException"):
        if named is None and len({item.target.object for item in items}) > 1:
            return [Isolate(said)] * len(items)
        return culprits(lambda item: True, Parked(f"{said}; check object and token", whole=False))
    if exception == "MethodArgumentTypeMismatchException":
        return [Parked(said)] * len(items)
    return verdict(reply, items, refuses_in_json=True) or [Isolate(said)] * len(items)


def _invalid(said: str, details: dict[str, Any], reply: Reply, items: Sequence[Item]) -> list[Outcome]:
    """Bean validation names every offender: `_values[3].token`, or just `token` for a measure alone."""
    answer = response(reply)
    unclear: list[Outcome] = [Permanent(said, answer) if len(items) == 1 else Isolate(said)] * len(items)
    if not details:
        return unclear
    outcomes: list[Outcome] = [Again() for _ in items]
    for key, message in itertools.islice(details.items(), _FIELDS * len(items)):
        match = re.fullmatch(r"(?:_?values)?(?:\[(\d{1,9})\])?\.?(\w+)", key)
        index = int(match[1] or 0) if match and (match[1] or len(items) == 1) else len(items)
        if match is None or index >= len(items):
            return unclear
        message = line(str(message))
        if match[2] in ("token", "objectId", "comment"):  # of the config: to be repaired, not buried
            outcomes[index] = Parked(f"{match[2]}: {message}; check object, token and comment", whole=False)
        elif not isinstance(outcomes[index], Parked):
            outcomes[index] = Permanent(f"HTTP {reply.status}: {match[2]}: {message}", answer)
    return outcomes


def _is_time(text: str, item: Item) -> bool:
    """Whether the server's text is the item's time."""
    return _moment(text) == utc(item.entry.time_ms)


def _moment(text: str) -> datetime | None:
    """A time as the server prints it, in any form of ISO 8601, in UTC where it has no zone; None: it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ahead_s(text: str) -> float:
    """Seconds that the refused time (`input='..'`) is ahead of the server's (`now='..'`); a minute if it is silent."""
    ahead, now = (_moment(m[1]) if (m := re.search(rf"{name}='([^']+)'", text)) else None for name in ("input", "now"))
    return max(0.1, (ahead - now).total_seconds()) if ahead and now else 60.0
