"""The steps below a request: a host's addresses, a connection, a TLS handshake; each within a limit of time."""

import contextlib
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edged import clock
from edged.errors import NoAnswer
from edged.probing import certificate
from edged.probing.address import Address
from edged.transports.deadline import deadlines
from edged.transports.tls import context

_LONGEST_HEAD = 16_384  # bytes of a proxy's answer


class Trust(NamedTuple):
    """What TLS goes by: the CA's file (None: the system's store), and this side's own certificate and key."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Connected(NamedTuple):
    """A connection, how long it took (ms), and which addresses were tried in vain before."""

    socket: socket.socket
    ip: str
    ms: float
    failed: tuple[str, ...]

    @property
    def told(self) -> str:
        """What is to be said of it."""
        port = self.socket.getpeername()[1]
        return "; ".join([f"{self.ip} port {port}: connected in {self.ms:.0f} ms", *self.failed])


def resolve(host: str, port: int, limit_s: float) -> list[str]:
    """The host's IP addresses, in the order in which they are to be tried.  Raises NoAnswer."""
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()  # it cannot be ended from outside
    try:
        answer = found.get(timeout=limit_s)
    except queue.Empty:
        raise NoAnswer(f"{host}: no name server answers within {limit_s:g} s; check the network") from None
    if isinstance(answer, Exception):
        raise NoAnswer(f"{host}: {_no_address(answer)}") from answer
    return list(dict.fromkeys(str(address[0]) for *_, address in answer))


def _no_address(error: Exception) -> str:
    match getattr(error, "errno", None):
        case socket.EAI_NONAME | socket.EAI_NODATA:
            return "there is no such name; check its spelling, and the network"
        case socket.EAI_AGAIN:
            return "no name server answers; check the network"
        case _:
            return f"it cannot be resolved: {getattr(error, 'strerror', None) or 'it is no host name'}"


def connect(ips: list[str], port: int, limit_s: float) -> Connected:
    """A connection to the first of the addresses that takes one.  Raises NoAnswer."""
    ends = time.monotonic() + limit_s
    failed: list[str] = []
    for number, ip in enumerate(ips):
        began = time.monotonic()
        try:
            share = max(0.1, (ends - began) / (len(ips) - number))
            made = socket.create_connection((ip, port), timeout=share)
        except OSError as error:
            failed.append(f"{ip} port {port}: {_not_connected(error, share)}")
        else:
            return Connected(made, ip, (time.monotonic() - began) * 1000, tuple(failed))
    raise NoAnswer("; ".join(failed))


def _not_connected(error: OSError, waited_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {waited_s:.2g} s; check the port, and firewalls on the way"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections; check the port, and whether the server runs"
    return error.strerror or str(error)


def secure(connection: socket.socket, address: Address, trust: Trust, limit_s: float) -> str:
    """What is to be told of a handshake on the connection, which is closed with it.  Raises NoAnswer."""
    began = time.monotonic()
    try:
        with (
            _cut_after(limit_s, connection),
            context(*trust).wrap_socket(connection, server_hostname=address.host.rstrip(".")) as secured,
        ):
            return certificate.verified(
                secured.getpeercert() or {}, secured.version() or "TLS", trust.ca_file, clock.now_ms()
            )
    except (ssl.SSLError, OSError, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() - began >= limit_s:
            raise NoAnswer(f"no TLS handshake within {limit_s:g} s; check the port") from error
        if isinstance(error, ssl.SSLError):
            raise NoAnswer(certificate.refused(error, address.host, clock.now_ms())) from error
        if isinstance(error, ConnectionError):
            raise NoAnswer("it closed the connection in the TLS handshake; check the port") from error
        raise NoAnswer(str(error)) from error  # ca_file cannot be read; a name that no certificate can have


def tunnel(connection: socket.socket, address: Address, limit_s: float) -> None:
    """Has a proxy connect to the address, so that the connection is one to there.  Raises NoAnswer."""
    target = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    began, answer = time.monotonic(), b""
    try:
        with _cut_after(limit_s, connection):
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            # By the byte, since what follows is TLS's.
            while not answer.endswith(b"\r\n\r\n") and len(answer) < _LONGEST_HEAD and (more := connection.recv(1)):
                answer += more
    except OSError as error:
        if time.monotonic() - began < limit_s:
            raise NoAnswer(f"the proxy does not connect to {target}: {error.strerror or error}") from error
    if time.monotonic() - began >= limit_s:
        raise NoAnswer(f"the proxy does not connect to {target} within {limit_s:g} s")
    status = answer.partition(b"\r\n")[0].decode("latin-1")
    if not re.match(r"HTTP/1\.[01] 2\d\d\b", status):
        said = "".join(character for character in status[:100] if character.isprintable())
        raise NoAnswer(f"the proxy does not connect to {target}: {said or 'it closes the connection'}")


@contextlib.contextmanager
def _cut_after(limit_s: float, connection: socket.socket) -> Iterator[None]:
    """Ends what blocks in the connection after that time, however many bytes come in between."""
    ours = connection.dup()  # TLS takes the socket itself away

    def cut() -> None:
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    connection.settimeout(limit_s)
    try:
        with deadlines.within(limit_s, cut):
            yield
    finally:
        ours.close()
