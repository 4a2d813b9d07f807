"""A plant for each test, with a real broker in it."""

import pytest

from tests.endtoend.plant import Plant
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
