"""What all tests share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", default="15", help="how long an end-to-end run takes; 60 by hand")
    parser.addoption("--rounds", default="12", help="how often the store is killed; 500 by hand")
