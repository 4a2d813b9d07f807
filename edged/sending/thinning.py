"""Merges readings into one: of a resolution's slot the last wins, of a backlog what its policy says.

A thinned point stands for as long a time as twice the pause between two writes, so a backlog is gone no later than it
took to come, and readings that are further apart are left as they are.  Pure.
"""

from edged.platforms import Item, Limits
from edged.reading import Value
from edged.sending.parcel import Parcel

_DAY_S = 86_400.0
_TWICE = 2


def slots(limits: Limits, places: int) -> int:
    """How many slots of the resolution a thinned point stands for, with so many places to share a day's points."""
    pause_s = limits.target_interval
    if limits.points_a_day:
        pause_s = max(pause_s, _DAY_S * places / limits.points_a_day)
    return max(1, int(_TWICE * pause_s * 1000 / limits.resolution_ms))


def merge(parcel: Parcel, item: Item, policy: str) -> None:
    """Takes a later reading into the parcel: "mean", "min" and "max" of numbers, else the last one wins.

    The point has its own time, a mean the last one's.
    """
    before, entry = parcel.item.entry, item.entry
    was, value = _number(before.value), _number(entry.value)
    if was is None or value is None:
        parcel.values = 0  # the last one wins
    elif (policy == "min" and value >= was) or (policy == "max" and value <= was):
        parcel.merged.append(entry)
        return
    elif policy == "mean":
        parcel.total = (parcel.total if parcel.values else was) + value
        parcel.values = max(parcel.values, 1) + 1
        item = item._replace(entry=entry._replace(value=parcel.total / parcel.values))
    parcel.merged.append(before)
    parcel.item = item


def _number(value: Value) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
