"""Reads SQLite's write-ahead log, which holds what was committed since the database file was last brought up to date.

SQLite's own recovery ends at the first frame that is not right, as it must where the power went while the last
transaction was being written.  But where whole transactions follow, that frame was on the disk once, since each one
is synced before the next one begins: then it was damaged later, and what follows is as good as before.  The same goes
for the log's own header, of which a bad bit is enough for SQLite to pass over all of it.

The layout and its numbers are those of SQLite's "Database File Format", section 4 (sqlite.org/fileformat2.html).
"""

import contextlib
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # byte order of the checksums' words, by the magic number
_OURS = "<" if sys.byteorder == "little" else ">"  # with which a log is written
_HEADER = struct.Struct(">8I")  # magic number, version, page size, checkpoint, 2 salts, 2 checksums
_FRAME_HEADER = struct.Struct(">6I")  # page, size of the database after a commit or 0, 2 salts, 2 checksums


class ReadFile:
    """A file that is read wherever it can be; the first error is kept in `failure`."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb", buffering=0)
        self.close = self._raw.close
        self.size = os.fstat(self._raw.fileno()).st_size
        self.failure: OSError | None = None

    def read(self, offset: int, size: int) -> bytes:
        """As many of the bytes as there are.  Not by mmap: a bad block would end the process by SIGBUS."""
        try:
            return os.pread(self._raw.fileno(), size, offset)
        except OSError as error:
            self.failure = self.failure or error
            return b""


class Wal(NamedTuple):
    """What a write-ahead log lays over the database file, up to its last commit."""

    page_size: int  # 0: there is no log that can be read
    offsets: dict[int, int]  # where in the log the newest version of a page is
    pages: int  # size of the database; 0: there is no commit
    damaged: bool  # SQLite would lose commits


_NOTHING = Wal(0, {}, 0, damaged=False)
_Sums = tuple[int, int]


class _Frame(NamedTuple):
    """A page as a transaction left it."""

    page: int
    commit: int  # size of the database after the transaction that it ends, in pages; else 0
    data: bytes


class _Header(NamedTuple):
    """What holds for all frames."""

    order: str  # byte order
    page_size: int
    salts: list[int]  # of the present round
    sums: list[_Sums]  # with one of which the checksums begin


def read_wal(path: Path, page_size: int = 1024) -> Wal:
    """What a log holds, as `transactions` tells.  Raises OSError where it cannot be opened."""
    try:
        log = ReadFile(path)
    except FileNotFoundError:
        return _NOTHING
    with contextlib.closing(log):
        return transactions(log, page_size)


def transactions(log: ReadFile, page_size: int = 1024) -> Wal:
    """Goes through all of a log's transactions; the last one is taken only where it is whole.

    `page_size` is that of the database, for a log whose header is damaged.
    """
    header, whole_header = _header(log), True
    if header is None:
        header, whole_header = _header_from_frames(log, page_size), False
    if header is None:
        return _NOTHING
    committed: dict[int, int] = {}
    offsets: dict[int, int] = {}  # of the transaction that is being read
    doubtful: dict[int, int] | None = None  # of one that is not whole, until the next one shows that it was
    pages = doubtful_pages = 0
    whole, ended, damaged = True, not whole_header, False
    end: _Frame | None = None  # of the last transaction
    for at, frame in _frames(log, header):
        if frame is None:
            whole, ended = False, True  # here SQLite ends
        elif frame == end:  # it is repeated up to the end of a block
            whole = True
        else:
            offsets[frame.page] = at
            if frame.commit:
                if doubtful is not None:
                    committed, pages, damaged = committed | doubtful, doubtful_pages, True
                if whole:
                    committed, pages, damaged = committed | offsets, frame.commit, ended
                doubtful, doubtful_pages = (None, 0) if whole else (offsets, frame.commit)
                offsets, whole, end = {}, True, frame
    return Wal(header.page_size, committed, pages, damaged)


def _header(log: ReadFile) -> _Header | None:
    """What the log's header tells; None where it is damaged, or not one of this format."""
    header = log.read(0, _HEADER.size).ljust(_HEADER.size, b"\0")
    magic, version, page_size, _, *salts, sum1, sum2 = _HEADER.unpack(header)
    order = _ORDERS.get(magic, "")
    known = order and version == 3007000 and is_page_size(page_size)
    if not known or _checksum(order, header[:24], (0, 0)) != (sum1, sum2):
        return None
    return _Header(order, page_size, salts, [(sum1, sum2)])


def _header_from_frames(log: ReadFile, page_size: int) -> _Header | None:
    """What a damaged header told: the present round is that of the first frame whose checksum goes on from what is
    before it.  None where there is no such frame, or the header is whole and of another format.
    """
    written = log.read(0, _HEADER.size).ljust(_HEADER.size, b"\0")
    sums: _Sums = _HEADER.unpack(written)[6:]
    right = _checksum(_OURS, written[:24], (0, 0))
    if sums == right and any(written):
        return None
    begins = [sums, right]  # either they are right, or all else is
    before, salts = begins, None
    for _, read in _reads(log, page_size):
        page, _, *found, sum1, sum2 = _FRAME_HEADER.unpack_from(read)
        if page and salts in (None, found) and _goes_on(read, _OURS, before):
            return _Header(_OURS, page_size, found, begins)
        before, salts = [(sum1, sum2)], found
    return None


def _frames(log: ReadFile, header: _Header) -> Iterator[tuple[int, _Frame | None]]:
    """All frames, and where in the log the page of each begins; None for what is none of the present round's.

    A checksum is one over all before it as well; that of a frame behind one that is wrong goes on from what is
    written there.
    """
    before = header.sums
    for start, read in _reads(log, header.page_size):
        page, commit, *salts, sum1, sum2 = _FRAME_HEADER.unpack_from(read)
        if page == 0 or salts != header.salts:
            before = []
            yield start, None
        else:
            good = _goes_on(read, header.order, before)
            before = [(sum1, sum2)]
            yield start + _FRAME_HEADER.size, _Frame(page, commit, read[_FRAME_HEADER.size :]) if good else None


def _reads(log: ReadFile, page_size: int) -> Iterator[tuple[int, bytes]]:
    """Where each frame begins, and its bytes."""
    size = _FRAME_HEADER.size + page_size
    for start in range(_HEADER.size, log.size - size + 1, size):
        yield start, log.read(start, size).ljust(size, b"\0")


def _goes_on(frame: bytes, order: str, before: list[_Sums]) -> bool:
    """Whether a frame's checksum is right, where one of those is the checksum before it."""
    *_, sum1, sum2 = _FRAME_HEADER.unpack_from(frame)
    data = frame[:8] + frame[_FRAME_HEADER.size :]
    return any(_checksum(order, data, sums) == (sum1, sum2) for sums in before)


def _checksum(order: str, data: bytes, seed: _Sums) -> _Sums:
    """The log's running checksum over `data`, whose size is a multiple of 8."""
    sum1, sum2 = seed
    for word1, word2 in struct.iter_unpack(order + "II", data):
        sum1 = (sum1 + word1 + sum2) & 0xFFFFFFFF
        sum2 = (sum2 + word2 + sum1) & 0xFFFFFFFF
    return sum1, sum2


def is_page_size(size: int) -> bool:
    """Whether pages of an SQLite file may be of so many bytes."""
    return 512 <= size <= 65536 and size.bit_count() == 1
