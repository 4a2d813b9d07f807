"""What platforms over MQTT have in common: their transport, and what a confirmation or a refusal means."""

from collections.abc import Sequence

from edged.outcome import Delivered, Outcome, Parked, Transient
from edged.platforms import Item, Platform, Transport, Wire
from edged.transports.broker import Answer, Broker, Confirmed, Message, TakenOver
from edged.transports.mqtt import MqttTransport

_NOT_NOW = 3  # CONNACK: server unavailable (MQTT 3.1.1, table 3.1); all other codes wait for a person
LOSSY = "with QoS 0 nothing is confirmed: readings that are lost on the way stay lost"


class MqttPlatform(Platform):
    """A platform that is reached through a broker; each reading is a message with a confirmation of its own."""

    takes_proxy = False

    def broker(self, wire: Wire) -> Broker:
        """Where to connect, and as whom.  Raises SecretUnreadable."""
        raise NotImplementedError(type(self))

    def encode(self, items: Sequence[Item]) -> tuple[Message, ...]:
        """A message an item, last and in their order; what is to be known before them goes in front.

        Raises SecretUnreadable.
        """
        raise NotImplementedError(type(self))

    def connect(self, wire: Wire) -> Transport:
        """One connection to the broker."""
        return MqttTransport(self.broker(wire), wire.timeout_s)

    def probe(self, items: Sequence[Item]) -> tuple[Message, ...]:
        """No message: the transport connects and logs in, and no more can be asked of a broker."""
        return ()

    def judge(self, reply: Answer, items: Sequence[Item]) -> list[Outcome]:
        """Delivered is what the broker has confirmed, and nothing else."""
        if isinstance(reply, Confirmed):
            missing = Transient(reply.reason or "the broker did not confirm all messages")
            readings = reply.messages[len(reply.messages) - len(items) :] if reply.messages else [True] * len(items)
            return [Delivered() if confirmed else missing for confirmed in readings]  # a probe was let in, that is all
        if isinstance(reply, TakenOver):
            said = f"another client uses this id: {reply.client_id}; give each board its own client_id"
            return [Parked(said)] * len(items)
        said = f"the broker refused the connection: {reply.text}"
        outcome = Transient(said) if reply.code == _NOT_NOW else Parked(f"{said}; check client_id, username, password")
        return [outcome] * len(items)
