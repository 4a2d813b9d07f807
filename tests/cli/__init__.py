"""Tests of the commands: in this process where that is enough, else as a user or systemd runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

COMMANDS = ("run", "check", "read", "probe", "status", "queue", "drivers", "platforms", "demo", "emulate")

SENSORS = """\
[sensors.greenhouse]
driver = "bme280"
bus = "sim"
interval = "1s"
[sensors.board]
driver = "host"
interval = "1s"
"""


def config(folder: Path, text: str = SENSORS, daemon: str = "") -> Path:
    """Writes a config that keeps its store in the folder."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(f'[daemon]\nname = "test"\nstate_dir = "{folder}/state"\n{daemon}\n{text}')
    return path


def databoom(url: str = "http://127.0.0.1:1/v1/signals/push", name: str = "databoom", series: str = "*") -> str:
    """A destination; by default one that nobody answers."""
    return f"""
[destinations.{name}]
platform = "databoom"
url = "{url}"
token = "a-token-for-{name}"
device = "0abc12def3"
backoff = {{ first = "100ms", max = "1s" }}
series = {{ "{series}" = true }}
"""


def start(*arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A command that runs on, its output in pipes."""
    command = [sys.executable, "-m", "edged", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)


def edged(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends."""
    command = [sys.executable, "-m", "edged", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def until(stream: IO[str] | None, pattern: str) -> str:
    """The next line of a stream that holds the pattern; a stream that ends before fails the test."""
    assert stream is not None
    seen = []
    for line in iter(stream.readline, ""):
        seen.append(line)
        if re.search(pattern, line):
            return line
    raise AssertionError(f"no line with {pattern!r} in {''.join(seen)}")


def clean_environment() -> dict[str, str]:
    """Without what would let a checkout be found."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "EDGED_CONFIG")}
