"""The control socket's file: where it is, and how it comes and goes."""

import contextlib
import os
import socket
import stat
from pathlib import Path

NAME = "control.sock"
SERVICE = Path("/run/edged") / NAME  # where the service has it, by its RuntimeDirectory

_MODE = 0o660  # the owner and the group; whatever the umask
_LONGEST = 107  # bytes of a path: sun_path has 108 with its NUL


def places(state_dir: Path) -> list[Path]:
    """Where a daemon has its socket: the first of these that it can use."""
    runtime, user = os.environ.get("RUNTIME_DIRECTORY"), os.environ.get("XDG_RUNTIME_DIR")
    folders = [Path(runtime.split(":")[0])] if runtime else []
    folders += [Path(user) / "edged"] if user else []
    return list(dict.fromkeys(folder / NAME for folder in [*folders, state_dir]))


class Listener:
    """The listening socket and its file.  Raises OSError where it cannot be made."""

    def __init__(self, path: Path, backlog: int) -> None:
        """`backlog`: so many may wait to be accepted, which never waits for them."""
        self.path = path
        if len(os.fsencode(path)) > _LONGEST:
            raise OSError(f"longer than the {_LONGEST} bytes that a socket's path may have")
        _make_way(path)
        # Bound under a shorter name first: until it listens, a socket looks like that of a daemon which has died.
        new = path.with_name(f".{os.getpid()}")
        new.unlink(missing_ok=True)
        with contextlib.ExitStack() as undo:
            self.socket = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            self.socket.bind(str(new))
            undo.callback(new.unlink, missing_ok=True)
            new.chmod(_MODE)
            self.socket.listen(backlog)
            self.socket.setblocking(False)
            self._identity = _identity(new)
            new.rename(path)
            undo.pop_all()

    def stands(self) -> bool:
        """Whether the file is still this socket's."""
        return self._identity == _identity(self.path)

    def remove(self) -> None:
        """Takes the file away."""
        if self.stands():
            with contextlib.suppress(OSError):
                self.path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_way(path: Path) -> None:
    """Raises OSError where something is in the way that is no socket of a dead daemon."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("something that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # nobody listens; the new one takes its place
        except BlockingIOError:
            pass  # somebody listens, and is busy
    raise OSError("another daemon's")
