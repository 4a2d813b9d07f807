"""Values as a mapped series wants them (`type = "int"`); without a type a value goes as it is."""

from edged.reading import Value


def as_type(value: Value, wanted: str | None) -> Value:
    """The value as "float", "int" (rounded), "bool" or "string"; as it is where it is none of that or has no type."""
    try:
        match wanted:
            case "float":
                return float(value)
            case "int":
                return round(float(value))
            case "bool":
                return value if isinstance(value, bool) else float(value) != 0
            case "string":
                return text(value)
    except ValueError:
        pass  # a text that is no number: the platform's to refuse, with its own reason
    return value


def text(value: Value) -> str:
    """The value as text: `21.37`, `true`; a whole number without a point where it is an int."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
