"""Any MQTT 3.1.1 broker, stood in for.  Source: OASIS standard MQTT 3.1.1.

It takes whatever a client may publish, keeps what is retained, and publishes wills; nobody can subscribe.  What breaks
the protocol is a violation with the number 0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edged.simulation.platforms._broker import MqttStandIn
from edged.simulation.platforms._mqtt_packets import Will
from edged.simulation.platforms._mqtt_records import Message, MqttModes
from edged.simulation.platforms._records import Accepted


@dataclass
class PlainMqttModes(MqttModes):
    """Brokers differ in little else."""

    tls: bool = False  # at its opening


class Mqtt(MqttStandIn):
    """Takes messages; each counts as accepted under its topic, at the time of its arrival, even if it came before."""

    platform = "mqtt"
    modes: PlainMqttModes

    def __init__(self, port: int = 0, **modes: Any) -> None:
        made = PlainMqttModes(**modes)
        super().__init__(port, made, made.tls)
        self.retained: dict[str, bytes] = {}  # by topic

    @property
    def wills(self) -> dict[str, Will]:
        """What would be published for the clients that are connected, if they went without a word."""
        return {name: session.will for name, session in self.sessions.items() if session.will is not None}

    @property
    def address(self) -> str:
        return f"{super().address}\ntls = {str(self.modes.tls).lower()}"

    def forget_identifiers(self) -> None:
        self.users.clear()
        self.secrets.clear()

    def take_identifiers(self, options: Mapping[str, Any], targets: Iterable[Mapping[str, Any]]) -> None:
        if options.get("username"):
            self.users[options["username"]] = options.get("password") or ""
            self.secrets = set(self.users.values())

    def example(self) -> str:
        return f"""\
[destinations.mqtt]
platform = "mqtt"
{self.address}
[destinations.mqtt.series]
"*" = true
"""

    def taken(self, message: Message) -> None:
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)
        self.resends += message.again
        text = message.payload.decode(errors="replace")
        self.accepted.append(Accepted(message.topic, self.modes.now_ms(), text))
