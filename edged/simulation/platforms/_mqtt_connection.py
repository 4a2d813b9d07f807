"""The sockets behind MQTT connections, plain or with TLS."""

import socket
import ssl
from collections.abc import Callable
from threading import Event
from typing import Any

from edged.simulation.platforms._listener import reset
from edged.simulation.platforms._mqtt_session import Answer, Conversation

_LOOK_S = 0.05  # how often it looks, where nothing comes, whether the connection is over or its time is up
_PATIENCE_S = 10.0  # for a handshake, and for a client that does not read what it is sent
_HANDSHAKE = 0x16  # the first byte that a client of TLS sends (RFC 8446, section 5.1)


class NoTls(Exception):
    """A client that began without TLS; `args` holds its first bytes."""


def serve(
    connection: socket.socket,
    tls: ssl.SSLContext | None,
    converse: Callable[[], Conversation],
    stopping: Event,
) -> None:
    """One connection.  Raises NoTls, and OSError for a failed handshake."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    secure = _secured(connection, tls) if tls is not None else connection
    conversation = converse()
    try:
        _talk(secure, conversation, stopping)
    except OSError as error:
        conversation.end(f"lost: {error.strerror or error}")
    if conversation.fault.reset:
        reset(connection)
    if secure is not connection:
        secure.close()


def _secured(connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
    """TLS over a duplicate, so that the listener's own socket still ends the connection."""
    connection.settimeout(_PATIENCE_S)
    first = connection.recv(16, socket.MSG_PEEK)
    if first and first[0] != _HANDSHAKE:
        raise NoTls(first)
    return tls.wrap_socket(connection.dup(), server_side=True)


def _talk(connection: socket.socket, conversation: Conversation, stopping: Event) -> None:
    connection.settimeout(_LOOK_S)
    while not conversation.over:
        try:
            data = connection.recv(65536)
        except TimeoutError:
            conversation.check_time()
            continue
        if not data:
            conversation.end("stopped" if stopping.is_set() else "closed by the client")
        for answer in conversation.feed(data):
            _send(connection, answer, stopping)


def _send(connection: Any, answer: Answer, stopping: Event) -> None:
    if answer.delay_s:
        stopping.wait(answer.delay_s)
    connection.settimeout(_PATIENCE_S)
    connection.sendall(answer.data)
    connection.settimeout(_LOOK_S)
