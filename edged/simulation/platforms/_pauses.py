"""How a client pauses behind failures: statement 6, as far as nothing else explains what is seen.

Jitter may make any pause short, and a later one shorter than an earlier one; a bound that has stopped growing is a
config's right.  So a client is blamed only for what its chance would bring about less than once in 10^12 cases.
"""

from collections import deque

_HASTY_RETRIES = 4
_CHANCE = 1e-12
_FEWEST, _MOST = 5, 30  # pauses in a row that are looked at together
# Of a client's own pace: a pause that is shorter does not keep to it, and one that is longer is no doing of it.
_UNPACED, _PACED = 0.95, 1.5


class Pauses:
    """Of one client, from one attempt to the next."""

    def __init__(self, hasty_s: float, pace_s: float = 0.0) -> None:
        """`hasty_s`: a shorter pause is none; `pace_s`: the shortest that the client makes in any case; 0: neither."""
        self.pace_s = pace_s
        self._hasty_s = hasty_s
        self._failed_at: float | None = None
        self._hasty = 0
        self._under_way = 0  # attempts whose end is still to come
        self._since: float | None = None  # where the next pause began; None: it cannot be told
        self._row: deque[float] = deque(maxlen=_MOST)

    def attempt(self, now: float) -> str:
        """An attempt begins (s, monotonic): what is wrong with the pauses up to it; empty: nothing."""
        if self._under_way or self._since is None:
            self._row.clear()
        else:
            self._row.append(now - self._since)
        self._under_way += 1
        self._since = None
        return self._without(now) or self._without_jitter()

    def failed(self, now: float, bidden: bool = False) -> None:
        """An attempt has failed; `bidden`: the length of the pause is not the client's own choice."""
        self.left()
        self._failed_at = now
        self._since = None if bidden else now

    def settled(self) -> None:
        """An attempt has succeeded: what went wrong is over."""
        self.left()
        self.forget()

    def forget(self) -> None:
        """What went wrong counts no longer."""
        self._failed_at, self._hasty, self._since = None, 0, None
        self._row.clear()

    def left(self) -> None:
        """An attempt has ended in a way that tells nothing."""
        self._under_way = max(0, self._under_way - 1)
        self._since = None

    def _without(self, now: float) -> str:
        if self._failed_at is None:
            return ""
        self._hasty = self._hasty + 1 if now - self._failed_at < self._hasty_s else 0
        if self._hasty < _HASTY_RETRIES:
            return ""
        found, self._hasty = self._hasty, 0
        return f"{found} in a row without a pause"

    def _without_jitter(self) -> str:
        """Pauses that are drawn evenly from 0 to any bounds: how likely is it that n of them are so much alike?

        That all n lie within the part p below the longest: at most n * p ** (n - 1), whatever the bounds.
        """
        if not self._hasty_s or not self._row or max(self._row) < self._hasty_s:
            return ""
        pauses = list(self._row)
        if min(pauses) >= _UNPACED * self.pace_s:  # what is beyond a bound is drawn evenly, too
            least = _PACED * self.pace_s
            pauses = [pause - least for pause in pauses if pause > least]
        if (count := len(pauses)) < _FEWEST:
            return ""
        part = 1 - min(pauses) / max(pauses)
        if count * part ** (count - 1) >= _CHANCE:
            return ""
        self._row.clear()
        return f"{count} in a row behind pauses of the same length: no jitter"
