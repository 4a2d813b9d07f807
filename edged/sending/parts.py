"""A batch in the parts in which it is sent, and how large the next one is.  Pure."""

from dataclasses import dataclass

from edged.sending.parcel import Parcel

_SAME_FATE = 3  # times that a request fails, for nothing but what it holds may be to blame, before it is halved


@dataclass(slots=True)
class Part:
    """Readings of one request."""

    parcels: list[Parcel]
    suspect: bool = False  # it comes from a request that failed again and again, so one of its readings may be to blame
    failures: int = 0
    is_witness: bool = False  # behind a suspect that has failed: if it gets through, the line is not to blame
    is_last: bool = False  # the suspect's last chance, after that

    def __len__(self) -> int:
        return len(self.parcels)

    @property
    def is_suspect(self) -> bool:
        """Whether it may well be to blame."""
        return self.suspect or self.failures >= _SAME_FATE

    def failed(self, *, slow: bool) -> "list[Part]":
        """What to send instead, after a failure for which it may be to blame: itself, or its halves."""
        self.failures += 1
        if len(self) > 1 and (slow or self.is_suspect):
            return halves(self.parcels, suspect=True)
        return [self]


def halves(parcels: list[Parcel], *, suspect: bool = False) -> list[Part]:
    """Two parts, or what there is of them."""
    half = (len(parcels) + 1) // 2
    return [Part(part, suspect) for part in (parcels[:half], parcels[half:]) if part]


class Size:
    """How many readings the next request holds: half as many where they were too many, then slowly more again."""

    def __init__(self, most: int) -> None:
        self.now = self._most = most

    def too_large(self, number: int) -> None:
        """So many were too many."""
        self.now = max(1, min(self.now, number // 2))

    def fitted(self, number: int) -> None:
        """So many got through."""
        if number >= self.now:
            self.now = min(self._most, self.now + max(1, self.now // 8))
