"""What all stand-ins are, whatever they speak: they remember what they took, what was wrong, and whom they know."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event, RLock
from typing import Any, ClassVar, Self

from edged.simulation.platforms._listener import Listener
from edged.simulation.platforms._records import Accepted, Violation

_SHORTEST_SECRET = 8  # characters; anything shorter turns up anywhere by chance


@dataclass
class Modes:
    """What can be switched on any stand-in, at its opening and (but for `hasty_s`) later."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000  # the server's clock, UTC
    monotonic: Callable[[], float] = time.monotonic  # s, for rates and waits
    hasty_s: float = 0.020  # a retry sooner than this made no pause (statement 6); 0 never complains of pauses
    poison: bytes = b""  # whatever holds this is answered by a cut connection


class StandIn:
    """The common part; a transport adds the way in, a platform its rules."""

    platform: ClassVar[str]

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []  # each target and time once, in the order of arrival
        self.violations: list[Violation] = []
        self.refusals: deque[str] = deque(maxlen=10_000)  # the latest, each in a line for a person
        self.resends = 0  # readings that came again, as they were stored
        self.secrets: set[str] = set()
        self._lock = RLock()
        self._places: dict[tuple[str, int], int] = {}  # (key, time) -> index in `accepted`
        self._made_up = True
        self._stopping = Event()
        self._listener: Listener | None = None
        self.port = 0

    # For whoever runs it

    @property
    def url(self) -> str:
        """Where it listens, for a person; over HTTP what the config's key `url` takes."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Lines of TOML: the keys of a destination's table that lead here."""
        raise NotImplementedError

    def start(self) -> Self:
        """Begins to answer; after `stop`, on the same port and with all that was accepted."""
        self._stopping.clear()
        self._bind(self.port).start()
        return self

    def stop(self) -> None:
        """Closes the port and all connections; clients are refused from here on."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def _bind(self, port: int) -> Listener:
        """What listens; the port is bound where it is not yet."""
        if self._listener is None:
            self._listener = self._listen(port)
            self.port = self._listener.port
        return self._listener

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def forgive(self) -> None:
        """To be called where the client is restarted, or a person sends refused readings again."""
        raise NotImplementedError

    def snapshot(self) -> tuple[list[Accepted], list[Violation]]:
        """Copies of what was accepted and of the violations."""
        with self._lock:
            return list(self.accepted), list(self.violations)

    def admit(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        """Takes the identifiers of a configured destination; the first time, instead of the made-up ones."""
        with self._lock:
            if self._made_up:
                self._made_up = False
                self.forget_identifiers()
            self.take_identifiers(options, targets)

    # What a transport adds

    def _listen(self, port: int) -> Listener:
        """A listener on the port that serves as the transport does."""
        raise NotImplementedError

    # What a platform adds

    def forget_identifiers(self) -> None:
        """Drops the made-up identifiers."""
        raise NotImplementedError

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        """Adds a destination's identifiers and secrets."""
        raise NotImplementedError

    def example(self) -> str:
        """The TOML table of a destination with the made-up identifiers."""
        raise NotImplementedError

    # For a platform's use

    def violation(self, statement: int, text: str) -> None:
        """Records a breach of a statement."""
        self.violations.append(Violation(statement, text))

    def refused(self, text: str) -> None:
        """Records a refusal."""
        self.refusals.append(text)

    def leaks(self, data: bytes) -> bool:
        """Whether there is a secret in it."""
        return any(len(secret) >= _SHORTEST_SECRET and secret.encode() in data for secret in self.secrets)

    def store(self, key: str, reading: Accepted) -> Accepted | None:
        """Stores a reading, over an earlier one of the same key and time; that one is returned."""
        place = self._places.setdefault((key, reading.time_ms), len(self.accepted))
        if place == len(self.accepted):
            self.accepted.append(reading)
            return None
        earlier, self.accepted[place] = self.accepted[place], reading
        same = (type(earlier.value), earlier.value) == (type(reading.value), reading.value)
        self.resends += same
        return earlier

    def stored(self, key: str, time_ms: int) -> bool:
        """Whether there is a reading of that key and time."""
        return (key, time_ms) in self._places
