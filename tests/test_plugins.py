"""A driver and a platform of another package, found by entry points, work like our own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edged import drivers, platforms

DRIVER = '''
"""A constant.  Source: none; it is made up."""
from dataclasses import dataclass
from edged.drivers import Driver, Quantity, Read
from edged.options import option

@dataclass(frozen=True)
class Options:
    level: float = option(21.5, help="what it says")

class Constant(Driver):
    """A sensor that always says the same"""
    Options = Options
    quantities = (Quantity("level", "m", 0, 100),)
    def read(self) -> Read:
        yield 0.001
        return {"level": self.options.level}
'''

PLATFORM = '''
"""A platform that takes everything.  Source: made up."""
from dataclasses import dataclass
from edged.options import option
from edged.outcome import Delivered
from edged.platforms import Limits, Platform

@dataclass(frozen=True)
class Options:
    file: str = option(help="where to write")

@dataclass(frozen=True)
class Series:
    name: str = option(help="its name there")

class File:
    def __init__(self, path): self.path = path
    def exchange(self, request):
        with open(self.path, "a") as file: file.write(request)
        return len(request)
    def abort(self): pass
    def close(self): pass

class ToFile(Platform):
    """Lines in a file"""
    Options, Series, short = Options, Series, "name"
    limits = Limits(10)
    def connect(self, wire): return File(self.options.file)
    def encode(self, items): return "".join(f"{i.target.name} {i.entry.value} {i.entry.time_ms}\\n" for i in items)
    def judge(self, reply, items): return [Delivered()] * len(items)
'''

COUNTER = '''
"""A counter of what another program writes.  Source: none; it is made up."""
from dataclasses import dataclass
from edged.drivers import Driver, Quantity, Read
from edged.errors import NoReply
from edged.options import option

@dataclass(frozen=True)
class Options:
    fails: int = option(0, help="of so many reads one fails")

class Counter(Driver):
    """A counter that starts at 0 with the device's power"""
    Options = Options
    quantities = (Quantity("total"),)
    remembers = True
    reads = 0  # of all its objects
    def read(self) -> Read:
        yield 0.001
        self.memory = (self.memory or 0) + 1
        Counter.reads += 1
        if self.options.fails and Counter.reads % self.options.fails == 0:
            raise NoReply("nobody answers")
        return {"total": self.memory}
'''


@pytest.fixture
def package(tmp_path):
    """Another package, installed where Python finds it."""
    site = tmp_path / "site"
    (site / "elsewhere-1.0.dist-info").mkdir(parents=True)
    (site / "elsewhere-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (site / "elsewhere-1.0.dist-info" / "entry_points.txt").write_text(
        "[edged.drivers]\nconstant = elsewhere_driver:Constant\ncounter = elsewhere_counter:Counter\n"
        "[edged.platforms]\nto-file = elsewhere_platform:ToFile\n"
    )
    (site / "elsewhere_driver.py").write_text(DRIVER)
    (site / "elsewhere_counter.py").write_text(COUNTER)
    (site / "elsewhere_platform.py").write_text(PLATFORM)
    return site


def edged(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "edged", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_both_are_configured_checked_read_and_delivered_to(package, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n'
        '[sensors.tank]\ndriver = "constant"\ninterval = "1s"\nlevel = 3.25\n'
        f'[destinations.out]\nplatform = "to-file"\nfile = "{tmp_path}/out"\nseries = {{ "tank.level" = "tank" }}\n'
    )
    assert "constant" in edged(package, "drivers").stdout
    assert "what it says" in edged(package, "drivers", "constant").stdout
    assert "where to write" in edged(package, "platforms", "to-file").stdout
    read = edged(package, "read", "--json", "--config", str(config))
    assert json.loads(read.stdout)["tank"]["quantities"] == {"level": {"value": 3.25, "unit": "m"}}
    sums = edged(package, "check", "--sums", "--config", str(config)).stdout
    assert "86,400 readings and " in sums
    assert " and 0 requests" not in sums
    assert "out: the bytes of its requests are not known here" in sums
    once = edged(package, "run", "--once", "--config", str(config))
    assert once.returncode == 0, once.stderr
    assert (tmp_path / "out").read_text().split()[:-1] == ["tank", "3.25"]

    config.write_text(config.read_text().replace("level = 3.25", "levl = 3.25"))
    assert (
        'sensors.tank.levl: unknown key; did you mean "level"?' in edged(package, "run", "--config", str(config)).stderr
    )


@pytest.mark.guarantee(12)
@pytest.mark.pain("D10")
@pytest.mark.pain("D11")
def test_a_driver_s_total_never_goes_back_over_kills_reloads_failures_and_stops(package, tmp_path):
    config, out = tmp_path / "config.toml", tmp_path / "out"
    text = (
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n'
        '[sensors.meter]\ndriver = "counter"\ninterval = "20ms"\n'
        f'[destinations.out]\nplatform = "to-file"\nfile = "{out}"\nseries = {{ "meter.total" = "meter" }}\n'
    )
    config.write_text(text)

    def lines() -> int:
        return out.read_text().count("\n") if out.exists() else 0

    def more() -> None:
        """Waits for five further readings."""
        enough, deadline = lines() + 5, time.monotonic() + 30
        while lines() < enough:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def totals() -> list[int]:
        """By the times at which they were measured; what came twice over a kill counts once."""
        given = {tuple(map(int, line.split()[1:])) for line in out.read_text().splitlines()}
        return [total for total, time_ms in sorted(given, key=lambda each: each[1])]

    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "edged", "run", "--config", str(config)]
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        try:
            more()
            for changed in ('21ms"', '20ms"\nfails = 4'):
                config.write_text(text.replace('20ms"', changed))
                daemon.send_signal(signal.SIGHUP)
                more()
        finally:
            daemon.send_signal(end)
            daemon.wait(20)
        config.write_text(text)
        assert totals() == sorted(set(totals()))
    assert totals()[0] == 1
    # Without a daemon it goes on from what is in the store, and leaves that as it is.
    first, second = (edged(package, "read", "--json", "--config", str(config)).stdout for _ in range(2))
    total = json.loads(first)["meter"]["quantities"]["total"]["value"]
    assert total == json.loads(second)["meter"]["quantities"]["total"]["value"] > totals()[-1]


def test_one_that_cannot_be_loaded_is_a_line_at_its_place(package, tmp_path):
    (package / "elsewhere_driver.py").write_text("import no_such_module")
    config = tmp_path / "config.toml"
    config.write_text('[sensors.tank]\ndriver = "constant"\ninterval = "1s"\n')
    done = edged(package, "run", "--config", str(config))
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{config}:2:10: sensors.tank.driver: constant cannot be loaded: ModuleNotFoundError")


def test_a_name_that_nobody_has_is_none():
    assert drivers.find("no-such-driver") is None
    assert drivers.find("_i2c") is None
    assert drivers.find("../host") is None
    assert drivers.find("") is None
    assert platforms.find("no-such-platform") is None
