"""BBData's measures as JSON: what is unreadable, what is invalid.

Source: bbdata-api at cef8cc5, NewValue.kt, JodaUtils.kt and ExceptionAdviser.kt, for the messages no more than their
shape.  The numbers are the statements of the wire contract.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edged.simulation.platforms import _iso
from edged.simulation.platforms._bbdata_units import as_text
from edged.simulation.platforms._records import Refusal, Reply

Report = Callable[[int, str], None]  # records a violation

TOKEN_LENGTH = 32
_EARLIEST_MS = _iso.parse("2016-01-01")
_LEGACY_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class Measure:
    """One readable and valid item of a body."""

    object_id: int
    token: str
    time_ms: int | None  # None: the moment of arrival
    stamp: str  # as sent
    text: str  # of the value
    comment: str | None


def refusal(status: int, exception: str, details: Any) -> Refusal:
    """An error in BBData's shape."""
    return Refusal(Reply.json(status, {"exception": exception, "details": details}, indent=2))


def unreadable(details: str) -> Refusal:
    """A body that cannot be mapped at all; which item it was is not told."""
    return refusal(400, "HttpMessageNotReadableException", f"JSON parse error: {details}")


def measures(document: Any, is_array: bool, legacy: bool, report: Report) -> list[Measure]:
    """The items of a body.  Raises Refusal: first for anything unreadable, then for all invalid fields at once."""
    if isinstance(document, list) is not is_array or not isinstance(document, list | dict):
        report(22, f"{'an array' if is_array else 'one object'} is due on this path")
        raise unreadable(f"{'array' if is_array else 'object'} expected")
    items = document if isinstance(document, list) else [document]
    if not items:
        report(23, "empty array")
        raise refusal(400, "WrongParamsException", {"_values": "must not be empty"})
    times = [_readable(item, legacy, report) for item in items]
    problems = {
        f"_values[{index}].{field}" if is_array else field: problem
        for index, item in enumerate(items)
        for field, problem in _problems(item, legacy, report)
    }
    if problems:
        raise refusal(400, "WrongParamsException", problems)
    return [
        Measure(
            object_id=item["objectId"],
            token=item["token"],
            time_ms=time_ms,
            stamp=str(item.get("timestamp")),
            text=as_text(item["value"]),
            comment=item.get("comment"),
        )
        for item, time_ms in zip(items, times, strict=True)
    ]


def _readable(item: Any, legacy: bool, report: Report) -> int | None:
    """The time of an item that can be mapped to a measure; None where it has none."""
    if not isinstance(item, dict):
        report(22, "an item is no object")
        raise unreadable("object expected")
    object_id = item.get("objectId")
    if object_id is not None and (isinstance(object_id, bool) or not isinstance(object_id, int)):
        report(27, f"objectId {object_id!r} is no JSON integer")
        raise unreadable("objectId must be an integer")
    stamp = item.get("timestamp")
    if stamp is None:
        report(41, "no timestamp: queued readings must be stamped")
        return None
    return _time_ms(stamp, legacy, report)


def _time_ms(stamp: Any, legacy: bool, report: Report) -> int:
    try:
        if not isinstance(stamp, str) or (legacy and not _LEGACY_STAMP.fullmatch(stamp)):
            raise ValueError(f"no date: {stamp!r}")
        time_ms = _iso.parse(stamp)
    except ValueError as error:
        report(28, f"timestamp {stamp!r}")
        raise unreadable(str(error)) from None
    if _iso.is_finer_than_ms(stamp):
        report(28, f"timestamp {stamp!r} is finer than a millisecond")
    if time_ms < _EARLIEST_MS:  # 28, but a wrong clock can do that to a correct client
        raise unreadable(f"date {stamp!r} is before 2016-01-01")
    return time_ms


def _problems(item: dict[str, Any], legacy: bool, report: Report) -> list[tuple[str, str]]:
    """26: the invalid fields.  Only what no config can cause is a violation."""
    found = []
    for field in ("objectId", "token", "value"):
        if item.get(field) is None:
            report(26, f"{field} is missing or null")
            found.append((field, "must not be null"))
    if (item.get("objectId") or 0) < 0:
        found.append(("objectId", "must be greater than or equal to 0"))
    for field in ("token", "comment"):
        if not isinstance(item.get(field, ""), str | None):
            report(26, f"{field} is no string")
            found.append((field, "must be a string"))
    match item:
        case {"token": str() as token} if _utf16_units(token) != TOKEN_LENGTH:
            found.append(("token", f"size must be between {TOKEN_LENGTH} and {TOKEN_LENGTH}"))
    match item:
        case {"comment": str() as comment} if _utf16_units(comment) > 1024:
            found.append(("comment", "size must be between 0 and 1024"))
    if item.get("value") == "":
        found.append(("value", "must not be empty"))
    if legacy and item.get("timestamp") is None:
        found.append(("timestamp", "must not be null"))
    return found


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
