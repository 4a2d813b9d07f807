"""What all stand-ins are: an HTTP server on this machine that remembers what it was sent, and fails on demand."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from threading import Event, RLock
from typing import Any, ClassVar, Literal, Self

from edged.simulation.platforms import _strict_json
from edged.simulation.platforms._conduct import Conduct, Fate, Flight
from edged.simulation.platforms._listener import Listener
from edged.simulation.platforms._records import Accepted, Fault, Refusal, Reply, Request, Violation

_KEPT_REQUESTS = 10_000
_SHORTEST_SECRET = 8  # anything shorter turns up in a body by chance
_PARKED = {401, 403, 404, 405, 406, 415}
_TRANSIENT = {408, 425, 429}


@dataclass
class Modes:
    """What can be switched on any stand-in, at its opening and (but for `hasty_s`) later."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000  # the server's clock, UTC
    monotonic: Callable[[], float] = time.monotonic  # s, for rates and waits
    hasty_s: float = 0.020  # a retry sooner than this made no pause (statement 6); 0 never complains


class StandIn:
    """The common part; a platform adds `answer`, `readings`, `admit` and `example`."""

    platform: ClassVar[str]
    path: ClassVar[str] = ""  # what the config's `url` has behind host and port
    secret_in: ClassVar[Literal["header", "body"]] = "header"
    shared_target: ClassVar[int | None] = None  # the statement against overlapping requests for one target
    modes: Modes

    def __init__(self, port: int, modes: Modes) -> None:
        self.modes = modes
        self.accepted: list[Accepted] = []  # each target and time once, in the order of arrival
        self.violations: list[Violation] = []
        self.requests: list[Request] = []  # the last 10,000
        self.resends = 0  # readings that came again, as they were stored
        self.secrets: set[str] = set()
        self._lock = RLock()
        self._stopping = Event()
        self._faults: deque[Fault] = deque()
        self._places: dict[tuple[str, int], int] = {}  # (key, time) -> index in `accepted`
        self._conduct = Conduct(self.violation, modes.hasty_s, self.shared_target)
        self._made_up = True
        self._listener: Listener | None = Listener(port, self._receive)
        self.port = self._listener.port

    # For whoever runs it

    @property
    def url(self) -> str:
        """What the config's key `url` takes."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> Self:
        """Begins to answer; after `stop`, on the same port and with all that was accepted."""
        self._stopping.clear()
        if self._listener is None:
            self._listener = Listener(self.port, self._receive)
        self._listener.start()
        return self

    def stop(self) -> None:
        """Closes the port and all connections; clients are refused from here on."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fail(self, *faults: Fault) -> None:
        """Scripts the next answers, one fault a request."""
        with self._lock:
            self._faults.extend(faults)

    def forgive(self) -> None:
        """To be called where the client is restarted, or a person sends refused readings again."""
        with self._lock:
            self._conduct.forgive()

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

    def answer(self, request: Request) -> Reply:
        """The platform's own answer; may raise Refusal."""
        raise NotImplementedError

    def readings(self, request: Request) -> Iterator[tuple[tuple[str, Any], Any]]:
        """((target, stamp), value) of whatever in the request looks like a reading, as sent."""
        raise NotImplementedError

    def finished(self, request: Request, at: float) -> None:
        """Called when the answer leaves (s, monotonic)."""

    def is_refusal(self, reply: Reply) -> bool:
        """Whether a 4xx, if it is no matter of credentials, path or load, is about the readings themselves."""
        return True

    # For a platform's use

    def violation(self, statement: int, text: str) -> None:
        """Records a breach of a statement."""
        self.violations.append(Violation(statement, text))

    def document(self, request: Request) -> Any:
        """The JSON body.  Raises ValueError, and records the breach, where it is not strict."""
        try:
            return _strict_json.parse(request.body)
        except ValueError as error:
            self.violation(1, f"body: {error}")
            raise

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

    # One request

    def _receive(self, request: Request, is_gone: Callable[[], bool]) -> tuple[bytes, bool]:
        """The bytes to send back, and whether the connection ends with them."""
        with self._lock:
            request.arrived = self.modes.monotonic()
            self.requests.append(request)
            del self.requests[:-_KEPT_REQUESTS]
            readings = dict(self.readings(request))
            self._check_secrets(request)
            self._conduct.arrived(Flight(request, frozenset(target for target, _ in readings), is_gone), readings)
            fault = self._faults.popleft() if self._faults else Fault(status=0, store=True)
            own = self._own_reply(request) if fault.store else None
        if fault.delay_s:
            self._stopping.wait(fault.delay_s)
        with self._lock:
            reply = self._dated(fault.reply(own))
            lost = fault.cut or self._stopping.is_set() or is_gone()
            now = self.modes.monotonic()
            # All is written down before the answer leaves: the client may send again the moment it has it.
            seen = Reply(0) if lost else reply
            self._conduct.answered(request, readings, seen, Fate.TRANSIENT if lost else self._fate(reply), now)
            request.status = seen.status
            if fault.cut or not lost:
                self.finished(request, now)
        if lost:
            return reply.encode()[: fault.cut_after if fault.cut else 0], True
        return reply.encode(), False

    def _own_reply(self, request: Request) -> Reply:
        try:
            return self.answer(request)
        except Refusal as refusal:
            return refusal.reply

    def _dated(self, reply: Reply) -> Reply:
        headers = {"Date": formatdate(self.modes.now_ms() / 1000, usegmt=True), **reply.headers}
        return Reply(reply.status, reply.body, headers)

    def _fate(self, reply: Reply) -> Fate:
        if reply.is_html or reply.status in _TRANSIENT or reply.status >= 500:
            return Fate.TRANSIENT
        if reply.status < 300:
            return Fate.SETTLED
        if reply.status < 400 or reply.status in _PARKED or not self.is_refusal(reply):
            return Fate.PARKED
        return Fate.REFUSED

    def _check_secrets(self, request: Request) -> None:
        elsewhere = request.body if self.secret_in == "header" else " ".join(request.headers.values()).encode()
        for secret in self.secrets:
            if len(secret) < _SHORTEST_SECRET:
                continue
            if secret in request.path or secret in request.route or secret in request.query.values():
                self.violation(2, "a secret in the URL")
            if secret.encode() in elsewhere:
                self.violation(2, f"a secret outside the {self.secret_in}")
        if request.query.keys() & {"token", "apikey", "api_key", "access_token"}:
            self.violation(2, "a query parameter for a secret")
