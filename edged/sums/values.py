"""What a dry run reads in place of the devices: plausible values, in the digits in which the drivers give them.

The digits decide about the sizes of requests and of the store, so they come from a read wherever that does no harm:
of the board and of what the kernel reads anyway, and of a simulated chip in place of one on a bus.  For all other
drivers, what they declare has to do.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edged.config.config import Config, Sensor
from edged.daemon import lane_of, make_sampler
from edged.drivers import Driver, Quantity, Read
from edged.reading import Value, Values, is_real
from edged.sampling.once import read_once

# Read by the kernel for anybody who asks.  Others run programs, or would meet a running daemon at the device.
HARMLESS = ("host", "iio", "hwmon")
_PATIENCE_S = 1.0

Sample = Mapping[str, Value | None]  # by quantity; None: it measures that, but no value is known
Plant = tuple[Sensor, Sample]

_TYPICAL = {"°C": 21.0, "%RH": 50.0, "hPa": 1000.0, "%": 40.0, "V": 3.0, "dBm": -60.0, "s": 500_000.0, "lx": 300.0}
_TYPICAL |= {"ppm": 600.0, "m": 1.0, "A": 0.5, "W": 5.0}


def samples(sensors: Iterable[Sensor]) -> dict[str, Values]:
    """A read of each of the sensors for which that does no harm, by name; of the others nothing."""
    stood_in = [made for sensor in sensors if (made := _harmless(sensor)) is not None]
    samplers = [(lane_of(sensor), make_sampler(sensor, lambda readings, offset_ms: None)) for sensor in stood_in]
    hanging = read_once(samplers)
    found: dict[str, Values] = {}
    for _, sampler in samplers:
        if sampler not in hanging:
            found[sampler.name] = {name: reading.value for name, reading in sampler.last.items()}
            sampler.close()
    return found


def _harmless(sensor: Sensor) -> Sensor | None:
    """The sensor as it can be read by the way: unshaped, and for a chip on a bus a simulated one."""
    sensor = replace(sensor, shaping={}, timeout=min(sensor.timeout, _PATIENCE_S))
    if sensor.kind in HARMLESS:
        return sensor
    if hasattr(sensor.options, "bus"):
        options = replace(sensor.options, bus=f"sim:check {sensor.name}")
        options = replace(options, sim=None) if hasattr(options, "sim") else options
        return None if list(sensor.driver.check(options)) else replace(sensor, options=options)
    return None


def named(sensor: Sensor, config: Config) -> list[str]:
    """The quantities of a sensor that the config names, for one whose device cannot be asked for them."""
    exact = [
        pattern.removeprefix(f"{sensor.name}.")
        for destination in config.destinations.values()
        for pattern, _ in destination.mapping.rules
        if pattern.startswith(f"{sensor.name}.") and "*" not in pattern
    ]
    return list(dict.fromkeys([*sensor.shaping, *(getattr(sensor.options, "units", None) or ()), *exact]))


class Walk:
    """The values of one quantity: a slow walk with noise around where it began."""

    def __init__(self, quantity: Quantity, sample: Value | None, draw: random.Random) -> None:
        """`sample` is a true value, of which the digits are kept; without one all of a float's are given."""
        self._draw = draw
        self._at = sample if sample is not None else _typical(quantity)
        self._decimals = _decimals(self._at) if sample is not None else None
        self._low = -float("inf") if quantity.low is None else quantity.low
        self._high = float("inf") if quantity.high is None else quantity.high

    def next(self) -> Value:
        """The next value."""
        if isinstance(self._at, (bool, str)):
            if isinstance(self._at, bool) and self._draw.random() < 0.01:
                self._at = not self._at
            return self._at
        step = max(abs(self._at), 1.0)
        self._at = min(max(self._at + self._draw.gauss(0, 2e-4) * step, self._low), self._high)
        value = min(max(self._at + self._draw.gauss(0, 1e-4) * step, self._low), self._high)
        return value if self._decimals is None else round(value, self._decimals or None)


def _typical(quantity: Quantity) -> Value:
    if quantity.kind != "number":
        return False if quantity.kind == "bool" else "a text"
    low, high = quantity.low, quantity.high
    typical = _TYPICAL.get(quantity.unit, 100.0)
    if low is not None and high is not None and not low <= typical <= high:
        return (low + high) / 2
    return typical if low is None else max(typical, low)


def _decimals(value: Value) -> int | None:
    """Digits behind the point; None: all of a float's.  An int has none, so that it stays one."""
    if not isinstance(value, float) or not is_real(value):
        return 0
    digits = len(repr(value).partition(".")[2]) if "e" not in repr(value) else 17
    return digits if digits < 10 else None


class Source(Driver):
    """The driver of a dry run: it gives what the walks have."""

    def __init__(self, walks: Mapping[str, Walk]) -> None:
        super().__init__(None, 1.0)
        self._walks = walks

    def read(self) -> Read:
        """The next value of each."""
        yield from ()
        return {name: walk.next() for name, walk in self._walks.items()}
