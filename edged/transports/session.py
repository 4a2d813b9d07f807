"""One connection to an MQTT broker, from its first byte to its last; paho speaks MQTT 3.1.1 on it.

paho alone would keep what was not confirmed in memory and send it again by itself, beside our own sending again from
the store.  So a client lives for one connection; the next one knows nothing of it.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edged.errors import NoAnswer
from edged.transports.broker import Broker, Message, Refused, refusal
from edged.transports.dial import dial
from edged.transports.line import Line
from edged.transports.tls import context

log = logging.getLogger(__name__)

_LOOKS = 6  # so often in a keepalive time it is seen whether that is over


class Session:
    """A connection and what has come of it.

    A thread of its own does all that touches the connection, since TLS does not bear two: it connects, reads, writes,
    pings and closes.  Other threads leave messages with paho, and wait for what is noted of them; nothing is published
    from within paho's callbacks.  What goes wrong in that thread ends this session, and no other.
    """

    def __init__(self, broker: Broker, deadline: float) -> None:
        """`deadline` is for connecting; monotonic."""
        self.trouble: NoAnswer | None = None  # why it cannot be used any more
        self.ended_in_order = False  # by the broker, that is: closed, not reset
        self._broker = broker
        self._deadline = deadline
        self._changed = threading.Condition()
        self._in_use = threading.Lock()  # paho, by other threads; it is not closed under their hands
        self._refused: Refused | None = None
        self._accepted_at: float | None = None
        self._ended_at: float | None = None
        self._closed = False
        self._confirmed: set[int] = set()  # paho's numbers
        self._told: set[Message] = set()  # of what is said once
        self._socket: socket.socket | None = None
        self._line: Line | None = None
        self._login = 0  # bytes sent until the CONNACK
        self._parting = ""  # paho's word for the end
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._run, name=f"mqtt {broker.client_id}", daemon=True)

    def _new_client(self) -> "_Client":
        client = _Client(self._broker.client_id, self._dial)
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if self._broker.presence:
            will = self._broker.presence.farewell
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.max_inflight_messages_set(self._broker.max_inflight)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_register_write = _leave_it  # else paho would write from the thread that publishes
        return client

    # --- for other threads

    @property
    def lasted_s(self) -> float:
        """Seconds from the CONNACK to its end."""
        if self._accepted_at is None:
            return 0.0
        return (self._ended_at or time.monotonic()) - self._accepted_at

    @property
    def has_published(self) -> bool:
        """Whether anything went out after the CONNACK."""
        return self._accepted_at is not None and self._line is not None and self._line.sent > self._login

    def open(self) -> Refused | None:
        """Connects and logs in.  Returns the broker's refusal, if it refuses.  Raises NoAnswer."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._closed = True
            self.end(NoAnswer(f"no connection: {error}"))
        self._wait(lambda: self._accepted_at is not None, self._deadline)
        if self._accepted_at is None and self._refused is None:
            self.end(NoAnswer(f"{self._broker.host}: the broker does not answer in time", timed_out=True))
            assert self.trouble is not None
            raise self.trouble
        return self._refused

    def publish(self, messages: Sequence[Message], deadline: float) -> tuple[bool, ...]:
        """Publishes in order, at most the window at once; which were confirmed by the deadline or the end."""
        numbers: list[int] = []  # paho's, from 1; 0: of a message that has been said
        on_the_way: set[int] = set()
        for message in messages:
            if message.once and message in self._told:
                numbers.append(0)
                continue
            if not self._wait(lambda: len(on_the_way - self._confirmed) < self._broker.max_inflight, deadline):
                break
            with self._in_use:
                if self._closed:
                    break
                sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
            numbers.append(sent.mid)
            on_the_way.add(sent.mid)
        self._wait(lambda: on_the_way <= self._confirmed, deadline)
        with self._changed:
            done = [number == 0 or number in self._confirmed for number in numbers]
            self._confirmed.clear()
        done += [False] * (len(messages) - len(done))
        self._told.update(message for message, is_done in zip(messages, done, strict=True) if message.once and is_done)
        return tuple(done)

    def ends_by(self, deadline: float) -> bool:
        """Waits; whether it has ended by then."""
        self._wait(lambda: False, deadline)
        return self.trouble is not None

    def end(self, trouble: NoAnswer) -> None:
        """Cuts the connection, without a word to the broker."""
        with self._changed:
            if self.trouble is None:
                self.trouble = trouble
                self._ended_at = time.monotonic()
            self._changed.notify_all()
        try:
            # Both ways, so that the thread wakes; not TLS's own shutdown, after which a write goes out in plain.
            if self._socket is not None:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return  # closed already

    def disconnect(self) -> None:
        """Takes leave of the broker, which then forgets the last will."""
        with self._in_use:
            if not self._closed:
                self._client.disconnect()

    def wait_until_closed(self, deadline: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Whether its thread has let go of everything by then; `unless` ends the waiting, at the next `end`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or unless(), max(0.0, deadline - time.monotonic()))
            return self._closed

    def _wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Whether the condition comes true before the deadline and the session's end."""
        with self._changed:
            self._changed.wait_for(lambda: self.trouble or condition(), max(0.0, deadline - time.monotonic()))
            return self.trouble is None and condition()

    # --- in its own thread

    def _run(self) -> None:
        client, broker = self._client, self._broker
        try:
            if not broker.host:
                raise NoAnswer("there is no host")
            client.connect(broker.host, broker.port, broker.keepalive_s)
            while client.loop(broker.keepalive_s / _LOOKS) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                continue
            self._note_end()
        except NoAnswer as error:
            self.end(error)
        except Exception as error:
            log.exception("%s: a bug ends the connection; please report it", broker.host)
            self.end(NoAnswer(f"{broker.host}: a bug ended the connection ({type(error).__name__})"))
        finally:
            with self._in_use:
                client.release()
                self._closed = True
            with self._changed:
                self._changed.notify_all()

    def _dial(self) -> Line:
        broker = self._broker
        try:
            tls = context(broker.ca_file, broker.cert_file, broker.key_file) if broker.tls else None
        except OSError as error:
            raise NoAnswer(str(error), unusable=True) from error
        self._line = Line(dial(broker.host, broker.port, tls, self._deadline, self._show))
        return self._line

    def _show(self, sock: socket.socket) -> None:
        """Makes the socket known to `end`."""
        self._socket = sock
        if self.trouble:
            raise self.trouble

    def _note_end(self) -> None:
        line = self._line
        assert line is not None
        with self._changed:
            if self.trouble is None:
                self.ended_in_order = line.is_closed
                if self._accepted_at is None and line.refusal:
                    self._refused = refusal(line.refusal)
        self.end(NoAnswer(f"{self._broker.host}: the connection ended: {line.fault or self._parting}"))

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if not reason.is_failure and self._line is not None:
                self._login = self._line.sent
                self._accepted_at = time.monotonic()
            self._changed.notify_all()

    def _on_publish(self, client: Any, userdata: Any, number: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._confirmed.add(number)
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._parting = str(reason)


def _leave_it(client: Any, userdata: Any, sock: Any) -> None:
    """Leaves what is to be written to the session's thread, which wakes of it."""


class _Client(Client):
    """paho's client with a socket of ours: it would ask for a proxy, and has no deadline for all of its connecting."""

    def __init__(self, client_id: str, dial: Callable[[], Line]) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, clean_session=True, reconnect_on_failure=False)
        self._dial = dial

    def _create_socket(self) -> Any:
        return self._dial()

    def release(self) -> None:
        """Closes all that is open, at once; paho leaves it to the garbage collector."""
        self._reset_sockets()
