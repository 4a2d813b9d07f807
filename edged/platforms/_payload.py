"""Payloads from a template.  One that is JSON stays JSON, whatever a reading holds."""

import json
import re
from typing import Any

from edged.options import READING_WORDS
from edged.platforms import Item
from edged.platforms._template import fill

# A string of JSON, or what is filled in outside of one.
_PART = re.compile(rf'"(?:[^"\\]|\\.)*"|\{{({"|".join(READING_WORDS)})\}}')
_VALUE = "\ue000"  # stands for the value while its place is sought


class Payload:
    """A template, or JSON: there what is filled in within a string is escaped; outside of one it is a value itself."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._specimen = _specimen(template)

    def fill(self, item: Item) -> bytes:
        """The reading's payload."""
        if self._specimen is None:
            return fill(self._template, item).encode("utf-8", "replace")

        def part(match: re.Match[str]) -> str:
            if match[1] is None:
                return fill(match[0], item, _escaped)
            is_text = match[1] != "value" or isinstance(item.entry.value, str)
            return fill(match[0], item, _dumped if is_text else str)

        return _PART.sub(part, self._template).encode("utf-8", "replace")

    @property
    def is_broken(self) -> bool:
        """Whether it begins as JSON does, and is none."""
        return self._specimen is None and _PART.sub("0", self._template).lstrip().startswith(("{", "["))

    def place(self, item: Item) -> tuple[str | int, ...] | None:
        """Where the value stands in the JSON: keys and indexes; () where it is all, None where it has no place."""
        if self._template == "{value}":
            return ()
        steps = _find(self._specimen, ())
        return steps and tuple(fill(step, item) if isinstance(step, str) else step for step in steps)


def _specimen(template: str) -> Any:
    """The object or list that the template describes; None where it describes none."""

    def part(match: re.Match[str]) -> str:
        text = match[0].replace("{value}", _VALUE)
        return text if match[1] is None else _dumped(text)

    try:
        found = json.loads(_PART.sub(part, template))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _find(found: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    if found == _VALUE:
        return path
    steps: Any = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    places = (_find(below, (*path, step)) for step, below in steps)
    return next((place for place in places if place is not None), None)


def _dumped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    return _dumped(text)[1:-1]
