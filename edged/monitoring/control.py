"""The control socket: what a running daemon answers to the commands of this machine.

A Unix stream socket that its owner and group may use.  The daemon greets each connection with a line,
`{"edged": version, "state_dir": path}`, since several daemons may run here.  Then one request is one line of JSON,
`{"do": action, ...}`.  Its answer is lines of JSON: any number of `{"item": value}` and `{"progress": [done, total]}`,
and at last `{"done": value}` or `{"error": "one line"}`.

Each connection has a thread of its own, so that a client that is slow, or hangs, holds nothing but that.
"""

import contextlib
import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edged import __version__
from edged.errors import EdgedError
from edged.monitoring.socketfile import Listener, places
from edged.secret import redact

log = logging.getLogger(__name__)

_MOST = 8  # connections at a time
_REQUEST_S = 5.0  # in which a client has to say what it wants
_SEND_S = 300.0  # in which it has to take what it gets: somebody may be reading in a pager
_LOOK_S = 10.0  # the socket's file is looked after so often: a logout empties $XDG_RUNTIME_DIR
_STOP_S = 0.5
_LONGEST = 65536  # bytes of a request
_CHUNK = 16384  # bytes of items that are sent together


Answer = dict[str, Any]

# Takes the request and returns the answer's value; or is a generator that yields `item` and `progress` before it
# returns that.  Raises EdgedError.  It runs in a thread of its own, beside all else.
Action = Callable[[dict[str, Any]], Any]


def item(value: Any) -> Answer:
    """One of many values of an answer."""
    return {"item": value}


def progress(done: int, total: int) -> Answer:
    """How far long work is."""
    return {"progress": [done, total]}


class Server:
    """The daemon's side.  `start` and `stop` are its life; where there is no place for a socket, it warns and waits."""

    def __init__(self, state_dir: Path, actions: Mapping[str, Action]) -> None:
        """`actions` by the name that a request has under `do`."""
        self._state_dir = state_dir
        self._actions = dict(actions)
        self._lock = threading.Lock()  # of what follows
        self._listener: Listener | None = None
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._stopping = threading.Event()
        self._wake = os.eventfd(0)  # what ends a wait for a connection
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    @property
    def path(self) -> Path | None:
        """Where the socket is; None: nowhere."""
        return self._listener.path if self._listener else None

    # --- life

    def start(self) -> None:
        """Begins to answer.  Raises nothing."""
        self._look_after()
        self._thread.start()

    def stop(self) -> None:
        """Ends all connections and takes the socket away; within a second."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
            if self._listener:
                self._listener.remove()
            os.eventfd_write(self._wake, 1)
            connections = dict(self._connections)
        for connection in connections:
            _shut(connection)
        deadline = time.monotonic() + _STOP_S
        for thread in (self._thread, *connections.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- its thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look_after()
            listener = self._listener
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            if listener:
                poll.register(listener.socket, select.POLLIN)
            if not poll.poll(_LOOK_S * 1000) or listener is None:
                continue
            try:
                connection, _ = listener.socket.accept()
            except BlockingIOError:  # the end, or who came is gone again
                continue
            except OSError as error:  # no descriptor is left
                log.debug("control socket: %s", error)
                self._stopping.wait(1.0)
                continue
            self._admit(connection)
        with self._lock:
            if self._listener:
                self._listener.socket.close()
            os.close(self._wake)

    def _look_after(self) -> None:
        """Opens the socket where there is none, or none any more."""
        with self._lock:
            if self._stopping.is_set() or (self._listener and self._listener.stands()):
                return
            if self._listener:
                self._listener.socket.close()
            self._listener, problems = None, []
            for path in places(self._state_dir):
                try:
                    if path.parent != self._state_dir:
                        path.parent.mkdir(mode=0o700, exist_ok=True)
                    self._listener = Listener(path, _MOST)
                    break
                except OSError as error:
                    problems.append(f"{path}: {error.strerror or error}")
        if self._listener:
            self._warned = False
        elif not self._warned:
            log.warning("no control socket, so `edged status` and `edged queue` do not work: %s", "; ".join(problems))
            self._warned = True

    def _admit(self, connection: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(connection,), name="control client", daemon=True)
        with self._lock, contextlib.suppress(RuntimeError):  # no more threads can be had
            if len(self._connections) < _MOST and not self._stopping.is_set():
                thread.start()
                self._connections[connection] = thread
                return
        with connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.send(_line({"error": "the daemon is busy with other commands; try again later"}))

    # --- a connection's thread

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_REQUEST_S)
                connection.sendall(_line({"edged": __version__, "state_dir": str(self._state_dir.resolve())}))
                request = _read_line(connection)
                connection.settimeout(_SEND_S)
                with contextlib.closing(self._answer(request)) as answers:
                    for chunk in _chunks(answers):
                        connection.sendall(chunk)
        except OSError as error:  # it went away, or takes nothing any more
            log.debug("control socket: a client is gone: %s", error)
        finally:
            with self._lock:
                del self._connections[connection]

    def _answer(self, line: bytes) -> Generator[Answer, None, None]:
        try:
            request = json.loads(line)
            name = request["do"]
        except (ValueError, LookupError, TypeError, RecursionError):
            yield {"error": 'a request is a line of JSON: {"do": ACTION, ...}'}
            return
        if not isinstance(name, str) or name not in self._actions:
            advice = "restart it where it is older than this command"
            yield {"error": f"the running daemon, edged {__version__}, does not know {name!r}; {advice}"}
            return
        try:
            result = self._actions[name](request)
            if isinstance(result, Generator):
                result = yield from result
            yield {"done": result}
        except EdgedError as error:
            yield {"error": redact(" ".join(str(error).split()))}
        except Exception:
            log.exception("a bug in answering %r; please report it", name)
            yield {"error": "a bug in the daemon; its log has more"}


def _chunks(answers: Iterable[Answer]) -> Iterator[bytes]:
    """Items gathered, so that a million of them are not as many system calls; all else goes at once."""
    gathered = bytearray()
    for answer in answers:
        gathered += _line(answer)
        if "item" not in answer or len(gathered) >= _CHUNK:
            yield bytes(gathered)
            gathered.clear()


def _line(answer: Answer) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def _read_line(connection: socket.socket) -> bytes:
    received = b""
    while b"\n" not in received and len(received) <= _LONGEST and (more := connection.recv(4096)):
        received += more
    return received.partition(b"\n")[0]


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
