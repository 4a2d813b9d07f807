"""Strict local stand-ins of the upload platforms, one a module, found by their module's name.

They are written from the platforms' wire contract alone, whose statements are numbered, and share no code with the
uploaders: what breaks a statement is recorded as a violation under its number.
"""

import importlib
import pkgutil
from typing import Any

from edged.simulation.platforms._broker import MqttStandIn
from edged.simulation.platforms._mqtt_records import ConnectionFault, Message, MqttModes
from edged.simulation.platforms._records import Accepted, Fault, Request, Violation
from edged.simulation.platforms._server import HttpStandIn
from edged.simulation.platforms._stand_in import Modes, StandIn

__all__ = [
    "Accepted",
    "ConnectionFault",
    "Fault",
    "HttpStandIn",
    "Message",
    "Modes",
    "MqttModes",
    "MqttStandIn",
    "Request",
    "StandIn",
    "Violation",
    "names",
    "open_stand_in",
]


def names() -> list[str]:
    """The platforms that have a stand-in."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def open_stand_in(platform: str, port: int = 0, **modes: Any) -> Any:
    """A stand-in, bound but not started; what it can beside a `StandIn` is up to its transport.

    Raises ValueError for an unknown platform, TypeError for an unknown mode.
    """
    if platform not in names():
        raise ValueError(f"no stand-in for {platform!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{platform.replace('-', '_')}")
    kind: Any = next(
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, StandIn) and item.__module__ == module.__name__
    )
    return kind(port, **modes)
