"""The files below /sys and /proc in which the kernel shows its devices and itself.  No other module opens them.

Paths are the kernel's ("/sys/class/thermal"); `ROOT` says where they lie, so that the real reader also runs on a
recorded tree.
"""

import errno
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from edged.errors import CorruptReply, NoReply, SensorError
from edged.reading import Values

ROOT = Path("/")

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")  # narrower than float(): no "nan", no "1_000", no other digits

_NOT_READY = "it has no value at the moment"
_SILENT = "the device does not answer; check its wiring and power"
_MEANING = {
    errno.ENOENT: "it does not exist; is the device connected, and its kernel driver loaded?",
    errno.EACCES: "no permission; may the daemon's user read it?",
    errno.EPERM: "no permission; may the daemon's user read it?",
    errno.ENODEV: "the device has gone; check its wiring and power",
    errno.EIO: _SILENT,
    errno.EREMOTEIO: _SILENT,
    errno.ENXIO: _SILENT,
    errno.ETIMEDOUT: _SILENT,
    errno.ENODATA: _NOT_READY,
    errno.EAGAIN: _NOT_READY,
    errno.EBUSY: _NOT_READY,
    errno.EINVAL: _NOT_READY,
}


def read(path: Path) -> bytes:
    """The bytes of a file.  A function of its own, since no recorded tree can hold a file that fails."""
    return path.read_bytes()


def text(path: str) -> str:
    """What a file says, without white space around it.  Raises NoReply, CorruptReply."""
    try:
        return read(_place(path)).decode().strip()
    except UnicodeDecodeError as error:
        raise CorruptReply(f"{path}: it holds no text: {error.object[:40]!r}") from error
    except OSError as error:
        code = error.errno or 0
        meaning = _MEANING.get(code, "it cannot be read")
        raise NoReply(f"{path}: {meaning} ({errno.errorcode.get(code, error)})") from error


def number(path: str) -> float:
    """The one number that a file holds.  Raises NoReply, CorruptReply."""
    return parse(text(path), path)


def parse(word: str, where: str) -> float:
    """A finite number from one word of the file `where`.  Raises CorruptReply."""
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise CorruptReply(f"{where}: {word[:40]!r} is no number")
    return value


def entries(folder: str) -> list[str]:
    """The names in a folder, sorted; none where the folder does not exist."""
    try:
        return sorted(entry.name for entry in _place(folder).iterdir())
    except OSError:
        return []


def target(path: str) -> Path | None:
    """Where a device's link leads in the end; None where nothing is there."""
    place = _place(path).resolve()
    return place if place.exists() else None


def collect(parts: Iterable[Callable[[], Values]]) -> Values:
    """The values of all parts that can be read now.  Raises NoReply with every part's reason where none can."""
    values: Values = {}
    reasons = []
    for part in parts:
        try:
            values |= part()
        except SensorError as error:
            reasons.append(str(error))
    if not values:
        raise NoReply("; ".join(reasons) or "there is nothing to read")
    return values


class Device(NamedTuple):
    """An hwmon chip or an IIO device, by what stays the same from boot to boot, unlike the number in its folder."""

    folder: str  # "/sys/class/hwmon/hwmon3"
    name: str  # "lm75"; the chip's or its kernel driver's
    address: str  # "1-0048"; on its bus

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


def find(folder: str, prefix: str, name: str = "", address: str = "", label: str = "") -> Device:
    """The one device of a class's folder that has that name, bus address and label, as far as they are given.

    Raises NoReply where there is none or more than one.
    """
    present = [_device(f"{folder}/{entry}") for entry in entries(folder) if entry.startswith(prefix)]
    found = [
        device
        for device in present
        if name in ("", device.name)
        and address in ("", device.address)
        and (not label or label == _optional(f"{device.folder}/label"))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        key = "device" if len({device.address for device in found}) > 1 else "name"
        raise NoReply(f"{len(found)} devices fit: {', '.join(map(str, found))}; tell them apart by `{key}`")
    wanted = {"name": name, "device": address, "label": label}
    raise NoReply(
        f"no device in {folder} with {', '.join(f'{key} {value!r}' for key, value in wanted.items() if value)}"
        f" (there: {', '.join(map(str, present)) or 'none'}); check its wiring, and that its dtoverlay is set"
    )


def _device(folder: str) -> Device:
    """A class's device links to its chip by `device`; one of a bus lies in the chip's own folder."""
    chip = target(f"{folder}/device") or _place(folder).resolve().parent
    return Device(folder, _optional(f"{folder}/name"), chip.name)


def _optional(path: str) -> str:
    try:
        return text(path)
    except SensorError:
        return ""


def _place(path: str) -> Path:
    return ROOT / path.lstrip("/")
