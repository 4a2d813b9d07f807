import logging

import pytest


@pytest.fixture(autouse=True)
def logging_as_before():
    """Commands set up the log for their process; here that is the one of the tests."""
    root, ours = logging.getLogger(), logging.getLogger("edged")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


@pytest.fixture(autouse=True)
def no_config_elsewhere(monkeypatch):
    monkeypatch.delenv("EDGED_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def no_runtime_folder(monkeypatch):
    """A daemon's socket is then beside its store."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
