"""Chooses the readings of the next request, within what the platform bears.  Pure: the time is passed in."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from edged.platforms import Item, Limits, Platform
from edged.reading import Entry
from edged.sending import thinning
from edged.sending.blame import Suspects
from edged.sending.parcel import Parcel


class Lane(NamedTuple):
    """A series' way through the platform."""

    target: Any
    place: object  # what the target writes to
    route: object  # lanes of different routes cannot share a request
    unit: str


class Lanes(dict[str, Lane]):
    """The lane of each series, found once: a series' target never changes."""

    def __init__(self, platform: Platform, target: Callable[[str], Any], unit: Callable[[str], str]) -> None:
        """`target` and `unit` of a series."""
        super().__init__()
        self._platform = platform
        self._target = target
        self._unit = unit

    def __missing__(self, series: str) -> Lane:
        options, target = self._platform.options, self._target(series)
        place, route = self._platform.place(options, target), self._platform.route(options, target)
        lane = self[series] = Lane(target, place, route, self._unit(series))
        return lane

    def places_on(self, route: object) -> int:
        """How many places of a route have had readings."""
        return len({lane.place for lane in self.values() if lane.route == route})


class Offer(NamedTuple):
    """What there is to choose by, besides the readings."""

    pause: Callable[[object], float]  # seconds until a place may be written to
    room: Callable[[object, bool], int]  # readings that a route still takes today, of what is new or of a backlog
    sent_slots: Mapping[tuple[object, bool], int]  # the last slot of the resolution that was sent, by place and stream
    now_ms: int
    backlog_ends: int = 0  # the sequence number up to which readings are of a backlog
    suspects: Suspects = Suspects()  # each goes alone, or with a witness


class Selection:
    """The batch in the making: `fits` is asked for each pending reading in order, `parcels` are the result."""

    def __init__(self, lanes: Lanes, limits: Limits, offer: Offer) -> None:
        self.parcels: list[Parcel] = []
        self.late: list[Entry] = []  # of a slot that has been sent already: the platform would not keep both
        self.more = False  # whether something was left out for another request that could follow at once
        self.pauses: list[float] = []  # seconds until a place takes what it does not take now
        self.slots: list[float] = []  # seconds until a slot of the resolution is over
        self.spent = False  # whether a route's points of the day are
        self.oldest_ms: int | None = None  # of what is new
        self._lanes = lanes
        self._limits = limits
        self._offer = offer
        self._soon: list[tuple[float, object]] = []  # pauses with their routes
        self._route: object = None
        self._places: dict[object, list[Parcel]] = {}

    def fits(self, entry: Entry) -> bool:
        """Takes the reading where it fits; if not, its series waits for another request."""
        target, place, route, unit = self._lanes[entry.series]
        limits, offer = self._limits, self._offer
        is_new = not offer.backlog_ends or entry.seq > offer.backlog_ends
        if is_new and (self.oldest_ms is None or entry.time_ms < self.oldest_ms):
            self.oldest_ms = entry.time_ms
        slot = entry.time_ms // limits.resolution_ms
        here = self._places.get(place, [])
        last = here[-1] if here and here[-1].is_new == is_new else None
        if last and last.item.entry.time_ms // limits.resolution_ms == slot:
            thinning.merge(last, Item(entry, target, unit), limits.backlog)
            return True
        if last is None and slot == offer.sent_slots.get((place, is_new)):
            self.late.append(entry)
            return True
        if (wait := self._slot_ends_in(slot)) > 0:
            self.slots.append(wait)
            return False
        if (
            last
            and limits.backlog != "all"
            and 0 <= slot - last.first_ms // limits.resolution_ms < thinning.slots(limits, self._lanes.places_on(route))
        ):
            thinning.merge(last, Item(entry, target, unit), limits.backlog)
            return True
        if (wait := offer.pause(place)) > 0:
            self.pauses.append(wait)
            self._soon.append((wait, route))
            return False
        if offer.room(route, is_new) <= (len(self.parcels) if route == self._route else 0):
            self.spent = True
            return False
        if self.parcels and not self._takes_in(entry, is_new, place, route):
            self.more = True
            return False
        self._route = route
        parcel = Parcel(Item(entry, target, unit), place, is_new)
        self.parcels.append(parcel)
        self._places.setdefault(place, []).append(parcel)
        return True

    def _takes_in(self, entry: Entry, is_new: bool, place: object, route: object) -> bool:
        """Whether there is room for it beside what there is already."""
        limits, first, suspects = self._limits, self.parcels[0], self._offer.suspects
        if first.item.entry.seq in suspects:
            its_next = len(self.parcels) == 1 and first.stream == (entry.series, is_new)
            return its_next and suspects.calls_witness(first.item.entry.seq)
        here = self._places.get(place, [])
        return (
            len(self.parcels) < limits.readings
            and route == self._route
            and (bool(here) or not 0 < limits.targets <= len(self._places))
            and (not here or not 0 < limits.per_target <= len(here))
            and entry.seq not in suspects
        )

    @property
    def soon(self) -> float:
        """Seconds until there is more for the very same request."""
        if not self.parcels or len(self.parcels) >= self._limits.readings:
            return math.inf
        return min((wait for wait, route in self._soon if route == self._route), default=math.inf)

    def _slot_ends_in(self, slot: int) -> float:
        """Seconds in which a later reading may still win the slot; 0: none.

        A stamp that is far ahead is no reason to wait: the clock has been set back.
        """
        if (resolution_ms := self._limits.resolution_ms) == 1:
            return 0.0
        ends_in_ms = (slot + 1) * resolution_ms - self._offer.now_ms
        return ends_in_ms / 1000 if 0 < ends_in_ms <= 2 * resolution_ms else 0.0
