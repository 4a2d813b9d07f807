"""Bosch BME280 and BMP280.  Sources: datasheets BST-BME280-DS002 and BST-BMP280-DS001; § are sections of the first.
The floating-point compensation is that of appendix 8.1, the worked example that of BST-BMP280-DS001 §3.12.
"""

import logging
import struct
from collections.abc import Generator
from dataclasses import astuple, dataclass, replace
from typing import ClassVar, Literal

from edged.drivers import Quantity, Read
from edged.drivers._i2c import I2cDriver, I2cOptions
from edged.errors import CorruptReply, WrongChip
from edged.options import option
from edged.reading import Values

log = logging.getLogger(__name__)

_TRIM, _TRIM_HUMIDITY, _ID = 0x88, 0xE1, 0xD0
_CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG, _DATA = 0xF2, 0xF3, 0xF4, 0xF5, 0xF7  # §5.3
_MEASURING, _UPDATING = 0x08, 0x01  # bits of STATUS; the others mean nothing (§5.4.4)
_SLEEP, _FORCED, _MODE = 0, 1, 3  # of CTRL_MEAS (§5.4.5)

_BME280 = 0x60
_BMP280 = (0x58, 0x57, 0x56)  # the latter two: samples
_OTHERS = {0x55: "a BMP180 or BMP085", 0x61: "a BME680 or BME688"}
_OTHERS_AT_0 = {0x50: "a BMP388", 0x60: "a BMP390"}  # have their id in another register

_POLL_S = 0.002  # also the longest copy of the calibration after power-on (§1.1, start-up time)


@dataclass(frozen=True)
class Options(I2cOptions):
    """How to measure."""

    oversampling: Literal[1, 2, 4, 8, 16] = option(
        1, help="conversions averaged into one measurement; 1 is the maker's advice for weather"
    )


@dataclass(frozen=True)
class Trim:
    """The calibration that the factory burns in (§4.2.2)."""

    t1: int
    t2: int
    t3: int
    p1: int
    p2: int
    p3: int
    p4: int
    p5: int
    p6: int
    p7: int
    p8: int
    p9: int
    h1: int = 0
    h2: int = 0
    h3: int = 0
    h4: int = 0
    h5: int = 0
    h6: int = 0


class Bme280(I2cDriver):
    """Bosch BME280: temperature, pressure, humidity; and BMP280, which has no humidity"""

    Options = Options
    addresses = (0x76, 0x77)
    quantities = (
        Quantity("temperature", "°C", -40, 85),
        Quantity("pressure", "hPa", 300, 1100),
        Quantity("humidity", "%RH", 0, 100),
    )
    example = "bus = 1\naddress = 0x76"
    _trim: Trim | None = None
    _has_humidity = False
    _told: ClassVar[set[str]] = set()  # BMP280s that were spoken of; a driver lives only until its first failure

    def read(self) -> Read:
        """One measurement in forced mode, after which the chip sleeps and does not warm itself (§3.5.1)."""
        trim = self._trim = self._trim or (yield from self._start())
        code = self.options.oversampling.bit_length()
        asked = code << 5 | code << 2 | _FORCED
        if self._has_humidity:
            self.chip.write_register(_CTRL_HUM, code)  # counts from the next write of CTRL_MEAS on (§5.4.3)
        self.chip.write_register(_CTRL_MEAS, asked)
        yield conversion_s(self.options.oversampling)
        # Another program may have started a longer one before; ours follows it (§3.3.1).
        yield from self._until(_MEASURING, asked & ~_MODE, conversion_s(16) + conversion_s(self.options.oversampling))
        if self._has_humidity and self.chip.read_register(_CTRL_HUM, 1)[0] & 7 != code:
            raise CorruptReply(
                f"{self.chip}: it lost its settings; was its power away, or does another program use it?"
            )
        data = self.chip.read_twice(_DATA, 8 if self._has_humidity else 6)  # one burst: of one measurement (§4.1)
        try:
            return decode(trim, data)
        except CorruptReply as error:
            raise CorruptReply(f"{self.chip}: {error}") from error

    def _start(self) -> Generator[float, None, Trim]:
        """Finds out which chip it is, reads its calibration, and leaves it asleep without filter."""
        self._has_humidity = self._identify()
        yield from self._until(_UPDATING, None, 5 * _POLL_S)
        # Another program may have left it in normal mode, in which it takes no settings for sure (§5.4.6).
        self.chip.write_register(_CTRL_MEAS, _SLEEP)
        yield from self._until(_MEASURING, _SLEEP, conversion_s(16))
        self.chip.write_register(_CONFIG, 0)
        try:
            return parse(
                self.chip.read_twice(_TRIM, 26 if self._has_humidity else 24),
                self.chip.read_twice(_TRIM_HUMIDITY, 7) if self._has_humidity else b"",
            )
        except CorruptReply as error:
            raise CorruptReply(f"{self.chip}: {error}") from error

    def _identify(self) -> bool:
        """Whether it is a BME280 and so has humidity.  Raises WrongChip where it is no BMP280 either."""
        # An id that is read wrongly would take the sensor, or its humidity, away until a person looks after it.
        ids = {self.chip.read_register(_ID, 1)[0] for _ in range(3)}
        if len(ids) > 1:
            shown = ", ".join(f"{id:02x}" for id in sorted(ids))
            raise CorruptReply(f"{self.chip}: its id is {shown}, another each time; check its wiring and supply")
        (id,) = ids
        if id == _BME280:
            return True
        if id in _BMP280:
            self._tell()
            return False
        if id in (0x00, 0xFF):
            level = "low" if id == 0 else "high"
            raise CorruptReply(f"{self.chip}: its id is {id:02x}; is the bus stuck, with its data line held {level}?")
        kind = _OTHERS.get(id) or _OTHERS_AT_0.get(self.chip.read_register(0x00, 1)[0])
        found = f"this is {kind}" if kind else "this is another chip"
        raise WrongChip(f"{self.chip}: its id is {id:02x} and not 60 (BME280) or 58 (BMP280): {found}")

    def _tell(self) -> None:
        """Once for each chip."""
        if str(self.chip) not in self._told:
            self._told.add(str(self.chip))
            log.warning(
                "%s: the chip is a BMP280 and has no humidity, whatever its board says; "
                "take humidity out of this sensor's config, or replace the board",
                self.chip,
            )

    def _until(self, busy: int, ctrl_meas: int | None, longest_s: float) -> Generator[float, None, None]:
        """Waits until the status bit `busy` is 0, and CTRL_MEAS reads so: with these settings, and asleep."""
        waited = 0.0
        while True:
            status, found = self.chip.read_register(_STATUS, 2)  # and CTRL_MEAS, of the same moment
            if not status & busy and ctrl_meas in (None, found):
                return
            if waited > longest_s:
                raise CorruptReply(
                    f"{self.chip}: it does not get done (status {status:02x}, control {found:02x}); "
                    "was its power away, or does another program use it?"
                )
            yield _POLL_S
            waited += _POLL_S


def conversion_s(oversampling: int) -> float:
    """The longest that a measurement of all three takes (§9.1)."""
    return (1.25 + 2.3 * oversampling + 2 * (2.3 * oversampling + 0.575)) / 1000


def parse(block: bytes, humidity_block: bytes = b"") -> Trim:
    """The calibration from registers 88..9F, or 88..A1 and E1..E7 of a BME280.  Raises CorruptReply."""
    trim = Trim(*struct.unpack_from("<HhhH8h", block))
    words = astuple(trim)[:12]  # T and P
    if 0 in words or trim.t1 == 0xFFFF or trim.p9 == -1:  # no word of a true one is 0; ones all through, or at the end
        raise CorruptReply(f"the calibration is not whole: {block[:24].hex(' ')}")
    if not humidity_block:
        return trim
    h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", humidity_block)
    if h2 in (0, -1):
        raise CorruptReply(f"the calibration of humidity is not whole: {humidity_block.hex(' ')}")
    return replace(trim, h1=block[25], h2=h2, h3=h3, h4=e4 * 16 + (e5 & 0xF), h5=e6 * 16 + (e5 >> 4), h6=h6)


def decode(trim: Trim, data: bytes) -> Values:
    """°C, hPa and, from eight bytes, %RH of registers F7..FE.  Raises CorruptReply."""
    raw_pressure, raw_temperature = (int.from_bytes(data[at : at + 3], "big") >> 4 for at in (0, 3))
    raw_humidity = int.from_bytes(data[6:], "big")
    no_values = [word in (0x00000, 0x80000, 0xFFFFF) for word in (raw_pressure, raw_temperature)]
    if any(no_values) or (len(data) == 8 and raw_humidity in (0x0000, 0x8000, 0xFFFF)):
        raise CorruptReply(f"no measurement: {data.hex(' ')}")  # 8...0: skipped, or since power-on (§5.4.7-9)
    fine = fine_temperature(trim, raw_temperature)
    values: Values = {"temperature": temperature(fine), "pressure": pressure(trim, fine, raw_pressure)}
    if len(data) == 8:
        values["humidity"] = humidity(trim, fine, raw_humidity)
    return values


def fine_temperature(trim: Trim, raw: int) -> float:
    """Temperature in 1/5120 °C, which pressure and humidity build on."""
    offset = raw / 16384 - trim.t1 / 1024
    return offset * trim.t2 + (offset / 8) ** 2 * trim.t3


def temperature(fine: float) -> float:
    """°C."""
    return fine / 5120


def pressure(trim: Trim, fine: float, raw: int) -> float:
    """hPa.  Raises CorruptReply where the formula would divide by zero."""
    t = fine / 2 - 64_000
    offset = (trim.p6 * t * t / 32_768 + trim.p5 * t * 2) / 4 + trim.p4 * 65_536
    gain = (1 + (trim.p3 * t * t / 524_288 + trim.p2 * t) / 524_288 / 32_768) * trim.p1
    if gain == 0:
        raise CorruptReply("no pressure comes out of this calibration")
    pascal = (1_048_576 - raw - offset / 4096) * 6250 / gain
    pascal += (trim.p9 * pascal * pascal / 2_147_483_648 + trim.p8 * pascal / 32_768 + trim.p7) / 16
    return pascal / 100


def humidity(trim: Trim, fine: float, raw: int) -> float:
    """%RH, held between 0 and 100 as the datasheet has it."""
    t = fine - 76_800
    gain = trim.h2 / 65_536 * (1 + trim.h6 / 67_108_864 * t * (1 + trim.h3 / 67_108_864 * t))
    linear = (raw - (trim.h4 * 64 + trim.h5 / 16_384 * t)) * gain
    return min(max(linear * (1 - trim.h1 * linear / 524_288), 0.0), 100.0)
