"""When a sensor is due.  `now` is monotonic, in s; `offset` is the wall clock's time minus it.

Pure, but for the system's time zone.
"""

import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim

LOCALTIME = Path("/etc/localtime")


@dataclass(frozen=True)
class Every:
    """A grid of `interval` s on the wall clock: 10 s means :00, :10, ... on every board."""

    interval: float

    def after(self, due: float, now: float, offset: float) -> float:
        """The first time on the grid behind both `due` and `now`: no drift, and what was missed is skipped.

        Half an interval behind `due` at least, so that a clock that is stepped or slewed neither repeats a time nor
        leaves a gap of more than one and a half intervals.
        """
        earliest = max(now, due + self.interval / 2) + offset
        slot = math.floor(earliest / self.interval) + 1
        return slot * self.interval - offset

    def between(self, due: float, following: float) -> int:
        """How many times of the schedule lie between two of it: so many reads were missed."""
        return max(0, round((following - due) / self.interval) - 1)


@dataclass(frozen=True)
class Cron:
    """A cron expression, in the system's time zone."""

    expression: str

    def after(self, due: float, now: float, offset: float) -> float:
        """The first time of the expression behind both `due` and `now`; infinite where there is none.

        An hour that summer time skips is made up for at its end.  Of one that comes twice the first counts, unless the
        minute or the hour starts with `*`.
        """
        earliest = max(now, due) + offset
        times = CronSim(self.expression, datetime.fromtimestamp(earliest, system_zone()))
        # In the second of two such hours cronsim begins with the times of the first.
        return next((at for time in times if (at := time.timestamp()) > earliest), math.inf) - offset

    def between(self, due: float, following: float) -> int:
        """Not counted."""
        return 0


@dataclass(frozen=True)
class Never:
    """Only events; read once at the start."""

    def after(self, due: float, now: float, offset: float) -> float:
        """Never."""
        return math.inf

    def between(self, due: float, following: float) -> int:
        """None."""
        return 0


def system_zone() -> tzinfo:
    """As TZ has it, else /etc/localtime, else UTC: with its rules, since an offset alone is wrong from a change on."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        pass  # a path, or rules instead of a name
    try:
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


Schedule = Every | Cron | Never


def retry_pause(failures: int) -> float:
    """Seconds until a sensor that has failed so often in a row is tried again at the earliest: 1, 2, 4, ... 30."""
    return min(30.0, 2.0 ** (failures - 1))
