"""The daemon that runs on a store, as the commands ask it; the protocol stands in `edged.monitoring.control`."""

import contextlib
import json
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from edged.errors import EdgedError
from edged.monitoring.socketfile import NAME, SERVICE, places

_GREETING_S = 5.0
_ANSWER_S = 120.0  # between two lines of an answer


class NotRunning(EdgedError):
    """No daemon answers for this store.  `denied`: there may be one, but this user may not ask."""

    def __init__(self, state_dir: Path, looked: list[str], denied: bool) -> None:
        what = "no daemon can be asked" if denied else "no daemon is running"
        advice = "; try it as root, or as a member of the group of the daemon" if denied else ""
        super().__init__(f"{what} for {state_dir}: looked at {', '.join(looked)}{advice}")
        self.denied = denied


def call(
    state_dir: Path, request: dict[str, Any], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Generator[Any, None, Any]:
    """Asks the daemon that holds the store in `state_dir`; gives the items of its answer, and returns its last value.

    Raises NotRunning at once; EdgedError, while items are taken, with what the daemon says that went wrong.
    """
    connection, lines = _connect(state_dir)
    return _answers(connection, lines, request, on_progress)


def ask(
    state_dir: Path, request: dict[str, Any], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Any:
    """As `call`, for an answer that is one value; returns that."""
    answers = call(state_dir, request, on_progress)
    while True:
        try:
            next(answers)
        except StopIteration as stop:
            return stop.value


def _answers(
    connection: socket.socket,
    lines: Iterator[bytes],
    request: dict[str, Any],
    on_progress: Callable[[int, int], None],
) -> Generator[Any, None, Any]:
    with connection:
        try:
            connection.settimeout(_ANSWER_S)
            connection.sendall(json.dumps(request).encode() + b"\n")
            for line in lines:
                match json.loads(line):
                    case {"item": item}:
                        yield item
                    case {"progress": [done, total]}:
                        on_progress(done, total)
                    case {"done": value}:
                        return value
                    case {"error": text}:
                        raise EdgedError(str(text))
        except TimeoutError:
            raise EdgedError(f"the daemon says nothing for {_ANSWER_S:g} s") from None
        except (OSError, ValueError) as error:
            raise EdgedError(f"the daemon's answer broke off: {error}") from None
        raise EdgedError("the daemon's answer broke off: it has ended")


def _connect(state_dir: Path) -> tuple[socket.socket, Iterator[bytes]]:
    """A connection to the daemon of this store, and the lines that come from it."""
    looked, denied = [], False
    for path in _candidates(state_dir):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_GREETING_S)
            connection.connect(str(path))
            lines = _lines(connection)
            greeting = json.loads(next(lines, b"{}"))
            if "error" in greeting:
                raise EdgedError(str(greeting["error"]))
            if greeting["state_dir"] == str(state_dir.resolve()):
                return connection, lines
            looked.append(f"{path} (another daemon's, with state_dir {greeting['state_dir']})")
        except OSError as error:
            looked.append(f"{path} ({error.strerror or error})")
            denied = denied or isinstance(error, PermissionError)
        except (ValueError, LookupError, TypeError):
            looked.append(f"{path} (not a daemon's)")
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise NotRunning(state_dir, looked, denied)


def _candidates(state_dir: Path) -> list[Path]:
    found = [SERVICE, *places(state_dir)]
    with contextlib.suppress(OSError):  # $XDG_RUNTIME_DIR as the daemon has it: cron and sudo do not set it
        found.append(Path(f"/run/user/{state_dir.stat().st_uid}/edged/{NAME}"))
    return list(dict.fromkeys(found))


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """Complete lines as they come."""
    received = b""
    while more := connection.recv(65536):
        *lines, received = (received + more).split(b"\n")
        yield from lines
