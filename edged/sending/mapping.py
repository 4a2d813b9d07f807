"""Which series go to a destination, and where there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from edged.series import Choice, deciding


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
        return deciding((pattern for pattern, _ in self.rules), series)

    @cached_property
    def choice(self) -> Choice:
        """Which series go there, whatever their targets."""
        return Choice(tuple((pattern, target is not None) for pattern, target in self.rules))


@dataclass(frozen=True)
class Usual:
    """Makes the target of a series that goes under the platform's usual name."""

    make: Callable[[str], Any]  # a method of the platform's, so that two readings of one config compare as equal

    def __call__(self, series: str) -> Any:
        return self.make(series)
