"""The words of an exchange with an MQTT broker: who it is, what is published, what came of it."""

from dataclasses import dataclass, field
from pathlib import Path

_REFUSALS = {  # MQTT 3.1.1, table 3.1
    1: "it does not speak MQTT 3.1.1",
    2: "the client id is not allowed",
    3: "the server is unavailable",
    4: "bad user name or password",
    5: "not authorised",
}


@dataclass(frozen=True)
class Message:
    """One publish."""

    topic: str
    payload: bytes = field(repr=False)  # may hold credentials
    qos: int = 1
    retain: bool = False
    once: bool = False  # not again on a connection on which it has been confirmed


@dataclass(frozen=True)
class Presence:
    """Says whether the client is there: `online` after connecting, `offline` when it goes, and when it is lost."""

    topic: str
    online: str
    offline: str
    qos: int = 1

    @property
    def greeting(self) -> Message:
        """What is published first on each connection."""
        return Message(self.topic, self.online.encode(), self.qos, retain=True, once=True)

    @property
    def farewell(self) -> Message:
        """What is published last, and is the client's last will."""
        return Message(self.topic, self.offline.encode(), self.qos, retain=True)


@dataclass(frozen=True)
class Broker:
    """Where to, and as whom."""

    host: str
    port: int
    client_id: str
    username: str = ""
    password: str = field(default="", repr=False)
    max_inflight: int = 10
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    tls: bool = True
    presence: Presence | None = None
    keepalive_s: int = 60  # of silence, after which either end asks the other whether it is still there


@dataclass(frozen=True)
class Confirmed:
    """Which of the messages were confirmed (PUBACK, PUBCOMP; with QoS 0: written to the connection)."""

    messages: tuple[bool, ...]
    reason: str = field(default="", compare=False)  # why some were not


@dataclass(frozen=True)
class Refused:
    """The broker refused the connection with this CONNACK code."""

    code: int
    text: str


@dataclass(frozen=True)
class TakenOver:
    """Another client connects under the same id, again and again; the broker then ends the session of the first."""

    client_id: str


def refusal(code: int) -> Refused:
    """The refusal with its meaning in words."""
    return Refused(code, _REFUSALS.get(code, f"code {code}, which MQTT 3.1.1 does not know"))


Answer = Confirmed | Refused | TakenOver
