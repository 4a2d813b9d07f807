"""The clocks: what time it is, and how long since when."""

import time


def monotonic() -> float:
    """Seconds that only go forward; for schedules, pacing and back-off."""
    return time.monotonic()


def now_ms() -> int:
    """The system clock's time: UTC, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def boot_ms() -> int:
    """Milliseconds since the boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
