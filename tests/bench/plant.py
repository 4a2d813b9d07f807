"""The processes of a measurement: the real daemon with its config and its third-party driver, servers, bare loops."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.bench import constant
from tests.bench.measure import until

TOKEN = "0123456789abcdef0123456789abcdef"
PATH = "/objects/values?ack=true"
ROOT = Path(__file__).parents[2]


class Request(NamedTuple):
    """One request as the server saw it; times are monotonic."""

    received: float
    answered: float
    held: Any  # how many readings; of Datacake the fields


class Process:
    """A process that ends with its `with` block."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None, **pipes: Any) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                command, stderr=stderr, cwd=ROOT, env=os.environ | (environment or {}), text=True, **pipes
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Ends it as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None and self.log.exists():  # it may say why
            print(self.log.read_text()[-2000:], file=sys.stderr)


class Server(Process):
    """See tests/bench/server.py."""

    def __init__(self, folder: Path, platform: str, *certificate: Path) -> None:
        command = [sys.executable, "-m", "tests.bench.server", platform, *map(str, certificate)]
        super().__init__(command, folder / f"{platform}.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self._answer())
        self.url = f"https://localhost:{self.port}" if certificate else f"http://127.0.0.1:{self.port}"

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline())

    def ask(self, command: str) -> Any:
        """Lets it do one of its commands."""
        assert self.process.stdin is not None
        print(command, file=self.process.stdin, flush=True)
        return json.loads(self._answer())

    def count(self) -> int:
        """Readings so far."""
        return int(self.ask("count"))

    def report(self) -> list[Request]:
        """The requests since the last report."""
        return [Request(*each) for each in self.ask("report")]

    def until(self, readings: int, patience_s: float = 60.0) -> None:
        """Waits until it has so many in all."""
        until(lambda: self.count() >= readings, patience_s, step_s=0.1)


class Daemon(Process):
    """`edged run`."""

    def __init__(self, folder: Path, config: str, state: Path | None = None) -> None:
        command = [sys.executable, "-m", "edged", "run", "--config", str(write(folder, config, state))]
        super().__init__(command, folder / "daemon.log", package(folder))


class Loop(Process):
    """See tests/bench/loop.py."""

    def __init__(self, folder: Path, server: Server, sensors: int) -> None:
        command = [sys.executable, "-m", "tests.bench.loop", str(server.port), str(sensors), str(folder / "readings")]
        super().__init__(command, folder / "loop.log")


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder for one measurement."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def package(folder: Path) -> dict[str, str]:
    """Installs the driver as another package would be; returns the environment in which Python finds it."""
    site = folder / "site"
    information = site / "bench_constant-1.0.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-constant\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[edged.drivers]\nconstant = bench_constant:Constant\n")
    shutil.copyfile(constant.__file__, site / "bench_constant.py")
    return {"PYTHONPATH": str(site)}


def write(folder: Path, config: str, state: Path | None = None) -> Path:
    """Writes a config whose store is in `state`, else in the folder."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(config.replace("STATE", str(state or folder / "state")))
    return path


# --- parts of a config


def head(flush_interval: str = "1s") -> str:
    """The daemon's own table; STATE stands for the store's folder."""
    return f'[daemon]\nname = "bench"\nstate_dir = "STATE"\nflush_interval = "{flush_interval}"\n'


def sensors(count: int, interval: str = "1s", *, prefix: str = "s", bus: str = "", keys: str = "") -> str:
    """So many sensors, each with one series, `PREFIXn.level`; on a bus they take turns, else each has its thread."""
    table = '[sensors.{}{}]\ndriver = "constant"\ninterval = "{}"\nbus = "{}"\n{}\n'
    return "".join(table.format(prefix, number, interval, bus, keys) for number in range(count))


def bbdata(url: str, count: int, keys: str = "") -> str:
    """A destination that takes all their series."""
    lines = [f'[destinations.bbdata]\nplatform = "bbdata"\napi = "objects"\nurl = "{url}"\n{keys}']
    lines.append("[destinations.bbdata.series]")
    lines += [
        f'"s{number}.level" = {{ object = {number}, token = "{TOKEN}", type = "float" }}' for number in range(count)
    ]
    return "\n".join(lines) + "\n"


def databoom(url: str, keys: str = "") -> str:
    """The same at Databoom."""
    identity = f'url = "{url}/v1/signals/push"\ntoken = "a-token"\ndevice = "bench"\nseries = {{ "*" = true }}\n'
    return f'[destinations.databoom]\nplatform = "databoom"\n{identity}{keys}\n'


def datacake(url: str, keys: str = "") -> str:
    """The same at Datacake."""
    identity = f'url = "{url}"\ntoken = "a-token"\ndevice = "bench"\nseries = {{ "*" = true }}\n'
    return f'[destinations.datacake]\nplatform = "datacake"\n{identity}{keys}\n'
