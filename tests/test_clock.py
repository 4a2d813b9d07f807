"""Whether the clock is right, as the kernel says it."""

import ctypes
from typing import Any

import pytest

from edged import clock


class Timex(ctypes.Structure):
    """As <sys/timex.h> has it."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("pps", ctypes.c_long * 8),
        ("rest", ctypes.c_int * 12),
    ]


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [(0, 0x2001, True), (1, 0x2011, True), (5, 0x40, False), (5, 0x2001, False), (0, 0x2041, False), (-1, 0, None)],
    ids=["NTP", "a leap second ahead", "set by hand", "an error", "unsynchronised", "forbidden"],
)
def test_what_the_kernel_says(monkeypatch, code, status, expected):
    class Library:
        def adjtimex(self, buffer: Any) -> Any:
            assert ctypes.sizeof(buffer) >= ctypes.sizeof(Timex)
            timex = Timex.from_buffer(buffer)
            assert timex.modes == 0
            timex.offset, timex.freq, timex.maxerror, timex.esterror = -1, -1, -1, -1
            timex.status = status
            return code

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert clock.synchronised() is expected


def test_a_system_without_it(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert clock.synchronised() is None


def test_the_real_kernel():
    timex = Timex()
    code = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    expected = None if code < 0 else code != 5 and not timex.status & 0x40
    assert clock.synchronised() is expected
