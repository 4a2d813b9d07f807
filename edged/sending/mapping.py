"""Which series go to a destination, and where there."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mapping:
    """A destination's `series` table: names and patterns, each with its target; None takes a series out.

    A target may be a function of the series (`true`: the platform's usual name).
    """

    rules: tuple[tuple[str, Any], ...]
    _targets: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def target(self, series: str) -> Any:
        """Where the series goes; None: not here."""
        if series not in self._targets:  # asked for each reading, and a series' target never changes
            target = dict(self.rules).get(self.rule(series))
            self._targets[series] = target(series) if isinstance(target, Usual) else target
        return self._targets[series]

    def rule(self, series: str) -> str:
        """The rule that decides on a series: its exact name, else the longest pattern; empty where none does."""
        if any(pattern == series for pattern, _ in self.rules):
            return series
        return max((pattern for pattern, _ in self.rules if matches(pattern, series)), key=len, default="")

    def __str__(self) -> str:
        """Names what is mapped (not where to): another text means that other series are wanted."""
        return " ".join(f"{'-' if target is None else '+'}{pattern}" for pattern, target in self.rules)


@dataclass(frozen=True)
class Usual:
    """Makes the target of a series that goes under the platform's usual name."""

    make: Callable[[str], Any]  # a method of the platform's, so that two readings of one config compare as equal

    def __call__(self, series: str) -> Any:
        return self.make(series)


def matches(pattern: str, series: str) -> bool:
    """Whether the series has the pattern's form; `*` stands for any characters, dots included."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), series) is not None
