"""An HTTP server of this machine that answers byte by byte as told, a proxy, and what tests ask them with."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from edged.transports.http import HttpTransport, Request

PATIENCE_S = 10.0
Answer = bytes | Callable[[socket.socket], None]


class Server:
    """A thread a connection; each request is answered by what `answers` says next, the last one for ever."""

    def __init__(self, *answers: Answer, certificate=None) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._answers = list(answers)
        self._certificate = certificate
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}/push?x=1"

    def __enter__(self):
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._server.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            if self._stopping.is_set():
                connection.close()
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._certificate is None:
                self._answer_all(connection)
            else:
                made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                made.load_cert_chain(self._certificate.certificate, self._certificate.key)
                with made.wrap_socket(connection, server_side=True) as secure:
                    self._open.append(secure)
                    self._answer_all(secure)

    def _answer_all(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as reader:
            while request := read_request(reader):
                self.requests.append(request)
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    answer(connection)


def read_request(reader: BinaryIO) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (line := reader.readline()):
            return b""
        head += line
    lengths = [int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")]
    return head + reader.read(sum(lengths))


def reply(status: int = 200, body: bytes = b"{}", *headers: str, length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks: bytes, status: int = 200) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return reply(status, body + b"0\r\n\r\n", "Transfer-Encoding: chunked", length=False)


def drip(*pieces: bytes, pause_s: float = 0.1) -> Callable[[socket.socket], None]:
    """Each piece after a pause, the last one over and over, as long as the client bears it."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        while True:
            time.sleep(pause_s)
            connection.sendall(pieces[-1])

    return answer


def hang(connection: socket.socket) -> None:
    connection.recv(1)  # until the client is gone


def reset_after(sent: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(sent)
        time.sleep(0.02)  # else the reset may overtake what was sent
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        raise ConnectionResetError

    return answer


@contextlib.contextmanager
def closing(timeout_s: float = PATIENCE_S, **options) -> Iterator[HttpTransport]:
    made = HttpTransport(timeout_s, **options)
    yield made
    made.close()


def post(url: str, token: str = "made-up-token") -> Request:
    return Request(url, b'{"a":1}', {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})


@contextlib.contextmanager
def proxy(answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Iterator[str]:
    """The URL of a proxy that answers each CONNECT so, and then passes on what goes to and fro."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client = stack.enter_context(listening.accept()[0])
                    with client.makefile("rb") as reader:
                        host, _, port = read_request(reader).split()[1].decode().partition(":")
                    client.sendall(answer)
                    if b" 200 " not in answer:
                        continue
                    server = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
                    for source, sink in ((client, server), (server, client)):
                        threading.Thread(target=pass_on, args=(source, sink), daemon=True).start()

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        serving.join(10)


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
