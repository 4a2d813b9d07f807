"""A Debian machine under QEMU that is up within a second: it is booted once, saved while it runs, and restored.

`boot` gives a running `Guest`, `Guest.save` a `Saved` machine, and `Saved.restore` a guest that goes on from that very
moment, as often as one likes.  A guest's root file system lives in its memory and goes with it.  Three disks: vda is
the image, vdb the `job` (a tar that the guest reads), vdc the `data` disk, the only thing that outlives a guest; of it
nothing may be mounted while a guest is saved.  One processor, emulated, so that it is the same on every machine.
"""

import json
import re
import shlex
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

QEMU = "qemu-system-x86_64"
JOB_BYTES = 16 << 20  # the size of a disk must be the same whenever a machine is restored
DATA_BYTES = 64 << 20
HOST = "10.0.2.100"  # what a guest reaches under this address, at port 80, is a port of this machine
BOOT_S = 300.0
_MEMORY_MB = 384
_KERNEL = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr systemd.show_status=0 systemd.debug_shell=ttyS1"


class GuestGone(Exception):
    """The guest ended, or its line did, where an answer was awaited."""


class Done(NamedTuple):
    """What became of a command in the guest."""

    status: int
    output: str


class Line:
    """One end of a line to the guest, read by lines or by pattern."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._unread = b""

    def send(self, text: str) -> None:
        """Sends a line."""
        self._end.sendall(text.encode() + b"\n")

    def expect(self, pattern: str, limit_s: float) -> re.Match[bytes]:
        """Waits for the pattern and takes all up to its end.  Raises TimeoutError, GuestGone."""
        deadline = time.monotonic() + limit_s
        while not (match := re.search(pattern.encode(), self._unread, re.DOTALL)):
            if not self._receive(deadline):
                raise TimeoutError(
                    f"no {pattern!r} within {limit_s} s: ...{self._unread[-2000:].decode(errors='replace')}"
                )
        self._unread = self._unread[match.end() :]
        return match

    def lines(self, until: float) -> Iterator[str]:
        """The whole lines that come until a moment (monotonic, s), or until the guest is gone."""
        while True:
            *lines, self._unread = self._unread.split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in lines)
            try:
                if not self._receive(until):
                    return
            except GuestGone:
                return

    def _receive(self, deadline: float) -> bool:
        """Reads what there is; False: nothing came in time."""
        if (left := deadline - time.monotonic()) <= 0:
            return False
        self._end.settimeout(left)
        try:
            part = self._end.recv(1 << 16)
        except TimeoutError:
            return False
        except ConnectionError as error:
            raise GuestGone(str(error)) from error
        if not part:
            raise GuestGone(self._unread[-2000:].decode(errors="replace"))
        self._unread += part
        return True

    def close(self) -> None:
        """Lets go of it."""
        self._end.close()


@dataclass(frozen=True)
class Disks:
    """The files behind a guest's disks."""

    image: Path  # the folder that image.sh prints
    job: Path
    data: Path

    def arguments(self) -> list[str]:
        return [
            *("-kernel", str(self.image / "kernel"), "-initrd", str(self.image / "initrd")),
            *("-drive", f"file={self.image}/root.img,format=raw,if=virtio,readonly=on"),
            *("-drive", f"file={self.job},format=raw,if=virtio,readonly=on"),
            # What the guest's kernel has written is written; what it has not is lost with it.
            *("-drive", f"file={self.data},format=raw,if=virtio,cache=directsync"),
        ]


class Guest:
    """A running machine.  `shell` is a shell of root's; `power_off` ends it as a power cut does."""

    def __init__(self, disks: Disks, console: Path, *extra: str, forward: int | None = None) -> None:
        self.disks = disks
        self.console = console  # what its kernel says
        network = "user,id=net,restrict=on"
        if forward is not None:
            network += f",guestfwd=tcp:{HOST}:80-cmd:busybox nc 127.0.0.1 {forward}"
        shell, shell_inside = socket.socketpair()
        monitor, monitor_inside = socket.socketpair()
        with shell_inside, monitor_inside:
            ends = (shell_inside.fileno(), monitor_inside.fileno())
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),  # whatever ends the tests ends it
                    *(QEMU, "-machine", "q35,usb=off", "-accel", "tcg,tb-size=256", "-cpu", "max,-invtsc", "-smp", "1"),
                    *("-m", str(_MEMORY_MB), "-nodefaults", "-display", "none", "-no-reboot", "-append", _KERNEL),
                    *("-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile="),
                    *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
                    *("-chardev", f"socket,id=shell,fd={ends[0]}", "-serial", "chardev:shell"),
                    *("-chardev", f"socket,id=monitor,fd={ends[1]}", "-mon", "chardev=monitor,mode=control"),
                    *disks.arguments(),
                    *extra,
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=ends,
            )
        self.shell, self._monitor = Line(shell), Line(monitor)
        self._asked = 0
        try:
            self._monitor.expect("QMP", 20)
            self.ask("qmp_capabilities")
        except BaseException:
            self.power_off()
            raise

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *error: object) -> None:
        self.power_off()

    def power_off(self) -> None:
        """Ends it at once, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.shell.close()
        self._monitor.close()

    def run(self, command: str, limit_s: float = 60.0) -> Done:
        """Runs a command to its end.  Raises TimeoutError, GuestGone."""
        self._asked += 1
        mark = f"=={self._asked}=="
        self.shell.send(f"{{ {command}\n}} 2>&1; echo {mark}$?")
        match = self.shell.expect(f"(.*?){mark}([0-9]+)\n", limit_s)
        return Done(int(match[2]), match[1].decode(errors="replace"))

    def check(self, command: str, limit_s: float = 60.0) -> str:
        """Runs a command that has to succeed; its output."""
        done = self.run(command, limit_s)
        assert done.status == 0, f"{command}: status {done.status}\n{done.output}"
        return done.output

    def ask(self, command: str, **arguments: Any) -> Any:
        """Asks QEMU's monitor (QMP)."""
        self._monitor.send(json.dumps({"execute": command, "arguments": arguments}))
        answer = self._monitor.expect('({"return"|{"error")[^\n]*\n', 60)
        reply = json.loads(answer[0])
        assert "return" in reply, (command, reply)
        return reply["return"]

    def save(self, file: Path) -> "Saved":
        """Ends the guest and keeps the running machine in a file."""
        self.check("sync; blockdev --flushbufs /dev/vdb /dev/vdc")  # else it would know them as they are now
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 34})
        self.ask("migrate", uri=f"exec:cat > {shlex.quote(str(file))}")
        deadline = time.monotonic() + 120
        while (status := self.ask("query-migrate").get("status")) != "completed":
            assert status != "failed"
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        self.power_off()
        return Saved(self.disks.image, file)


@dataclass(frozen=True)
class Saved:
    """A machine that was saved while it ran."""

    image: Path
    file: Path

    def restore(self, job: Path, data: Path, console: Path, forward: int | None = None) -> Guest:
        """The machine as it was, with these disks.  Its clock and its random numbers are those of then.

        Its `HOST` is this machine's port `forward`; without one it reaches nothing at all.
        """
        arriving = ("-incoming", f"exec:cat {shlex.quote(str(self.file))}")
        guest = Guest(Disks(self.image, job, data), console, *arriving, forward=forward)
        deadline = time.monotonic() + 60
        try:
            while guest.ask("query-status")["status"] != "running":  # what is typed before that is lost
                assert time.monotonic() < deadline
                time.sleep(0.01)
        except BaseException:
            guest.power_off()
            raise
        return guest


def boot(disks: Disks, console: Path) -> Guest:
    """A machine that has been switched on; it is up when this returns."""
    guest = Guest(disks, console)
    try:
        deadline = time.monotonic() + BOOT_S
        for number in count():  # what is typed before a shell is there, or while one begins, may be lost
            guest.shell.send("[ $LAB ] || exec env LAB=1 TERM=dumb PS1= PS2= dash -i")
            guest.shell.send(f"stty -echo -onlcr; echo dash$LAB {number}")
            try:
                guest.shell.expect(f"dash1 {number}\n", 3)  # the last answer: nothing is left to be read
                break
            except TimeoutError:
                assert time.monotonic() < deadline, console.read_text(errors="replace")[-2000:]
        guest.run("systemctl is-system-running --wait", BOOT_S)
    except BaseException:
        guest.power_off()
        raise
    return guest


def make_job(file: Path, contents: Iterable[tuple[Path, str]]) -> Path:
    """A job disk: files and folders, each under a name of its own."""
    with tarfile.open(file, "w", dereference=True) as tar:
        for path, name in contents:
            tar.add(path, name, filter=lambda member: None if "__pycache__" in member.name else member)
    assert file.stat().st_size <= JOB_BYTES
    with file.open("r+b") as disk:
        disk.truncate(JOB_BYTES)
    return file


def make_data(file: Path, *, journal: bool = True) -> Path:
    """A data disk: an empty ext4."""
    with file.open("wb") as disk:
        disk.truncate(DATA_BYTES)
    features = "has_journal" if journal else "^has_journal"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", features, str(file)]
    subprocess.run(command, check=True, env={"PATH": "/usr/sbin:/sbin"})
    return file


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a guest's files."""
    return tempfile.TemporaryDirectory(prefix="edged-lab-")
