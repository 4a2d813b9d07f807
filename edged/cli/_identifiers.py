"""Hands a destination's identifiers to a stand-in, as plain data: a stand-in knows no platform's code.

A secret that this user may not read is made up; then whoever sends to the stand-in has to take the made-up one too.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edged.config.config import Destination, Sensor
from edged.config.document import dotted
from edged.errors import SecretUnreadable
from edged.secret import Secret, named
from edged.simulation.platforms import StandIn

MADE_UP = "0123456789abcdef0123456789abcdef"  # as long as BBData wants a token


def admit(stand_in: StandIn, destination: Destination, sensors: Iterable[Sensor]) -> None:
    """Lets the stand-in know what the destination will send it of these sensors."""
    series = [sensor.series(q.name) for sensor in sensors for q in sensor.driver.quantities]
    series += [pattern for pattern, _ in destination.mapping.rules if "*" not in pattern]
    targets = (destination.mapping.target(each) for each in series)
    stand_in.admit(_plain(destination.options), [_plain(target) for target in targets if target is not None])


def made_up(destination: Destination) -> tuple[list[str], list[str]]:
    """Lines of TOML with what was made up: for the destination's own table, and for that of its series."""
    own = [
        f'{dotted(path)} = "{MADE_UP}"  # in place of its own: {reason}'
        for path, reason in _unreadable(destination.options)
    ]
    series = []
    for pattern, target in destination.mapping.rules:
        if reasons := [reason for _, reason in _unreadable(target)]:
            fields = (f"{name} = {json.dumps(value)}" for name, value in _plain(target).items() if value is not None)
            series.append(f"{json.dumps(pattern)} = {{ {', '.join(fields)} }}  # in place of its own: {reasons[0]}")
    return own, series


def _plain(options: Any) -> Any:
    """Options as a stand-in takes them: dictionaries, with secrets revealed or made up."""
    if isinstance(options, Secret):
        return _revealed(options)[0]
    if dataclasses.is_dataclass(options):
        return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)}
    return {key: _plain(value) for key, value in options.items()} if isinstance(options, Mapping) else options


def _unreadable(options: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """The paths of the secrets that cannot be read here, with the reasons."""
    return ((path, reason) for path, secret in named(options) if (reason := _revealed(secret)[1]))


def _revealed(secret: Secret) -> tuple[str, str]:
    """The secret and an empty string, or a made-up one and the reason."""
    try:
        return secret.reveal(), ""
    except SecretUnreadable as error:
        return MADE_UP, str(error)
