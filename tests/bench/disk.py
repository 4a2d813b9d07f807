"""What reaches the disk: the counters of a loop device with a file system of its own; without root, the process's own.

A loop device's counters see all of it, the file system's journal too, and count each flush of the device's cache.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_SECTOR = 512  # of /sys/block/*/stat, whatever the device has
_WRITTEN, _FLUSHES = 6, 15  # fields there
_TOOLS = ("losetup", "mkfs.ext4", "mount", "umount")


class Disk:
    """A folder, and what is written there."""

    def __init__(self, folder: Path, device: str = "") -> None:
        self.folder = folder
        self._device = device

    @property
    def how(self) -> str:
        """How it is counted."""
        return f"counters of {self._device}, ext4" if self._device else "write_bytes of /proc/PID/io, no loop device"

    def written(self, *processes: int) -> int:
        """Bytes so far by the processes; on a loop device by all."""
        subprocess.run(["sync", "--file-system", self.folder], check=True)
        if self._device:
            return self._stat(_WRITTEN) * _SECTOR
        counters = (Path(f"/proc/{process}/io").read_text() for process in processes)
        return sum(int(text.split("write_bytes:")[1].split()[0]) for text in counters)

    def flushes(self) -> int | None:
        """Flushes of the device's cache so far; None: nobody counts them."""
        return self._stat(_FLUSHES) if self._device else None

    def _stat(self, field: int) -> int:
        return int(Path(f"/sys/block/{Path(self._device).name}/stat").read_text().split()[field])


@contextlib.contextmanager
def disk() -> Iterator[Disk]:
    """A disk for one measurement."""
    folder = Path(tempfile.mkdtemp(prefix="edged-bench-disk-"))
    device = ""
    try:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no loop devices here: then the other way
            device = _loop_device(folder)
        yield Disk(folder / "mount", device)
    finally:
        if device:
            subprocess.run(["umount", folder / "mount"], check=False)
            subprocess.run(["losetup", "--detach", device], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _loop_device(folder: Path) -> str:
    (folder / "mount").mkdir()
    if os.geteuid() != 0 or not all(map(shutil.which, _TOOLS)):
        return ""
    with (folder / "image").open("wb") as image:
        image.truncate(1 << 30)
    device = _run("losetup", "--find", "--show", str(folder / "image"))
    try:
        # Whole at once and with a card's block size: else the kernel goes on making the file system beside us.
        _run("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        _run("mount", "-o", "noatime", device, str(folder / "mount"))
    except BaseException:
        _run("losetup", "--detach", device)
        raise
    return device


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
