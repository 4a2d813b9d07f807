"""The I2C buses in memory behind `bus = "sim"` and `bus = "sim:NAME"`.

They fail as a real adapter does, with the error numbers of the Pi's (drivers/i2c/busses/i2c-bcm2835.c): EREMOTEIO
where nobody acknowledges, ETIMEDOUT where the clock line is held.
"""

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edged.simulation.chips import ChipModel
from edged.simulation.faults import Fault, FaultSchedule, flip


@dataclass
class _Socket:
    """One address of a bus: the chip in it and the state of its fault."""

    chip: ChipModel
    schedule: FaultSchedule | None
    plugged: float
    powered: float
    draw: random.Random  # which bits flip
    faulty: int = 0  # transactions met by the fault

    def fault(self, now: float) -> Fault | None:
        """The fault that is on; a chip whose plug was out since the last call has lost its settings."""
        if self.schedule is None:
            return None
        healed = self.schedule.healed(now, self.plugged)
        if self.schedule.fault == "unplugged" and healed > self.powered:
            self.powered = healed
            self.chip.power_on(healed)
        return self.schedule.fault if self.schedule.active(now, self.plugged) else None


class SimulatedBus:
    """An I2C bus in memory, at byte level.  Used by one thread at a time, as a real bus is by its lane."""

    def __init__(
        self,
        name: str = "",
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.stuck = False  # the data line held low: every address seems to acknowledge, and all bits read 0
        self._now = now
        self._sleep = sleep
        self._sockets: dict[int, _Socket] = {}

    def plug(self, address: int, chip: ChipModel, fault: FaultSchedule | None = None) -> None:
        """Put a chip to an address and power it; what was there before is gone."""
        now = self._now()
        chip.power_on(now)
        self._sockets[address] = _Socket(chip, fault, plugged=now, powered=now, draw=random.Random(address))

    def unplug(self, address: int) -> None:
        self._sockets.pop(address, None)

    def is_free(self, address: int) -> bool:
        """Whether no chip was put there yet."""
        return address not in self._sockets

    def transfer(self, address: int, write: bytes, read: int, timeout_s: float) -> bytes:
        """One transaction: START, `write` to the chip, repeated START, `read` bytes from it, STOP.

        Without `write` a pure read, with `read` = 0 a pure write, with neither just a question whether somebody is
        there.  Raises OSError: EREMOTEIO for a byte that nobody acknowledges, ETIMEDOUT after `timeout_s` of a hang.
        """
        if self.stuck:
            return bytes(read)
        now = self._now()
        socket = self._sockets.get(address)
        if socket is None:
            raise _nack()
        fault = socket.fault(now)
        if fault:
            socket.faulty += 1
        if fault in ("nack", "unplugged") or (fault == "flap" and socket.faulty % 2 == 0):
            raise _nack()
        if fault == "hang":
            self._sleep(timeout_s)
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if write and not socket.chip.write(write, now):
            raise _nack()
        if not read:
            return b""
        reply = socket.chip.read(read, now)
        if not reply:
            raise _nack()
        reply = reply.ljust(read, b"\xff")  # nobody pulls the line low any more
        return flip(reply, socket.draw) if fault == "corrupt" else reply


def _nack() -> OSError:
    return OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))


_buses: dict[str, SimulatedBus] = {}
_lock = threading.Lock()  # each lane opens its own bus


def open_bus(name: str) -> SimulatedBus:
    """The process's bus of that name ("" for `sim`), made at first use."""
    with _lock:
        if name not in _buses:
            _buses[name] = SimulatedBus(name)
        return _buses[name]


def reset() -> None:
    """Forget all buses, so that the next test finds empty ones."""
    with _lock:
        _buses.clear()
