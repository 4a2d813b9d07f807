"""The sockets of a stand-in: HTTP/1.1 with keep-alive on 127.0.0.1, a thread a connection."""

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

from edged.simulation.platforms._records import Reply, Request

Receive = Callable[[Request, Callable[[], bool]], tuple[bytes, bool]]

_LARGEST_BODY = 16 * 1024 * 1024  # bytes; more is not even read


class Listener:
    """A port that is bound at once and answers between `start` and `stop`.

    `receive` gets each request, with a way to ask whether its client is gone, and returns the bytes of the answer and
    whether the connection ends with them.
    """

    def __init__(self, port: int, receive: Receive) -> None:
        self._server = _Server(port, receive)
        self._thread: Thread | None = None
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Begins to answer; once it does, nothing happens."""
        if self._thread is None:
            # The interval is how long `stop` may take.
            self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="stand-in", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Closes the port and every connection, and waits for their threads."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.disconnect()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, receive: Receive) -> None:
        self.receive = receive
        self._connections: set[socket.socket] = set()
        self._changed = Condition()
        super().__init__(("127.0.0.1", port), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def disconnect(self) -> None:
        """Ends all connections, so that their threads end too."""
        with self._changed:
            for connection in self._connections:
                _shut(connection)
            self._changed.wait_for(lambda: not self._connections, timeout=2.0)


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
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
        answer, ends = self.server.receive(request, self._is_gone)
        self.wfile.write(answer)
        self.close_connection |= ends

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


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was faster
        return
