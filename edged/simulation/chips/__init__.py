"""Simulated chips: what a chip model is, how it is found, and the air around it.

A model is written from the datasheet and never from a driver: the two check one another.  One chip family a file; a
module defines `model(seed)`, which makes one chip.
"""

import importlib
import pkgutil
import random
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import sin, tau
from typing import NamedTuple, cast


class ChipModel(ABC):
    """A chip at byte level.  `now` is the bus's time in seconds; nothing here waits."""

    @abstractmethod
    def write(self, data: bytes, now: float) -> bool:
        """Take the bytes that follow the address; False where the chip does not acknowledge one of them."""

    @abstractmethod
    def read(self, count: int, now: float) -> bytes:
        """At most `count` bytes; none where the chip does not acknowledge its address."""

    @abstractmethod
    def power_on(self, now: float) -> None:
        """Come up as after power-on; whoever was plugged in anew has lost its settings."""


def names() -> list[str]:
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def model(chip: str, address: int, bus: str = "") -> ChipModel:
    """A chip by the name of its module; its values depend on address and bus.  Raises ValueError for an unknown one."""
    if chip not in names():
        raise ValueError(f"no simulated {chip!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{chip.replace('-', '_')}")
    return cast(ChipModel, module.model(zlib.crc32(f"{bus}:{address}".encode())))


class Air(NamedTuple):
    temperature: float  # °C
    pressure: float  # hPa
    humidity: float  # %RH


Environment = Callable[[float], Air]  # by the bus's time


def room(seed: int) -> Environment:
    """The air of a room: slow waves and a little noise, the same for the same seed and time.

    It stays below 26 °C and 65 %RH: at 26.4 °C and 70 %RH a BME280's words are the very ones of a skipped channel.
    """
    draw = random.Random(seed)
    warmth, damp = draw.uniform(-1.2, 1.2), draw.uniform(-5, 5)
    day, draught, weather = (draw.uniform(0, tau) for _ in range(3))

    def air(now: float) -> Air:
        noise = random.Random(f"{seed} {now!r}")
        wave = 2.5 * sin(tau * now / 86_400 + day) + 0.3 * sin(tau * now / 1_700 + draught)
        return Air(
            temperature=21 + warmth + wave + noise.gauss(0, 0.01),
            pressure=1013 + 9 * sin(tau * now / 350_000 + weather) + noise.gauss(0, 0.02),
            humidity=48 + damp - 2.4 * wave + noise.gauss(0, 0.05),
        )

    return air
