"""A reading on its way to a platform."""

from dataclasses import dataclass, field

from edged.outcome import Outcome
from edged.platforms import Item
from edged.reading import Entry


@dataclass(slots=True)
class Parcel:
    """A reading on its way, with those that the platform's resolution or a thinning policy merges into it."""

    item: Item
    place: object
    is_new: bool = True  # not of a backlog
    merged: list[Entry] = field(default_factory=list)
    values: int = 0  # that a mean is made of, and
    total: float = 0.0  # their sum
    first_ms: int = field(init=False)  # the time of the earliest of them
    fate: Outcome | None = None  # decided, but not settled as long as an earlier one of its series is not

    def __post_init__(self) -> None:
        self.first_ms = self.item.entry.time_ms

    @property
    def series(self) -> str:
        return self.item.entry.series

    @property
    def stream(self) -> tuple[str, bool]:
        """What keeps its order: a series' new readings, or those of its backlog."""
        return self.series, self.is_new
