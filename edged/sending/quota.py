"""A day's points: how many readings a platform takes of one route in a UTC day.

Counted over restarts: points are reserved in the store before they are spent, some at a time so that not each request
costs a commit.  A death loses what was reserved and not spent; a clean end gives it back.
"""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

from edged.errors import StoreUnusable
from edged.reading import utc
from edged.store.log import Log

DAY_MS = 86_400_000
_AT_ONCE = 100  # reservations a day
_DAYS = 3  # that are remembered, for a clock that is set back: a day begins but once


class Quota:
    """Of one destination."""

    def __init__(self, points_a_day: int, recall: Callable[[], Any], keep: Callable[[Any], None]) -> None:
        """`recall` gives what was given to `keep` at last, over restarts; None: nothing.  0 points: no limit."""
        self._most = points_a_day
        self._recall = recall
        self._keep = keep
        self._reserved: dict[str, dict[str, int]] | None = None  # day -> route -> points
        self._spent: dict[str, dict[str, int]] = {}

    @classmethod
    def kept_in(cls, store: Log, destination: str, points_a_day: int) -> "Quota":
        """One that the store remembers; where it cannot, readings go before points."""
        owner = f"destination:{destination}:points"

        def recall() -> Any:
            with contextlib.suppress(StoreUnusable):
                return store.recall(owner)
            return None

        def keep(points: Any) -> None:
            store.put([], 0, {owner: copy.deepcopy(points)})
            with contextlib.suppress(StoreUnusable):  # as the store says itself
                store.flush()

        return cls(points_a_day, recall, keep)

    def left(self, route: object, now_ms: int, *, keep: bool = False) -> int:
        """Points that are left of the day; to `keep` some, without half of those that belong to the rest of it."""
        if not self._most:
            return 1 << 60
        kept = int(self._most / 2 * until_midnight(now_ms) * 1000 / DAY_MS) if keep else 0
        return self._most - self._of(self._known(now_ms)[1], route) - kept

    def give_back(self, route: object, points: int, now_ms: int) -> None:
        """What was taken for a request that did not go out."""
        if self._most:
            spent = self._known(now_ms)[1]
            spent[str(route)] = max(0, self._of(spent, route) - points)

    def spend(self, route: object, points: int, now_ms: int) -> bool:
        """Takes points; False: there are not so many left of the day."""
        if not self._most:
            return True
        reserved, spent = self._known(now_ms)
        name, total = str(route), self._of(spent, route) + points
        if total > self._most:
            return False
        if total > self._of(reserved, route):
            reserved[name] = min(self._most, total + self._most // _AT_ONCE)
            self._keep(self._reserved)
        spent[name] = total
        return True

    def close(self) -> None:
        """Gives back what was reserved and not spent."""
        if self._reserved is not None and self._spent != self._reserved:
            self._keep(self._spent)

    def _known(self, now_ms: int) -> tuple[dict[str, int], dict[str, int]]:
        """What is reserved and what is spent of the day, by route."""
        if self._reserved is None:
            kept = self._recall()
            self._reserved = {day: dict(points) for day, points in (kept or {}).items()}
            self._spent = {day: dict(points) for day, points in self._reserved.items()}
        day = utc(now_ms).date().isoformat()
        for days in (self._reserved, self._spent):
            days.setdefault(day, {})
            for old in list(days)[:-_DAYS]:
                del days[old]
        return self._reserved[day], self._spent[day]

    @staticmethod
    def _of(points: dict[str, int], route: object) -> int:
        return points.get(str(route), 0)


def until_midnight(now_ms: int) -> float:
    """Seconds until the next UTC day."""
    return (DAY_MS - now_ms % DAY_MS) / 1000
