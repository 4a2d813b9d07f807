"""The sockets of a stand-in: a port of this machine, a thread a connection."""

import socket
import struct
from collections.abc import Callable
from socketserver import ThreadingTCPServer
from threading import Condition, Thread
from typing import Any

Handler = Callable[[socket.socket, Any, Any], Any]  # of socketserver: it is done with the connection when it returns


class Listener:
    """A port that is bound at once and answers between `start` and `stop`."""

    def __init__(self, port: int, handler: Handler) -> None:
        self._server = _Server(port, handler)
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


def hang_up(connection: socket.socket) -> None:
    """Ends a connection that another thread may be reading; that thread closes it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was faster
        return


def reset(connection: socket.socket) -> None:
    """Closes a connection with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # on, for 0 s
    connection.close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, handler: Handler) -> None:
        self._connections: set[socket.socket] = set()
        self._changed = Condition()
        super().__init__(("127.0.0.1", port), handler)

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
                hang_up(connection)
            self._changed.wait_for(lambda: not self._connections, timeout=2.0)
