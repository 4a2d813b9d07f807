"""Where a destination's connections go to."""

import ipaddress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from edged.platforms import Wire

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A host's name or address, its port, and whether the connection is secured by TLS."""

    host: str
    port: int
    tls: bool

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Where requests to the URL go."""
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80), parts.scheme == "https")

    @property
    def is_here(self) -> bool:
        """Whether it is this very machine, which no network lies before."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def of(platform: Any, wire: Wire) -> Address | None:
    """Where a platform connects to: its broker, or its options' URL; None: it does not say."""
    if hasattr(platform, "broker"):
        broker = platform.broker(wire)
        return Address(broker.host, broker.port, broker.tls)
    url = getattr(platform.options, "url", "")
    return Address.of_url(url) if url else None


def root(url: str) -> str:
    """The server that a URL leads to, without path and query: to ask for it does no harm."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"
