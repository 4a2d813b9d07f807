"""Declared options as a table for people; for `drivers` and `platforms`."""

import inspect
import json
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from edged.cli import table
from edged.options import Declaration, declarations
from edged.secret import Secret


def summary(plugin: Any) -> str:
    """The first line of a driver's or platform's docstring."""
    return (inspect.getdoc(plugin) or "").splitlines()[0]


def option_table(*kinds: type) -> Any:
    """The keys of dataclasses of options: type, default, limits, help."""
    result = table("key", "type", "default", "limits", "what it is")
    for kind in kinds:
        for declared in declarations(kind).values():
            result.add_row(
                declared.name, type_name(declared.type), _default(declared), _limits(declared), declared.help
            )
    return result


def type_name(kind: Any) -> str:
    """A type as the config's author thinks of it."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        return str(parts[1].name)
    if get_origin(kind) is Literal:
        return " | ".join(json.dumps(part) for part in parts)
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(type_name(part) for part in parts if part is not type(None))
    if get_origin(kind) is tuple:
        return f"list of {type_name(parts[0])}"
    if get_origin(kind) is dict and (inner := type_name(parts[1])) != "table":
        return f"table of {inner}"
    names = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "path", Secret: "secret"}
    return names.get(kind, "table")


def _default(declared: Declaration) -> str:
    value = declared.default
    if declared.required:
        return "required"
    if value is None or value == "" or isinstance(value, Secret):
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value) if isinstance(value, (bool, str, int, tuple)) else "see there"


def _limits(declared: Declaration) -> str:
    limits = [
        f"above {declared.above:g}" if declared.above is not None else "",
        f"from {declared.minimum:g}" if declared.minimum is not None else "",
        f"to {declared.maximum:g}" if declared.maximum is not None else "",
    ]
    return " ".join(limit for limit in [*limits, declared.unit] if limit)
