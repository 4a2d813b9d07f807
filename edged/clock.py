"""The clocks: what time it is, how long since when, and whether the time is known to be right."""

import struct
import time

_TIME_ERROR = 5  # what adjtimex(2) returns, and
_STA_UNSYNC = 0x40  # the bit of its status, where the clock is not synchronised
_TIMEX = "@I4li"  # the head of its struct, as this machine lays it out: modes, offset, freq, maxerror, esterror, status


def monotonic() -> float:
    """Seconds that only go forward; for schedules, pacing and back-off."""
    return time.monotonic()


def now_ms() -> int:
    """The system clock's time: UTC, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def boot_ms() -> int:
    """Milliseconds since the boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def synchronised() -> bool | None:
    """Whether the kernel calls the clock synchronised, by whatever source; None where it does not say."""
    import ctypes  # costs more than all else here

    timex = ctypes.create_string_buffer(512)  # more than the struct has; with `modes` 0 it only asks
    try:
        code = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    *_, status = struct.unpack_from(_TIMEX, timex)
    return None if code < 0 else not (code == _TIME_ERROR or status & _STA_UNSYNC)


def is_right() -> bool:
    """Whether the time may be trusted: where the kernel does not say, it may."""
    return synchronised() is not False
