"""JSON as the platforms speak it; apart from the transports, so that an MQTT destination loads no `requests`."""

import json
from typing import Any


def parsed(text: bytes) -> Any:
    """The text as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def dumps(value: Any) -> bytes:
    """Compact, strict JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
