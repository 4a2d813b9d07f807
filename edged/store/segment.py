"""A segment: up to 1000 consecutive readings as one block of bytes, with a checksum and a header that tells much.

Layout, big endian: the fixed part of 32 bytes (`_FIXED`: magic, version, codec, reserved, count, first sequence
number, lengths of header and body, CRC-32 of all but itself), the header (JSON), the body (JSON, zlib).

The header holds what can be asked without unpacking the body: how many readings of each series there are, the oldest
and newest time, the boot in which they were measured, and the difference between the clock and the time since that
boot, from which their times can be corrected once the true time is known.
"""

import json
import struct
import sys
import zlib
from collections import Counter
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from edged.errors import EdgedError
from edged.reading import Entry

READINGS = 1000  # at most so many in one segment

_FIXED = struct.Struct(">4sBBHIQIII")
_MAGIC = b"EDGS"
_VERSION = 1
_ZLIB_JSON = 1
_NUMBERS = 4 * 32  # bytes of a segment's other numbers in memory, and its place in a list


class DamagedSegment(EdgedError):
    """The bytes of a segment are not what was written."""


class Segment:
    """Consecutive readings of one boot, either just taken or back from the disk (then unpacked when asked for)."""

    def __init__(self, first: int, last: int, header: dict[str, Any], body: bytes = b"") -> None:
        self.first = first
        self.last = last
        self.counts: dict[str, int] = header["series"]
        self.boot_id: str = header["boot"]
        self.offset_ms: int = header["offset"]  # the clock's time minus the time since that boot
        self.times_ms: tuple[int, int] = (header["times"][0], header["times"][1])  # the oldest and the newest
        self._body = body

    @classmethod
    def of(cls, entries: list[Entry], boot_id: str, offset_ms: int) -> "Segment":
        """Makes a segment of consecutive readings (at least one)."""
        times = [entry.time_ms for entry in entries]
        header = {
            "boot": boot_id,
            "offset": offset_ms,
            "times": (min(times), max(times)),
            "series": dict(Counter(entry.series for entry in entries)),
        }
        segment = cls(entries[0].seq, entries[-1].seq, header)
        segment.entries = entries
        return segment

    @cached_property
    def entries(self) -> list[Entry]:
        """The readings, in order."""
        which, steps, values = json.loads(zlib.decompress(self._body))
        names = list(self.counts)
        times = accumulate(steps)
        return [
            Entry(self.first + index, names[name], time_ms, value)
            for index, (name, time_ms, value) in enumerate(zip(which, times, values, strict=True))
        ]

    def after(self, seq: int) -> list[Entry]:
        """The readings behind sequence number `seq`."""
        return self.entries[max(0, seq + 1 - self.first) :]

    @cached_property
    def size(self) -> int:
        """Bytes that it is stored in."""
        return len(self.dumps(self))

    def pack(self) -> int:
        """Holds the readings in their short form; returns the bytes that all of it takes in memory."""
        if not self._body:
            self._body = self._pack()
        self.__dict__.pop("entries", None)
        parts = (self, self.__dict__, self.counts, self.times_ms, *self.times_ms, self._body)
        return sum(sys.getsizeof(part) for part in parts) + _NUMBERS

    def _pack(self) -> bytes:
        """The body.  Columns instead of rows, and times as steps: half the size after zlib."""
        numbers = {name: number for number, name in enumerate(self.counts)}
        times = [entry.time_ms for entry in self.entries]
        columns = (
            [numbers[entry.series] for entry in self.entries],
            times[:1] + [later - earlier for earlier, later in pairwise(times)],
            [entry.value for entry in self.entries],
        )
        packer = zlib.compressobj(
            1, zlib.DEFLATED, 13, 6
        )  # as short, in a quarter of the memory: a flush wakes up cold
        return packer.compress(_json(columns)) + packer.flush()

    @staticmethod
    def dumps(segment: "Segment") -> bytes:
        """The segment as bytes."""
        body = segment._body or segment._pack()
        segment._body = body
        header = _json(
            {
                "boot": segment.boot_id,
                "offset": segment.offset_ms,
                "times": segment.times_ms,
                "series": segment.counts,
            }
        )
        count = segment.last - segment.first + 1
        fixed = (_MAGIC, _VERSION, _ZLIB_JSON, 0, count, segment.first, len(header), len(body))
        checksum = zlib.crc32(_FIXED.pack(*fixed, 0) + header + body)
        return _FIXED.pack(*fixed, checksum) + header + body

    @classmethod
    def loads(cls, data: Any) -> "Segment":
        """A segment from its bytes.  Raises DamagedSegment."""
        if not isinstance(data, bytes) or len(data) < _FIXED.size:
            raise DamagedSegment(f"{type(data).__name__} of {len(data) if hasattr(data, '__len__') else 0} bytes")
        magic, version, codec, reserved, count, first, header_size, body_size, checksum = _FIXED.unpack_from(data)
        if magic != _MAGIC or (version, codec) != (_VERSION, _ZLIB_JSON):
            raise DamagedSegment(f"magic {magic!r}, version {version}, codec {codec}")
        fixed = _FIXED.pack(magic, version, codec, reserved, count, first, header_size, body_size, 0)
        if zlib.crc32(fixed + data[_FIXED.size :]) != checksum:
            raise DamagedSegment("wrong checksum")
        header_end = _FIXED.size + header_size
        try:
            return cls(first, first + count - 1, json.loads(data[_FIXED.size : header_end]), data[header_end:])
        except (ValueError, KeyError, TypeError, IndexError) as error:  # the checksum was made to fit, by whoever
            raise DamagedSegment(f"{type(error).__name__}: {error}") from error


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
