"""What goes in and out of a stand-in over MQTT, what it remembers of it, and how it can be made to fail."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edged.simulation.platforms._mqtt_packets import Connect, Publish
from edged.simulation.platforms._stand_in import Modes

CERTIFICATE = Path(__file__).with_name("loopback.pem")
KEY = Path(__file__).with_name("loopback.key.pem")

Stage = Literal["never", "connect", "connack", "publish"]


@dataclass
class MqttModes(Modes):
    """What can be switched on any stand-in over MQTT, at its opening and (but for the certificate) later."""

    connack: int = 0  # a code that every CONNECT is refused with (1 to 5, or one that does not exist); 0: none
    bad_login: Literal[4, 5] = 4  # the code for an unknown user or a wrong password
    withhold: float = 0  # how many of the confirmations to come are not sent; `math.inf`: all, until it is set to 0
    withheld: Literal["PUBREC", "PUBCOMP"] = "PUBREC"  # which of QoS 2's that concerns; of QoS 1's it is PUBACK
    window: int | None = None  # more unacknowledged PUBLISH than this end the connection
    deaf: bool = False  # all packets are read and dropped, without a word
    delay_s: float = 0.0  # before each answer
    certificate: Path = CERTIFICATE  # of the server, where it speaks TLS; also what the table to paste calls `ca_file`
    key: Path = KEY


@dataclass(frozen=True)
class ConnectionFault:
    """What is wrong with one connection, from its beginning to its end."""

    connack: int = 0  # refused with this code
    delay_s: float = 0.0  # before the CONNACK
    cut: Stage = "never"  # upon CONNECT, behind the CONNACK, or upon a PUBLISH the connection ends
    deaf: Stage = "never"  # from then on packets are read and dropped, without a word
    nth: int = 1  # which PUBLISH that is
    cut_sent: int | None = None  # it ends when so many bytes have been sent
    cut_received: int | None = None  # it ends when so many bytes have come
    reset: bool = False  # it ends with RST instead of FIN
    withhold: bool = False  # nothing is confirmed


@dataclass(frozen=True)
class Message:
    """A message as it was taken; one that came twice is there twice."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool
    again: bool = False  # marked as sent before (DUP)
    will: bool = False  # a client's last one

    @classmethod
    def of(cls, packet: Publish) -> "Message":
        """What a PUBLISH carries."""
        return cls(packet.topic, packet.payload, packet.qos, packet.retain, packet.dup)


@dataclass
class Connection:
    """A connection as it went."""

    began: float  # s, monotonic
    connect: Connect | None = None
    code: int | None = None  # of the CONNACK
    publishes: int = 0
    confirmed: int = 0  # with QoS 0: taken
    window: int = 0  # the most PUBLISH that were unacknowledged at once
    received: int = 0  # bytes
    sent: int = 0  # bytes
    ended: str = ""  # why; empty while it lasts
