"""Chooses the readings of the next request, within what the platform bears.  Pure: the time is passed in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edged.outcome import Outcome
from edged.platforms import Item, Limits, Platform
from edged.reading import Entry


@dataclass
class Parcel:
    """A reading on its way, with those that the platform's resolution merges into it."""

    item: Item
    merged: list[Entry] = field(default_factory=list)  # earlier ones, in order
    fate: Outcome | None = None  # decided, but not settled as long as an earlier one of its series is not

    @property
    def series(self) -> str:
        return self.item.entry.series


class Selection:
    """The batch in the making: `fits` is asked for each pending reading in order, `parcels` are the result."""

    def __init__(
        self,
        platform: Platform,
        limits: Limits,
        target: Callable[[str], Any],
        pause: Callable[[object], float],
        sent_slots: Mapping[object, int],
        now_ms: int,
    ) -> None:
        """`target` of a series; `pause`: seconds until a place may be written to; `sent_slots`: the last slot of the
        platform's resolution that was sent, by place; `now_ms`: the clock's time.
        """
        self.parcels: list[Parcel] = []
        self.late: list[Entry] = []  # of a slot that has been sent already: the platform would not keep both
        self.more = False  # whether something was left out for another request that could follow at once
        self.waits: list[float] = []  # seconds until something fits that does not fit now
        self._platform = platform
        self._limits = limits
        self._target = target
        self._pause = pause
        self._sent_slots = sent_slots
        self._now_ms = now_ms
        self._route: object = None
        self._places: dict[object, list[Parcel]] = {}

    def fits(self, entry: Entry) -> bool:
        """Takes the reading where it fits; if not, its series waits for another request."""
        options = self._platform.options
        target = self._target(entry.series)
        place = self._platform.place(options, target)
        slot = entry.time_ms // self._limits.resolution_ms
        here = self._places.get(place, [])
        if here and here[-1].item.entry.time_ms // self._limits.resolution_ms == slot:
            here[-1].merged.append(here[-1].item.entry)  # the last of a slot wins
            here[-1].item = Item(entry, target)
            return True
        if not here and slot == self._sent_slots.get(place):
            self.late.append(entry)
            return True
        if (wait := self._slot_ends_in(slot)) > 0 or (wait := self._pause(place)) > 0:
            self.waits.append(wait)
            return False
        route = self._platform.route(options, target)
        if self.parcels and (
            len(self.parcels) >= self._limits.readings
            or route != self._route
            or (not here and 0 < self._limits.targets <= len(self._places))
            or 0 < self._limits.per_target <= len(here)
        ):
            self.more = True
            return False
        self._route = route
        parcel = Parcel(Item(entry, target))
        self.parcels.append(parcel)
        self._places.setdefault(place, []).append(parcel)
        return True

    def _slot_ends_in(self, slot: int) -> float:
        """Seconds in which a later reading may still win the slot; 0: none.

        A stamp that is far ahead is no reason to wait: the clock has been set back.
        """
        ends_in_ms = (slot + 1) * self._limits.resolution_ms - self._now_ms
        return ends_in_ms / 1000 if 1 < self._limits.resolution_ms >= ends_in_ms / 2 else 0.0
