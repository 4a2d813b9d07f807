"""What an uploader is, and how it is found.

A platform is one module in this folder (a leading `_` keeps a module out of the list), or one named by an entry point
of the group `edged.platforms`.  The module holds one subclass of `HttpPlatform` or `MqttPlatform` and is known by its
own name, with `-` for `_`.  It turns readings into a request and the reply into outcomes, and does no I/O itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from edged import plugins
from edged.outcome import Outcome
from edged.reading import Entry


@dataclass(frozen=True)
class Limits:
    """What one request may hold and how fast requests may follow one another; 0: no limit."""

    readings: int  # in one request
    targets: int = 0  # different ones in one request
    per_target: int = 0  # readings of one target in one request
    body: int = 256 * 1024  # bytes
    request_interval: float = 0.0  # s from the end of a request to the next one
    target_interval: float = 0.0  # s from the end of a request to the next one that writes to the same target
    resolution_ms: int = 1  # of the readings of a target within it the platform keeps one
    backlog: Literal["all", "mean", "last", "min", "max"] = "all"  # what becomes of more than `target_interval` lets go
    points_a_day: int = 0  # readings of one route in a UTC day


class Item(NamedTuple):
    """A reading and where it goes: the target is the platform's own `Series`."""

    entry: Entry
    target: Any
    unit: str = ""  # of its value, as the driver declares it


class Transport(Protocol):
    """What carries requests: one exchange at a time."""

    def exchange(self, request: Any) -> Any:
        """Sends a request and returns the reply.  Raises NoAnswer."""

    def abort(self) -> None:
        """Ends the exchange under way, from another thread."""

    def close(self) -> None:
        """Lets go of the connection; another exchange opens a new one."""


@runtime_checkable
class Tended(Protocol):
    """A transport whose connection means something to others while there is nothing to send."""

    def tend(self) -> float:
        """Looks after it; seconds until it wants to again."""


@dataclass(frozen=True)
class Wire:
    """How a destination is reached, whatever its platform."""

    timeout_s: float
    ca_file: Path | None
    proxy: str


class Platform:
    """One destination as the config describes it.

    The docstring of a platform's class says what it is; that of its module names the source.
    """

    Options: ClassVar[type]  # a dataclass of `option()`s: the keys beside the common ones
    Series: ClassVar[type]  # a dataclass of `option()`s: where a series goes; hashable
    short: ClassVar[str] = ""  # the key of `Series` that a string alone stands for; empty: there is none
    timeout_s: ClassVar[float] = 30.0  # the default
    takes_proxy: ClassVar[bool] = True  # the common key `proxy`
    example: ClassVar[str] = ""  # the keys of a first config, beside `platform`

    def __init__(self, options: Any) -> None:
        self.options = options

    def begin(self, last: int) -> None:
        """Told once, first of all: readings up to sequence number `last` may have been sent by an earlier run."""

    @property
    def limits(self) -> Limits:
        """What the platform bears."""
        raise NotImplementedError(type(self))

    def connect(self, wire: Wire) -> Transport:
        """The transport to this destination; nothing is sent yet.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))

    def encode(self, items: Sequence[Item]) -> Any:
        """The request that carries the items, of one `route`.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))

    def judge(self, reply: Any, items: Sequence[Item]) -> list[Outcome]:
        """What becomes of each of the items of the request that got this reply."""
        raise NotImplementedError(type(self))

    def probe(self, items: Sequence[Item]) -> Any:
        """A request that has the items' credentials and identifiers checked, and stores nothing.

        Its reply is `judge`d like any other; None: the platform has no such thing.  Raises SecretUnreadable.
        """
        return None

    def refuses(self, item: Item) -> Outcome | None:
        """What can be known without asking the platform; None: nothing is wrong.  Raises SecretUnreadable."""
        return None

    @classmethod
    def usual(cls, series: str) -> str | None:
        """The platform's usual name for a series (`true` in the config); None: it has to be given."""
        return None

    @classmethod
    def usual_target(cls, series: str) -> Any:
        """The target of a series under its usual name."""
        return cls.Series(**{cls.short: cls.usual(series)})

    @classmethod
    def place(cls, options: Any, target: Any) -> object:
        """What a target writes to: two series on one place are an error; pacing counts by it."""
        return target

    @classmethod
    def route(cls, options: Any, target: Any) -> object:
        """Targets of different routes cannot share a request."""
        return None

    @classmethod
    def check(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What is wrong with options that are each of the right type: (key, message)."""
        return ()

    @classmethod
    def check_target(cls, target: Any) -> Sequence[tuple[str, str]]:
        """What is wrong with a target whose keys are each of the right type: (key, message)."""
        return ()

    @classmethod
    def caution_target(cls, target: Any) -> Sequence[tuple[str, str]]:
        """What the platform will not take of a target, which its answer would tell too late: (key, message)."""
        return ()

    @classmethod
    def caution_series(cls, series: str) -> Sequence[str]:
        """What is worth a warning of a series' own name."""
        return ()

    @classmethod
    def caution(cls, options: Any) -> Sequence[tuple[str, str]]:
        """What is allowed, but worth a warning: (key, message)."""
        return ()


def names() -> list[str]:
    """All platforms by the names that a config uses."""
    return plugins.names(__path__, "edged.platforms")


def find(name: str) -> type[Platform] | None:
    """The platform of that name, or None.  Only its own module is imported."""
    return plugins.find(__name__, "edged.platforms", name, Platform)
