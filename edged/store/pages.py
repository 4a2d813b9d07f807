"""Reads rows out of an SQLite file and its write-ahead log, page by page, without SQLite and without writing.

For where SQLite cannot read: a damaged file, of which each page that is whole gives its rows, whatever the others
hold; and a read-only file system, where SQLite cannot take its lock.  Rowid tables and UTF-8 only.

The layout and its numbers are those of SQLite's "Database File Format" (sqlite.org/fileformat2.html).
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edged.store.wal import ReadFile, Wal, is_page_size, transactions

_MAGIC = b"SQLite format 3\0"
_FILE_HEADER = 100  # bytes before what page 1 holds as a page of a tree
_INTERIOR, _LEAF = b"\x05", b"\x0d"  # types of a table's pages
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value, by its serial type
_Value = int | float | str | bytes | None


class Row(NamedTuple):
    """A row of any table, as SQLite's record has it.

    An INTEGER PRIMARY KEY is None: its value is the rowid.  A whole number in a REAL column may be an int.  A column
    that was added after the row is not there.  What is not UTF-8 in a text is surrogate escapes.
    """

    rowid: int
    values: tuple[_Value, ...]


def rows(path: Path, page_size: int = 1024) -> Iterator[Row]:
    """All rows of all tables, the schema's too, in no order that means anything.

    They are those of the last commit.  In a damaged file a row of which a part is damaged is missing or wrong, and
    others may be there twice or deleted long ago: the caller judges.  `page_size` is for a file whose header does not
    tell.  Raises OSError: where a part cannot be read, as on a failing card, only after all rows that can be.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(contextlib.closing(ReadFile(path)))
        try:
            log = ReadFile(path.with_name(path.name + "-wal"))
        except FileNotFoundError:
            log = ReadFile(Path(os.devnull))
        stack.callback(log.close)
        wal = transactions(log, _told(file.read(0, _FILE_HEADER)) or page_size)
        header = log.read(wal.offsets[1], _FILE_HEADER) if 1 in wal.offsets else file.read(0, _FILE_HEADER)
        databases = [_Database(file, log, wal, *layout) for layout in _layouts(header, wal, page_size)]
        if len(databases) > 1:  # the header may be damaged where it looks right: a wrong layout gives few rows
            databases.sort(key=lambda database: sum(1 for _ in _scan(database)), reverse=True)
        yield from _scan(databases[0])
        if failure := file.failure or log.failure:
            raise failure


def page_size(path: Path) -> int:
    """Bytes of a file's pages; 1024, as in a store, where its header does not tell.  Raises OSError."""
    try:
        file = ReadFile(path)
    except FileNotFoundError:
        return 1024
    with contextlib.closing(file):
        return _told(file.read(0, _FILE_HEADER)) or 1024


class _Damaged(Exception):
    """A cell cannot be right."""


def _layouts(header: bytes, wal: Wal, assumed: int) -> list[tuple[int, int]]:
    """The possible sizes of a page and of the reserved space at its end, the most probable first."""
    page_size, reserved = wal.page_size or _told(header), _number(header, 20, 1)
    layouts = [(wal.page_size or assumed, 0)]
    if header.startswith(_MAGIC) and page_size - reserved >= 480:
        layouts.insert(0, (page_size, reserved))
    return list(dict.fromkeys(layouts))


def _told(header: bytes) -> int:
    """The size of a page as the file's header has it; 0 where it has none that can be right."""
    size = _number(header, 16, 2)
    size = 65536 if size == 1 else size
    return size if header.startswith(_MAGIC) and is_page_size(size) else 0


class _Database:
    """The pages as of the last commit."""

    def __init__(self, file: ReadFile, log: ReadFile, wal: Wal, page_size: int, reserved: int) -> None:
        self._file, self._log, self._offsets = file, log, wal.offsets
        self._page_size = page_size
        self.usable = page_size - reserved  # bytes of each page
        self.pages = -(-file.size // page_size)
        if wal.pages:  # but no more than there are: numbers of pages are trusted up to it
            self.pages = min(wal.pages, max(self.pages, max(wal.offsets)))

    def page(self, number: int) -> bytes:
        """The usable bytes of a page (from 1 on); fewer where the file is cut."""
        offset = self._offsets.get(number)
        if offset is None:
            return self._file.read((number - 1) * self._page_size, self.usable)
        return self._log.read(offset, self.usable)


def _scan(database: _Database) -> Iterator[Row]:
    """The rows of all leaf pages that are not free; a page that is in use by a tree is not, whatever the list says."""
    free = _free(database)
    for number in range(1, database.pages + 1):
        waiting = [] if free[number] else [number]
        while waiting:
            current = waiting.pop()
            page = database.page(current)
            start = _FILE_HEADER if current == 1 else 0
            used: list[int] = []
            if page[start : start + 1] == _LEAF:
                for row in _leaf(database, page, start):
                    yield row
                    match row.values:
                        case ("table", _, _, int(root), _):  # of the schema
                            used.append(root)
            elif page[start : start + 1] == _INTERIOR:
                used = _children(page, start)
            for other in used:
                if 0 < other <= database.pages and free[other]:
                    free[other] = False
                    if other < number:  # and was passed over
                        waiting.append(other)


def _free(database: _Database) -> bytearray:
    """By page, whether the free list has it: the rows in it are deleted ones.  Ends where a trunk cannot be right."""
    free = bytearray(database.pages + 1)
    trunk = _number(database.page(1), 32, 4) if database.page(1).startswith(_MAGIC) else 0
    while 1 < trunk <= database.pages and not free[trunk]:
        page = database.page(trunk)
        following, count = _number(page, 0, 4), _number(page, 4, 4)
        if following > database.pages or 8 + 4 * count > len(page):
            break
        leaves = [_number(page, at, 4) for at in range(8, 8 + 4 * count, 4)]
        if any(not 1 < leaf <= database.pages or free[leaf] for leaf in leaves):
            break
        for number in (trunk, *leaves):
            free[number] = True
        trunk = following
    return free


def _children(page: bytes, start: int) -> list[int]:
    """The pages below an interior page."""
    pointers = _pointers(page, start, start + 12)
    return [_number(page, start + 8, 4), *(_number(page, pointer, 4) for pointer in pointers)]


def _leaf(database: _Database, page: bytes, start: int) -> Iterator[Row]:
    """The rows of a leaf page whose header is at `start`, but for those that cannot be right."""
    for pointer in _pointers(page, start, start + 8):
        try:
            size, at = _varint(page, pointer)
            rowid, at = _varint(page, at)
            values = _values(_payload(database, page, at, size))
        except (_Damaged, IndexError):
            continue
        yield Row(rowid - (rowid >> 63 << 64), values)


def _pointers(page: bytes, start: int, array: int) -> Iterator[int]:
    """Where a page's cells are: what its array of pointers says, as far as it is within the page and behind itself."""
    end = min(array + 2 * _number(page, start + 3, 2), len(page) - 1)
    for at in range(array, end, 2):
        pointer = _number(page, at, 2)
        if array < pointer < len(page):
            yield pointer


def _payload(database: _Database, page: bytes, at: int, size: int) -> bytes:
    """The payload of `size` bytes that begins at `at` and goes on in a chain of overflow pages; less if that ends."""
    local = _local(database.usable, size)
    parts = [page[at : at + local]]
    missing, following = size - local, _number(page, at + local, 4) if size > local else 0
    seen = {0}  # and no chain goes in circles, so that what is read is never more than there is
    while missing and following not in seen and following <= database.pages:
        seen.add(following)
        page = database.page(following)
        following = _number(page, 0, 4)
        parts.append(page[4 : 4 + missing])
        missing -= min(missing, database.usable - 4)
    return b"".join(parts)


def _local(usable: int, size: int) -> int:
    """How many bytes of a payload are in the leaf page itself."""
    most = usable - 35
    if size <= most:
        return size
    least = (usable - 12) * 32 // 255 - 23
    fitting = least + (size - least) % (usable - 4)  # then the last overflow page is full
    return fitting if fitting <= most else least


def _values(record: bytes) -> tuple[_Value, ...]:
    """The values of a record: a header with its own size and a serial type each, then their bytes."""
    header_size, at = _varint(record, 0)
    body = header_size
    values = []
    while at < header_size:
        kind, at = _varint(record, at)
        size = (kind - 12) // 2 if kind >= 12 else _SIZES[kind]  # 10 and 11 are reserved: IndexError
        if body + size > len(record):
            raise _Damaged
        values.append(_value(kind, record[body : body + size]))
        body += size
    if at != header_size or body != len(record) or not values:
        raise _Damaged
    return tuple(values)


def _value(kind: int, data: bytes) -> _Value:
    if kind >= 12:
        return data.decode(errors="surrogateescape") if kind % 2 else data
    if kind == 7:
        number: float = struct.unpack(">d", data)[0]
        return number if number == number else None  # SQLite too reads NaN as NULL
    if kind < 8:
        return int.from_bytes(data, "big", signed=True) if kind else None
    return kind - 8


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer of 1 to 9 bytes at `at`, and where it ends.  Raises IndexError behind the data."""
    value = 0
    for index in range(at, at + 8):
        byte = data[index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    return value << 8 | data[at + 8], at + 9


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")
