"""One connection of an MQTT client, from its first byte to its end: packets in, answers out, no socket.

Source: OASIS standard MQTT 3.1.1; § are its sections.  A message of QoS 2 counts as taken at its PUBREL, so that a
client which trusts a PUBREC alone loses it with the connection.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import NamedTuple, Protocol

from edged.simulation.platforms import _mqtt_packets as packets
from edged.simulation.platforms._mqtt_packets import Connect, Kind, Malformed, Packet, Publish, Short, Subscribe
from edged.simulation.platforms._mqtt_records import Connection, ConnectionFault, Message, MqttModes

_CONNECT_S = 10.0  # the longest that a CONNECT may take to come
_GRACE = 1.5  # keep-alives without a packet end the connection (§3.1.2.10)


@dataclass
class Session:
    """What the server remembers of a client; if it is not clean, also from one connection to the next (§3.1.2.4)."""

    client_id: str
    clean: bool
    conversation: "Conversation | None" = None
    will: packets.Will | None = None
    pending: dict[int, Publish] = field(default_factory=dict)  # QoS 2: not released yet
    received: set[int] = field(default_factory=set)  # those of them whose PUBREC was sent


class Answer(NamedTuple):
    """Bytes to be sent, after a while."""

    data: bytes
    delay_s: float


class Broker(Protocol):
    """What a connection asks of the stand-in that it belongs to."""

    sessions: dict[str, Session]

    @property
    def modes(self) -> MqttModes:
        """How it fails."""

    @property
    def lock(self) -> RLock:
        """Held while anything is looked at or changed."""

    def connecting(self, connect: Connect) -> int:
        """The code of the CONNACK: 0, or why the client is not let in."""

    def topic_fault(self, topic: str) -> str:
        """What is wrong with a topic to publish to; empty: nothing."""

    def take(self, message: Message) -> None:
        """A message that has arrived for good."""

    def subscribing(self, subscribe: Subscribe) -> None:
        """A client wants to hear something, which is always refused."""

    def violation(self, statement: int, text: str) -> None:
        """Records a breach; 0: of the protocol."""

    def has_met(self, client_id: str) -> bool:
        """Whether the client has come before the connection that it has now."""

    def ending(self, connection: Connection) -> None:
        """A connection has come to its end."""


class Conversation:
    """The server's side of a connection; once it is `over`, that has to be closed, with RST where `fault.reset`."""

    def __init__(self, broker: Broker, fault: ConnectionFault, connection: Connection) -> None:
        self.over = False
        self.fault = fault
        self._broker = broker
        self._modes = broker.modes
        self._connection = connection
        self._buffer = bytearray()
        self._heard = connection.began
        self._session: Session | None = None
        self._unacknowledged: dict[int, Publish] = {}
        self._numbers: set[int] = set()  # of its messages

    def feed(self, data: bytes) -> Iterator[Answer]:
        """Takes bytes as they come, and gives the answers one by one."""
        if (limit := self.fault.cut_received) is not None:
            data = data[: max(0, limit - self._connection.received)]
        self._connection.received += len(data)
        self._buffer += data
        self._heard = self._modes.monotonic()
        arrived = packets.take(self._buffer)
        while not self.over:
            with self._broker.lock:
                try:
                    packet = next(arrived, None)
                    if packet is None:
                        break
                    answer = self._answer(packet)
                except Malformed as malformed:
                    self._broker.violation(0, str(malformed))
                    self.end(f"malformed: {malformed}")
                    return
            if answer:
                yield self._limited(answer, isinstance(packet, Connect))
        if limit is not None and self._connection.received >= limit:
            self.end("cut by a fault")

    def check_time(self) -> None:
        """Ends the connection of a client that has been silent for too long."""
        silent_s = self._modes.monotonic() - self._heard
        connect = self._connection.connect
        if self._is_deaf():
            return
        if connect is None and silent_s > _CONNECT_S:
            self.end("no CONNECT")
        elif connect is not None and connect.keepalive_s and silent_s > connect.keepalive_s * _GRACE:
            self.end("silent for one and a half keep-alives")

    def end(self, reason: str) -> None:
        """Ends it, if it has not ended yet; the will, if it is still there, is published."""
        with self._broker.lock:
            if self._connection.ended:
                return
            self._connection.ended = reason
            self.over = True
            if (session := self._session) is not None:
                session.conversation = None
                if session.clean:
                    del self._broker.sessions[session.client_id]
                if (will := session.will) is not None:
                    session.will = None
                    self._broker.take(Message(will.topic, will.payload, will.qos, will.retain, will=True))
            self._broker.ending(self._connection)

    def _limited(self, answer: bytes, is_connack: bool) -> Answer:
        """The answer as far as the fault lets it through."""
        if (limit := self.fault.cut_sent) is not None:
            answer = answer[: max(0, limit - self._connection.sent)]
        self._connection.sent += len(answer)
        if limit is not None and self._connection.sent >= limit:
            self.end("cut by a fault")
        return Answer(answer, self.fault.delay_s if is_connack and self.fault.delay_s else self._modes.delay_s)

    # Packets

    def _answer(self, packet: Packet) -> bytes:
        connection = self._connection
        connection.publishes += isinstance(packet, Publish)
        if self._is_deaf():
            return b""
        if connection.connect is None and not isinstance(packet, Connect):
            raise Malformed("the first packet is no CONNECT (§3.1)")
        match packet:
            case Connect():
                return self._connect(packet)
            case Publish():
                return self._publish(packet)
            case Subscribe():
                self._broker.subscribing(packet)
                return packets.suback(packet.number, bytes([packets.FAILURE]) * len(packet.filters))
            case Short(Kind.PUBREL, number):
                return self._release(number)
            case Short(Kind.UNSUBSCRIBE, number):
                return packets.short(Kind.UNSUBACK, number)
            case Short(Kind.PINGREQ):
                return packets.pingresp()
            case Short(Kind.DISCONNECT):
                if self._session is not None:
                    self._session.will = None  # §3.14.4
                self.end("DISCONNECT")
                return b""
            case Short(kind):
                raise Malformed(f"{kind.name} for nothing that was sent")

    def _is_deaf(self) -> bool:
        return self._modes.deaf or self._reached(self.fault.deaf)

    def _reached(self, stage: str) -> bool:
        match stage:
            case "connect":
                return True
            case "connack":
                return self._session is not None
            case "publish":
                return self._connection.publishes >= self.fault.nth
        return False

    def _connect(self, packet: Connect) -> bytes:
        if self._connection.connect is not None:
            raise Malformed("a second CONNECT (§3.1)")
        self._connection.connect = packet
        if self.fault.cut == "connect":
            self.end("cut by a fault")
            return b""
        code = self._broker.connecting(packet) or self.fault.connack or self._modes.connack
        self._connection.code = code
        if code:
            self.end(f"refused with CONNACK {code}")
            return packets.connack(code)
        present = self._open_session(packet)
        if self.fault.cut == "connack":
            self.end("cut by a fault")
        return packets.connack(0, present)

    def _open_session(self, packet: Connect) -> bool:
        """Whether a session of before goes on (§3.2.2.2).  Another connection of the same client is ended (§3.1.4)."""
        sessions = self._broker.sessions
        client_id = packet.client_id or f"(nameless {id(self)})"
        if (rival := sessions.get(client_id)) is not None and rival.conversation is not None:
            rival.conversation.end("taken over")
        before = None if packet.clean else sessions.get(client_id)
        self._session = before or Session(client_id, packet.clean)
        self._session.conversation = self
        self._session.will = packet.will
        sessions[client_id] = self._session
        return before is not None

    def _publish(self, packet: Publish) -> bytes:
        if self._reached(self.fault.cut) or (self._modes.poison and self._modes.poison in packet.payload):
            self.end("cut by a fault")
            return b""
        if fault := self._broker.topic_fault(packet.topic):
            self.end(f"topic: {fault}")
            return b""
        if packet.qos == 0:
            self._connection.confirmed += 1
            self._broker.take(Message.of(packet))
            return b""
        self._check_identity(packet)
        self._unacknowledged[packet.number] = packet
        self._connection.window = max(self._connection.window, len(self._unacknowledged))
        if self._modes.window is not None and len(self._unacknowledged) > self._modes.window:
            self.end(f"more than {self._modes.window} unacknowledged PUBLISH")
            return b""
        if packet.qos == 1:
            self._broker.take(Message.of(packet))
            return self._confirm(Kind.PUBACK, packet.number)
        assert self._session is not None
        self._session.pending[packet.number] = packet
        answer = self._confirm(Kind.PUBREC, packet.number)
        if answer:
            self._session.received.add(packet.number)
        return answer

    def _check_identity(self, packet: Publish) -> None:
        """54: an identifier that is not free yet belongs to the same message, sent again (§2.3.1, §3.3.1.1)."""
        assert self._session is not None
        before = self._unacknowledged.get(packet.number) or self._session.pending.get(packet.number)
        is_new = packet.number not in self._numbers
        self._numbers.add(packet.number)
        if before is None:
            if packet.dup and is_new and self._is_first():
                self._broker.violation(54, f"packet identifier {packet.number} is new, and DUP is set")
            return
        if not packet.dup:
            self._broker.violation(54, f"packet identifier {packet.number} is taken, and DUP is not set")
        if (before.topic, before.payload, before.qos) != (packet.topic, packet.payload, packet.qos):
            self._broker.violation(54, f"packet identifier {packet.number} came again with another message")

    def _is_first(self) -> bool:
        """Whether nothing can have been sent before: over a connection that broke it may never have arrived."""
        connect = self._connection.connect
        return connect is not None and connect.clean and not self._broker.has_met(connect.client_id)

    def _release(self, number: int) -> bytes:
        """Takes a message of QoS 2; a PUBREL that comes again is answered again (§4.3.3)."""
        assert self._session is not None
        packet = self._session.pending.pop(number, None)
        if packet is not None:
            if number not in self._session.received:
                self._broker.violation(54, f"PUBREL {number} before its PUBREC")
            self._session.received.discard(number)
            self._broker.take(Message.of(packet))
        return self._confirm(Kind.PUBCOMP, number)

    def _confirm(self, kind: Kind, number: int) -> bytes:
        if self.fault.withhold or self._is_withheld(kind):
            return b""
        if kind is not Kind.PUBREC:
            self._connection.confirmed += 1
            self._unacknowledged.pop(number, None)
        return packets.short(kind, number)

    def _is_withheld(self, kind: Kind) -> bool:
        concerned = kind is Kind.PUBACK or kind.name == self._modes.withheld
        if not concerned or self._modes.withhold <= 0:
            return False
        self._modes.withhold -= 1
        return True
