"""Values as a mapped series wants them (`type = "int"`); without a type a value goes as it is."""

import re

from edged.reading import Value, is_real

_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")  # Python's own takes 1_000 and ٣ too


def as_type(value: Value, wanted: str | None) -> Value:
    """The value as "float", "int" (rounded), "bool" or "string"; as it is where it is none of that or has no type."""
    match wanted:
        case None:
            return value
        case "string":
            return text(value)
        case "float" if isinstance(value, float):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int):
            return int(value)
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return value  # no number: the platform's to refuse, with its own reason
    try:
        number = float(value)
    except OverflowError:
        return value  # likewise
    if not is_real(number):
        return value
    match wanted:
        case "int":
            return round(number)
        case "bool":
            return number != 0
        case _:
            return number


def text(value: Value) -> str:
    """The value as text: `21.37`, `true`; a whole number without a point where it is an int."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
