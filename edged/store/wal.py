"""Reads SQLite's write-ahead log, which holds what was committed since the database file was last brought up to date.

SQLite's own recovery ends at the first frame that is not right, as it must where the power went while the last
transaction was being written.  But where whole transactions follow, that frame was on the disk once, since each one
is synced before the next one begins: then it was damaged later, and what follows is as good as before.

The layout and its numbers are those of SQLite's "Database File Format", section 4 (sqlite.org/fileformat2.html).
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # byte order of the checksums' words, by the magic number
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


class _Frame(NamedTuple):
    """A page as a transaction left it."""

    page: int
    commit: int  # size of the database after the transaction that it ends, in pages; else 0
    data: bytes


def read_wal(path: Path) -> Wal:
    """What a log holds; nothing where there is none.  Raises OSError where it cannot be opened."""
    try:
        log = ReadFile(path)
    except FileNotFoundError:
        return Wal(0, {}, 0, damaged=False)
    with contextlib.closing(log):
        return transactions(log)


def transactions(log: ReadFile) -> Wal:
    """Goes through all of a log's transactions; the last one is taken only where it is whole."""
    header = log.read(0, _HEADER.size).ljust(_HEADER.size, b"\0")
    magic, version, page_size, _, *salts, sum1, sum2 = _HEADER.unpack(header)
    order = _ORDERS.get(magic, "")
    known = order and version == 3007000 and is_page_size(page_size)
    if not known or _checksum(order, header[:24], (0, 0)) != (sum1, sum2):
        return Wal(0, {}, 0, damaged=False)
    committed: dict[int, int] = {}
    offsets: dict[int, int] = {}  # of the transaction that is being read
    doubtful: dict[int, int] | None = None  # of one that is not whole, until the next one shows that it was
    pages = doubtful_pages = 0
    whole, ended, damaged = True, False, False
    end: _Frame | None = None  # of the last transaction
    for at, frame in _frames(log, order, page_size, salts, (sum1, sum2)):
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
    return Wal(page_size, committed, pages, damaged)


def _frames(
    log: ReadFile, order: str, page_size: int, salts: list[int], checksum: tuple[int, int]
) -> Iterator[tuple[int, _Frame | None]]:
    """All frames, and where in the log the page of each begins; None for what is none of the present round's.

    A checksum is one over all before it as well; that of a frame behind one that is wrong goes on from what is
    written there.
    """
    size = _FRAME_HEADER.size + page_size
    before: tuple[int, int] | None = checksum
    for start in range(_HEADER.size, log.size - size + 1, size):
        read = log.read(start, size).ljust(size, b"\0")
        page, commit, salt1, salt2, sum1, sum2 = _FRAME_HEADER.unpack_from(read)
        frame = _Frame(page, commit, read[_FRAME_HEADER.size :])
        if page == 0 or [salt1, salt2] != salts:
            before = None
            yield start, None
        else:
            good = before is not None and _checksum(order, read[:8] + frame.data, before) == (sum1, sum2)
            before = sum1, sum2
            yield start + _FRAME_HEADER.size, frame if good else None


def _checksum(order: str, data: bytes, seed: tuple[int, int]) -> tuple[int, int]:
    """The log's running checksum over `data`, whose size is a multiple of 8."""
    sum1, sum2 = seed
    for word1, word2 in struct.iter_unpack(order + "II", data):
        sum1 = (sum1 + word1 + sum2) & 0xFFFFFFFF
        sum2 = (sum2 + word2 + sum1) & 0xFFFFFFFF
    return sum1, sum2


def is_page_size(size: int) -> bool:
    """Whether pages of an SQLite file may be of so many bytes."""
    return 512 <= size <= 65536 and size.bit_count() == 1
