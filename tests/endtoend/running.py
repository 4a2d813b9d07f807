"""A daemon process on a config, and what can be asked of it from outside."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKEN = "0123456789abcdef0123456789abcdef"


class Running:
    """The process; its config may be written anew meanwhile."""

    def __init__(self, folder: Path, config: str) -> None:
        self.path = folder / "config.toml"
        self._log = folder / "daemon.log"
        self.path.touch(mode=0o600)
        self.path.write_text(config)
        command = [sys.executable, "-m", "edged", "run", "--config", str(self.path)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def reload(self, config: str) -> None:
        """Another config; returns when it is in use."""
        before = self.log.count("reloaded: ")
        self.path.write_text(config)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.log.count("reloaded: ") > before, tell=lambda: self.log)

    def status(self) -> dict[str, Any]:
        """Its destinations, as `edged status --json` has them."""
        command = [sys.executable, "-m", "edged", "status", "--json", "--config", str(self.path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        destinations: dict[str, Any] = json.loads(answer.stdout)["destinations"]
        return destinations

    def stop(self) -> tuple[int, float, str]:
        """SIGTERM; returns the exit status, the seconds until it ended, and the log."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        return self.process.returncode, time.monotonic() - started, self.log

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()


def until(
    condition: Callable[[], object],
    tell: Callable[[], object] = lambda: "it did not come to pass",
    patience_s: float = 30,
) -> None:
    """Waits for it; `tell` has what to say where it does not come to pass."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)
