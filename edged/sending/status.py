"""How a destination is doing, for people: what is said of it when that changes, and what can be asked at any time."""

import logging
import math
from collections.abc import Callable, Sequence

from edged.secret import redact
from edged.sending.rate import Rate

log = logging.getLogger(__name__)


class Status:
    """Of one destination.  A trouble is said when it begins and when it is over, not on every try; no secret is."""

    def __init__(self, destination: str, now_ms: Callable[[], int]) -> None:
        self.state = "ok"  # "waiting", "backing-off", "parked"
        self.until_ms: int | None = None  # when it goes on by itself
        self.waits_for = ""  # where it waits for more than the platform's pace
        self.last_error = ""
        self.last_error_ms: int | None = None
        self.last_delivery_ms: int | None = None
        self.rate = Rate()  # of deliveries
        self.parked: dict[str, str] = {}  # series -> reason
        self._destination = destination
        self._now_ms = now_ms
        self._said: set[str] = set()

    def backs_off(self, reason: str, wait_s: float) -> None:
        """Nothing gets through at the moment; it is tried again after so long."""
        self._trouble("backing-off", wait_s, f"cannot deliver: {reason}", "all readings are kept; trying on")

    def parks(self, reason: str, wait_s: float) -> None:
        """Nothing will get through until a person has repaired it; it is tried again after so long."""
        then = "all readings are kept; tried again every hour, at a restart and at a reload"
        self._trouble("parked", wait_s, f"parked: {reason}", then)

    def waits_for_time(self, reason: str, wait_s: float) -> None:
        """The clock is wrong, as it seems; once it is right it goes on."""
        self._enter("waiting", wait_s, "the time, since the clock is not known to be right")
        self._notes(reason)
        self.say_once("clock", f"waits for the time, since this board's clock is not known to be right: {reason}")

    def waits_for_midnight(self, points: int, wait_s: float) -> None:
        """The day's points are spent."""
        reason = f"the day's {points} points (daily_points) are spent"
        self._enter("waiting", wait_s, f"00:00 UTC: {reason}")
        day = self._now_ms() // 86_400_000
        self.say_once(f"points of day {day}", f"{reason}; what comes waits for 00:00 UTC")

    def delays(self, reason: str) -> None:
        """A series waits for its time."""
        self._notes(reason)
        self.say_once("delayed", reason)

    def _notes(self, reason: str) -> None:
        self.last_error, self.last_error_ms = redact(reason), self._now_ms()

    def parks_series(self, series: Sequence[str], reason: str) -> None:
        """Some series will not get through until a person has repaired it."""
        if new := [name for name in series if name not in self.parked]:
            what = f"{new[0]} is" if len(new) == 1 else f"{len(new)} series ({', '.join(new)}) are"
            kept = "its" if len(new) == 1 else "their"
            self._log(f"{what} parked: {reason}; {kept} readings are kept and tried again every hour", new[0])
        self._notes(reason)
        self.parked.update(dict.fromkeys(series, self.last_error))

    def delivered(self, series: Sequence[str], time_ms: int) -> None:
        """A reading of each of the series got through."""
        self.last_delivery_ms = time_ms
        self.rate.count(time_ms, len(series))
        self._again("delivers")
        for name in self.parked.keys() & set(series) if self.parked else ():
            del self.parked[name]
            self._log(f"{name} is delivered again", name)

    def refused(self, series: str, reason: str) -> None:
        """A reading was refused for good."""
        self._notes(reason)
        self.say_once(f"refused {series}", f"{series} is refused: {reason}; the reading is kept as a dead letter")

    def answered(self) -> None:
        """The platform speaks to us, whatever it says."""
        self._again("answers")

    def stumbles(self, reason: str, wait_s: float) -> None:
        """Something in our own way; it is tried again after so long."""
        self._enter("backing-off", wait_s)
        self._notes(reason)

    def rests(self, wait_s: float, state: str = "waiting") -> None:
        """There is nothing to send now, but after so long; infinite: until there are new readings, or a repair."""
        if self.state not in ("parked", "backing-off"):  # those end with an answer only
            self._enter("ok" if math.isinf(wait_s) else state, wait_s)

    def _enter(self, state: str, wait_s: float = math.inf, waits_for: str = "") -> None:
        """Goes over to a state, which is looked at again after so long."""
        self.state, self.waits_for = state, waits_for
        self.until_ms = None if math.isinf(wait_s) else self._now_ms() + round(wait_s * 1000)

    def _again(self, does: str) -> None:
        if self.state in ("parked", "backing-off"):
            self._log(f"{does} again")
        self._enter("ok")

    def say_once(self, kind: str, text: str) -> None:
        """Logs the first of its kind."""
        if kind not in self._said:
            self._said.add(kind)
            self._log(text)

    def _trouble(self, state: str, wait_s: float, what: str, then: str) -> None:
        if self.state != state:
            self._log(f"{what}; {then}")
        self._enter(state, wait_s)
        self._notes(what.partition(": ")[2])

    def _log(self, text: str, series: str = "") -> None:
        fields = {"destination": self._destination} | ({"series": series} if series else {})
        log.warning("%s: %s", self._destination, redact(text), extra=fields)
