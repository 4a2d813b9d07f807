"""JSON as the platforms speak it; apart from the transports, so that an MQTT destination loads no `requests`."""

import json
from typing import Any, NoReturn


def parsed(text: bytes) -> Any:
    """The text as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_strict(text: str) -> bool:
    """Whether it is an object or a list of JSON, without the NaN that Python takes as well."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), (dict, list))
    except (ValueError, RecursionError):
        return False


def dumps(value: Any) -> bytes:
    """Compact, strict JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
