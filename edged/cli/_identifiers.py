"""Hands a destination's identifiers to a stand-in, as plain data: a stand-in knows no platform's code."""

import dataclasses
from typing import Any

from edged.config.config import Config, Destination
from edged.secret import Secret
from edged.simulation.platforms import StandIn


def admit(stand_in: StandIn, destination: Destination, config: Config) -> None:
    """Lets the stand-in know what the destination will send it.  Raises SecretUnreadable."""
    series = [sensor.series(q.name) for sensor in config.sensors.values() for q in sensor.driver.quantities]
    series += [pattern for pattern, _ in destination.mapping.rules if "*" not in pattern]
    targets = (destination.mapping.target(each) for each in series)
    stand_in.admit(_plain(destination.options), [_plain(target) for target in targets if target is not None])


def _plain(options: Any) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in values.items()}
