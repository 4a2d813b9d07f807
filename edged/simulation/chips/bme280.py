"""Bosch BME280 and BMP280, register by register.

Sources: BST-BME280-DS002 and BST-BMP280-DS001; § are sections of the first.  The values of the air become raw words by
running the datasheet's integer compensation backwards; drivers have the floating-point one.  The IIR filter is not
modelled but for the resolution that it brings: the air changes slowly.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from edged.simulation.chips import Air, ChipModel, Environment, room

BME280, BMP280 = 0x60, 0x58
ID, RESET, CTRL_HUM, STATUS, CTRL_MEAS, CONFIG = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5
DATA = slice(0xF7, 0xFF)
MEASURING, UPDATING = 0x08, 0x01  # of STATUS
SLEEP, NORMAL = 0, 3  # modes; 1 and 2 are both forced
OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)  # 0: the channel is skipped
SKIPPED = bytes.fromhex("80 00 00 80 00 00 80 00")  # also what stands there after power-on (§5.4.7-9)
STARTUP_S = 0.002


class Trim(NamedTuple):
    """The calibration that the factory burns in: T1..T3, P1..P9, H1..H6."""

    t: tuple[int, ...]
    p: tuple[int, ...]
    h: tuple[int, ...]

    def registers(self) -> dict[int, bytes]:
        """First address and content of the three places where it stands (§4.2.2)."""
        h1, h2, h3, h4, h5, h6 = self.h
        shared = (h5 & 0xF) << 4 | h4 & 0xF  # H4 and H5 are signed, of 12 bits, and share E5
        return {
            0x88: struct.pack("<HhhH8h", *self.t, *self.p),
            0xA1: bytes([h1]),
            0xE1: struct.pack("<hBbBbb", h2, h3, h4 >> 4, shared, h5 >> 4, h6),
        }


EXAMPLE = Trim(  # T and P: the worked example, BST-BMP280-DS001 §3.12; for humidity the datasheets have none
    t=(27504, 26435, -1000),
    p=(36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000),
    h=(75, 362, 0, 313, 50, 30),
)


def fine_temperature(trim: Trim, raw: int) -> int:
    """t_fine, the temperature in 1/5120 °C (§4.2.3)."""
    t1, t2, t3 = trim.t
    square = ((raw >> 4) - t1) ** 2 >> 12
    return (((raw >> 3) - (t1 << 1)) * t2 >> 11) + (square * t3 >> 14)


def pressure(trim: Trim, t_fine: int, raw: int) -> int:
    """The pressure in 1/256 Pa, by 64-bit arithmetic (§4.2.3); falls as the raw word rises."""
    p1, p2, p3, p4, p5, p6, p7, p8, p9 = trim.p
    t = t_fine - 128_000
    offset = t * t * p6 + (t * p5 << 17) + (p4 << 35)
    gain = ((1 << 47) + (t * t * p3 >> 8) + (t * p2 << 12)) * p1 >> 33
    if gain == 0:
        return 0
    linear = ((0x100000 - raw << 31) - offset) * 3125 // gain
    return (linear + (p9 * (linear >> 13) ** 2 >> 25) + (p8 * linear >> 19) >> 8) + (p7 << 4)


def humidity(trim: Trim, t_fine: int, raw: int) -> int:
    """The relative humidity in 1/1024 %RH (§4.2.3)."""
    h1, h2, h3, h4, h5, h6 = trim.h
    t = t_fine - 76_800
    gain = ((t * h6 >> 10) * ((t * h3 >> 11) + 32_768) >> 10) + 2_097_152
    linear = ((raw << 14) - (h4 << 20) - h5 * t + 16_384 >> 15) * (gain * h2 + 8192 >> 14)
    curved = linear - (((linear >> 15) ** 2 >> 7) * h1 >> 4)
    return min(max(curved, 0), 100 << 22) >> 12


@dataclass(frozen=True)
class Run:
    """What a write of CTRL_MEAS starts: nothing (sleep), one conversion (forced) or one after the other (normal)."""

    start: float
    ctrl_meas: int
    ctrl_hum: int
    config: int
    standby_ms: tuple[float, ...]

    @property
    def mode(self) -> int:
        return self.ctrl_meas & 3

    @property
    def oversampling(self) -> tuple[int, int, int]:
        """Of temperature, pressure and humidity (§5.4.3, §5.4.5)."""
        osrs_t, osrs_p, osrs_h = self.ctrl_meas >> 5, self.ctrl_meas >> 2 & 7, self.ctrl_hum & 7
        return OVERSAMPLING[osrs_t], OVERSAMPLING[osrs_p], OVERSAMPLING[osrs_h]

    def resolve(self, raw: int, oversampling: int) -> int:
        """A raw word of temperature or pressure with the bits that it has: 16 to 20, all with the filter on (§3.4)."""
        missing = 0 if self.config >> 2 & 7 or not oversampling else 5 - oversampling.bit_length()
        return raw >> missing << missing

    @property
    def conversion_s(self) -> float:
        """How long one conversion takes at most (§9.1)."""
        n_t, n_p, n_h = self.oversampling
        return round((1.25 + 2.3 * n_t + sum(2.3 * n + 0.575 for n in (n_p, n_h) if n)) / 1000, 6)

    def end(self, nth: int) -> float:
        """When the nth conversion ends, counted from 0."""
        return self.start + self.conversion_s + nth * (self.conversion_s + self.standby_ms[self.config >> 5] / 1000)

    def ended(self, now: float) -> int:
        """How many conversions have ended."""
        first, second = self.end(0), self.end(1)
        if self.mode == SLEEP or now < first:
            return 0
        return 1 + int((now - first) // (second - first)) if self.mode == NORMAL else 1

    def busy_until(self, now: float) -> float:
        """When the conversion that is under way ends; `now` where none is."""
        ended = self.ended(now)
        another = self.mode == NORMAL or (self.mode != SLEEP and not ended)
        under_way = another and self.end(ended) - self.conversion_s <= now
        return self.end(ended) if under_way else now


def convert(air: Air, trim: Trim, run: Run) -> bytes:
    """Registers F7..FE of a measurement of this air."""
    n_t, n_p, n_h = run.oversampling
    warm = _first(20, air.temperature * 5120, lambda raw: fine_temperature(trim, raw))
    warm = run.resolve(warm, n_t)
    t_fine = fine_temperature(trim, warm)  # what a driver will find, so that pressure and humidity come out right
    heavy = _first(20, air.pressure * -25_600, lambda raw: -pressure(trim, t_fine, raw))
    heavy = run.resolve(heavy, n_p)
    wet = max(air.humidity * 1024, 1)  # at 0 the formula is flat: any word below would do
    damp = _first(16, wet, lambda raw: humidity(trim, t_fine, raw))
    measured = (heavy << 4).to_bytes(3, "big") + (warm << 4).to_bytes(3, "big") + damp.to_bytes(2, "big")
    return b"".join(
        (measured if count else SKIPPED)[channel]
        for count, channel in ((n_p, slice(0, 3)), (n_t, slice(3, 6)), (n_h, slice(6, 8)))
    )


def _first(bits: int, value: float, compensated: Callable[[int], int]) -> int:
    """The first raw word of so many bits that reaches the value; the last word where none does."""
    return min(bisect_left(range(1 << bits), value, key=compensated), (1 << bits) - 1)


class Bme280(ChipModel):
    """One chip; with another id than the BME280's it has no humidity."""

    def __init__(
        self, chip_id: int = BME280, calibration: Trim = EXAMPLE, environment: Environment | None = None
    ) -> None:
        around = environment or room(seed=0)
        trim = calibration if chip_id == BME280 else calibration._replace(h=(0,) * 6)
        self._chip_id = chip_id
        self._fresh = _image({ID: bytes([chip_id]), **trim.registers()})
        self._found: bytearray | None = None
        self._measure: Callable[[float, Run], bytes] = lambda when, run: convert(around(when), trim, run)
        self._answers: dict[int, Iterator[bytes]] = {}
        self.power_on(float("-inf"))

    @classmethod
    def from_dump(cls, dump: Mapping[int, bytes]) -> "Bme280":
        """A chip as a dump shows it, by first address and content; each of its conversions gives the dumped F7..FE.

        It is plugged in as it was found, running if it was; at the next power-on it is a fresh one.
        """
        found = _image(dump)
        chip = cls(chip_id=found[ID])
        chip._fresh = found[:CTRL_HUM] + _image({})[CTRL_HUM:]
        chip._found = found
        chip._measure = lambda when, run: bytes(found[DATA])
        return chip

    def answer(self, register: int, content: bytes, times: int | None = 1) -> None:
        """Begin the next reads at `register` with this content: so many times, None for ever, 0 no more."""
        self._answers[register] = repeat(content) if times is None else repeat(content, times)

    def power_on(self, now: float) -> None:
        self._ready = now if self._found else now + STARTUP_S
        self._registers, self._found = bytearray(self._found or self._fresh), None
        self._pointer = 0
        self._run = self._run_from(now, self._registers[CTRL_MEAS])
        self._next: Run | None = None
        self._latched = 0

    def write(self, data: bytes, now: float) -> bool:
        """Pairs of register and value; a register alone is where the next read begins (§6.2.1)."""
        self._settle(now)
        self._pointer = data[(len(data) - 1) // 2 * 2]
        for register, value in zip(data[::2], data[1::2], strict=False):
            if register == RESET and value == 0xB6:
                self.power_on(now)
            elif register == CONFIG or (register == CTRL_HUM and not self._next):
                self._registers[register] = value
            elif register == CTRL_MEAS and not self._next:
                # Delayed to the end of the conversion under way; till then no other is taken, nor CTRL_HUM (§3.3.1).
                self._next = self._run_from(self._run.busy_until(now), value)
                self._settle(now)
        return True

    def read(self, count: int, now: float) -> bytes:
        """Registers one after the other; a burst is of one measurement (§4.1)."""
        self._settle(now)
        given = next(self._answers.get(self._pointer, repeat(b"", 0)), b"")
        registers = bytes(self._registers[(self._pointer + n) % 0x100] for n in range(count))
        self._pointer = (self._pointer + count) % 0x100
        return given[:count] + registers[len(given) :]

    def _run_from(self, start: float, ctrl_meas: int) -> Run:
        """A run with the settings of this moment: CTRL_HUM counts from the next write of CTRL_MEAS on (§5.4.3)."""
        has_humidity = self._chip_id == BME280
        standby_ms = (0.5, 62.5, 125, 250, 500, 1000, *((10, 20) if has_humidity else (2000, 4000)))
        ctrl_hum = self._registers[CTRL_HUM] if has_humidity else 0
        return Run(start, ctrl_meas, ctrl_hum, self._registers[CONFIG], standby_ms)

    def _settle(self, now: float) -> None:
        """Bring the registers to `now`."""
        if self._next and self._next.start <= now:
            self._latch(self._next.start)
            self._run, self._next, self._latched = self._next, None, 0
            self._registers[CTRL_MEAS] = self._run.ctrl_meas
        self._latch(now)
        measuring = MEASURING if self._run.busy_until(now) > now else 0
        updating = UPDATING if now < self._ready else 0
        self._registers[STATUS] = self._registers[STATUS] & ~(MEASURING | UPDATING) | measuring | updating

    def _latch(self, now: float) -> None:
        """Take over what the last conversion gave; after a forced one the chip sleeps."""
        ended = self._run.ended(now)
        if ended > self._latched:
            self._latched = ended
            self._registers[DATA] = self._measure(self._run.end(ended - 1), self._run)
            if self._run.mode != NORMAL:
                self._registers[CTRL_MEAS] &= ~3


def _image(contents: Mapping[int, bytes]) -> bytearray:
    """All 256 registers, those not given as after power-on."""
    registers = bytearray(0x100)
    registers[DATA] = SKIPPED
    for first, content in contents.items():
        registers[first : first + len(content)] = content
    return registers


def model(seed: int) -> Bme280:
    return Bme280(environment=room(seed))
