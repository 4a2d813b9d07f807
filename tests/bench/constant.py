"""A constant.  Source: none; it is made up.

The bench's driver: it comes by entry point, as a package of its own would bring it, and the bare loops call the same
`measure`.
"""

import json
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.drivers import Driver, Quantity, Read
from edged.options import option


@dataclass(frozen=True)
class Options:
    level: float = option(21.5, help="what it says")
    bus: str = option("", help="sensors with the same one take turns")
    times: Path | None = option(None, help="where to leave the times of all reads at the end")


def measure(level: float) -> float:
    """What stands for a measurement."""
    return level


class Constant(Driver):
    """A sensor that always says the same"""

    Options = Options
    quantities = (Quantity("level", "m", 0, 100),)

    def __init__(self, options: Any, timeout_s: float) -> None:
        super().__init__(options, timeout_s)
        self._times: list[float] = []

    def read(self) -> Read:
        if self.options.times:
            self._times.append(time.time())
        yield from ()  # there is no conversion to wait for
        return {"level": measure(self.options.level)}

    def close(self) -> None:
        if self.options.times:
            self.options.times.write_text(json.dumps(self._times))

    @classmethod
    def lane(cls, options: Any) -> Hashable | None:
        return ("constant", options.bus) if options.bus else None
