"""Where each key and each value of a TOML file stands, since `tomllib` gives values without their places.

Only text that `tomllib` has accepted is scanned, so nothing is validated again: a string, a bracket or a key is taken
for what it begins like.  Source: TOML 1.0, and the line breaks that 1.1 allows in inline tables.
"""

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

Path = tuple[str, ...]  # a dotted key as its parts; an element of an array has its index as a part: ("a", "0")


@dataclass(frozen=True, order=True)
class Place:
    """A character of a file; line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Spot(NamedTuple):
    """Where a key and its value begin; both are the name for a table's header, both the value in an array."""

    key: Place
    value: Place


class Lines:
    """Turns offsets in a text into places and back."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        """The place of the character at that offset."""
        line = bisect_right(self._starts, offset)
        return Place(self._file, line, offset - self._starts[line - 1] + 1)

    def offset(self, line: int, column: int) -> int:
        """The offset of the character at that line and column."""
        return self._starts[line - 1] + column - 1


def positions(text: str, file: str) -> dict[Path, Spot]:
    """The spots of all keys, tables and elements of arrays in a text that `tomllib` accepts."""
    scanner = _Scanner(text, file)
    scanner.scan()
    return scanner.implied | scanner.spots


def clash(text: str, file: str) -> tuple[Path, Place, Place | None]:
    """What the last statement of a text sets, where, and where an earlier one stands that it cannot go with.

    For a text that ends where `tomllib` found that a key or a table is there already.
    """
    scanner = _Scanner(text, file)
    scanner.scan()
    path, start, inside = scanner.statement
    for length in range(len(path), inside, -1):
        for spots in scanner.spots, scanner.implied:
            spot = spots.get(path[:length])
            if spot and spot.key < start:
                return path, start, spot.key
    return path, start, None


# Loops are written out without possessive repeats: those of groups are wrong in Python 3.11.2, that of Debian 12.
_BLANK = re.compile(r"[\s,]*(?:#[^\n]*[\s,]*)*")  # what may stand between statements, elements and pairs
_KEY = re.compile(r""""[^"\\]*(?:\\.[^"\\]*)*"|'[^']*'|[\w-]+""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS = re.compile(r"\s*=\s*")
_BRACKETS = re.compile(r"\[\[?\s*")
_SCALAR = re.compile(
    r"""
      \"{3} [^"\\]* (?: (?: \\. | \"{1,2}(?!") ) [^"\\]* )* \"{3,5}  # up to two quotes may precede the three
    | '{3} [^']* (?: '{1,2}(?!') [^']* )* '{3,5}
    | " [^"\\]* (?: \\. [^"\\]* )* "
    | ' [^']* '
    | [^,\]}\#\n]+                                      # a number, a boolean, a date (which may hold a space)
    """,
    re.VERBOSE | re.DOTALL,
)


class _Scanner:
    """Walks through a text once and notes what begins where; the first mention of a path counts."""

    def __init__(self, text: str, file: str) -> None:
        self.spots: dict[Path, Spot] = {}
        self.implied: dict[Path, Spot] = {}  # tables that only a longer key names: `a` of [a.b]
        self.statement: tuple[Path, Place, int] = (
            (),
            Place(file, 1, 1),
            0,
        )  # the last: what, where, parts of its table
        self._lengths: dict[Path, int] = {}  # of the arrays of tables
        self._text = text
        self._at = 0
        self._place = Lines(text, file).place

    def scan(self) -> None:
        """Notes the whole text."""
        table: Path = ()
        while self._more():
            start = self._place(self._at)
            if self._text[self._at] == "[":
                name, table = self._header()
                self.statement = name, start, 0
            else:
                self.statement = self._pair(table), start, len(table)

    def _header(self) -> tuple[Path, Path]:
        """The name in a header, and the table that the pairs below it belong to."""
        is_array = self._take(_BRACKETS).startswith("[[")
        name, key = self._key(())
        self._take(_BLANK)
        self._at += 2 if is_array else 1
        self.spots.setdefault(name, Spot(key, key))
        if not is_array:
            return name, name
        index = self._lengths[name] = self._lengths.get(name, -1) + 1
        table = (*name, str(index))
        self.spots.setdefault(table, Spot(key, key))
        return name, table

    def _pair(self, table: Path) -> Path:
        path, key = self._key(table)
        self._take(_EQUALS)
        self._value(path, key)
        return path

    def _key(self, table: Path) -> tuple[Path, Place]:
        """The path of a dotted key and the place of its last part; the parts before it are implied."""
        while True:
            place = self._place(self._at)
            path = (*table, _unquoted(self._take(_KEY)))
            if not self._take(_DOT):
                return path, place
            self.implied.setdefault(path, Spot(place, place))
            table = (*path, str(self._lengths[path])) if path in self._lengths else path

    def _value(self, path: Path, key: Place | None = None) -> None:
        place = self._place(self._at)
        self.spots.setdefault(path, Spot(key or place, place))
        opening = self._text[self._at]
        if opening not in "[{":
            self._take(_SCALAR)
            return
        self._at += 1
        index = 0
        while self._more() and self._text[self._at] not in "]}":
            if opening == "{":
                self._pair(path)
            else:
                self._value((*path, str(index)))
                index += 1
        self._at += 1

    def _more(self) -> bool:
        """Skips what has no meaning; False at the end of the text."""
        self._take(_BLANK)
        return self._at < len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        """Moves over what the pattern matches here, which may be nothing."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()


def _unquoted(key: str) -> str:
    if key[0] == '"':
        return str(tomllib.loads(f"key = {key}")["key"])  # it knows the escapes
    return key.strip("'")
