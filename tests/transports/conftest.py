"""Certificates, and a real broker."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.transports.broker import Broker
from tests.transports.certificates import HOME_MADE_CA, HOME_MADE_SERVER, Authority, Certificate


@dataclass(frozen=True)
class Tls:
    """Certificates of servers, and of the authorities that stand behind them."""

    ca_file: Path
    other_ca_file: Path  # of an authority that signed nothing
    home_made_ca_file: Path  # lacks what RFC 5280 demands
    good: Certificate
    wrong_host: Certificate
    expired: Certificate
    home_made: Certificate


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "authority")
    home_made = Authority(folder / "home-made", HOME_MADE_CA)
    return Tls(
        ca_file=authority.ca_file,
        other_ca_file=Authority(folder / "other").ca_file,
        home_made_ca_file=home_made.ca_file,
        good=authority.server("good"),
        wrong_host=authority.server("wrong-host", host="DNS:elsewhere.example.org"),
        expired=authority.server("expired", days=-1),
        home_made=home_made.server("home-made", extensions=HOME_MADE_SERVER),
    )


@pytest.fixture
def broker(tmp_path, tls):
    """A running broker that wants a password."""
    folder = tmp_path / "broker"
    folder.mkdir()
    made = Broker(folder, tls.ca_file, tls.good)
    made.start()
    yield made
    made.close()
