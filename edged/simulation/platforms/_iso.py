"""ISO 8601 moments as the platforms take them, in milliseconds since 1970, UTC."""

import re
from datetime import UTC, datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?"
    r"(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def parse(text: str) -> int:
    """Any truncation, with or without a zone (then UTC); digits behind the millisecond are cut.  Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"no ISO date: {text!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = datetime(
        int(year),
        int(month or 1),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "0")[:3].ljust(3, "0")) * 1000,
        tzinfo=_zone(zone),
    )
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def has_zone(text: str) -> bool:
    """Whether the moment says which zone it is in."""
    match = _FORM.fullmatch(text)
    return match is not None and match[8] is not None


def is_finer_than_ms(text: str) -> bool:
    """Whether digits would be cut."""
    match = _FORM.fullmatch(text)
    return match is not None and len(match[7] or "") > 3


def _zone(text: str | None) -> timezone:
    if text in (None, "Z"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
