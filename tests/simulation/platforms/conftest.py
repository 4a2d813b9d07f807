"""A client without opinions, and clocks that tests turn by hand."""

import http.client
import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from edged.simulation.platforms import open_stand_in
from tests.simulation.platforms.wire import Wire

NOW_MS = 1_709_647_650_250  # 2024-03-05T14:07:30.250Z


@dataclass
class Clock:
    """Monotonic seconds and UTC milliseconds, advanced together."""

    seconds: float = 1000.0

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return NOW_MS + round((self.seconds - 1000.0) * 1000)


@dataclass
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Sends what it is told, on one connection."""

    def __init__(self, stand_in: Any, path: str, headers: dict[str, str]) -> None:
        self.stand_in = stand_in
        self.path = path
        self.headers = {"Content-Type": "application/json", **headers}
        self.connection = http.client.HTTPConnection("127.0.0.1", stand_in.port, timeout=10)

    def send(
        self,
        document: Any = None,
        *,
        raw: bytes | None = None,
        path: str | None = None,
        method: str = "POST",
        headers: dict[str, Any] | None = None,
    ) -> Answer:
        body = raw if raw is not None else json.dumps(document).encode()
        named = {k: v for k, v in {**self.headers, **(headers or {})}.items() if v is not None}
        self.connection.request(method, path or self.path, body, named)
        response = self.connection.getresponse()
        return Answer(response.status, response.read(), response.headers)

    def cut(self, document: Any) -> None:
        """Sends what will get no whole answer."""
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            self.send(document)
        self.connection.close()

    @property
    def violations(self) -> list[int]:
        """The numbers of the statements broken so far."""
        return [violation.statement for violation in self.stand_in.snapshot()[1]]

    @property
    def accepted(self) -> list[Any]:
        return [(reading.target, reading.time_ms, reading.value) for reading in self.stand_in.snapshot()[0]]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(clock):
    """Opens clients: `client(platform, path, headers, **modes)` starts a stand-in of its own."""
    with ExitStack() as stack:

        def connect(platform, path, headers, **modes):
            modes = {"now_ms": clock.now_ms, "monotonic": clock.monotonic, "hasty_s": 0, **modes}
            stand_in = stack.enter_context(open_stand_in(platform, **modes))
            made = Client(stand_in, path, headers)
            stack.callback(made.connection.close)
            return made

        yield connect


@pytest.fixture
def broker(clock):
    """Starts brokers: `broker(platform, **modes)`."""
    with ExitStack() as stack:

        def start(platform, **modes):
            modes = {"now_ms": clock.now_ms, "monotonic": clock.monotonic, "hasty_s": 0, **modes}
            return stack.enter_context(open_stand_in(platform, **modes))

        yield start


@pytest.fixture
def wire():
    """Opens connections to brokers: `wire(stand_in)`."""
    with ExitStack() as stack:

        def connect(stand_in):
            made = Wire(stand_in, tls=stand_in.url.startswith("mqtts:"))
            stack.callback(made.close)
            return made

        yield connect
