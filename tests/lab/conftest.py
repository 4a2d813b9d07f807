"""The lab is entered by name only, with `-m lab`: it takes minutes, root, and a Debian mirror the first time.

Nothing in it is skipped: where the guest cannot be built or booted, its tests fail.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import scratch
from tests.lab.machine import Machine, settle_in


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lab: runs in a Debian guest under QEMU; only with -m lab")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "lab" in config.option.markexpr:
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("lab")])
    items[:] = [item for item in items if not item.get_closest_marker("lab")]


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> Path:
    """The folder of the guest's image, built where it is not there yet."""
    built = subprocess.run(
        ["bash", str(Path(__file__).with_name("image.sh"))],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=1200,
        env=os.environ | {"PYTHON": sys.executable},
    )
    assert built.returncode == 0, "the guest's image could not be built; see above"
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def machine(image: Path, pytestconfig: pytest.Config) -> Iterator[Machine]:
    """The guest, with this checkout's edged in it."""
    with scratch() as name:
        folder = Path(name)
        yield Machine(settle_in(image, folder, pytestconfig.rootpath), folder)
