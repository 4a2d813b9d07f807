"""Where the store is: what is wrong with the place, and what a person can do about it."""

import errno
import os
import pwd
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from edged.errors import StoreHeld

_MEMORY = ("tmpfs", "ramfs")


class Mount(NamedTuple):
    """A mounted file system."""

    point: Path
    kind: str
    options: str


def mountinfo() -> str:
    """The text of /proc/self/mountinfo; empty where there is none."""
    try:
        return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return ""


def mounts(table: str) -> list[Mount]:
    """What is mounted, from the text of /proc/self/mountinfo (proc(5))."""
    found = []
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if len(fields) > 4 and len(more) > 2:
            point = re.sub(r"\\([0-7]{3})", lambda escaped: chr(int(escaped[1], 8)), fields[4])
            found.append(Mount(Path(point), more[0], more[2]))
    return found


def volatile(folder: Path, table: str) -> str:
    """Why nothing in the folder outlives a reboot; empty where it does.  `table` as for `mounts`."""
    there = mounts(table)
    mount = _of(folder, there)
    if mount.kind in _MEMORY:
        return f"{folder} is in memory ({mount.kind} on {mount.point})"
    if mount.kind == "overlay":
        upper = next((o.partition("=")[2] for o in mount.options.split(",") if o.startswith("upperdir=")), "")
        if upper and _of(Path(upper), there).kind in _MEMORY:
            return f"{folder} is on an overlay whose upper layer is in memory ({upper})"
    return ""


def _of(path: Path, there: list[Mount]) -> Mount:
    """The mount that a path is on: the last one of the longest that fit."""
    fitting = [mount for mount in there if path == mount.point or mount.point in path.parents]
    return max(reversed(fitting), key=lambda mount: len(mount.point.parts), default=Mount(Path("/"), "", ""))


def explain(folder: Path, error: Exception) -> str:
    """What keeps the store from being written, in a line that says what to do."""
    if isinstance(error, StoreHeld):
        return str(error)
    if foreign := _foreign(folder):
        path, owner = foreign
        me, other = name_of(os.geteuid()), name_of(owner)
        mine = f"sudo chown -R {me}: {folder}"
        # No daemon of theirs holds it now, but one may be started again.
        advice = f"run edged as {other}, or if {other} does so no more: {mine}" if path == folder else mine
        return f"{path} belongs to {other} and cannot be written by {me}; {advice}"
    if getattr(error, "errno", None) == errno.EROFS or _read_only(folder):
        advice = f"; or add ReadWritePaths={folder} to the unit" if "INVOCATION_ID" in os.environ else ""
        return f"the file system of {folder} is read-only: {error}; look at the disk (dmesg){advice}"
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM):
        return f"{folder} cannot be made or opened by {name_of(os.geteuid())}: {error}; see state_dir in the config"
    return f"{folder}: {error}"


def _foreign(folder: Path) -> tuple[Path, int] | None:
    """What belongs to another user and cannot be written by this one, and to whom."""
    try:
        paths = [folder, *sorted(folder.iterdir())]
    except OSError:
        paths = [folder]
    for path in paths:
        try:
            owner = path.stat().st_uid
            writable = os.access(path, os.W_OK, effective_ids=True)
        except OSError:
            continue
        if owner != os.geteuid() and not writable and not _read_only(folder):
            return path, owner
    return None


def _read_only(folder: Path) -> bool:
    """Whether the nearest folder that exists is on a read-only file system."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def name_of(uid: int) -> str:
    """A user's name; his number where he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def give_to_owner(path: Path) -> None:
    """Where root works in another user's folder: a new file is that user's, or he could not use his store again."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        if owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid)


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the folder's file system for us; as `df` has them."""
    return shutil.disk_usage(folder).free
