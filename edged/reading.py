"""What travels through the daemon: one value of one quantity of one sensor at one moment."""

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

Value = float | int | bool | str
Values = dict[str, Value]  # quantity -> value, as a driver's read returns them

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reading(NamedTuple):
    """A value of a series (`sensor.quantity`) with its time."""

    series: str
    time_ms: int  # UTC, milliseconds since 1970, when the value was measured
    value: Value


class Entry(NamedTuple):
    """A reading that the store has taken, under its sequence number there."""

    seq: int
    series: str
    time_ms: int
    value: Value


def is_real(value: Value) -> bool:
    """False for NaN and infinities, which are never readings."""
    return not isinstance(value, float) or math.isfinite(value)


def utc(time_ms: int) -> datetime:
    """The moment as a datetime; by addition, since the C library of 32-bit boards ends in 2038."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds: `2024-03-05T14:07:30.250Z`."""
    second, ms = divmod(time_ms, 1000)
    return f"{_iso(second)}.{ms:03d}Z"


@lru_cache(64)
def _iso(second: int) -> str:
    """Kept, since readings of many series come in the same seconds."""
    return utc(second * 1000).replace(tzinfo=None).isoformat(timespec="seconds")
