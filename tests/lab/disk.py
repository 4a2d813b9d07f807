"""A data disk as the last cut left it, looked at from outside of the guest, by other programs than its kernel."""

import os
import shutil
import subprocess
from pathlib import Path

_TOOLS = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def copy(disk: Path, to: Path) -> Path:
    """The same disk, at no more room than it needs."""
    subprocess.run(["cp", "--sparse=always", str(disk), str(to)], check=True)
    return to


def take_out(disk: Path, folder: str, to: Path, *, journal: bool = True) -> Path:
    """What a folder of the disk holds once the journal has been replayed, in `to`.  The disk stays as it is."""
    replayed = copy(disk, to.with_suffix(".img"))
    if journal:
        _run("e2fsck", "-E", "journal_only", "-p", str(replayed))
        _run("e2fsck", "-f", "-n", str(replayed))  # the lab itself: a file system that is sound, whatever is in it
    else:
        _run("e2fsck", "-f", "-y", str(replayed))
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    _run("debugfs", "-R", f"rdump {folder} {to}", str(replayed))
    replayed.unlink()
    return to / Path(folder).name


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=_TOOLS, check=False)
    assert done.returncode in (0, 1), (command, done.stdout, done.stderr)  # e2fsck's 1: it has replayed
