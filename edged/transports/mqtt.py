"""MQTT 3.1.1 exchanges: a few messages published, each confirmed or not.  Knows no platform.

A client lives from its connection to its first trouble; then a new one is made.  paho would keep what was not
confirmed in memory and send it again by itself, beside our own sending again from the store.
"""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edged.errors import NoAnswer
from edged.transports.tls import context

_CONNACK = {132: 1, 133: 2, 136: 3, 134: 4, 135: 5}  # paho gives MQTT 5's reason codes for those of 3.1.1


@dataclass(frozen=True)
class Message:
    """One publish."""

    topic: str
    payload: bytes = field(repr=False)  # may hold credentials
    qos: int = 1


@dataclass(frozen=True)
class Confirmed:
    """Which of the messages were confirmed (PUBACK, PUBCOMP; with QoS 0: written to the connection)."""

    messages: tuple[bool, ...]


@dataclass(frozen=True)
class Refused:
    """The broker refused the connection with this CONNACK code (MQTT 3.1.1, table 3.1)."""

    code: int
    text: str


@dataclass(frozen=True)
class Broker:
    """Where to, and as whom."""

    host: str
    port: int
    client_id: str
    username: str
    password: str = field(repr=False)
    max_inflight: int = 10
    ca_file: Path | None = None


class MqttTransport:
    """One connection to one broker, over TLS."""

    def __init__(self, broker: Broker, timeout_s: float) -> None:
        """`timeout_s` is for a whole exchange: from connecting, where that is needed, to the last confirmation."""
        self._broker = broker
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None

    def exchange(self, messages: tuple[Message, ...]) -> Confirmed | Refused:
        """Publishes the messages in order and waits for their confirmations.  Raises NoAnswer."""
        deadline = time.monotonic() + self._timeout_s
        if self._connection is None or self._connection.trouble:
            self.close()
            try:
                self._connection = _Connection(self._broker)
                refused = self._connection.open(deadline)
            except NoAnswer:
                self.close()
                raise
            except (OSError, ValueError) as error:  # ValueError: a host that is none
                self.close()
                raise NoAnswer(str(error) or type(error).__name__) from error
            if refused:
                self.close()
                return refused
        confirmed = self._connection.publish(messages, deadline)
        if not all(confirmed):
            reason = self._connection.trouble or f"not confirmed within {self._timeout_s:g} s"
            self.close()
            if not any(confirmed):
                raise NoAnswer(reason)
        return Confirmed(confirmed)

    def abort(self) -> None:
        """Ends the exchange under way, from another thread."""
        if (connection := self._connection) is not None:
            connection.fail("stopped")

    def close(self) -> None:
        """Says goodbye to the broker; the next exchange connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection:
    """A paho client from its connection to its end.  Its thread only notes what came; nothing of ours runs in it."""

    def __init__(self, broker: Broker) -> None:
        self.trouble = ""  # why it cannot be used any more
        self._broker = broker
        self._changed = threading.Condition()
        self._connack: Refused | None = None
        self._accepted = False
        self._confirmed: set[int] = set()
        client = self._client = Client(
            CallbackAPIVersion.VERSION2, broker.client_id, clean_session=True, reconnect_on_failure=False
        )
        client.username_pw_set(broker.username, broker.password)
        client.tls_set_context(context(broker.ca_file))
        client.max_inflight_messages_set(broker.max_inflight)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect

    def open(self, deadline: float) -> Refused | None:
        """Connects and logs in.  Returns the broker's refusal, if it refuses.  Raises NoAnswer, OSError."""
        self._client.connect_timeout = max(0.1, deadline - time.monotonic())
        self._client.connect(self._broker.host, self._broker.port, keepalive=60)
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._accepted or self._connack or self.trouble, deadline - time.monotonic())
        if not self._accepted and self._connack is None:
            raise NoAnswer(self.trouble or "connected, but the broker does not answer")
        return self._connack

    def publish(self, messages: tuple[Message, ...], deadline: float) -> tuple[bool, ...]:
        """Publishes in order; which were confirmed by the deadline or the connection's end."""
        sent = [self._client.publish(message.topic, message.payload, message.qos).mid for message in messages]
        with self._changed:
            self._changed.wait_for(
                lambda: self._confirmed.issuperset(sent) or self.trouble, deadline - time.monotonic()
            )
            confirmed = tuple(number in self._confirmed for number in sent)
            self._confirmed.clear()
        return confirmed

    def fail(self, trouble: str) -> None:
        """Notes that the connection is of no use any more."""
        with self._changed:
            self.trouble = self.trouble or trouble
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the connection and its thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self._accepted = not reason.is_failure
            if reason.is_failure:
                self._connack = Refused(_CONNACK.get(reason.value, reason.value), str(reason))
            self._changed.notify_all()

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._confirmed.add(mid)
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.fail(f"the connection ended: {reason}")
