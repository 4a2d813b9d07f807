"""What requests to BBData may have left behind whose answers never came.

The server checks every measure of a request before it stores any, and stores them in the request's order
(InputController.kt).  So what such a request left behind is all of it, nothing, or after a crash midway its beginning.
If it is the origin of one of its measures, those before it exist as well.

That matters since a refused batch has only the first measure that exists named: told one by one, a batch of a hundred
that was stored whole would cost a hundred requests.  Asked backwards, and only asked (`simulate`), the first one named
is the last one stored, and the rule tells of the others.

Which request a measure came with is not known.  So only that is concluded which holds for each request that may be its
origin, and all of those have to be known here: the rule is sound as long as what exists and is not settled came with a
request that is noted.  Hence:

- A request that never went out (no connection, too large) may be noted: one more can only lessen what is concluded.
- A request with a measure that may have existed before it is not: it was refused whole for it, and still would look
  like the origin.  That is so for what an earlier run may have sent, for letters that are retried (their numbers are
  negative), and for what was named as stored and may come again, as an earlier one of its series is still undecided.
- Where a request that may be an origin is not noted, or is forgotten as too many got no answer, nothing more is
  concluded for what was sent so far.  The number of its last reading is the mark: all up to it is of unknown origin.

Of unknown origin costs, where one more answer is lost, a request for each measure that exists: after a restart at most
a hundred each time, until what was queued then is through.  It never costs a reading.

All that presumes that nobody else writes the same object at the same millisecond.  Who does is mostly found out: what
a delivery shows to be new, before one that exists, rules its request out.
"""

from collections.abc import Mapping, Set
from itertools import chain

Measure = tuple[int, int]  # object, time in ms

_KEPT = 8  # requests; repeated ones count once


class Unanswered:
    """The last requests without an answer, each as its measures in their order."""

    def __init__(self) -> None:
        self._requests: list[tuple[Measure, ...]] = []
        self._unknown = 0  # readings up to this sequence number may have come with requests that are not noted
        self._highest = 0  # sequence number of what was noted

    def begin(self, last: int) -> None:
        """An earlier run may have sent readings up to this sequence number."""
        self._unknown = last

    def note(self, sent: Mapping[Measure, int]) -> None:
        """A request went out, or may have, and no answer came: its measures in their order, with sequence numbers."""
        measures = tuple(sent)
        if not measures or measures in self._requests:
            return
        if min(sent.values()) <= self._unknown or len(self._requests) == _KEPT:
            self._forget(sent)
        else:
            self._requests.append(measures)
            self._highest = max(self._highest, *sent.values())

    def settle(self, sent: Mapping[Measure, int], stored: Set[Measure]) -> None:
        """Of those that were sent these are stored, and will not be asked about again."""
        rest = (tuple(m for m in request if m not in stored) for request in self._requests)
        self._requests = [request for request in rest if request]
        undecided: dict[int, int] = {}  # object -> time of the first
        for number, time_ms in chain(sent.keys() - stored, *self._requests):
            undecided[number] = min(time_ms, undecided.get(number, time_ms))
        if any(time_ms > undecided.get(number, time_ms) for number, time_ms in stored):
            self._forget(sent)  # within a series the order is kept: it is sent again if the earlier one is held back

    def rule_out(self, existing: Measure, new: Set[Measure]) -> None:
        """One exists that these, which do not, precede: a request that holds both in this order is not its origin."""
        self._requests = [r for r in self._requests if existing not in r or new.isdisjoint(r[: r.index(existing)])]

    def before(self, existing: Measure) -> set[Measure]:
        """Those that exist as well if this one does, whichever request it came with."""
        found = [set(request[: request.index(existing)]) for request in self._requests if existing in request]
        return set.intersection(*found) if found else set()

    def behind(self, existing: Measure) -> set[Measure]:
        """Those that may exist as well if this one does."""
        return {m for request in self._requests if existing in request for m in request[request.index(existing) + 1 :]}

    def _forget(self, sent: Mapping[Measure, int]) -> None:
        """Nothing is concluded any more of what was noted, nor of what was sent now."""
        self._requests = []
        self._unknown = max(self._unknown, self._highest, *sent.values())
