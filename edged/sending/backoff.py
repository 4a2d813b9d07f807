"""How long to wait after failures, so that a thousand boards that lost the same server do not come back as one."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from edged.options import Seconds, option


@dataclass(frozen=True)
class Backoff:
    """Exponential with full jitter."""

    first: Seconds = option(
        1.0, help="the longest wait after the first failure; twice as long after each further one", above=0
    )
    max: Seconds = option(300.0, help="the longest wait", above=0)

    def delay(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after `failures` (1 or more) in a row: uniform between 0 and the bound."""
        return draw() * min(self.max, self.first * 2.0 ** min(failures - 1, 32))
