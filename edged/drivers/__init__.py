"""What a driver is, and how it is found.

A driver is one module in this folder (a leading `_` keeps a module out of the list), or one named by an entry point of
the group `edged.drivers`.  The module holds one subclass of `Driver` (or of what another module of this folder makes
of it, like `I2cDriver`), and is known by its own name, with `-` for `_`.
"""

from collections.abc import Callable, Generator, Hashable, Iterable
from typing import Any, ClassVar, NamedTuple

from edged import plugins
from edged.reading import Values

# A read in progress: yields the seconds that it has to wait, in which its lane serves other sensors; returns values.
Read = Generator[float, None, Values]


class Quantity(NamedTuple):
    """One thing that a driver measures: its unit, and the limits beyond which no true value lies."""

    name: str
    unit: str = ""
    low: float | None = None  # in `unit`; None: no limit
    high: float | None = None
    kind: str = "number"  # or "bool", "text"


class Driver:
    """One device as the config describes it.  Lives from its first read to its first failure, then a new one is made.

    The docstring of a driver's class says what device it is for; that of its module names the source.
    """

    Options: ClassVar[type]  # a dataclass of `option()`s: the keys beside the common ones
    quantities: ClassVar[tuple[Quantity, ...]] = ()  # empty: they come from the device
    example: ClassVar[str] = ""  # the keys of a first config, beside `driver`

    # What must outlive this object and the process (a total, a baseline), as JSON has it; None: nothing yet.  It is set
    # before the first read.  A driver that `remembers` gives it a new value in a read, or before it emits an event, and
    # the store has that on disk before the readings are sent.
    remembers: ClassVar[bool] = False
    memory: Any = None

    def __init__(self, options: Any, timeout_s: float) -> None:
        """Takes the options and the longest that one read may take.  Does no I/O: a device may be missing."""
        self.options = options
        self.timeout_s = timeout_s

    def read(self) -> Read:
        """One sample.  Raises SensorError where there is none; no reading is better than a false one."""
        raise NotImplementedError(type(self))

    def close(self) -> None:
        """Lets go of the device."""

    @classmethod
    def quantity(cls, name: str) -> Quantity:
        """The declaration of a quantity; where quantities come from the device, unit and limits by its name."""
        return next((quantity for quantity in cls.quantities if quantity.name == name), Quantity(name))

    @classmethod
    def lane(cls, options: Any) -> Hashable | None:
        """What the device shares with others, so that they take turns in one thread; None: a thread of its own."""
        return None

    @classmethod
    def check(cls, options: Any) -> Iterable[tuple[str, str]]:
        """What is wrong with options that are each of the right type: (key, message)."""
        return ()

    @classmethod
    def advice(cls, key: str, value: object) -> str:
        """What to write instead of a value of a wrong type; empty: nothing better than the type is known."""
        return ""

    @classmethod
    def claims(cls, options: Any) -> Iterable[tuple[str, str]]:
        """What no other sensor may claim as well: (key, "I2C bus 1, address 0x76")."""
        return ()

    @classmethod
    def absent(cls, options: Any) -> str:
        """Why the device cannot be here ("/dev/i2c-1 does not exist"), looking without disturbing it; or nothing."""
        return ""


class EventDriver(Driver):
    """A device that reports by itself as well.  A read has the time of its end, in line with its events."""

    def listen(self, emit: Callable[[Values], None]) -> bool:
        """Calls `emit` from a thread of its own at each event until closed.  False: the options ask for no events."""
        raise NotImplementedError(type(self))


def names() -> list[str]:
    """All drivers by the names that a config uses."""
    return plugins.names(__path__, "edged.drivers")


def find(name: str) -> type[Driver] | None:
    """The driver of that name, or None.  Only its own module is imported."""
    return plugins.find(__name__, "edged.drivers", name, Driver)
