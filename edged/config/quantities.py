"""Durations and sizes as a config has them: a number, or a string with a unit."""

import math
import re
from collections.abc import Mapping
from typing import Any

BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DECIMAL = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = {"": 1, "B": 1} | _DECIMAL | BINARY
_DURATION = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 100 * 365 * 86400.0  # far from where clocks and sockets overflow


def seconds(value: Any) -> float:
    """A duration in seconds.  Raises ValueError."""
    found = _quantified(value, _DURATION, 'a duration such as "10s", "5m" or "1h", or a number of seconds')
    if found > _LONGEST_S:
        raise ValueError("that is more than 100 years")
    return found


def size(value: Any) -> int:
    """A size in bytes.  Raises ValueError."""
    found = int(_quantified(value, _SIZE, 'a size such as "64MiB" or "1GB", or a number of bytes'))
    if found >= 2**63:
        raise ValueError("that is more than any disk has")
    return found


def size_text(size: int) -> str:
    """A number of bytes as people say it: in the largest unit of which there is one at least."""
    fitting = [unit for unit, factor in BINARY.items() if factor <= size]
    return f"{round(size / BINARY[fitting[-1]], 1):g}{fitting[-1]}" if fitting else f"{size} bytes"


def _quantified(value: Any, units: Mapping[str, float], what: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", value) if isinstance(value, str) else None
    if match and match[2] in units:
        value = float(match[1]) * units[match[2]]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{what} is expected")
    if (isinstance(value, int) and abs(value) >= 2**63) or not math.isfinite(value):
        raise ValueError("a finite number is expected")
    return float(value)
