"""What requests to BBData may have left behind whose answers never came.

The server checks every measure of a request before it stores any, and stores them in the request's order
(InputController.kt).  So what such a request left behind is all of it, nothing, or after a crash midway its beginning.
If one of its measures exists, those before it do as well.

That matters since a refused batch has only the first measure that exists named: told one by one, a batch of a hundred
that was stored whole would cost a hundred requests.  Asked backwards, and only asked (`simulate`), the first one named
is the last one stored, and the rule tells of the others.  Measures of other origin do not confuse it: a request of
ours that left its first measure out has stored nothing, and what no unanswered request held is not concluded from.
"""

from collections import deque
from collections.abc import Set

Measure = tuple[int, int]  # object, time in ms

_KEPT = 8  # requests; repeated ones count once


class Unanswered:
    """The last requests without an answer, each as its measures in their order.  A restart forgets them."""

    def __init__(self) -> None:
        self._requests: deque[tuple[Measure, ...]] = deque(maxlen=_KEPT)

    def note(self, measures: tuple[Measure, ...]) -> None:
        """A request went out, or may have, and no answer came."""
        if measures and measures not in self._requests:
            self._requests.append(measures)

    def settle(self, stored: Set[Measure]) -> None:
        """These are stored, and will not be asked about again."""
        rest = (tuple(m for m in request if m not in stored) for request in self._requests)
        self._requests = deque((request for request in rest if request), maxlen=_KEPT)

    def rule_out(self, existing: Measure, new: Set[Measure]) -> None:
        """One exists that these, which do not, precede: a request that holds both in this order is not its origin."""
        possible = (r for r in self._requests if existing not in r or new.isdisjoint(r[: r.index(existing)]))
        self._requests = deque(possible, maxlen=_KEPT)

    def before(self, existing: Measure) -> set[Measure]:
        """Those that exist as well if this one does, whichever request it came with."""
        found = [set(request[: request.index(existing)]) for request in self._requests if existing in request]
        return set.intersection(*found) if found else set()

    def behind(self, existing: Measure) -> set[Measure]:
        """Those that may exist as well if this one does."""
        return {m for request in self._requests if existing in request for m in request[request.index(existing) + 1 :]}
