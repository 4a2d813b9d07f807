"""Readings as they are printed: as they come, so that memory stays flat however many there are."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any

from edged.cli import shown

Rows = Iterable[dict[str, Any]]
Write = Callable[[Rows, Sequence[str]], None]

_LOOKED_AT = 1000  # rows whose widths decide on those of the columns


def write_jsonl(rows: Rows, fields: Sequence[str]) -> None:
    """An object a line."""
    for row in rows:
        sys.stdout.write(json.dumps({field: row[field] for field in fields}) + "\n")


def write_json(rows: Rows, fields: Sequence[str]) -> None:
    """One list of objects."""
    before = "["
    for row in rows:
        sys.stdout.write(before + json.dumps({field: row[field] for field in fields}))
        before = ",\n "
    sys.stdout.write("[]\n" if before == "[" else "]\n")


def write_csv(rows: Rows, fields: Sequence[str]) -> None:
    """A line of names, then a line a reading (RFC 4180).  A value in quotes is a text: so "1", 1 and 1.0 stay apart."""
    rows = _begun(rows)
    sys.stdout.write(",".join(fields) + "\n")
    for row in rows:
        cells = (_cell(row[field], always=field == "value" and isinstance(row[field], str)) for field in fields)
        sys.stdout.write(",".join(cells) + "\n")


def write_table(rows: Rows, fields: Sequence[str]) -> None:
    """Columns for people; texts are in quotes, so that "1" and 1 stay apart here as well."""
    printed = ([_printed(field, row[field]) for field in fields] for row in rows)
    first = [[field.replace("_", " ") for field in fields], *islice(printed, _LOOKED_AT)]
    widths = [max(map(len, column)) for column in zip(*first, strict=True)]
    for cells in chain(first, printed):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _begun(rows: Rows) -> Rows:
    """The rows, the first of them already asked for: what is wrong comes before anything is printed."""
    rows = iter(rows)
    return chain(list(islice(rows, 1)), rows)


def _cell(value: Any, *, always: bool) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode(errors="replace").decode()  # lone surrogates, which UTF-8 has not
    if always or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _printed(field: str, value: Any) -> str:
    if field == "value" and not isinstance(value, float):
        value = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in shown(value))
