"""What all tests share."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from edged import secret


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", default="15", help="how long an end-to-end run takes; 60 by hand")
    parser.addoption("--rounds", default="12", help="how often the store is killed; 500 by hand")


@pytest.fixture(autouse=True)
def known_secrets() -> Iterator[None]:
    """What a test reads as secrets is blacked out in its own texts alone."""
    before = set(secret._known)
    yield
    secret._known.clear()
    secret._known.update(before)


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """As a user for whom file modes count; relative paths are reached from a working directory that is open to all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
