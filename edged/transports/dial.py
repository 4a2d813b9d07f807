"""Opens a connection, plain or over TLS, by a deadline."""

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from edged.errors import NoAnswer
from edged.transports.tls import NOT_YET_VALID, hint


def dial(
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    deadline: float,
    shown: Callable[[socket.socket], None] = lambda sock: None,
) -> socket.socket:
    """A connected socket, with TLS one whose other end has proved to be `host`.  Raises NoAnswer.

    `deadline` is monotonic; the time until then is shared out among the host's addresses, so that one that swallows
    everything does not hide the next.  `shown` gets each socket before anything is done with it, so that another
    thread can shut it down; the NoAnswer that it raises ends the attempt.
    """
    found = _addresses(host, port, deadline)
    for left in range(len(found), 0, -1):
        family, kind, protocol, _, address = found[-left]
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, protocol)
            shown(sock)
            sock.settimeout(max(0.001, (deadline - time.monotonic()) / left))
            sock.connect(address)
            if tls is None:
                return sock
            secure = tls.wrap_socket(sock, server_hostname=host.rstrip("."), do_handshake_on_connect=False)
            sock = secure  # which has taken the other's place
            shown(sock)
            secure.do_handshake()
            return sock
        except (NoAnswer, OSError, ValueError) as error:
            if sock is not None:
                sock.close()
            if isinstance(error, NoAnswer):
                raise
            if time.monotonic() >= deadline:
                raise _late(host) from error
            if left == 1:
                raise _no_answer(host, error) from error
    raise NoAnswer(f"{host}: it has no address")


def _addresses(host: str, port: int, deadline: float) -> list[Any]:
    """What the host's name stands for, as `socket.getaddrinfo` tells it.

    A name is asked for by a thread of its own, since nothing ends a resolver that waits for its server.
    """
    told: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            told.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:  # ValueError: a name that can be none
            told.put(error)

    try:
        if _is_address(host):
            ask()
        else:
            threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
        found = told.get(timeout=max(0.001, deadline - time.monotonic()))
    except RuntimeError as error:
        raise NoAnswer(f"{host}: no thread to look it up: {error}") from error
    except queue.Empty:
        raise NoAnswer(f"{host}: its name was not resolved in time", timed_out=True) from None
    if isinstance(found, Exception):
        raise NoAnswer(f"{host}: {plain(found)}") from found
    return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _late(host: str) -> NoAnswer:
    return NoAnswer(f"{host}: no connection in time", timed_out=True)


def _no_answer(host: str, error: Exception) -> NoAnswer:
    if isinstance(error, TimeoutError):
        return _late(host)
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"its certificate cannot be trusted: {error.verify_message.rstrip('.')}{hint(error)}"
        return NoAnswer(f"{host}: {what}", premature=error.verify_code == NOT_YET_VALID)
    return NoAnswer(f"{host}: {plain(error)}")


def plain(error: Exception) -> str:
    """The error in words, without numbers and places in OpenSSL's source."""
    if isinstance(error, ssl.SSLError):
        return "TLS: " + re.sub(r"^\[[^]]*\] | ?\(_ssl\.c:\d+\)", "", str(error)) + hint(error)
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
