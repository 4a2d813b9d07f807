"""What the tests of the store share: a small disk of its own, where one may mount it; an end for what was left open."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store import abandon, opened

_OTHERS = "others"


class SmallDisk:
    """A mounted file system."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path = path
        self._image = image
        self.store = path / "state"

    def remount(self, mode: str) -> None:
        """`ro` or `rw`.  Not while a file is open for writing."""
        _run("mount", "-o", f"remount,{mode}", str(self.path))

    def fail(self) -> None:
        """Turns it read-only as the kernel does after an error, whatever is open; it stays so until it is replaced."""
        _run("mount", "-o", "remount,abort", str(self.path))

    def replace(self) -> None:
        """Mounts in its place another disk, with what had been synced on this one."""
        other = self._image.with_name("other.img")
        shutil.copyfile(self._image, other)
        _run("umount", "--lazy", str(self.path))
        _run("mount", "-o", "loop", str(other), str(self.path))

    def free(self) -> int:
        """Bytes that are free."""
        return shutil.disk_usage(self.path).free

    def fill(self, leave: int = 0) -> None:
        """Others take all the room there is, but for so many bytes."""
        with (self.path / _OTHERS).open("ab", buffering=0) as file:
            while (room := self.free() - leave) > 0:
                try:
                    file.write(bytes(min(room, 1 << 20)))
                except OSError:
                    return

    def clear(self) -> None:
        """They give it back."""
        (self.path / _OTHERS).unlink()


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr.strip()}")


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """Closes the stores that a test has left open."""
    yield
    for log in opened:
        abandon(log)
    opened.clear()


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """An ext4 of 10 MB, or of as many as the test asks for by indirect parametrization."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    image, path = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(getattr(request, "param", 10) * 1_000_000)
    path.mkdir()
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-e", "remount-ro", str(image))
    _run("mount", "-o", "loop", str(image), str(path))
    try:
        yield SmallDisk(path, image)
    finally:
        if subprocess.run(["umount", str(path)], capture_output=True).returncode:
            subprocess.run(["umount", "--lazy", str(path)], capture_output=True)
