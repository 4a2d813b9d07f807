"""Series by name and by pattern: which rule of a destination's `series` table decides on one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


def matches(pattern: str, series: str) -> bool:
    """Whether the series has the pattern's form; `*` stands for any characters, dots included."""
    if "*" not in pattern:
        return pattern == series
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), series) is not None


def deciding(patterns: Iterable[str], series: str) -> str:
    """The pattern that decides on a series: its exact name, else the longest that matches; empty where none does."""
    fitting = [pattern for pattern in patterns if matches(pattern, series)]
    return series if series in fitting else max(fitting, key=len, default="")


@dataclass(frozen=True)
class Choice:
    """Which series a destination takes, as the store remembers it: patterns, each taken or not."""

    rules: tuple[tuple[str, bool], ...]
    _taken: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def wants(self, series: str) -> bool:
        """Whether the series is taken."""
        if (taken := self._taken.get(series)) is None:  # asked for each reading, and it never changes
            taken = self._taken[series] = dict(self.rules).get(deciding(dict(self.rules), series), False)
        return taken

    def to_json(self) -> list[list[Any]]:
        """As it is kept in the store."""
        return [list(rule) for rule in self.rules]

    @classmethod
    def from_json(cls, kept: list[list[Any]]) -> "Choice":
        """As it was kept."""
        return cls(tuple((pattern, taken) for pattern, taken in kept))


@dataclass(frozen=True)
class Left:
    """The series that one choice takes and the next one does not."""

    before: Choice
    after: Choice

    def wants(self, series: str) -> bool:
        """Whether the series is one of them."""
        return self.before.wants(series) and not self.after.wants(series)
