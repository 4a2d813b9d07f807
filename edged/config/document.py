"""The config as its files have it: the main file and `config.d/*.toml` beside it, merged by key, with places.

Nothing here knows a key of edged.  Whatever is wrong with a file, from a folder in its place to half a power cut,
becomes a `Problem` that says where it is and what to do.
"""

import codecs
import json
import pathlib
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

from edged.config.positions import Lines, Path, Place, Spot, clash, positions

MAX_BYTES = 4 << 20  # of one file; a disk image or /dev/zero given by mistake must not fill the memory
MAX_DEPTH = 50  # parts of a key; deeper than any config, and far from the interpreter's limit of recursion


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, as the line that a person reads."""

    place: Place
    key: str  # dotted; "" where no key is to blame
    message: str
    severity: Literal["error", "warning"] = "error"

    @property
    def line(self) -> str:
        """For a log, which says by itself how severe it is."""
        return f"{self.place}: {f'{self.key}: ' if self.key else ''}{self.message}"

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        warning = "warning: " if self.severity == "warning" else ""
        return f"{self.place}: {key}{warning}{self.message}"


@dataclass
class Document:
    """All files of a config as one; with problems, `values` holds what could be read."""

    values: dict[str, Any]
    spots: dict[Path, Spot]
    files: list[pathlib.Path]  # the main file first; unreadable ones too
    problems: list[Problem]
    complete: bool = True  # no file was left out for what is wrong with it

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where the value (or the key) of that path stands, else the nearest table around it, else the main file."""
        for length in range(len(path), 0, -1):
            if spot := self.spots.get(path[:length]):
                return spot.key if key else spot.value
        return Place(str(self.files[0]), 1, 1)


def dotted(path: Path) -> str:
    """The path as TOML writes it: parts that are no bare keys in quotes."""
    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False) for part in path
    )


def load(path: pathlib.Path) -> Document:
    """The main file and the fragments beside it; never raises for what is in them, see `problems`."""
    document = Document({}, {}, [path], [])
    folder = path.parent / "config.d"
    try:
        document.files += _fragments(folder)
    except OSError as error:
        document.problems.append(Problem(Place(str(folder), 1, 1), "", _reason(folder, error)))
        document.complete = False
    for file in document.files:
        try:
            values, spots = _read(file)
        except _Wrong as wrong:
            document.problems.append(wrong.problem)
            document.complete = False
        else:
            _merge(document, values, spots)
    return document


class _Wrong(Exception):
    """A file cannot be used; never leaves this module."""

    def __init__(self, place: Place, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(place, key, message)


def _fragments(folder: pathlib.Path) -> list[pathlib.Path]:
    """In the order of names; hidden ones are left to the editors that make them, as a shell's *.toml does."""
    if not folder.exists() and not folder.is_symlink():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))


def _read(file: pathlib.Path) -> tuple[dict[str, Any], dict[Path, Spot]]:
    """Values and spots of one file.  Raises _Wrong."""
    start = Place(str(file), 1, 1)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Wrong(start, _reason(file, error)) from error
    text = _decode(data, str(file))
    try:
        values = tomllib.loads(text)
        spots = positions(text, str(file))
    except ValueError as error:
        raise _invalid(text, str(file), error) from error
    except RecursionError as error:
        raise _Wrong(start, "brackets are nested too deeply somewhere") from error
    for path, spot in spots.items():
        if len(path) > MAX_DEPTH:
            raise _Wrong(spot.key, f"nested too deeply: more than {MAX_DEPTH} keys within each other")
    return values, spots


def _reason(file: pathlib.Path, error: OSError) -> str:
    """Why the file cannot be read, and what to do."""
    match error:
        case FileNotFoundError() if file.is_symlink():
            return f"a symbolic link to {file.readlink()}, which does not exist; repair or remove the link"
        case FileNotFoundError():
            return "there is no such file; write one, or name another with --config or $EDGED_CONFIG"
        case IsADirectoryError():
            return "this is a folder; a TOML file is needed here"
        case NotADirectoryError():
            return "a file stands where a folder is needed"
        case PermissionError():
            return "permission denied; let the user that edged runs as read it (chown, chmod)"
        case _:
            return f"cannot be read: {error.strerror or error}"


def _decode(data: bytes, file: str) -> str:
    """The text of a file, without a byte order mark.  Raises _Wrong where it is no UTF-8 or was damaged."""
    start = Place(file, 1, 1)
    if len(data) > MAX_BYTES:
        raise _Wrong(start, f"larger than {MAX_BYTES >> 20} MiB; is this the config?")
    if _is_utf16(data):
        raise _Wrong(start, 'the file is UTF-16 (Windows calls it "Unicode"); save it as UTF-8')
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text, bad = data.decode(), b""
    except UnicodeDecodeError as error:
        text, bad = data[: error.start].decode(), data[error.start : error.start + 1]
    place = Lines(text, file).place
    if (nul := text.find("\0")) >= 0:
        damage = "a NUL byte: the file is damaged, as by a power cut while it was written; restore it from a copy"
        raise _Wrong(place(nul), damage)
    if bad:
        guess = bad.decode("cp1252", errors="ignore")  # Latin-1 as Windows editors write it
        meant = f' ("{guess}" in Latin-1)' if guess.isprintable() and guess else ""
        raise _Wrong(place(len(text)), f"byte 0x{bad.hex().upper()}{meant} is not UTF-8; save the file as UTF-8")
    return text


def _is_utf16(data: bytes) -> bool:
    """With its mark, or known by the zero that every other byte of mostly English text then is."""
    low, high = sorted((data[0::2].count(0), data[1::2].count(0)))
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or high > max(1, len(data) / 4, 8 * low)


_COMPLAINT = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_CLASHES = ("Cannot declare", "Cannot overwrite", "Cannot redefine", "Cannot mutate")

# How tomllib's complaint begins, what stands where it points (group 1 is to blame), and what a person can do about it.
# The first row that fits counts.  No message repeats more of a value than two digits: it may be a secret.
_QUOTED = "with other characters than A-Z a-z 0-9 _ - needs quotes"
_REST = "Expected newline|Unclosed"  # a value was taken, and more stands behind it
_ADVICE = [
    ("", "(\r)(?!\n)", "a carriage return without line feed; save with Unix (LF) or Windows (CRLF) line ends"),
    ("", "([“”„‟‘’‚‛«»])", "{0} is a typographic quote; write a straight one: \" or '"),
    (r"Illegal character '\\n'", '"[^"“”]*([“”])[^"]*', '{0} is a typographic quote; write a straight one: "'),
    ("", r"([^\t\n\r -~\w])", "{name} cannot stand here; remove it, or put the text in quotes"),
    (_REST, r"(?<![\w.+-])(0)([1-9]\d?)(?![\w.:-])", "leading zeros are not allowed; write 0x{1} (hexadecimal) or {1}"),
    (_REST, r"(?<![\w.+-])([+-]?0)[\d_]+(?![\w:-])", "leading zeros are not allowed"),
    (_REST, r"(?<!\w)(0[XOB])\w+", "0x, 0o and 0b have to be in small letters"),
    ("Expected newline", r"(?<![\w.])([+-]?\d+),\d+\s*(?:#|$)", "a number has a point, not a comma"),
    ("Expected newline", r"(?<![\w.])([+-]?\d+\.)(?!\d)", "a digit has to follow the point"),
    (_REST, r"(?<![\w.\"'])([+-]?(?:\d|inf|nan|true|false)[\w.:/+-]*)", "this is no number or date; text needs quotes"),
    ("Expected newline", "()", "the line should end before this; a comment begins with #"),
    ("Invalid value", r"\b(True|TRUE|[Yy]es|YES|[Oo]n|ON)\b", "write true, in small letters"),
    ("Invalid value", r"\b(False|FALSE|[Nn]o|NO|[Oo]ff|OFF)\b", "write false, in small letters"),
    ("Invalid value", r"\b(null|nil|None)\b", "TOML has no empty value; leave the key out"),
    ("Invalid value", r"""([\w."'-]+)\s*=""", "a key, where a value should be; is a bracket before it not closed?"),
    ("Invalid value", r"()\r?(?:#|$)", "a value or a closing bracket is missing here"),
    ("Invalid value", r"([^\W\d])", "text needs quotes"),
    ("Invalid value", r"([+-]?\.\d)", "a digit has to stand before the point"),
    ("Expected '='", "(:)", "write = between key and value"),
    ("Expected '='", "()", f"= is missing between key and value; a key {_QUOTED}"),
    ("Expected ']", "()", f"the closing ] (or ]], as it was opened) is missing; a name {_QUOTED}"),
    ("Invalid statement", "(//|;)", "a comment begins with #"),
    ("Invalid statement", "()", f"a line is key = value, [table] or # comment; a key {_QUOTED}"),
    ("Invalid initial", "(})", "a table in braces has no comma behind its last pair"),
    ("Invalid initial", "()", f"a key is missing here; one {_QUOTED}"),
    ("Unclosed array", "()", "a comma or the closing ] of the array is missing before this"),
    ("Unclosed inline", "()", "a comma or the closing }} is missing before this; braces have to close on their line"),
    (r"(Illegal|Found invalid) character '\\n'", "()", "the closing quote of this line's text is missing"),
    ("Unterminated string|Expected \"?'", "()", "closing quotes are missing: the file ends within a text"),
    ("Unescaped", r"(\\)[^\\]{2}", "a backslash in double quotes begins an escape; double it, or take single quotes"),
    ("Invalid hex value|Escaped character", "()", r"\u takes the 4 and \U the 8 hexadecimal digits of a character"),
    ("Invalid date", "()", "there is no such date or time"),
]


def _invalid(text: str, file: str, error: ValueError) -> _Wrong:
    """The problem behind an exception of tomllib's."""
    lines = Lines(text, file)
    parsed = _COMPLAINT.fullmatch(str(error))
    if parsed is None:  # int() limits the digits that it takes, and its error has no place
        number = re.search(r"\d[\d_]{3999,}", text)
        return _Wrong(lines.place(number.start() if number else 0), "a number of too many digits")
    complaint, line, column = parsed.groups()
    # tomllib reads CRLF as LF, which moves nothing within a line.
    at = lines.offset(int(line), int(column)) if line else len(text.rstrip())
    if complaint.startswith(_CLASHES):
        path, place, earlier = clash(text[:at], file)
        if earlier:
            return _Wrong(place, f"already set at {earlier}; remove one of the two", key=dotted(path))
        return _Wrong(lines.place(at), "sets something twice; remove one of the two", key=dotted(path))
    start, advice = _advise(complaint, text, at)
    return _Wrong(lines.place(start), advice)


def _advise(complaint: str, text: str, at: int) -> tuple[int, str]:
    """Where the mistake begins, and what to do about it."""
    first = max(text.rfind("\n", 0, at) + 1, at - 200)  # a line may be long; what went wrong is near
    last = text.find("\n", at, at + 200) + 1 or at + 200
    for beginning, pattern, advice in _ADVICE:
        if not re.match(beginning, complaint):
            continue
        for match in re.compile(pattern).finditer(text, first, last):
            if match.start() <= at < max(match.end(), match.start() + 1):
                return match.start(1), advice.format(*match.groups(), name=_name(match[1]))
    return at, complaint[:1].lower() + complaint[1:]


def _name(character: str) -> str:
    return (
        f"U+{ord(character):04X} ({unicodedata.name(character, 'a control character')})" if len(character) == 1 else ""
    )


def _merge(document: Document, values: dict[str, Any], spots: dict[Path, Spot]) -> None:
    """Adds a file's values; a key that is there already stays as it is, and is a problem."""

    def merge(old: dict[str, Any], new: dict[str, Any], table: Path) -> None:
        for key, value in new.items():
            path = (*table, key)
            if key not in old:
                old[key] = value
            elif isinstance(value, dict) and isinstance(old[key], dict):
                merge(old[key], value, path)
            else:
                first = document.place(path, key=True)
                message = f"already set at {first}; remove one of the two"
                if isinstance(value, dict):
                    message = f"a table here, but a value at {first}"
                elif isinstance(old[key], dict):
                    message = f"a value here, but a table at {first}"
                document.problems.append(Problem(spots[path].key, dotted(path), message))

    merge(document.values, values, ())
    document.spots = spots | document.spots
