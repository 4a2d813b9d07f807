"""Texts that each reading fills: topics, payloads, bodies."""

import re
from collections.abc import Callable

from edged.options import READING_WORDS
from edged.platforms import Item
from edged.platforms._value import text
from edged.reading import iso

_PLACEHOLDER = re.compile(rf"\{{({'|'.join(READING_WORDS)})\}}")


def fill(template: str, item: Item, quote: Callable[[str], str] = str) -> str:
    """The template with `{sensor}`, `{quantity}`, `{value}`, `{unit}` and `{time}` (ISO 8601, UTC) of the reading.

    Each goes through `quote`, so that it stays within its place; all other braces are left as they are.
    """
    sensor, _, quantity = item.entry.series.rpartition(".")  # a sensor's name may hold dots
    words = {
        "sensor": sensor,
        "quantity": quantity,
        "value": text(item.entry.value),
        "unit": item.unit,
        "time": iso(item.entry.time_ms),
    }
    return _PLACEHOLDER.sub(lambda match: quote(words[match[1]]), template)
