"""When a destination sends: at most every so often, at a phase of the board's own.

Two hundred boards with good clocks measure in the same instant of every minute; they must not send in one.  Pure: the
time is passed in.
"""

import hashlib
import math


class Rounds:
    """A round begins at the phase, once something waits, or as soon as there is enough for a request."""

    def __init__(self, every: float, phase: float) -> None:
        """`every` in s; `phase` of it, from 0 to 1, after its multiples in UTC."""
        self._every = every
        self._phase = phase
        self._is_open = False
        self._due: float | None = None  # monotonic time at which the next one begins

    def opens_in(self, now: float, now_ms: int, *, enough: bool) -> float:
        """Seconds until a round begins, now that something waits; 0: one is going on."""
        if self._due is None:
            self._due = now + self._to_phase(now_ms / 1000)
        self._is_open = self._is_open or enough or now >= self._due
        return 0.0 if self._is_open else self._due - now

    def end(self, now: float, now_ms: int, pause: float = 0.0) -> None:
        """All that waited is sent; `pause`: seconds in which nothing can be."""
        self._is_open = False
        self._due = now + pause + self._to_phase(now_ms / 1000 + pause) if pause else None

    def _to_phase(self, wall_s: float) -> float:
        return (self._phase * self._every - wall_s) % self._every if self._every else 0.0


def phase_of(*names: str) -> float:
    """A phase from 0 to 1, the same at every start, and another for other names."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return math.ldexp(int.from_bytes(digest[:6]), -48)
