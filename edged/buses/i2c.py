"""I2C buses: the only code that opens /dev/i2c-*.  Sources: the kernel's Documentation/i2c/dev-interface.rst and
fault-codes.rst; what its adapters of the Pi return: drivers/i2c/busses/i2c-bcm2835.c, i2c-designware-common.c.

A transaction is one ioctl, so that no other process can come between its write and its read.
"""

import errno
import math
import os
import threading
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from typing import Any, Protocol

from edged.buses import sysfs
from edged.errors import CorruptReply, NoReply, WrongChip

DEV = Path("/dev")
_DEVICES = "/sys/bus/i2c/devices"

_I2C_TIMEOUT = 0x0702  # ioctl; its argument counts 10 ms
_LONGEST_S = 1.0  # of a transaction, the kernel's own default: no chip stretches the clock longer than 0.15 s

_SILENT = "nobody answers; check its wiring, its power and its address (i2cdetect -y N shows who answers on bus N)"
_FAULT = {  # adapters differ in what they say where nobody acknowledges, so nothing depends on one number
    errno.EREMOTEIO: _SILENT,
    errno.ENXIO: _SILENT,
    errno.EIO: _SILENT,
    errno.ETIMEDOUT: "the bus hangs, for all its sensors: a chip or a bad wire holds a line low; "
    "check the wiring, and take the sensors' power away for a moment",
    errno.EAGAIN: "somebody else uses the bus at the same time; is there a second master, or noise on the wires?",
    errno.EBUSY: "the bus is busy; does another program use the chip?",
    errno.EOPNOTSUPP: "this adapter cannot do such a transfer",
    errno.ENODEV: "the bus has gone; is its adapter still connected, or its dtoverlay removed?",
}
_GONE = "the device node leads to no bus any more; is its adapter still connected?"
_UNOPENED = {
    errno.EACCES: "no permission; the daemon's user must be in group i2c (sudo usermod -aG i2c USER), "
    "and a container needs --device for it",
    errno.EPERM: "forbidden by the systemd unit's device policy; it needs DeviceAllow=char-i2c rw",
    errno.ENXIO: _GONE,
    errno.ENODEV: _GONE,
}


class Wire(Protocol):
    """A bus, real or simulated."""

    def transfer(self, address: int, write: bytes, read: int, timeout_s: float) -> bytes:
        """One transaction: `write` goes out, then `read` bytes come in after a repeated start.  Raises OSError."""


class Device(Protocol):
    """What is used of smbus2's SMBus."""

    fd: int | None

    def i2c_rdwr(self, *messages: Any) -> None:
        """One combined transfer."""

    def close(self) -> None:
        """Closes the device node."""


def _smbus(path: str) -> Device:
    from smbus2 import SMBus  # here, since a daemon without I2C needs none of it

    device: Device = SMBus(path)
    return device


class LinuxBus:
    """The bus of one device node, opened when first used and again after it has gone."""

    def __init__(self, number: int, make: Callable[[str], Device] | None = None) -> None:
        self._path = node(number)
        self._make = make or _smbus
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._timeout = 0  # of the adapter, in 10 ms; 0: as the kernel has it

    def transfer(self, address: int, write: bytes, read: int, timeout_s: float) -> bytes:
        """See `Wire`.  An OSError with a file name says that the bus could not be opened."""
        from smbus2 import i2c_msg  # here, for the same reason as above

        message = i2c_msg.read(address, read)
        messages = ([i2c_msg.write(address, write)] if write or not read else []) + ([message] if read else [])
        with self._lock:
            device = self._opened()
            try:
                self._limit(device, timeout_s)
                device.i2c_rdwr(*messages)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    self._close()
                raise
        return bytes(message)

    def _opened(self) -> Device:
        if self._device is None:
            try:
                self._device = self._make(str(self._path))
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._path)) from error
            self._timeout = 0
        return self._device

    def _limit(self, device: Device, timeout_s: float) -> None:
        """Sets the adapter's time-out, which counts for everybody who uses it."""
        timeout = max(1, math.ceil(min(timeout_s, _LONGEST_S) * 100))
        if timeout != self._timeout and device.fd is not None:
            ioctl(device.fd, _I2C_TIMEOUT, timeout)
            self._timeout = timeout

    def _close(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()


_buses: dict[int, LinuxBus] = {}
_lock = threading.Lock()


def simulated(bus: int | str) -> str | None:
    """The name of a simulated bus ("" for `sim`); None for a real one."""
    return bus.partition(":")[2] if isinstance(bus, str) else None


def open_bus(number: int) -> Wire:
    """The process's one bus of that number.  Nothing is opened before it is used."""
    with _lock:
        if number not in _buses:
            _buses[number] = LinuxBus(number)
        return _buses[number]


class Chip:
    """The chip at one address of a bus.  Every method raises NoReply where it does not answer."""

    def __init__(self, wire: Wire, bus: int | str, address: int, timeout_s: float) -> None:
        self._wire = wire
        self._bus = bus
        self._address = address
        self._timeout_s = timeout_s
        self._free = simulated(bus) is not None  # known to belong to no kernel driver

    def __str__(self) -> str:
        return f"I2C bus {self._bus}, address {self._address:#04x}"

    def write(self, data: bytes) -> None:
        """Bytes to the chip."""
        self._transfer(data, 0)

    def read(self, count: int) -> bytes:
        """Bytes from the chip."""
        return self._transfer(b"", count)

    def read_register(self, register: int, count: int) -> bytes:
        """The content of `count` registers from that one on."""
        return self._transfer(bytes([register]), count)

    def read_twice(self, register: int, count: int) -> bytes:
        """The same of registers that keep still and have no checksum.  Raises CorruptReply where two reads differ."""
        first, second = self.read_register(register, count), self.read_register(register, count)
        if first != second:
            raise CorruptReply(
                f"{self}: register {register:#04x} read twice gave {first.hex(' ')} and {second.hex(' ')}; "
                "check the wires' length and the supply"
            )
        return first

    def write_register(self, register: int, value: int) -> None:
        """One byte into a register."""
        self._transfer(bytes([register, value]), 0)

    def _transfer(self, write: bytes, read: int) -> bytes:
        if not self._free:  # the kernel itself would let raw transfers through, into the middle of its driver's own
            reason = owner(int(self._bus), self._address)
            if reason:
                raise WrongChip(f"{self}: {reason}")
            self._free = True
        try:
            return self._wire.transfer(self._address, write, read, self._timeout_s)
        except OSError as error:
            raise NoReply(f"{self}: {explain(error, self._bus)}") from error


def explain(error: OSError, bus: int | str) -> str:
    """What a failure of a bus means and what to do about it."""
    code = error.errno or 0
    name = errno.errorcode.get(code, str(error))
    if error.filename is None:
        return f"{_FAULT.get(code, _SILENT)} ({name})"
    reason = missing(int(bus)) if code == errno.ENOENT else _UNOPENED.get(code, "it cannot be opened")
    return f"{error.filename}: {reason} ({name})"


def absent(bus: int, address: int) -> str:
    """Why no chip can be reached at an address of a real bus, as far as that shows without a transfer; or nothing."""
    path = node(bus)
    if not path.exists():
        return f"{path}: {missing(bus)}"
    reason = owner(bus, address)
    if reason:
        return f"I2C bus {bus}, address {address:#04x}: {reason}"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: {_UNOPENED[errno.EACCES]}"
    return ""


def missing(bus: int) -> str:
    """Why there is no device node of a bus."""
    if f"i2c-{bus}" in sysfs.entries(_DEVICES):
        return (
            "it does not exist although the bus does: the kernel module i2c-dev is not loaded "
            "(sudo modprobe i2c-dev, and i2c-dev as a line of /etc/modules)"
        )
    return "it does not exist; is I2C enabled (sudo raspi-config nonint do_i2c 0), or the bus's dtoverlay set?"


def owner(bus: int, address: int) -> str:
    """Which kernel driver has the chip at an address, and what reads it then; nothing where none has."""
    device = f"{bus}-{address:04x}"
    driver = sysfs.target(f"{_DEVICES}/{device}/driver")
    if driver is None:
        return ""
    parts = sysfs.entries(f"{_DEVICES}/{device}")
    has = {"iio": any(part.startswith("iio:device") for part in parts), "hwmon": "hwmon" in parts}
    ways = [name for name, there in has.items() if there] or list(has)
    return (
        f"the kernel's driver {driver.name} has this chip; read it with "
        + " or ".join(f'driver = "{way}"' for way in ways)
        + f' and device = "{device}", or remove its dtoverlay'
    )


def node(bus: int) -> Path:
    """The device node of a bus."""
    return DEV / f"i2c-{bus}"
