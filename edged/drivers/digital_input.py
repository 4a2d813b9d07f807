"""A GPIO line that is on or off: a contact, a float switch, a relay's feedback.

Sources: gpiozero's documentation of DigitalInputDevice; pin numbers are Broadcom's (BCM), as pinout.xyz shows them.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from edged.buses import gpio
from edged.drivers import EventDriver, Quantity, Read
from edged.errors import CorruptReply
from edged.options import Seconds, option
from edged.reading import Values


@dataclass(frozen=True)
class Options:
    """Which line, and what its levels mean."""

    pin: int = option(help="BCM number of the GPIO line", minimum=0, maximum=27)
    chip: int | str | None = option(None, help="number, name or label of the GPIO chip; default: the pin header's")
    pull: Literal["up", "down", "none"] = option(
        "down", help='resistor to hold an open line: "up" for a contact to ground; "none" where the source drives both'
    )
    active: Literal["high", "low"] = option("high", help="the level at which `state` is true")
    debounce: Seconds = option(0.0, help="how long a level must last to count", minimum=0, maximum=5)
    events: bool = option(False, help="report each change at once as well; keeps lgpio's thread busy")


class DigitalInput(EventDriver):
    """A digital input of the GPIO header: contact, switch, relay"""

    Options = Options
    quantities = (Quantity("state", kind="bool"),)
    example = 'pin = 17\npull = "up"\nactive = "low"'
    _opened: gpio.Input | None = None

    def read(self) -> Read:
        """The state of now, once it has lasted for `debounce`."""
        line = self._line()
        level = line.high()
        waited = 0.0
        while self.options.debounce:
            yield self.options.debounce
            waited += self.options.debounce
            before, level = level, line.high()
            if level == before:
                break
            if waited >= self.timeout_s:
                raise CorruptReply(f"GPIO line {self.options.pin} does not come to rest; is it connected?")
        return self._values(level)

    def listen(self, emit: Callable[[Values], None]) -> bool:
        """Calls `emit` with each new state, from gpiozero's thread, which an exception of `emit` would end."""
        if not self.options.events:
            return False
        self._line().listen(lambda high: emit(self._values(high)))
        return True

    def close(self) -> None:
        """Lets go of the line."""
        line, self._opened = self._opened, None
        if line:
            line.close()

    @classmethod
    def lane(cls, options: Any) -> Hashable | None:
        """One for all lines: reading one takes no time."""
        return "gpio"

    @classmethod
    def check(cls, options: Any) -> Iterable[tuple[str, str]]:
        """Two lines of the header have a fixed resistor."""
        problem = gpio.pull_problem(options.pin, options.chip, options.pull)
        if problem:
            yield "pull", problem

    @classmethod
    def claims(cls, options: Any) -> Iterable[tuple[str, str]]:
        """The line."""
        chip = "" if options.chip is None else f" of GPIO chip {options.chip}"
        return [("pin", f"GPIO pin {options.pin}{chip}")]

    @classmethod
    def absent(cls, options: Any) -> str:
        """What is missing: lgpio, the chip, permission; or who holds the line."""
        return gpio.absent(options.pin, options.chip)

    def _line(self) -> gpio.Input:
        if self._opened is None:
            options = self.options
            self._opened = gpio.open_input(options.pin, options.chip, options.pull, options.debounce, options.events)
        return self._opened

    def _values(self, high: bool) -> Values:
        return {"state": high == (self.options.active == "high")}
