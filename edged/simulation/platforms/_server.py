"""The way in of the stand-ins over HTTP: a server on this machine that fails on demand, and what clients owe it."""

from collections import deque
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from typing import Any, ClassVar, Literal

from edged.simulation.platforms import _strict_json
from edged.simulation.platforms._conduct import Conduct, Fate, Flight
from edged.simulation.platforms._http_connection import HttpConnection, Outgoing
from edged.simulation.platforms._listener import Listener
from edged.simulation.platforms._pauses import Pauses
from edged.simulation.platforms._records import Fault, Refusal, Reply, Request
from edged.simulation.platforms._stand_in import Modes, StandIn

_KEPT_REQUESTS = 10_000
_SINGLE = ("Host", "Authorization", "Content-Type", "Content-Length", "User-Agent")  # no header may come twice
_LONGEST_REASON = 200  # characters
_PARKED = {401, 403, 404, 405, 406, 415}
_TRANSIENT = {408, 425, 429}


class HttpStandIn(StandIn):
    """A stand-in over HTTP; a platform adds `answer`, `readings`, `admit` and `example`."""

    path: ClassVar[str] = ""  # what the config's `url` has behind host and port
    secret_in: ClassVar[Literal["header", "body"]] = "header"
    shared_target: ClassVar[int | None] = None  # the statement against overlapping requests for one target
    pace_s: ClassVar[float] = 0.0  # what a client pauses in any case, if its config says nothing else
    modes: Modes

    def __init__(self, port: int, modes: Modes) -> None:
        super().__init__()
        self.modes = modes
        self.requests: list[Request] = []  # the last 10,000
        self._faults: deque[Fault] = deque()
        self._pauses = Pauses(modes.hasty_s, self.pace_s)
        self._conduct = Conduct(self.violation, self._pauses, self.shared_target)
        self._bind(port)

    # For whoever runs it

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def address(self) -> str:
        return f'url = "{self.url}"'

    def fail(self, *faults: Fault) -> None:
        """Scripts the next answers, one fault a request."""
        with self._lock:
            self._faults.extend(faults)

    def forgive(self) -> None:
        with self._lock:
            self._conduct.forgive()

    # What a platform adds

    def answer(self, request: Request) -> Reply:
        """The platform's own answer; may raise Refusal."""
        raise NotImplementedError

    def readings(self, request: Request) -> Iterator[tuple[tuple[str, Any], Any]]:
        """((target, stamp), value) of whatever in the request looks like a reading, as sent."""
        raise NotImplementedError

    def finished(self, request: Request, at: float) -> None:
        """Called when the answer leaves (s, monotonic)."""

    def secret_headers(self) -> set[str]:
        """The headers that a secret may stand in, in lower case."""
        return {"authorization"} if self.secret_in == "header" else set()

    def is_refusal(self, reply: Reply) -> bool:
        """Whether a 4xx, if it is no matter of credentials, path or load, is about the readings themselves."""
        return True

    # For a platform's use

    def paced(self, pause_s: float | None) -> None:
        """Takes what a config says of a client's pauses; None: nothing."""
        if pause_s is not None:
            self._pauses.pace_s = pause_s

    def document(self, request: Request) -> Any:
        """The JSON body.  Raises ValueError, and records the breach, where it is not strict."""
        try:
            return _strict_json.parse(request.body)
        except ValueError as error:
            self.violation(1, f"body: {error}")
            raise

    # One request

    def _listen(self, port: int) -> Listener:
        return Listener(port, partial(HttpConnection, self._receive))

    def _receive(self, request: Request, is_gone: Callable[[], bool]) -> Outgoing:
        with self._lock:
            request.arrived = self.modes.monotonic()
            self.requests.append(request)
            del self.requests[:-_KEPT_REQUESTS]
            readings = dict(self.readings(request))
            self._check_headers(request)
            self._check_secrets(request)
            self._conduct.arrived(Flight(request, frozenset(target for target, _ in readings), is_gone), readings)
            fault = self._fault(request)
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
            if seen.status >= 300:
                reason = " ".join(reply.body.decode(errors="replace").split())[:_LONGEST_REASON]
                self.refused(f"{reply.status} {request.method} {request.route}: {reason}".removesuffix(": "))
            if fault.cut or not lost:
                self.finished(request, now)
        if lost:
            return Outgoing(reply.encode()[: fault.cut_after if fault.cut else 0], ends=True, resets=fault.reset)
        return Outgoing(reply.encode(), pause_s=fault.trickle_s)

    def _fault(self, request: Request) -> Fault:
        if self.modes.poison and self.modes.poison in request.body:
            return Fault(cut=True)
        return self._faults.popleft() if self._faults else Fault(status=0, store=True)

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

    def _check_headers(self, request: Request) -> None:
        for name in _SINGLE:
            if (count := len(request.headers.get_all(name, []))) > 1:
                self.violation(0, f"{count} headers {name}")

    def _check_secrets(self, request: Request) -> None:
        if any(self.leaks(text.encode()) for text in (request.path, request.route, *request.query.values())):
            self.violation(2, "a secret in the URL")
        allowed = self.secret_headers()
        headers = [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in allowed]
        if self.leaks("\n".join(headers).encode()) or (self.secret_in == "header" and self.leaks(request.body)):
            self.violation(2, f"a secret outside the {self.secret_in}" + (f" {', '.join(allowed)}" if allowed else ""))
        if request.query.keys() & {"token", "apikey", "api_key", "access_token"}:
            self.violation(2, "a query parameter for a secret")
