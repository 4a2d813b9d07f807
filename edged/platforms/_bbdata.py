"""What BBData's two ways in have in common: where a series goes, and a measure on the wire.

Source: BBData input API (bbdata-website, "API_Doc_input"; bbdata-api, NewValue.kt).
"""

from dataclasses import dataclass
from typing import Any, Literal

from edged.options import option
from edged.platforms import Item
from edged.platforms._value import as_type, text
from edged.reading import utc
from edged.secret import Secret


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
    return utc(time_ms).replace(tzinfo=None).isoformat(timespec="milliseconds")
