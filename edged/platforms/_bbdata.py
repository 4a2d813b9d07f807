"""What BBData's two ways in have in common: where a series goes, and a measure on the wire.

Source: BBData input API (bbdata-website, "API_Doc_input"; bbdata-api, NewValue.kt).
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from edged.options import option
from edged.outcome import Outcome, Parked, Permanent
from edged.platforms import Item
from edged.platforms._value import as_type, text
from edged.reading import Value, iso
from edged.secret import Secret, plain

EARLIEST_MS = int(datetime(2016, 1, 1, tzinfo=UTC).timestamp() * 1000)  # older times are no times over there
TOKEN_LENGTH = 32
LONGEST_COMMENT = 1024
BOOLS = frozenset({"true", "on", "yes", "1", "false", "off", "no", "0"})  # in any case of letters


@dataclass(frozen=True)
class Object:
    object: int = option(help="the object's id", minimum=0)
    token: Secret = option(help="the object's token, 32 characters")
    type: Literal["float", "int", "bool", "string"] | None = option(None, help="send the value as the object's unit")
    comment: str | None = option(None, help="goes with each measure, at most 1024 characters")


def measure(item: Item) -> dict[str, Any]:
    """A measure without comment: object, token, UTC time in milliseconds without a zone, the value as text."""
    return {
        "objectId": item.target.object,
        "token": item.target.token.reveal(),
        "timestamp": timestamp(item.entry.time_ms),
        "value": text(as_type(item.entry.value, item.target.type)),
    }


def timestamp(time_ms: int) -> str:
    """`2024-03-05T14:07:30.250`."""
    return iso(time_ms).removesuffix("Z")


def check_object(target: Object) -> list[tuple[str, str]]:
    """What is wrong with an object as the config describes it; of tokens, only one that stands there can be seen."""
    problems = []
    if target.token.source == plain("").source and (length := _length(target.token.reveal())) != TOKEN_LENGTH:
        problems.append(("token", f"has {length} characters; an object's token has {TOKEN_LENGTH}"))
    if target.comment is not None and (length := _length(target.comment)) > LONGEST_COMMENT:
        problems.append(("comment", f"has {length} characters; at most {LONGEST_COMMENT} are taken"))
    return problems


def refused(item: Item) -> Outcome | None:
    """What BBData refuses, or takes for something else than it is; None: nothing to object to.

    Over MQTT it would vanish without a word; over HTTP a text such as `NaN` or `1e40` becomes a measure that is none.
    Raises SecretUnreadable.
    """
    if (length := _length(item.target.token.reveal())) != TOKEN_LENGTH:
        return Parked(f"token: has {length} characters, not {TOKEN_LENGTH}; check token", whole=False)
    if (length := _length(item.target.comment or "")) > LONGEST_COMMENT:
        return Parked(f"comment: has {length} characters, more than {LONGEST_COMMENT}; check comment", whole=False)
    if item.entry.time_ms < EARLIEST_MS:
        return Permanent("BBData takes no time before 2016-01-01")
    value = as_type(item.entry.value, item.target.type)
    if value == "":
        return Permanent("BBData takes no empty value")
    if not _fits(value, item.target.type):
        return Permanent(f"BBData cannot take {text(value)[:40]!r} as {item.target.type}")
    return None


def _fits(value: Value, wanted: str | None) -> bool:
    """Whether a unit of that type takes the value, which `as_type` has been at: numbers have 32 bits over there."""
    match wanted:
        case "int":
            return isinstance(value, int) and -(2**31) <= value < 2**31
        case "float":
            try:
                return isinstance(value, float) and bool(struct.pack("<f", value))
            except OverflowError:
                return False
        case "bool":
            return text(value).lower() in BOOLS
        case _:
            return True


def _length(text: str) -> int:
    """Characters as Java counts them: UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
