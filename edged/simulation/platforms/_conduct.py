"""What a client owes any platform from one request to the next: the common statements 3 to 6.

Readings are compared as they were sent, so a stamp or a value that is only written differently counts as changed.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, NamedTuple

from edged.simulation.platforms._pauses import Pauses
from edged.simulation.platforms._records import Reply, Request

Readings = Mapping[tuple[str, Any], Any]  # (target, stamp) -> value, all as sent

_LONGEST_WAIT_S = 24 * 3600.0  # a longer Retry-After need not be obeyed


class Fate(Enum):
    """What an answer means for the readings of its request."""

    SETTLED = auto()  # stored, or refused in company: nothing more to be held against the client
    TRANSIENT = auto()  # they have to come back as they were
    PARKED = auto()  # they wait for a person
    REFUSED = auto()  # refused for what they are


class Flight(NamedTuple):
    """A request that is not answered yet."""

    request: Request
    targets: frozenset[str]
    is_gone: Callable[[], bool]  # whether the client has given up on it


class Conduct:
    """The memory over requests; `violation` takes a statement's number and a text."""

    def __init__(self, violation: Callable[[int, str], None], pauses: Pauses, shared_target: int | None) -> None:
        self._violation = violation
        self._shared_target = shared_target  # the statement that forbids overlapping requests for one target
        self._flights: list[Flight] = []
        self._owed: dict[tuple[str, Any], str] = {}
        self._refused: dict[tuple[str, Any], str] = {}
        self._wait_until = float("-inf")
        self._pauses = pauses

    def arrived(self, flight: Flight, readings: Readings) -> None:
        """Holds a new request against what went before."""
        now = flight.request.arrived
        self._check_overlap(flight)
        if now < self._wait_until:
            self._violation(5, f"sent {self._wait_until - now:.3f} s before Retry-After was over")
        if fault := self._pauses.attempt(now):
            self._violation(6, f"retries: {fault}")
        for (target, stamp), value in readings.items():
            text = json.dumps(value)
            owed = self._owed.get((target, stamp), text)
            if owed != text:
                self._violation(3, f"{target} at {stamp}: came back as {text}, was {owed}")
            if self._refused.get((target, stamp)) == text:
                self._violation(4, f"{target} at {stamp}: sent again after a permanent refusal")

    def answered(self, request: Request, readings: Readings, reply: Reply, fate: Fate, now: float) -> None:
        """Remembers what the answer means for the requests to come."""
        self._flights = [flight for flight in self._flights if flight.request is not request]
        texts = {key: json.dumps(value) for key, value in readings.items()}
        if fate is Fate.TRANSIENT:
            self._owed |= texts
            self._pauses.failed(now, bidden=_bids(reply))
            self._wait_until = now + min(wait_s(reply.headers), _LONGEST_WAIT_S)
            return
        self._pauses.settled()
        if fate is not Fate.PARKED:
            for key in texts:
                self._owed.pop(key, None)
        if fate is Fate.REFUSED and len(texts) == 1:
            self._refused |= texts

    def forgive(self) -> None:
        """Forgets refusals and waits, which a restarted client cannot know and a person may overrule."""
        self._refused.clear()
        self._wait_until = float("-inf")
        self._pauses.forget()

    def _check_overlap(self, new: Flight) -> None:
        self._flights = [flight for flight in self._flights if not flight.is_gone()]
        if self._flights:
            self._violation(6, "a request while another one is in flight")
        for flight in self._flights:
            if self._shared_target and flight.targets & new.targets:
                shared = ", ".join(sorted(flight.targets & new.targets))
                self._violation(self._shared_target, f"overlapping requests for {shared}")
        self._flights.append(new)


def _bids(reply: Reply) -> bool:
    """Whether a client may let the answer to a failure decide how long it pauses, instead of chance."""
    return "retry-after" in map(str.lower, reply.headers) or 0 < reply.status < 500


def wait_s(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After asks for; 0 for none and for a malformed one.  A date counts from `Date` on."""
    named = {name.lower(): value for name, value in headers.items()}
    text = named.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        due, sent = (parsedate_to_datetime(date).replace(tzinfo=UTC) for date in (text, named["date"]))
    except (KeyError, ValueError):
        return 0.0
    return max(0.0, (due - sent).total_seconds())
