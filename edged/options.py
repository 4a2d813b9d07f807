"""How a driver, a platform or the daemon declares its config keys: once, as a dataclass of options.

The annotation is the type, the field's default the default (none: the key is required), and `option()` adds the line
of help and the limits.  The reader of the config, `edged drivers NAME`, `edged platforms NAME` and the tests of the
example config all work from this one declaration.
"""

import dataclasses
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, get_type_hints


class Unit:
    """Marks how a value is written in the config: a duration or a size may be a string with a unit, ..."""

    def __init__(self, name: str) -> None:
        self.name = name


DURATION = Unit("duration")
SIZE = Unit("size")
TEMPLATE = Unit("template")
READING_TEMPLATE = Unit("template of a reading")
URL = Unit("URL")
READING_WORDS = ("sensor", "quantity", "value", "unit", "time")  # what each reading fills in of its template

Seconds = Annotated[float, DURATION]  # "500ms", "10s", "5m", "1h", "7d", or a number of seconds
Bytes = Annotated[int, SIZE]  # "64MiB", "1GB", or a number of bytes
Url = Annotated[str, URL]  # http or https, without credentials
Template = Annotated[str, TEMPLATE]  # may hold {name} and {serial}
ReadingTemplate = Annotated[str, READING_TEMPLATE]  # also {sensor}, ...: those are left to `platforms._template.fill`


@dataclass(frozen=True)
class Declaration:
    """One declared key, as it is shown to people and used by the config's reader."""

    name: str
    type: Any  # the annotation, with its `Unit` marks
    default: Any  # MISSING where the key is required
    help: str
    unit: str
    minimum: float | None
    maximum: float | None
    above: float | None

    @property
    def required(self) -> bool:
        """Whether the config must have the key."""
        return self.default is MISSING


def option(
    default: Any = MISSING,
    *,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    name: str = "",
) -> Any:
    """Declares a config key: its default (none: required), help, unit, and the limits of a number.

    `minimum` and `maximum` are allowed themselves, `above` is not.  `name` is the key where it is no Python name
    (`class`, `for`).
    """
    metadata = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "above": above, "name": name}
    if default is MISSING:
        return dataclasses.field(metadata=metadata, kw_only=True)
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


def declarations(options: type) -> dict[str, Declaration]:
    """The keys that a dataclass of options declares, by the dataclass's own field names, in their order."""
    hints = get_type_hints(options, include_extras=True)
    return {
        field.name: Declaration(
            name=field.metadata["name"] or field.name,
            type=hints[field.name],
            default=field.default,
            help=field.metadata["help"],
            unit=field.metadata["unit"],
            minimum=field.metadata["minimum"],
            maximum=field.metadata["maximum"],
            above=field.metadata["above"],
        )
        for field in dataclasses.fields(options)
        if "help" in field.metadata
    }
