"""The hold on a state directory: one daemon at a time, whoever's it is."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edged.errors import StoreHeld
from edged.store.place import give_to_owner, name_of

LOCK = "lock"


class Lock:
    """What it says tells the next start how the last one ended."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreHeld, OSError."""
        try:
            self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:  # that of another user, or on a file system that is read-only: in use all the same
            _look(folder)
            raise
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = _held_as_it_says(folder, self._file)
            os.close(self._file)
            raise held from None
        give_to_owner(folder / LOCK)
        said = os.pread(self._file, 100, 0)
        self.torn = b"written" in said  # the last one wrote, and came to no clean end
        self.used = self.torn or b"used" in said  # a store was here
        self._noted = False  # what `written` notes
        self._say(f"{os.getpid()}\n" + self._state())  # all the same until it is known what the last one left

    def _state(self) -> str:
        return "written\n" if self.torn else "used\n" * self.used

    def is_in(self, folder: Path) -> bool:
        """Whether it holds the folder that is there now."""
        try:
            return os.path.samestat(os.fstat(self._file), (folder / LOCK).stat())
        except OSError:
            return False

    def opened(self) -> None:
        """Notes that what the last one left is known, and is about to be in the database itself."""
        self.torn = self._noted = False
        self._say(f"{os.getpid()}\n" + self._state())

    def written(self) -> None:
        """Notes that something was committed: from now on the write-ahead log is part of the store."""
        if not self._noted:
            self._noted = True
            self._say(f"{os.getpid()}\nwritten\n")

    def clean(self) -> None:
        """Notes a clean end."""
        self._say("used\n")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk
            os.pwrite(self._file, text.encode(), 0)  # first, so that at no moment it says nothing
            os.ftruncate(self._file, len(text))

    def release(self) -> None:
        """Lets the next one in."""
        os.close(self._file)


def _look(folder: Path) -> None:
    """Raises StoreHeld where a lock that cannot be written is another daemon's."""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        _look_at_its_owner(folder)
        return
    except OSError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held_as_it_says(folder, file) from None
    finally:
        os.close(file)


def _look_at_its_owner(folder: Path) -> None:
    """Raises StoreHeld where the lock is closed to us, and belongs to a user whose daemon runs: most likely with it."""
    try:
        owner = _owner(folder)
    except OSError:
        return
    process = next(_daemons(owner), None) if owner != os.geteuid() else None
    if process is not None:
        raise _held(folder, f"process {process} of {name_of(owner)}")


def _owner(folder: Path) -> int:
    try:
        return (folder / LOCK).stat().st_uid
    except PermissionError:
        return folder.stat().st_uid


def _daemons(owner: int) -> Iterator[int]:
    """The processes of a user that are `edged run`."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is hidden
            words = (process / "cmdline").read_bytes().split(b"\0")
            program, *names = (word.rpartition(b"/")[2] for word in words)
            is_one = program.startswith(b"python") and {b"edged", b"run"} <= set(names)  # and not a sudo of one
            if is_one and process.stat().st_uid == owner:
                yield int(process.name)


def _held_as_it_says(folder: Path, file: int) -> StoreHeld:
    process = os.pread(file, 100, 0).decode(errors="replace").partition("\n")[0].strip() or "unknown"
    return _held(folder, f"process {process}")


def _held(folder: Path, whose: str) -> StoreHeld:
    return StoreHeld(f"{folder}: another edged ({whose}) holds this store; stop it first")
