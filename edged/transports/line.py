"""A broker's connection as paho uses it, with what paho does not tell of it."""

import socket
import ssl

from edged.transports.dial import plain

_LARGEST = 1024  # bytes of a packet from the broker; we subscribe to nothing, so each has a few


class Line:
    """Passes all on, and notes how the connection ended and what was sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.fault = ""  # how it ended
        self.is_closed = False  # by the other end, in order
        self.sent = 0  # bytes
        self._socket = sock
        self._head = b""  # the first packet: it is or begins a CONNACK

    @property
    def refusal(self) -> int:
        """The return code of a CONNACK that is a refusal; 0: there was none."""
        return self._head[3] if len(self._head) == 4 and self._head.startswith(b"\x20\x02") else 0

    def recv(self, size: int) -> bytes:
        """As of a socket."""
        if size > _LARGEST:
            self.fault = f"a packet of {size} bytes, which nobody has asked for"
            raise ConnectionAbortedError(self.fault)
        try:
            received = self._socket.recv(size)
            # Else the broker's kernel (Nagle) holds the other PUBACKs back until ours confirms the first, 40 ms later:
            # an exchange of ten messages took 44 ms on loopback, and takes 4.  It has to be said anew each time.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError as error:
            self._note(error)
            raise
        if not received:
            self.is_closed = True
            self.fault = self.fault or "the broker closed it"
        self._head += received[: 4 - len(self._head)]
        return received

    def send(self, data: bytes | bytearray) -> int:
        """As of a socket."""
        try:
            sent = self._socket.send(data)
        except OSError as error:
            self._note(error)
            raise
        self.sent += sent
        return sent

    def _note(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError):
            self.fault = self.fault or plain(error)

    def pending(self) -> int:
        """Bytes that TLS has read already."""
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0

    def fileno(self) -> int:
        """As of a socket."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self._socket.setblocking(flag)

    def close(self) -> None:
        """As of a socket."""
        self._socket.close()
