"""JSON as RFC 8259 has it, and no more: the common statement 1 on bodies."""

import json
from typing import Any, NoReturn


def parse(body: bytes) -> Any:
    """The document in a body.  Raises ValueError for bad UTF-8, NaN, a key given twice, trailing text."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_or_none(body: bytes) -> Any:
    """The document, or None where there is none."""
    try:
        return parse(body)
    except ValueError:
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError(f"a key is given twice in {sorted(key for key, _ in pairs)}")
    return keys
