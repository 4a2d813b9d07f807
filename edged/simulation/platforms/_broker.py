"""The way in of the stand-ins over MQTT 3.1.1: a broker on this machine that forwards nothing and fails on demand."""

import socket
import ssl
from collections import defaultdict, deque
from functools import partial
from threading import RLock
from typing import Any, ClassVar

from edged.simulation.platforms import _mqtt_connection
from edged.simulation.platforms._listener import Listener
from edged.simulation.platforms._mqtt_packets import LEVEL, Connect, Subscribe
from edged.simulation.platforms._mqtt_records import Connection, ConnectionFault, Message, MqttModes
from edged.simulation.platforms._mqtt_session import Conversation, Session
from edged.simulation.platforms._pauses import Pauses
from edged.simulation.platforms._stand_in import StandIn

_KEPT = 10_000

# Codes of a CONNACK (MQTT 3.1.1, §3.2.2.3).
_LEVEL_REFUSED, _ID_REFUSED, _NOT_NOW = 1, 2, 3
_LOGIN_REFUSED = (4, 5)


class MqttStandIn(StandIn):
    """A stand-in over MQTT; a platform adds `taken`, `take_identifiers`, `example`, and stricter rules."""

    topic_statement: ClassVar[int] = 0  # the one on topics
    secret_in_payload: ClassVar[bool] = False  # whether messages carry secrets
    modes: MqttModes

    def __init__(self, port: int, modes: MqttModes, tls: bool) -> None:
        super().__init__()
        self.modes = modes
        self.users: dict[str, str] = {}  # with their passwords; empty: anybody may connect
        self.connections: list[Connection] = []  # the last 10,000, those of failed TLS handshakes included
        self.messages: list[Message] = []  # the last 10,000, in the order of arrival
        self.sessions: dict[str, Session] = {}  # by client id
        self._tls = _context(modes) if tls else None
        self._faults: deque[ConnectionFault] = deque()
        self._pauses: defaultdict[str, Pauses] = defaultdict(lambda: Pauses(modes.hasty_s))  # by client id
        self._bind(port)

    # For whoever runs it

    @property
    def url(self) -> str:
        return f"mqtt{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        keys = f'host = "127.0.0.1"\nport = {self.port}'
        return f'{keys}\nca_file = "{self.modes.certificate}"' if self._tls else keys

    def fail(self, *faults: ConnectionFault) -> None:
        """Scripts the next connections, one fault each."""
        with self._lock:
            self._faults.extend(faults)

    def forgive(self) -> None:
        with self._lock:
            self._pauses.clear()

    # What a platform adds

    def taken(self, message: Message) -> None:
        """A message that has arrived for good."""
        raise NotImplementedError

    def client_fault(self, connect: Connect) -> str:
        """What is wrong with a client's identifier, which is then refused; empty: nothing."""
        return "" if connect.client_id or connect.clean else "is empty, for a session that is to be kept"

    # What a connection asks

    @property
    def lock(self) -> RLock:
        """Held while anything is looked at or changed."""
        return self._lock

    def connecting(self, connect: Connect) -> int:
        """The code of the CONNACK: 0, or why the client is not let in."""
        if fault := self._pauses[connect.client_id].attempt(self.modes.monotonic()):
            refused = self._last_code(connect.client_id) in (_ID_REFUSED, *_LOGIN_REFUSED)
            self.violation(49 if refused else 6, f"connections: {fault}")
        if self.leaks(connect.client_id.encode()):
            self.violation(2, "a secret in the client id")
        if (will := connect.will) is not None:
            self._check_secrets(will.topic, will.payload)
        if connect.level != LEVEL:
            self.violation(0, f"protocol level {connect.level}, not {LEVEL} (MQTT 3.1.1)")
            return self._refuse(_LEVEL_REFUSED, f"protocol level {connect.level}")
        if fault := self.client_fault(connect):
            return self._refuse(_ID_REFUSED, f"client id {connect.client_id!r} {fault}")
        given = (connect.password or b"").decode(errors="replace")
        if self.users and self.users.get(connect.username or "") != given:
            return self._refuse(self.modes.bad_login, f"user {connect.username!r} is unknown, or the password is wrong")
        return 0

    def topic_fault(self, topic: str) -> str:
        """What is wrong with a topic to publish to, which is recorded; empty: nothing."""
        if not topic:
            fault = "it is empty"
        elif set(topic) & set("+#"):
            fault = f"{topic!r} holds a wildcard"
        elif topic.startswith("$"):
            fault = f"{topic!r} is the broker's own"
        else:
            return ""
        self.violation(self.topic_statement, f"topic: {fault}")
        return fault

    def take(self, message: Message) -> None:
        """A message that has arrived for good."""
        if not message.will:  # which was looked at when it came
            self._check_secrets(message.topic, message.payload)
        self.messages.append(message)
        del self.messages[:-_KEPT]
        self.taken(message)

    def subscribing(self, subscribe: Subscribe) -> None:
        """A client wants to hear something, which is always refused."""
        self.refused(f"SUBSCRIBE {', '.join(subscribe.filters)}: there is nothing to be heard here")

    def has_met(self, client_id: str) -> bool:
        """Whether the client has come before the connection that it has now."""
        return sum(each.connect is not None and each.connect.client_id == client_id for each in self.connections) > 1

    def ending(self, connection: Connection) -> None:
        """A connection has come to its end."""
        if connection.connect is None:
            return
        pauses = self._pauses[connection.connect.client_id]
        if connection.confirmed:
            pauses.settled()
        elif connection.ended != "DISCONNECT":
            pauses.failed(self.modes.monotonic(), bidden=connection.code not in (None, 0, _NOT_NOW))
        else:
            pauses.left()

    # Connections

    def _listen(self, port: int) -> Listener:
        return Listener(port, self._serve)

    def _serve(self, connection: socket.socket, *_: Any) -> None:
        with self._lock:
            record = Connection(began=self.modes.monotonic())
            self.connections.append(record)
            del self.connections[:-_KEPT]
            fault = self._faults.popleft() if self._faults else ConnectionFault()
        try:
            _mqtt_connection.serve(connection, self._tls, partial(Conversation, self, fault, record), self._stopping)
        except _mqtt_connection.NoTls:
            record.ended = "without TLS"
            with self._lock:
                self.violation(47, "a connection without TLS")
        except OSError as error:
            record.ended = f"no TLS handshake: {error.strerror or error}"

    def _check_secrets(self, topic: str, payload: bytes) -> None:
        if self.leaks(topic.encode()):
            self.violation(2, "a secret in a topic")
        if not self.secret_in_payload and self.leaks(payload):
            self.violation(2, "a secret in a message")

    def _refuse(self, code: int, reason: str) -> int:
        self.refused(f"CONNACK {code}: {reason}")
        return code

    def _last_code(self, client_id: str) -> int | None:
        """How the client's connection before this one was answered."""
        codes = [each.code for each in self.connections if each.connect and each.connect.client_id == client_id]
        return codes[-2] if len(codes) > 1 else None


def _context(modes: MqttModes) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(modes.certificate, modes.key)
    return made
