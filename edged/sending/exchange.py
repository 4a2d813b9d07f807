"""One exchange with a platform: whatever happens to it is an outcome for each of its readings."""

import logging
import math
from collections.abc import Callable, Sequence

from edged import clock
from edged.errors import NoAnswer, SecretUnreadable
from edged.outcome import Delayed, Isolate, Outcome, Parked, Transient, Untimed
from edged.platforms import Item, Platform, Tended, Transport, Wire

log = logging.getLogger(__name__)

BUG_S = 60.0  # what has met a bug is tried again so often


class Exchanges:
    """Of one destination: its platform, and the transport to it, which is opened when it is first needed."""

    def __init__(self, name: str, platform: Platform, wire: Wire, stumbles: Callable[[str, float], None]) -> None:
        """`stumbles` hears of a bug, and for how long it interrupts something (s)."""
        self._name = name
        self._platform = platform
        self._wire = wire
        self._stumbles = stumbles
        self._transport: Transport | None = None

    def refused(self, items: Sequence[Item]) -> list[Outcome | None]:
        """What is known of the readings without asking the platform."""
        try:
            return [self._platform.refuses(item) for item in items]
        except SecretUnreadable as error:
            return [Parked(str(error))] * len(items)

    def send(self, items: Sequence[Item]) -> list[Outcome] | None:
        """The outcomes of one request; None: it is too large, and is not sent."""
        try:
            request = self._platform.encode(items)
            if len(items) > 1 and len(getattr(request, "body", b"")) > self._platform.limits.body:
                return None
            if self._transport is None:
                self._transport = self._platform.connect(self._wire)
            return self._platform.judge(self._transport.exchange(request), items)
        except SecretUnreadable as error:
            outcome: Outcome = Parked(str(error))
        except NoAnswer as error:
            outcome = _unanswered(error)
        except Exception as error:  # a bug, maybe for one of the readings: the others must not stand still for it
            said = f"a bug ({type(error).__name__}) interrupts it; please report it"
            log.exception("%s: %s", self._name, said)
            self._stumbles(said, BUG_S)
            outcome = Isolate(said) if len(items) > 1 else Delayed(said, BUG_S)
        return [outcome] * len(items)

    def tend(self) -> float:
        """Looks after the connection while there is nothing to send; seconds until it wants to again."""
        return self._transport.tend() if isinstance(self._transport, Tended) else math.inf

    def abort(self) -> None:
        """Ends the exchange under way, from another thread."""
        if (transport := self._transport) is not None:
            transport.abort()

    def close(self) -> None:
        """Lets go of the connection; the next exchange makes all of it anew."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


def _unanswered(error: NoAnswer) -> Outcome:
    if error.unusable:
        return Parked(str(error))
    if error.premature and not clock.is_right():
        return Untimed(str(error))
    return Transient(str(error), suspect=error.sent, slow=error.sent and error.timed_out, answered=False)
