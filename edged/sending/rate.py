"""How fast something goes."""

from collections import deque

_WINDOW_S = 60


class Rate:
    """A second's average over the last minute.  Counted by one thread, asked by any; the clock may be set meanwhile."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque(maxlen=_WINDOW_S)  # (second, how many)

    def count(self, now_ms: int, more: int = 1) -> None:
        """So many more."""
        second = now_ms // 1000
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + more)
        else:
            self._counts.append((second, more))

    def per_second(self, now_ms: int) -> float:
        """Of the minute that ends now."""
        second = now_ms // 1000
        return sum(n for then, n in list(self._counts) if second - _WINDOW_S < then <= second) / _WINDOW_S
