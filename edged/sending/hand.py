"""What a sender has taken from its queue and not settled yet.

Within a stream of a series the order is kept: what is settled of it is always all up to some reading.
"""

from collections.abc import Callable, Collection, Sequence

from edged.outcome import Outcome, Permanent
from edged.reading import Entry
from edged.secret import redact
from edged.sending.parcel import Parcel
from edged.sending.parts import Part
from edged.store.queue import Queue


class Hand:
    """The batch, and the parts in which it is to be sent."""

    def __init__(self, queue: Queue, on_fate: Callable[[Entry, Outcome], None]) -> None:
        """`on_fate` hears what became of each reading that was sent."""
        self.parts: list[Part] = []
        self._queue = queue
        self._on_fate = on_fate
        self._parcels: list[Parcel] = []  # in order

    def take(self, parcels: Sequence[Parcel], *, suspect: bool) -> None:
        """A batch, to be sent in one; of a suspect with its witness, which is the next of its series, the suspect."""
        self._parcels = list(parcels)
        self.parts.append(Part(list(parcels[:1] if suspect else parcels), suspect))

    def witness(self) -> Parcel | None:
        """What is to be sent behind the suspect, if there is something."""
        return self._parcels[1] if len(self._parcels) > 1 else None

    def calls_witness(self) -> bool:
        """Whether that is the next to be sent."""
        return bool(self.parts) and self.parts[0].is_witness

    def suspect(self) -> Parcel:
        """What a witness was called for."""
        return self._parcels[0]

    def leave(self, series: Collection[str]) -> None:
        """Forgets what there is of the series; it is still queued, and is taken again afterwards."""
        self._parcels = [parcel for parcel in self._parcels if parcel.series not in series]
        for part in self.parts:
            part.parcels = [parcel for parcel in part.parcels if parcel.series not in series]
        self.parts = [part for part in self.parts if part.parcels]

    def leave_all(self) -> None:
        """Forgets all of it."""
        self._parcels, self.parts = [], []

    def settle(self) -> list[Parcel]:
        """Settles what is decided, stream by stream up to the first reading that is not; returns what that was."""
        undecided: set[tuple[str, bool]] = set()
        rest: list[Parcel] = []
        settled: list[Parcel] = []
        for parcel in self._parcels:
            if parcel.fate is None or parcel.stream in undecided:
                undecided.add(parcel.stream)
                rest.append(parcel)
            else:
                self._settle(parcel, parcel.fate)
                settled.append(parcel)
        self._parcels = rest
        return settled

    def _settle(self, parcel: Parcel, fate: Outcome) -> None:
        sent = parcel.item.entry
        for entry in sorted([*parcel.merged, sent]) if parcel.merged else (sent,):
            if entry is not sent:
                self._queue.settle(entry, merged=True)
            elif isinstance(fate, Permanent):
                self._queue.settle(sent, reason=redact(fate.reason), response=redact(fate.response))
            else:
                self._queue.settle(sent)
        self._on_fate(sent, fate)
