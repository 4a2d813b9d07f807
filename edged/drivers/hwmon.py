"""Chips that a kernel driver shows as hwmon.  Source: the kernel's Documentation/hwmon/sysfs-interface.rst.

Quantities are the chip's channels under the kernel's own names: temp1, in0, curr1, power1, energy1, humidity1, fan1,
freq1.  Limits are wide, for chips of all kinds; `min` and `max` of a quantity narrow them, or widen them for a
thermocouple.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from edged.buses import sysfs
from edged.drivers import Driver, Quantity, Read
from edged.errors import CorruptReply, NoReply, SensorError
from edged.options import option
from edged.reading import Values

_CLASS = "/sys/class/hwmon"
_FILE = re.compile(r"((?:temp|in|curr|power|energy|humidity|fan|freq)[0-9]+)_(?:input|average)")
_ONE_WIRE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{12}")


class Kind(NamedTuple):
    """A kind of channel: edged's unit, how many of the kernel's units that is, and the limits in edged's."""

    unit: str
    divisor: int
    low: float | None = None
    high: float | None = None


KINDS = {
    "temp": Kind("°C", 1000, -60, 200),
    "in": Kind("V", 1000),
    "curr": Kind("A", 1000),
    "power": Kind("W", 1_000_000),
    "energy": Kind("J", 1_000_000),
    "humidity": Kind("%RH", 1000, 0, 100),
    "fan": Kind("rpm", 1, low=0),
    "freq": Kind("Hz", 1, low=0),
}


@dataclass(frozen=True)
class Options:
    """Which chip, and which of its channels."""

    name: str = option("", help="the chip's name, as /sys/class/hwmon/hwmon*/name says it")
    device: str = option("", help='its address, where several have that name: "1-0048" on I2C bus 1')
    label: str = option("", help="only the channel that has this label; default: all channels")


class Hwmon(Driver):
    """Any chip that the kernel reads as hwmon: temperature, voltage, current, power, fan, ..."""

    Options = Options
    example = 'name = "lm75"\ndevice = "1-0048"'

    def read(self) -> Read:
        """All channels that have a value now."""
        yield from ()  # the kernel waits inside the read
        folder = _chip(self.options).folder
        files = chosen(folder, self.options.label)
        return sysfs.collect(partial(_value, folder, channel, file) for channel, file in files.items())

    @classmethod
    def quantity(cls, name: str) -> Quantity:
        """By the channel's kind: temp1 is °C."""
        kind = KINDS.get(name.rstrip("0123456789"))
        return Quantity(name, kind.unit, kind.low, kind.high) if kind else Quantity(name)

    @classmethod
    def check(cls, options: Any) -> Iterable[tuple[str, str]]:
        """A chip must be named; and 1-Wire's own hwmon shows no scratchpad, so that its power-on 85 °C would pass."""
        if not options.name and not options.device:
            yield "name", "`name` or `device` must say which chip"
        if options.name == "w1_slave_temp" or _ONE_WIRE.fullmatch(options.device):
            yield "driver", 'a 1-Wire thermometer is read by driver = "w1", which knows its power-on value'

    @classmethod
    def absent(cls, options: Any) -> str:
        """Why there is no such chip or channel."""
        try:
            chosen(_chip(options).folder, options.label)
        except SensorError as error:
            return str(error)
        return ""


def channels(files: Iterable[str]) -> dict[str, str]:
    """Channel -> the file with its value; an average only where there is no momentary one."""
    return {match[1]: file for file in sorted(files) if (match := _FILE.fullmatch(file))}


def chosen(folder: str, label: str) -> dict[str, str]:
    """The channels of a chip, or the one of that label.  Raises NoReply where no channel has it."""
    files = sysfs.entries(folder)
    found = channels(files)
    if not label:
        return found
    labels = {channel: sysfs.text(f"{folder}/{channel}_label") for channel in found if f"{channel}_label" in files}
    if label not in labels.values():
        there = ", ".join(map(repr, labels.values())) or "none"
        raise NoReply(f"{folder} has no channel with the label {label!r} (there: {there})")
    return {channel: found[channel] for channel, its in labels.items() if its == label}


def _chip(options: Options) -> sysfs.Device:
    return sysfs.find(_CLASS, "hwmon", options.name, options.device)


def _value(folder: str, channel: str, file: str) -> Values:
    fault = f"{channel}_fault"
    if fault in sysfs.entries(folder) and sysfs.number(f"{folder}/{fault}"):
        raise CorruptReply(f"{folder}/{fault}: the chip reports that its sensor is broken; check the wire to it")
    return {channel: sysfs.number(f"{folder}/{file}") / KINDS[channel.rstrip("0123456789")].divisor}
