"""A server that says yes, as fast as Python can: `python -m tests.bench.server PLATFORM [CERTIFICATE KEY]`.

It prints its port, then answers each line on its standard input with one: `count` (readings so far), `report` (each
request: when it had been read, when it was answered, what it held; then forgets them), `close`, `open`.
"""

import contextlib
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

Answer = Callable[[bytes], tuple[bytes, Any]]  # of a body: the answer's, and what of the request is reported


def _bbdata(body: bytes) -> tuple[bytes, int]:
    objects = re.findall(rb'"objectId":\s*(\d+)', body)
    return b'[{"objectId":' + b'},{"objectId":'.join(objects) + b"}]", len(objects)


def _bbdata_times(body: bytes) -> tuple[bytes, list[int]]:
    """The same, with the readings' times, in ms since 1970."""
    stamps = re.findall(rb'"timestamp":\s*"([^"]+)"', body)
    times = [round(datetime.fromisoformat(stamp.decode() + "+00:00").timestamp() * 1000) for stamp in stamps]
    return _bbdata(body)[0], times


def _databoom(body: bytes) -> tuple[bytes, int]:
    return b'{"message":"ALL_INFO_PROCESSED"}', body.count(b'"value":')


def _datacake(body: bytes) -> tuple[bytes, list[str]]:
    return b"{}", [entry["field"] for entry in json.loads(body)]


ANSWERS: dict[str, Answer] = {
    "bbdata": _bbdata,
    "bbdata-times": _bbdata_times,
    "databoom": _databoom,
    "datacake": _datacake,
}


class Server:
    """A thread for each connection; no HTTP but what our own requests need."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None) -> None:
        self.count = 0
        self.requests: list[tuple[float, float, Any]] = []
        self.port = 0
        self._answer = answer
        self._tls = tls
        self._open: list[socket.socket] = []

    def open(self) -> None:
        """Listens, after the first time on the same port."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = listener.getsockname()[1]
        self._open = [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Refuses connections and cuts those that are open."""
        for each in self._open:
            with contextlib.suppress(OSError):  # the other end was faster
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            buffer = bytearray()
            while True:
                while (end := buffer.find(b"\r\n\r\n")) < 0:
                    if not (part := connection.recv(65536)):
                        return
                    buffer += part
                length = re.search(rb"content-length:\s*(\d+)", buffer[:end], re.IGNORECASE)
                whole = end + 4 + (int(length[1]) if length else 0)
                while len(buffer) < whole:
                    buffer += connection.recv(262144)
                received = time.monotonic()
                answer, held = self._answer(bytes(buffer[end + 4 : whole]))
                del buffer[:whole]
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
                connection.sendall(head + answer)
                self.requests.append((received, time.monotonic(), held))
                self.count += held if isinstance(held, int) else len(held)
        except OSError:
            return


def main(platform: str, *certificate: str) -> None:
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    server = Server(ANSWERS[platform], tls)
    server.open()
    print(server.port, flush=True)
    for line in sys.stdin:
        said: Any = None
        match line.strip():
            case "count":
                said = server.count
            case "report":
                said, server.requests = server.requests, []
            case "open":
                server.open()
            case "close":
                server.close()
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
