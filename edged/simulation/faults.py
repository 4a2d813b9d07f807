"""When a simulated chip fails, and how: the `sim` key of a sensor."""

import random
from dataclasses import dataclass
from typing import Literal

Fault = Literal["nack", "hang", "flap", "corrupt", "unplugged"]


@dataclass(frozen=True)
class FaultSchedule:
    """A fault that comes back: the last `for_s` of each `every_s`, so that a start is always healthy."""

    fault: Fault
    every_s: float = 60.0
    for_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.for_s <= self.every_s:  # equal: always on
            raise ValueError(f"a fault of {self.for_s:g} s does not fit into every {self.every_s:g} s")

    def active(self, now: float, since: float) -> bool:
        """Whether the fault is on at `now`, for a chip plugged at `since`."""
        return (now - since) % self.every_s >= self.every_s - self.for_s

    def healed(self, now: float, since: float) -> float:
        """When the fault last ended; `since` where it has not come yet."""
        return since + (now - since) // self.every_s * self.every_s


def flip(reply: bytes, draw: random.Random) -> bytes:
    """The reply with one to three of its bits turned over."""
    bits = 8 * len(reply)
    turned = sum(1 << bit for bit in draw.sample(range(bits), k=draw.randint(1, 3)))
    return (int.from_bytes(reply, "big") ^ turned).to_bytes(len(reply), "big")
