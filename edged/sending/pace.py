"""How fast a platform may be written to: pauses between requests and between writes to one place.

Counted from the end of the request before; at a start every place counts as just written, so that nothing has to be
kept over a restart.  Pure: the time is passed in.
"""

import math
from collections.abc import Iterable

from edged.platforms import Limits


class Pace:
    """Of one destination."""

    def __init__(self, limits: Limits, started: float) -> None:
        """`started`: monotonic time."""
        self._limits = limits
        self._started = started
        self._last_request = -math.inf  # its end
        self._written: dict[object, float] = {}  # place -> the end of the last request that wrote to it

    def sent(self, places: Iterable[object], now: float) -> None:
        """A request has ended that wrote, or may have written, to these places."""
        self._last_request = now
        if self._limits.target_interval:
            self._written.update(dict.fromkeys(places, now))

    def request_in(self, now: float) -> float:
        """Seconds until any request may go; 0 or less: now."""
        return self._last_request + self._limits.request_interval - now

    def place_in(self, place: object, now: float) -> float:
        """Seconds until the place may be written to; 0 or less: now."""
        if not (interval := self._limits.target_interval):
            return 0.0
        return self._written.get(place, self._started) + interval - now

    def wait(self, places: Iterable[object], now: float) -> float:
        """Seconds until a request that writes to these places may go; 0 or less: now."""
        early = self.request_in(now)
        return max(early, *(self.place_in(place, now) for place in places)) if self._limits.target_interval else early
