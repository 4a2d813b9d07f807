"""Chooses the readings of the next request, within what the platform bears.  Pure: the time is passed in."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edged.outcome import Outcome
from edged.platforms import Item, Limits, Platform
from edged.reading import Entry


class Lane(NamedTuple):
    """A series' way through the platform."""

    target: Any
    place: object  # what the target writes to
    route: object  # lanes of different routes cannot share a request


class Lanes(dict[str, Lane]):
    """The lane of each series, found once: a series' target never changes."""

    def __init__(self, platform: Platform, target: Callable[[str], Any]) -> None:
        """`target` of a series."""
        super().__init__()
        self._platform = platform
        self._target = target

    def __missing__(self, series: str) -> Lane:
        options, target = self._platform.options, self._target(series)
        lane = Lane(target, self._platform.place(options, target), self._platform.route(options, target))
        self[series] = lane
        return lane


@dataclass(slots=True)
class Parcel:
    """A reading on its way, with those that the platform's resolution merges into it."""

    item: Item
    place: object
    merged: list[Entry] = field(default_factory=list)  # earlier ones, in order
    fate: Outcome | None = None  # decided, but not settled as long as an earlier one of its series is not

    @property
    def series(self) -> str:
        return self.item.entry.series


class Selection:
    """The batch in the making: `fits` is asked for each pending reading in order, `parcels` are the result."""

    def __init__(
        self,
        lanes: Lanes,
        limits: Limits,
        pause: Callable[[object], float],
        sent_slots: Mapping[object, int],
        now_ms: int,
    ) -> None:
        """`pause`: seconds until a place may be written to; `sent_slots`: the last slot of the platform's resolution
        that was sent, by place; `now_ms`: the clock's time.
        """
        self.parcels: list[Parcel] = []
        self.late: list[Entry] = []  # of a slot that has been sent already: the platform would not keep both
        self.more = False  # whether something was left out for another request that could follow at once
        self.waits: list[float] = []  # seconds until something fits that does not fit now ...
        self._pauses: list[tuple[float, object]] = []  # ... since its place may not be written to before; its route
        self._lanes = lanes
        self._limits = limits
        self._pause = pause
        self._sent_slots = sent_slots
        self._now_ms = now_ms
        self._route: object = None
        self._places: dict[object, list[Parcel]] = {}

    def fits(self, entry: Entry) -> bool:
        """Takes the reading where it fits; if not, its series waits for another request."""
        target, place, route = self._lanes[entry.series]
        limits = self._limits
        slot = entry.time_ms // limits.resolution_ms
        here = self._places.get(place)
        if here:
            last = here[-1]
            if last.item.entry.time_ms // limits.resolution_ms == slot:
                last.merged.append(last.item.entry)  # the last of a slot wins
                last.item = Item(entry, target)
                return True
        elif slot == self._sent_slots.get(place):
            self.late.append(entry)
            return True
        if (wait := self._slot_ends_in(slot)) > 0:
            self.waits.append(wait)
            return False
        if (wait := self._pause(place)) > 0:
            self.waits.append(wait)
            self._pauses.append((wait, route))
            return False
        if self.parcels and (
            len(self.parcels) >= limits.readings
            or route != self._route
            or (not here and 0 < limits.targets <= len(self._places))
            or (here and 0 < limits.per_target <= len(here))
        ):
            self.more = True
            return False
        self._route = route
        parcel = Parcel(Item(entry, target), place)
        self.parcels.append(parcel)
        if here:
            here.append(parcel)
        else:
            self._places[place] = [parcel]
        return True

    @property
    def soon(self) -> float:
        """Seconds until there is more for the very same request."""
        if not self.parcels or len(self.parcels) >= self._limits.readings:
            return math.inf
        return min((wait for wait, route in self._pauses if route == self._route), default=math.inf)

    def _slot_ends_in(self, slot: int) -> float:
        """Seconds in which a later reading may still win the slot; 0: none.

        A stamp that is far ahead is no reason to wait: the clock has been set back.
        """
        if (resolution_ms := self._limits.resolution_ms) == 1:
            return 0.0
        ends_in_ms = (slot + 1) * resolution_ms - self._now_ms
        return ends_in_ms / 1000 if 0 < ends_in_ms <= 2 * resolution_ms else 0.0
