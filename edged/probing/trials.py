"""What a probe asks about: one plausible reading of each series that a destination gets."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edged.config.config import Config, Destination
from edged.platforms import Item, Platform
from edged.reading import Entry, Value
from edged.sums.values import Walk, named, samples


@dataclass(frozen=True)
class Sample:
    """A value as a series may have it."""

    value: Value
    unit: str
    typical: bool  # it has the type of the sensor's own values; else only a number, since that is not known


def sampled(config: Config) -> dict[str, Sample]:
    """The series of all enabled sensors.  Reads no device but where that does no harm."""
    sensors = [sensor for sensor in config.sensors.values() if sensor.enabled]
    found = samples(sensors)
    series = {}
    for sensor in sensors:
        values: dict[str, Value | None] = dict(found.get(sensor.name, {}))
        names = [*(quantity.name for quantity in sensor.driver.quantities if not values), *named(sensor, config)]
        for name in names:
            values.setdefault(name, None)
        for name, value in values.items():
            declared, shaping = sensor.driver.quantity(name), sensor.shaping.get(name)
            if shaping is not None and not shaping.enabled:
                continue
            made = Walk(declared, value, random.Random(0)).next()
            made = round(made, 2) if isinstance(made, float) and value is None else made
            typical = value is not None or declared.kind != "number"
            series[sensor.series(name)] = Sample(made, declared.unit, typical)
    return series


def items_for(destination: Destination, series: dict[str, Sample], time_ms: int) -> list[Item]:
    """A reading of each of the series that the destination gets."""
    return [
        Item(Entry(0, name, time_ms, sample.value), target, sample.unit)
        for name, sample in series.items()
        if (target := destination.mapping.target(name)) is not None
    ]


def requests_of(platform: Platform, items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items as requests may hold them: of one route each, and no more than the platform bears."""
    limits = platform.limits
    most = min([limit for limit in (limits.readings, limits.targets) if limit] or [len(items)])
    routes: dict[object, list[Item]] = {}
    for item in items:
        routes.setdefault(platform.route(platform.options, item.target), []).append(item)
    for together in routes.values():
        for start in range(0, len(together), most):
            yield together[start : start + most]
