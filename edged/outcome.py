"""What becomes of a reading that was sent: the verdict on one request, reading by reading."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Delivered:
    """The platform has it."""

    remark: str = ""  # worth a warning, once: an answer that is positive but not as documented


@dataclass(frozen=True)
class Transient:
    """Not now: no network, overload, a fault over there.  Kept; the same request again after a back-off."""

    reason: str
    wait_s: float = 0.0  # the platform's own wish (Retry-After); the longer of it and the back-off counts
    suspect: bool = False  # what was sent may be to blame: it got there, and was not answered as it should
    slow: bool = False  # the answer took too long: fewer readings may pass
    answered: bool = True  # False: nothing came back


@dataclass(frozen=True)
class Untimed:
    """The platform's certificate is not valid yet by our clock, which is not known to be right.  Kept."""

    reason: str


@dataclass(frozen=True)
class Delayed:
    """Its time is ahead of the platform's clock.  Kept aside, with its series, for `wait_s`."""

    reason: str
    wait_s: float


@dataclass(frozen=True)
class Parked:
    """Refused for what a person has to repair: credentials, identifiers, paths.  Kept, tried again slowly."""

    reason: str
    whole: bool = True  # the destination; False: only this reading's series


@dataclass(frozen=True)
class Permanent:
    """Refused for what it is.  Goes to the dead letters with the reason and the answer."""

    reason: str
    response: str = ""


@dataclass(frozen=True)
class Isolate:
    """Some reading of the request was refused, and the answer does not tell which: halve and send again."""

    reason: str
    too_large: bool = False  # for nothing but their number: the next requests are smaller


@dataclass(frozen=True)
class Again:
    """Innocent: refused only for its company.  Sent again at once, without the culprit."""


Outcome = Delivered | Transient | Untimed | Delayed | Parked | Permanent | Isolate | Again
