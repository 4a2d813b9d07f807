"""A driver and a platform of another package, found by entry points, work like our own."""

import json
import os
import subprocess
import sys
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
    def encode(self, items): return "".join(f"{i.target.name} {i.entry.value}\\n" for i in items)
    def judge(self, reply, items): return [Delivered()] * len(items)
'''


@pytest.fixture
def package(tmp_path):
    """Another package, installed where Python finds it."""
    site = tmp_path / "site"
    (site / "elsewhere-1.0.dist-info").mkdir(parents=True)
    (site / "elsewhere-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (site / "elsewhere-1.0.dist-info" / "entry_points.txt").write_text(
        "[edged.drivers]\nconstant = elsewhere_driver:Constant\n"
        "[edged.platforms]\nto-file = elsewhere_platform:ToFile\n"
    )
    (site / "elsewhere_driver.py").write_text(DRIVER)
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
    once = edged(package, "run", "--once", "--config", str(config))
    assert once.returncode == 0, once.stderr
    assert (tmp_path / "out").read_text() == "tank 3.25\n"

    config.write_text(config.read_text().replace("level = 3.25", "levl = 3.25"))
    assert (
        'sensors.tank.levl: unknown key; did you mean "level"?' in edged(package, "run", "--config", str(config)).stderr
    )


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
