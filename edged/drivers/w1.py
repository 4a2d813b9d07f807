"""1-Wire thermometers through the kernel's w1-therm.  Sources: the kernel's Documentation/w1/slaves/w1_therm.rst;
datasheet DS18B20, table 1 (temperature/data relationship) and figure 9 (scratchpad).

Only `w1_slave` is read.  It converts anew like the newer file `temperature`, and shows the nine bytes of the scratchpad
as well, without which 85.0 °C and 0.0 °C cannot be told from values that were never measured.

On a Pi 5 the bus of w1-gpio is unreliable (raspberrypi/linux#6917); a DS2482 on I2C gives the same files.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from edged.buses import sysfs
from edged.drivers import Driver, Quantity, Read
from edged.errors import CorruptReply, NoReply
from edged.options import option

_DEVICES = "/sys/bus/w1/devices"
_ID = re.compile(r"(?:10|22|28|3b|42)-[0-9a-f]{12}")  # DS18S20, DS1822, DS18B20, DS1825 and MAX31850, DS28EA00
_FILE = re.compile(
    r"(?P<scratchpad>[0-9a-f]{2}(?: [0-9a-f]{2}){8}) : crc=[0-9a-f]{2} (?P<verdict>YES|NO)\n"
    r"[0-9a-f ]+ t=(?P<millidegrees>-?[0-9]{1,7})"
)


@dataclass(frozen=True)
class Options:
    """Which thermometer."""

    id: str = option(help='its id, as ls /sys/bus/w1/devices shows it: "28-000005e2fdc3"')


class W1(Driver):
    """DS18B20 and its like on a 1-Wire bus: DS18S20, DS1822, DS1825, DS28EA00, MAX31850"""

    Options = Options
    quantities = (Quantity("temperature", "°C", -55, 125),)
    example = 'id = "28-000005e2fdc3"'
    last: float | None = None  # °C; the reading before this one

    def read(self) -> Read:
        """One conversion: 94 ms at 9 bits, 750 ms at 12, and as long for each sensor of the bus before it."""
        yield from ()  # the kernel waits inside the read
        reason = self.absent(self.options)
        if reason:
            raise NoReply(reason)
        content = sysfs.text(f"{_DEVICES}/{self.options.id}/w1_slave")
        if not content:
            raise NoReply(f"{self.options.id}: it did not answer; check its wiring and power")
        try:
            self.last = decode(content, self.options.id, self.last)
        except CorruptReply as error:
            raise CorruptReply(f"{self.options.id}: {error}") from error
        return {"temperature": self.last}

    @classmethod
    def lane(cls, options: Any) -> Hashable | None:
        """The 1-Wire master: its sensors convert one after another, whoever reads them."""
        folder = sysfs.target(f"{_DEVICES}/{options.id}")
        return ("w1", folder.parent.name) if folder else None

    @classmethod
    def check(cls, options: Any) -> Iterable[tuple[str, str]]:
        """The id must be a thermometer's."""
        if not _ID.fullmatch(options.id):
            yield "id", f"{options.id!r} is not the id of a thermometer: 10, 22, 28, 3b or 42, `-`, 12 hex digits"

    @classmethod
    def absent(cls, options: Any) -> str:
        """Why there is no such thermometer, and which ones there are."""
        present = sysfs.entries(_DEVICES)
        if not present:
            return f"{_DEVICES} has no bus; is dtoverlay=w1-gpio in config.txt?"
        if options.id not in present:
            there = ", ".join(filter(_ID.fullmatch, present)) or "none"
            return f"{options.id} is not on the 1-Wire bus (there: {there}); check its wiring and ls {_DEVICES}"
        if "w1_slave" not in sysfs.entries(f"{_DEVICES}/{options.id}"):
            return f"{_DEVICES}/{options.id} has no w1_slave; is the kernel module w1-therm loaded?"
        return ""


def decode(content: str, id: str, last: float | None = None) -> float:
    """°C from what `w1_slave` of the sensor `id` says; `last` is the reading before.  Raises CorruptReply."""
    match = _FILE.fullmatch(content)
    if not match:
        raise CorruptReply(f"w1_slave is not complete: {content[:60]!r}")
    scratchpad = bytes.fromhex(match["scratchpad"])
    value = int(match["millidegrees"]) / 1000
    family = id[:2]
    if len(set(scratchpad)) == 1:  # the CRC of eight zeros is zero
        raise CorruptReply(f"all bytes are {scratchpad[0]:02x}; check the data wire and its pull-up of 4.7 kΩ")
    if match["verdict"] == "NO" or crc8(scratchpad[:8]) != scratchpad[8]:
        raise CorruptReply("wrong checksum; check the wire's length, screen and pull-up")
    if family == "10" and scratchpad[7] == 0:  # count per °C, by which the kernel divides; it says 0 °C then
        raise CorruptReply("the scratchpad's byte 7 is 0, which no DS18S20 has")
    steps = 2 if family == "10" else 16  # a °C; `t=` may be finer, and one kernel got it wrong (raspberrypi/linux#4124)
    if abs(int.from_bytes(scratchpad[:2], "little", signed=True) / steps - value) > 1:
        raise CorruptReply(f"t={match['millidegrees']} is not what the bytes {scratchpad[:2].hex(' ')} say")
    if family != "3b" and not -55 <= value <= 125:  # 3b may be a MAX31850 with a thermocouple
        raise CorruptReply(f"{value} °C is beyond what it can measure; 127.937 means too little power")
    # Clones have byte 6 = 0C at good readings as well, so it counts only together with 85.0, and a true 85.0 does not
    # come out of the blue.
    if value == 85.0 and scratchpad[6] == 0x0C and (last is None or last <= 80.0):
        raise CorruptReply("85 °C is the value before the first conversion; check the sensor's power")
    return value


def crc8(message: bytes) -> int:
    """The CRC of ROM and scratchpad: x⁸ + x⁵ + x⁴ + 1, lowest bit first (datasheet DS18B20, CRC generation)."""
    crc = 0
    for byte in message:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc
