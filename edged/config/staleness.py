"""How long a sensor may give nothing before it is stale, where the config does not say."""

from datetime import UTC, datetime
from itertools import islice, pairwise

from cronsim import CronSim, CronSimError

_SHORTEST_S = 10.0  # nobody is to be woken for less
_INTERVALS = 3
_DAYS = 30  # so many days of a cron expression show its longest gap: weekends, the ends of months


def stale_after(given: float | None, interval: float | None, cron: str | None) -> float | None:
    """Seconds without a good sample after which a sensor is stale; None: never, since it is not read by schedule."""
    gap = longest_gap(cron) if cron is not None else interval
    if gap is None:
        return None
    return max(_SHORTEST_S, _INTERVALS * gap if given is None else given)


def caution(given: float | None, interval: float | None, cron: str | None) -> str:
    """What is worth a warning about a `stale_after` that the config gives; empty: nothing."""
    if given is not None and interval is None and cron is None:
        return "it has no effect: what reports events only is never stale"
    if given is not None and given < _SHORTEST_S:
        return f"it counts as {_SHORTEST_S:g} s, the shortest there is"
    return ""


def longest_gap(cron: str) -> float | None:
    """The longest time between two reads of a cron expression, in s and to the minute; None where it is no such.

    The times of a day are the same on each of its days: so both are looked at by themselves, which is cheap.
    """
    start = datetime(2024, 1, 1, tzinfo=UTC)  # any, but always the same: two reads of one config are equal
    try:
        parsed = CronSim(cron, start)
        days = list(islice(CronSim(" ".join(["0", "0", *parsed.parts[3:]]), start), _DAYS))
    except CronSimError:
        return None
    minutes = sorted(60 * hour + minute for hour in parsed.hours for minute in parsed.minutes)
    within = max((later - earlier for earlier, later in pairwise(minutes)), default=0)
    nights = max((later - earlier).total_seconds() for earlier, later in pairwise(days))
    return max(60.0 * within, nights - 60.0 * (minutes[-1] - minutes[0]))
