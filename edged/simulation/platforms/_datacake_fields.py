"""Datacake's field types and the JSON values that each takes (61)."""

import math
import re
from typing import Any

ANY = "ANY"  # of a config that does not say: any scalar
FIELD_TYPES = {"int": "INT", "float": "FLOAT", "bool": "BOOL", "string": "STRING"}  # a config's `type` -> the field's

_GEO = re.compile(r"\(-?\d+(\.\d+)?, ?-?\d+(\.\d+)?\)", re.ASCII)


def fits(field_type: str, value: Any) -> bool:
    """Whether a field of the type takes the value."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    match field_type:
        case "FLOAT" | "NUMERIC" | "COUNTER":
            return is_number
        case "INT":
            return is_number and value == int(value)
        case "BOOL":
            return isinstance(value, bool)
        case "STRING":
            return isinstance(value, str)
        case "GEO":
            return isinstance(value, str) and _GEO.fullmatch(value) is not None
    return is_number or isinstance(value, bool | str)
