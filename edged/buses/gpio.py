"""GPIO lines, through gpiozero on lgpio: the only code that opens /dev/gpiochip*.

Sources: the kernel's include/uapi/linux/gpio.h; gpiozero's documentation of pin factories; lgpio's sources (lg).
"""

import atexit
import errno
import fcntl
import importlib
import importlib.util
import os
import re
import shutil
import struct
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edged.errors import NoReply

DEV = Path("/dev")

Pull = Literal["up", "down", "none"]

_HEADER = ("pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1")  # labels of the chip behind the pin header
_FIXED_PULL_UP = (2, 3)  # 1.8 kΩ on every board
_A_PI_3 = 0xA02082  # gpiozero knows pins by the board's revision; this one has all 28 of the header

_CHIP_INFO = struct.Struct("32s32sI")  # name, label, lines
_LINE_INFO = struct.Struct("32s32sIIQ160s16x")  # name, consumer, offset, number of attributes, flags, attributes
_GET_CHIP_INFO = 0x8044_B401
_GET_LINE_INFO = 0xC100_B405
_USED = 1  # flag

_MEANING = {
    errno.EACCES: "no permission; the daemon's user must be in group gpio (sudo usermod -aG gpio USER), "
    "and a container needs --device for it",
    errno.EPERM: "forbidden by the systemd unit's device policy; it needs DeviceAllow=char-gpiochip rw",
}

_lock = threading.Lock()  # of the import of lgpio, which changes the working directory for a moment
_ours: set[tuple[int, int]] = set()  # chip and line that this process holds


class Chip(NamedTuple):
    """A GPIO chip."""

    number: int  # of /dev/gpiochipN
    label: str

    def __str__(self) -> str:
        return f"gpiochip{self.number} ({self.label})"


class Input:
    """A line as input, held until closed."""

    def __init__(self, pin: int, device: Any, factory: Any, chip: Chip | None, pulled_up: bool) -> None:
        self._pin = pin
        self._device = device
        self._factory = factory
        self._chip = chip  # None: the factory is not ours
        self._pulled_up = pulled_up  # gpiozero calls the low level active then

    def high(self) -> bool:
        """The level of now.  Raises NoReply."""
        with _explained(self._pin, self._chip):
            return bool(self._device.pin.state)

    def listen(self, changed: Callable[[bool], None]) -> None:
        """Calls `changed` with each new level, from gpiozero's thread.  For a line that was opened with events."""
        with _explained(self._pin, self._chip):
            self._device.when_activated = partial(changed, not self._pulled_up)
            self._device.when_deactivated = partial(changed, self._pulled_up)

    def close(self) -> None:
        """Lets go of the line."""
        with suppress(*_failures()):
            if self._device.pin is not None:
                self._device.pin.when_changed = None  # gpiozero leaves lgpio's callback alive otherwise
            self._device.close()
        if self._chip:
            with suppress(*_failures()):
                self._factory.close()  # only this frees a line of lgpio
            _ours.discard((self._chip.number, self._pin))


@contextmanager
def _explained(pin: int, chip: Chip | None) -> Iterator[None]:
    """Turns what gpiozero and lgpio raise into NoReply with the line's name and who holds it."""
    try:
        yield
    except _failures() as error:
        where = f"GPIO line {pin}" + (f" of {chip}" if chip else "")
        held = holder(chip.number, pin) if chip else ""
        raise NoReply(f"{where}: {held or error}") from error


def _failures() -> tuple[type[Exception], ...]:
    """What gpiozero and, where it is loaded, lgpio raise."""
    from gpiozero import GPIOZeroError  # here, since a daemon without pins needs none of it

    lgpio = sys.modules.get("lgpio")
    return (GPIOZeroError, OSError, *([lgpio.error] if lgpio else []))


def open_input(pin: int, chip: int | str | None, pull: Pull, debounce_s: float, events: bool) -> Input:
    """A line as input; `chip` as `find` takes it.  With events it can be listened to.  Raises NoReply.

    An edge counts once its level has lasted for `debounce_s`.  Listening costs some 2000 wake-ups a second in lgpio.
    """
    from gpiozero import Device, DigitalInputDevice, InputDevice

    if not _by_lgpio():
        with _explained(pin, None):
            Device.ensure_pin_factory()
        factory, found = Device.pin_factory, None
    else:
        lgpio_ready()
        found = find(chip)
        with _explained(pin, found):
            factory = _factory(found.number)
    pull_up = {"up": True, "down": False, "none": None}[pull]
    polarity = {"pull_up": pull_up, "active_state": True if pull_up is None else None, "pin_factory": factory}
    try:
        with _explained(pin, found):
            if events:
                device = DigitalInputDevice(pin, bounce_time=debounce_s or None, **polarity)
            else:
                device = InputDevice(pin, **polarity)
    except NoReply:
        if found:
            factory.close()
        raise
    if found:
        _ours.add((found.number, pin))
    return Input(pin, device, factory, found, pulled_up=bool(pull_up))


def pull_problem(pin: int, chip: int | str | None, pull: Pull) -> str:
    """Why a line cannot be pulled so; or nothing."""
    if chip is None and pin in _FIXED_PULL_UP and pull != "up":
        return f'GPIO {pin} has a resistor to 3.3 V on the board; write pull = "up", or take another pin'
    return ""


def absent(pin: int, chip: int | str | None) -> str:
    """Why a line cannot be used, without touching it; or nothing."""
    if not _by_lgpio():
        return ""
    if importlib.util.find_spec("lgpio") is None:
        return _without("lgpio is not installed")
    if importlib.util.find_spec("_lgpio") is None:  # the module in C; importing lgpio itself has effects
        return _without("the installed lgpio is an empty module")
    try:
        found = find(chip)
    except NoReply as error:
        return str(error)
    held = "" if (found.number, pin) in _ours else holder(found.number, pin)
    return f"GPIO line {pin} of {found}: {held}" if held else ""


def find(chip: int | str | None) -> Chip:
    """The chip of that number, name or label; by default the one behind the pin header, whose number varies.

    Raises NoReply.
    """
    present, refused = [], []
    for number in _numbers():
        try:
            present.append(Chip(number, _label(number)))
        except OSError as error:
            refused.append(_refusal(error, number))
    for each in present:
        name = f"gpiochip{each.number}"
        if each.label in _HEADER if chip is None else chip in (each.number, each.label, name, f"/dev/{name}"):
            return each
    wanted = "no GPIO chip of a Raspberry Pi's header" if chip is None else f"no GPIO chip {chip!r}"
    reasons = "; ".join(refused) or f"there: {', '.join(map(str, present)) or 'none'}"
    raise NoReply(f"{wanted} in {DEV} ({reasons})")


def holder(number: int, pin: int) -> str:
    """Who holds a line, and what to do; nothing where it is free, or where that cannot be told."""
    question = _LINE_INFO.pack(b"", b"", pin, 0, 0, b"")
    try:
        _, consumer, _, _, flags, _ = _LINE_INFO.unpack(ask(DEV / f"gpiochip{number}", _GET_LINE_INFO, question))
    except OSError:
        return ""
    if not flags & _USED:
        return ""
    return f'it is in use by "{_text(consumer) or "?"}" (gpioinfo shows it so); end that, or take another pin'


def ask(path: Path, request: int, question: bytes) -> bytes:
    """The kernel's answer to an ioctl; apart, since a test has no such device."""
    answer = bytearray(question)
    node = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(node, request, answer)
    finally:
        os.close(node)
    return bytes(answer)


def lgpio_ready() -> None:
    """Imports lgpio without its side effects.  Raises NoReply where it is not there or is the empty release."""
    with _lock:
        if "LG_WD" not in os.environ:  # where it makes a FIFO of a fixed name: of this process alone
            folder = tempfile.mkdtemp(prefix="edged-lgpio-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            os.environ["LG_WD"] = folder
        before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lgpio = importlib.import_module("lgpio")
        except ImportError as error:
            raise NoReply(_without("lgpio is not installed")) from error
        except OSError as error:
            raise NoReply(f"lgpio cannot make its files in LG_WD = {os.environ['LG_WD']}; is it writable?") from error
        finally:
            os.fchdir(before)  # lgpio has changed to LG_WD
            os.close(before)
    if not hasattr(lgpio, "gpiochip_open"):
        raise NoReply(_without("the installed lgpio is an empty module"))


def _by_lgpio() -> bool:
    """False where the environment asks gpiozero for other pins, as tests do."""
    return os.environ.get("GPIOZERO_PIN_FACTORY", "").lower() in ("", "lgpio")


def _factory(number: int) -> Any:
    """A factory for one line: gpiozero's default takes any chip, and shares its pins among all chips."""
    from gpiozero.pins.lgpio import LGPIOFactory

    factory = LGPIOFactory(chip=number)
    factory.pins = {}
    factory._reservations = defaultdict(list)
    factory._get_revision = partial(_revision, factory._get_revision)
    return factory


def _revision(of_board: Callable[[], int]) -> int:
    """The board's; and on one that is no Pi, something with a header of 28 lines."""
    from gpiozero import PinUnknownPi

    try:
        return of_board()
    except (PinUnknownPi, OSError):
        return _A_PI_3


def _numbers() -> Iterator[int]:
    """Of the chips in /dev, without links such as a Pi 5's gpiochip4."""
    matches = (re.fullmatch(r"gpiochip([0-9]+)", path.name) for path in DEV.glob("gpiochip*") if not path.is_symlink())
    yield from sorted(int(match[1]) for match in matches if match)


def _label(number: int) -> str:
    _, label, _ = _CHIP_INFO.unpack(ask(DEV / f"gpiochip{number}", _GET_CHIP_INFO, bytes(_CHIP_INFO.size)))
    return _text(label)


def _refusal(error: OSError, number: int) -> str:
    return f"{DEV}/gpiochip{number}: {_MEANING.get(error.errno or 0, error.strerror)}"


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _without(reason: str) -> str:
    return (
        f"{reason}: sudo apt install python3-lgpio; "
        "a virtual environment sees it only if made with --system-site-packages"
    )
