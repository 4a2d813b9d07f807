"""The board itself.  Sources: the kernel's Documentation/filesystems/proc.rst, ABI/testing/sysfs-class-thermal, and
drivers/hwmon/raspberrypi-hwmon.c for the supply voltage.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edged.buses import sysfs
from edged.drivers import Driver, Quantity, Read
from edged.errors import CorruptReply, NoReply
from edged.options import option
from edged.reading import Values

_THERMAL = "/sys/class/thermal"
_HWMON = "/sys/class/hwmon"


@dataclass(frozen=True)
class Options:
    """Which disk."""

    disk: str = option("/", help="a path on the file system that disk_used is about")


class Host(Driver):
    """The board: CPU temperature, load, memory, disk, uptime, under-voltage, Wi-Fi signal"""

    Options = Options
    quantities = (
        Quantity("cpu_temperature", "°C", -40, 125),
        Quantity("load_1m", "", 0),
        Quantity("load_5m", "", 0),
        Quantity("load_15m", "", 0),
        Quantity("memory_used", "%", 0, 100),
        Quantity("disk_used", "%", 0, 100),
        Quantity("uptime", "s", 0),
        Quantity("throttled", kind="bool"),
        Quantity("wifi_signal", "dBm", -120, 0),
    )

    def read(self) -> Read:
        """All that this board has: one without Wi-Fi or without a thermometer has no such quantity."""
        yield from ()  # nothing to wait for
        disk = partial(disk_used, self.options.disk)
        return sysfs.collect((cpu_temperature, loads, memory_used, disk, uptime, throttled, wifi_signal))

    @classmethod
    def absent(cls, options: Any) -> str:
        """Why there is no such disk."""
        return "" if Path(options.disk).exists() else f"disk: {options.disk} does not exist"


def cpu_temperature() -> Values:
    """Of the thermal zone that is the processor's, else of the first one, else of the hwmon cpu_thermal."""
    zones = [zone for zone in sysfs.entries(_THERMAL) if zone.startswith("thermal_zone")]
    kinds = {zone: sysfs.text(f"{_THERMAL}/{zone}/type") for zone in zones}
    if zones:
        processors = [zone for word in ("cpu", "soc", "x86_pkg_temp") for zone in zones if word in kinds[zone]]
        path = f"{_THERMAL}/{[*processors, *zones][0]}/temp"
    else:
        path = f"{sysfs.find(_HWMON, 'hwmon', 'cpu_thermal').folder}/temp1_input"
    return {"cpu_temperature": sysfs.number(path) / 1000}


def loads() -> Values:
    """Processes that run or wait for a disk, as means over 1, 5 and 15 minutes."""
    path = "/proc/loadavg"
    words = sysfs.text(path).split()
    if len(words) < 3:
        raise CorruptReply(f"{path}: it has no three loads")
    return {f"load_{span}": sysfs.parse(word, path) for span, word in zip(("1m", "5m", "15m"), words, strict=False)}


def memory_used() -> Values:
    """% that no program can have without another giving way; caches do not count."""
    path = "/proc/meminfo"
    lines = {key: rest for key, colon, rest in (line.partition(":") for line in sysfs.text(path).splitlines()) if colon}
    words = (lines.get(key, "").removesuffix("kB").strip() for key in ("MemTotal", "MemAvailable"))
    total, available = (sysfs.parse(word, path) for word in words)
    if not 0 <= available <= total or not total:
        raise CorruptReply(f"{path}: {available:.0f} of {total:.0f} kB cannot be available")
    return {"memory_used": 100 * (1 - available / total)}


def disk_used(disk: str) -> Values:
    """% as `df` has it: of what users may fill; what is reserved for root counts neither as used nor as free."""
    try:
        stat = os.statvfs(disk)
    except OSError as error:
        raise NoReply(f"disk {disk}: {error.strerror}") from error
    used = stat.f_blocks - stat.f_bfree
    if used + stat.f_bavail <= 0:
        raise NoReply(f"disk {disk}: its file system has no size")
    return {"disk_used": 100 * used / (used + stat.f_bavail)}


def uptime() -> Values:
    """s since the boot."""
    path = "/proc/uptime"
    return {"uptime": sysfs.parse(sysfs.text(path).partition(" ")[0], path)}


def throttled() -> Values:
    """Whether the supply is below 4.63 V now, at which the firmware slows a Pi down.

    From hwmon, since a read of `get_throttled` puts a warning with a trace into the kernel's log.
    """
    return {"throttled": sysfs.number(f"{sysfs.find(_HWMON, 'hwmon', 'rpi_volt').folder}/in0_lcrit_alarm") != 0}


def wifi_signal() -> Values:
    """dBm of the first interface that is connected; there is no line for one that is not."""
    path = "/proc/net/wireless"
    for line in sysfs.text(path).splitlines()[2:]:  # two lines of titles: interface: status, link, level, noise, ...
        words = line.partition(":")[2].split()
        level = sysfs.parse(words[2], path) if len(words) > 2 else 0
        signal = level if level < 0 else level - 256  # some drivers give the byte without its sign
        if signal != -256:  # level 0: the driver does not know
            return {"wifi_signal": signal}
    raise NoReply(f"{path}: no interface is connected")
