"""Sensors that a kernel driver shows as IIO.  Source: the kernel's Documentation/ABI/testing/sysfs-bus-iio.

A quantity is named after its channel `in_TYPE...`: the type's word of `KINDS` below (temp -> temperature), then index
and modifier as the kernel writes them, with `_` for what is no letter or digit:

    in_temp_input -> temperature          in_temp_ambient_raw -> temperature_ambient
    in_voltage0_raw -> voltage0           in_voltage0-voltage1_raw -> voltage0_voltage1
    in_concentration_co2_raw -> co2       in_massconcentration_pm2p5_input -> pm2p5

A type that `KINDS` does not know keeps its name and the kernel's unit.  Limits are the widest of the sensors in common
use: `max` of a quantity widens them for a thermocouple, `min` for a differential pressure.  A kernel driver that does
not keep to the ABI's units (sdp500 gives Pa for kPa) needs `scale` in the config.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from edged.buses import sysfs
from edged.drivers import Driver, Quantity, Read
from edged.errors import SensorError
from edged.options import option
from edged.reading import Values

_BUS = "/sys/bus/iio/devices"
_FILE = re.compile(r"in_([a-z].*)_(?:input|raw)")


class Kind(NamedTuple):
    """A type of channel: its word in the kernel and in edged, edged's unit, what the kernel's is in it, limits."""

    channel: str
    quantity: str
    unit: str = ""
    factor: float = 1
    low: float | None = None
    high: float | None = None


KINDS = (
    Kind("temp", "temperature", "°C", 0.001, -60, 200),  # an inverted DHT22 below zero: -3274.5
    Kind("humidityrelative", "humidity", "%RH", 0.001, 0, 100),
    Kind("pressure", "pressure", "hPa", 10, 10, 31_000),  # barometers, and divers' gauges of up to 30 bar
    Kind("voltage", "voltage", "V", 0.001),
    Kind("altvoltage", "altvoltage", "V", 0.001),
    Kind("current", "current", "A", 0.001),
    Kind("power", "power", "W", 0.001),
    Kind("energy", "energy", "J"),
    Kind("illuminance", "illuminance", "lx", low=0),
    Kind("uvindex", "uvindex", low=0),
    Kind("concentration_co2", "co2", "ppm", 10_000, 1, 1_000_000),  # 0 only before a first measurement
    Kind("concentration_voc", "voc", "ppm", 10_000, 0, 1_000_000),
    Kind("concentration_ethanol", "ethanol", "ppm", 10_000, 0, 1_000_000),
    Kind("concentration_h2", "h2", "ppm", 10_000, 0, 1_000_000),
    Kind("concentration_o2", "o2", "ppm", 10_000, 0, 1_000_000),
    Kind("concentration", "concentration", "ppm", 10_000, 0, 1_000_000),
    Kind("massconcentration_pm", "pm", "µg/m³", low=0),
    Kind("massconcentration", "massconcentration", "µg/m³", low=0),
    Kind("distance", "distance", "m", low=0),
    Kind("resistance", "resistance", "Ω", low=0),
    Kind("capacitance", "capacitance", "nF"),
    Kind("ph", "ph", low=0, high=14),
    Kind("electricalconductivity", "electricalconductivity", "S/m", low=0),
    Kind("accel", "accel", "m/s²"),
    Kind("gravity", "gravity", "m/s²"),
    Kind("anglvel", "anglvel", "rad/s"),
    Kind("angl", "angl", "rad"),
    Kind("incli", "incli", "°"),
    Kind("rot", "rot", "°"),
    Kind("magn", "magn", "G"),
    Kind("velocity", "velocity", "m/s"),
)


@dataclass(frozen=True)
class Options:
    """Which device."""

    name: str = option("", help="the device's name, as /sys/bus/iio/devices/iio:device*/name says it")
    device: str = option("", help='its address, where several have that name: "1-0076" on I2C bus 1')
    label: str = option("", help="its label from the device tree, where it has one")


class Iio(Driver):
    """Any sensor that the kernel reads as IIO: temperature, humidity, pressure, voltage, light, gas, ..."""

    Options = Options
    example = 'name = "bme280"\ndevice = "1-0076"'

    def read(self) -> Read:
        """All channels that have a value now; the kernel measures anew for most of them."""
        yield from ()  # the kernel waits inside the read
        folder = _device(self.options).folder
        files = sysfs.entries(folder)
        return sysfs.collect(partial(_value, folder, files, channel) for channel in channels(files))

    @classmethod
    def quantity(cls, name: str) -> Quantity:
        """By the word that the name begins with: temperature_ambient is °C."""
        kind = next((kind for kind in KINDS if _begins(name, kind.quantity)), Kind(name, name))
        return Quantity(name, kind.unit, kind.low, kind.high)

    @classmethod
    def check(cls, options: Any) -> Iterable[tuple[str, str]]:
        """A device must be named."""
        if not options.name and not options.device:
            yield "name", "`name` or `device` must say which device"

    @classmethod
    def absent(cls, options: Any) -> str:
        """Why there is no such device."""
        try:
            _device(options)
        except SensorError as error:
            return str(error)
        return ""


def channels(files: Iterable[str]) -> list[str]:
    """The channels that a device measures, by the names of its files; links and folders beside them are none."""
    return sorted({match[1] for file in files if (match := _FILE.fullmatch(file))})


def measures(channel: str) -> tuple[str, float]:
    """The name of a channel's quantity, and the factor from the kernel's unit to edged's."""
    kind = next((kind for kind in KINDS if _begins(channel, kind.channel)), Kind("", ""))
    name = kind.quantity + channel.removeprefix(kind.channel)
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_"), kind.factor


def attribute(name: str, channel: str, files: Iterable[str]) -> str | None:
    """The file with a channel's `scale` or `offset`: its own, or the most specific one that it shares with others."""
    first, *modifiers = channel.split("_")
    stems = []
    for index in (first, re.sub("[0-9]", "", first), re.sub("[0-9].*", "", first)):
        stems += ["_".join([index, *modifiers[:count]]) for count in range(len(modifiers), -1, -1)]
    candidates = [*(f"in_{stem}_{name}" for stem in stems), f"in_{name}", name]
    return next((candidate for candidate in candidates if candidate in files), None)


def _begins(name: str, word: str) -> bool:
    """Whether a name is the word, with or without an index and a modifier; `phase` does not begin with `ph`."""
    return name.startswith(word) and not name[len(word) : len(word) + 1].isalpha()


def _device(options: Options) -> sysfs.Device:
    return sysfs.find(_BUS, "iio:device", options.name, options.device, options.label)


def _value(folder: str, files: list[str], channel: str) -> Values:
    quantity, factor = measures(channel)
    if f"in_{channel}_input" in files:
        value = sysfs.number(f"{folder}/in_{channel}_input")
    else:
        offset, scale = attribute("offset", channel, files), attribute("scale", channel, files)
        value = sysfs.number(f"{folder}/in_{channel}_raw")
        value += sysfs.number(f"{folder}/{offset}") if offset else 0
        value *= sysfs.number(f"{folder}/{scale}") if scale else 1
    return {quantity: float(f"{value * factor:.12g}")}  # 20687 * 0.001 is 20.687, not 20.687000000000001
