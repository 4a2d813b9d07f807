"""What platforms over MQTT have in common: their transport, and what a confirmation or a refusal means."""

from collections.abc import Sequence

from edged.outcome import Delivered, Outcome, Parked, Transient
from edged.platforms import Item, Platform, Transport, Wire
from edged.transports.mqtt import Broker, Confirmed, Message, MqttTransport, Refused

_NOT_NOW = 3  # CONNACK: server unavailable (MQTT 3.1.1, table 3.1); all other codes wait for a person


class MqttPlatform(Platform):
    """A platform that is reached through a broker; each reading is a message with a confirmation of its own."""

    def broker(self, wire: Wire) -> Broker:
        """Where to connect, and as whom.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))

    def encode(self, items: Sequence[Item]) -> tuple[Message, ...]:
        """A message an item.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))

    def connect(self, wire: Wire) -> Transport:
        """One connection to the broker."""
        return MqttTransport(self.broker(wire), wire.timeout_s)

    def judge(self, reply: Confirmed | Refused, items: Sequence[Item]) -> list[Outcome]:
        """Delivered is what the broker has confirmed, and nothing else."""
        if isinstance(reply, Confirmed):
            missing = Transient("the broker did not confirm all messages")
            return [Delivered() if confirmed else missing for confirmed in reply.messages]
        said = f"the broker refused the connection: {reply.text}"
        outcome = Transient(said) if reply.code == _NOT_NOW else Parked(f"{said}; check client_id, username, password")
        return [outcome] * len(items)
