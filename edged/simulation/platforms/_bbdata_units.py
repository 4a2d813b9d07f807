"""BBData's unit types: how each reads the text of a value, and what it echoes.  Source: bbdata-api, BaseType.kt."""

import json
import re
from dataclasses import dataclass
from typing import Any

from edged.reading import Value
from edged.simulation.platforms import _java_float

_INT = re.compile(r"[+-]?\d+", re.ASCII)
_BOOLS = {**dict.fromkeys(("true", "on", "yes", "1"), True), **dict.fromkeys(("false", "off", "no", "0"), False)}


@dataclass(frozen=True)
class Unit:
    """What an object measures."""

    name: str
    symbol: str
    type: str


UNITS = {
    "float": Unit("degree Celsius", "°C", "float"),
    "int": Unit("count", "#", "int"),
    "bool": Unit("on off", "on/off", "bool"),
    "string": Unit("text", "text", "string"),
}


def as_text(value: Any) -> str:
    """The text of a JSON value: a string as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def read(unit_type: str, text: str) -> tuple[str, Value] | None:
    """The echo and the value; None where the text does not match the unit (32 to 35)."""
    match unit_type:
        case "float":
            number = _java_float.parse(text)
            if number is None:
                return None
            echo = _java_float.to_text(number)
            return echo, float(echo.replace("Infinity", "inf"))
        case "int":
            # The length first: Python refuses to read thousands of digits.
            if len(text) > 4000 or not _INT.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
                return None
            return str(int(text)), int(text)
        case "bool":
            state = _BOOLS.get(text.lower())
            return None if state is None else (str(state).lower(), state)
        case "string":
            return text, text
    return None
