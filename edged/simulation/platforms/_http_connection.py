"""HTTP/1.1 with keep-alive, as the stand-ins speak it."""

import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from edged.simulation.platforms._listener import reset
from edged.simulation.platforms._records import Reply, Request


class Outgoing(NamedTuple):
    """What goes back to a client."""

    answer: bytes
    ends: bool = False  # the connection, with the answer
    resets: bool = False  # with RST instead of FIN
    pause_s: float = 0.0  # before each byte


Receive = Callable[[Request, Callable[[], bool]], Outgoing]

_LARGEST_BODY = 16 * 1024 * 1024  # bytes; more is not even read


class HttpConnection(BaseHTTPRequestHandler):
    """A connection.

    `receive` gets each request, with a way to ask whether its client is gone, and returns what goes back.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, receive: Receive, *connection: Any) -> None:
        self._receive = receive
        super().__init__(*connection)

    def handle(self) -> None:
        """Takes requests until one of the two has enough."""
        try:
            super().handle()
        except ConnectionError:  # the client went away in the middle, as clients do
            self.close_connection = True

    def take(self) -> None:
        """One request: read, answered, and the connection kept or closed."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            self.wfile.write(Reply(411, headers={"Connection": "close"}).encode())
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        request = Request(self.command, self.path, self.headers, body, arrived=0.0)
        outgoing = self._receive(request, self._is_gone)
        if outgoing.pause_s:
            for byte in outgoing.answer:
                time.sleep(outgoing.pause_s)
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(outgoing.answer)
        self.close_connection |= outgoing.ends
        if outgoing.resets:
            reset(self.connection)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = take  # noqa: N815 (http.server's names)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what arrives is kept in `requests`."""

    def _is_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
