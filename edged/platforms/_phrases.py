"""Short texts word by word: what they complain of, told by the place of the words and not by any of them alone.

Each word becomes a letter of its class, so that a complaint is a pattern of a few letters.  No two parts of a pattern
can take the same letter in two ways, so that no text, whoever made it, takes long.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

# The classes.  A user of this module adds its own nouns: W for what it asks about, R for what is something else, S for
# what is a complaint by itself.  i: an id, or what only describes the word behind it.  x: any other word.
_CLASSES = {
    "F": "invalid unknown wrong bad missing expired revoked incorrect unregistered disabled inactive malformed illegal "
    "unrecognized unrecognised undefined nonexistent suspended blocked locked",  # before or behind what is wrong
    "P": "denied forbidden required needed mismatch",  # behind it
    "A": "no without lack lacks insufficient provide specify supply",  # before it
    "N": "not cannot unable fail fails failed",
    "V": "valid known registered recognized recognised active enabled",  # with one of N: as F
    "E": "found exist exists allow allowed permitted defined provided specified configured match belong",  # ... as P
    "H": "have find",  # ... as A
    "Z": "authorized authorised authenticated",  # ... as S
    "c": "is was were are be been has had could does do did may can will must",
    "s": "a an the any such either your this that",
    "p": "for of in on from by with under to at as within into",
    ",": "or and but",
}
GRAMMAR: Mapping[str, str] = {word: letter for letter, words in _CLASSES.items() for word in words.split()}

_NOUNS = r"[WR][WRi]*+"
_EITHER = r"(?:F|N[cs]*+V)"
_SKIPPED = r"[siV]*+(?:x[siV]*+){0,2}+"
_COMPLAINT = re.compile(
    rf"""
    (?:{_EITHER}|A|N[csp]*+H) {_SKIPPED} (?P<behind>{_NOUNS})
  | (?P<before>{_NOUNS}) (?:[xsci:,VEHZ] | p[sxiVEHZ]*+(?:{_NOUNS})?+)*+
    (?:
        P | N[cs]*+E
      | (?<=[cWR]){_EITHER} (?!{_SKIPPED}[WR])
      | {_EITHER} (?![sixVWR])
    )
  | S | N[cs]*+Z
    """,
    re.VERBOSE,
)
_CHUNK = re.compile(r"(?P<word>\w+(?:['’]\w+)?)|(?P<end>[;!?{}]|\.(?=[\s\"']|$)|,(?=\s*[\"{\[]))|(?P<mark>[:,(/|])")
_ESCAPED = re.compile(r"\\(?:[nrt]|u[0-9a-fA-F]{4})")  # by JSON, whose strings are read as they are written
_PART = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class Word(NamedTuple):
    """A word in lower case, or `.`, `:` or `,` for what parts words; where it stands, and in which written word."""

    text: str
    start: int
    end: int
    chunk: int


def words(text: str, whole: Mapping[str, str]) -> list[Word]:
    """The words of a text: `device_id`, `deviceId` and `device id` have the same two; `whole` are not taken apart."""
    found = []
    text = _ESCAPED.sub(lambda escaped: " " * len(escaped[0]), text)
    for number, chunk in enumerate(_CHUNK.finditer(text)):
        if chunk.lastgroup == "word":
            found += [Word(part, start, end, number) for part, start, end in _parts(chunk, whole)]
        else:
            mark = "." if chunk.lastgroup == "end" else ":" if chunk[0] == ":" else ","
            found.append(Word(mark, chunk.start(), chunk.end(), number))
    return found


def _parts(chunk: re.Match[str], whole: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    word, start = re.split("['’]", chunk[0])[0], chunk.start()
    if chunk[0].lower().endswith(("n't", "n’t")):
        yield "not", start, chunk.end()
        return
    for part in _PART.finditer(word):
        if not part[0].isascii() or not part[0].isalpha() or part[0].lower() in whole:
            yield part[0].lower(), start + part.start(), start + part.end()
            continue
        for hump in _HUMP.finditer(part[0]):
            at = start + part.start()
            yield hump[0].lower(), at + hump.start(), at + hump.end()


def letters(text: Sequence[Word], table: Mapping[str, str]) -> list[str]:
    """The class of each word by the table, singular or plural."""
    return [_letter(word.text, table) for word in text]


def _letter(word: str, table: Mapping[str, str]) -> str:
    if word in (".", ":", ","):
        return word
    if any(c.isdigit() for c in word):
        return "i"
    return table.get(word) or table.get(word.removesuffix("s")) or "x"


def complaints(text: Sequence[Word], classes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where something that is asked about (W), and not something else (R), is called wrong: first word, end."""
    for found in _COMPLAINT.finditer("".join(_headed(text, classes))):
        nouns = found["behind"] or found["before"]
        if nouns is None or nouns.rstrip("i").endswith("W"):
            yield found.span()


def _headed(text: Sequence[Word], classes: Sequence[str]) -> Iterator[str]:
    """Of a name that is written as one word, such as `device_temperature`, only the last word counts."""
    for _, chunk in groupby(zip(text, classes, strict=True), key=lambda each: each[0].chunk):
        written = [letter for _, letter in chunk]
        if not set(written) & set("FPANS"):
            last = max((at for at, letter in enumerate(written) if letter != "i"), default=0)
            written = [letter if at == last else "i" for at, letter in enumerate(written)]
        yield from written
