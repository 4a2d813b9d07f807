"""A plant for each test, with a real broker in it."""

import pytest

from tests.endtoend.plant import Plant
from tests.endtoend.running import Running
from tests.transports.conftest import broker, tls

__all__ = ["broker", "plant", "seconds", "tls"]


@pytest.fixture
def plant(tmp_path, broker):
    made = Plant(tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def seconds(request) -> float:
    """How long a run takes; `--seconds 60` by hand."""
    return float(request.config.getoption("--seconds"))


@pytest.fixture
def run(tmp_path):
    """Starts daemons, each in a folder of its own within the test's."""
    running: list[Running] = []

    def start(config: str) -> Running:
        folder = tmp_path / f"daemon{len(running)}"
        folder.mkdir()
        running.append(Running(folder, config))
        return running[-1]

    yield start
    for each in running:
        each.kill()
