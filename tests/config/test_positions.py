"""Every key and every value is found where it stands, whatever form of TOML it is written in."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.config.positions import Lines, Path, Spot, clash, positions

EXAMPLE = '''\
# an edge box

[daemon]
name = "greenhouse-pi"   # a comment with = and [brackets]
  log_level='info'
[metrics]
[sensors.greenhouse]
address = 0x76
mux = { address = 0x70, deep = { "channel x" = 3 } }   # inline
derive = [
    "dew_point",  # with a comment, in the array
    "absolute_humidity",
]
calibrate = [[0.3, 0.0], [99.1, 100.0]]
[ sensors . "green house" . quantities ]
'temp.1' . max = 85.0
[destinations.databoom.series]
"greenhouse.temperature" = "room_temp"
"a \\"quoted\\" \\u00fc" = true
[[rule]]
text = """
x = 1
[not a table]
"quoted"""" # ends in four quotes
raw = \'\'\'
'it' is\\\'\'\'
[[rule.part]]
[[rule.part]]
since = 1979-05-27 07:32:00 # a space within
[[rule]]
set.a = {x.y = 1}
part = []
'''
SPOTS = {
    "daemon": "3:2 3:2",
    "daemon|name": "4:1 4:8",
    "daemon|log_level": "5:3 5:13",
    "metrics": "6:2 6:2",
    "sensors": "7:2 7:2",
    "sensors|greenhouse": "7:10 7:10",
    "sensors|greenhouse|address": "8:1 8:11",
    "sensors|greenhouse|mux": "9:1 9:7",
    "sensors|greenhouse|mux|address": "9:9 9:19",
    "sensors|greenhouse|mux|deep": "9:25 9:32",
    "sensors|greenhouse|mux|deep|channel x": "9:34 9:48",
    "sensors|greenhouse|derive": "10:1 10:10",
    "sensors|greenhouse|derive|0": "11:5 11:5",
    "sensors|greenhouse|derive|1": "12:5 12:5",
    "sensors|greenhouse|calibrate": "14:1 14:13",
    "sensors|greenhouse|calibrate|0": "14:14 14:14",
    "sensors|greenhouse|calibrate|0|0": "14:15 14:15",
    "sensors|greenhouse|calibrate|0|1": "14:20 14:20",
    "sensors|greenhouse|calibrate|1": "14:26 14:26",
    "sensors|greenhouse|calibrate|1|0": "14:27 14:27",
    "sensors|greenhouse|calibrate|1|1": "14:33 14:33",
    "sensors|green house": "15:13 15:13",
    "sensors|green house|quantities": "15:29 15:29",
    "sensors|green house|quantities|temp.1": "16:1 16:1",
    "sensors|green house|quantities|temp.1|max": "16:12 16:18",
    "destinations": "17:2 17:2",
    "destinations|databoom": "17:15 17:15",
    "destinations|databoom|series": "17:24 17:24",
    "destinations|databoom|series|greenhouse.temperature": "18:1 18:28",
    'destinations|databoom|series|a "quoted" ü': "19:1 19:25",
    "rule": "20:3 20:3",
    "rule|0": "20:3 20:3",
    "rule|0|text": "21:1 21:8",
    "rule|0|raw": "25:1 25:7",
    "rule|0|part": "27:8 27:8",
    "rule|0|part|0": "27:8 27:8",
    "rule|0|part|1": "28:8 28:8",
    "rule|0|part|1|since": "29:1 29:9",
    "rule|1": "30:3 30:3",
    "rule|1|set": "31:1 31:1",
    "rule|1|set|a": "31:5 31:9",
    "rule|1|set|a|x": "31:10 31:10",
    "rule|1|set|a|x|y": "31:12 31:16",
    "rule|1|part": "32:1 32:8",
}


def short(spot: Spot) -> str:
    return f"{spot.key.line}:{spot.key.column} {spot.value.line}:{spot.value.column}"


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """All paths of what tomllib gives."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, str(key))
        yield from paths(inner, (*path, str(key)))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_construct(line_end):
    text = EXAMPLE.replace("\n", line_end)
    found = positions(text, "c.toml")
    assert {"|".join(path): short(spot) for path, spot in found.items()} == SPOTS
    assert set(found) == set(paths(tomllib.loads(text)))


def test_a_place_reads_as_editors_take_it():
    assert str(positions("a = 1", "/etc/edged/config.toml")["a",].value) == "/etc/edged/config.toml:1:5"


def test_columns_count_characters_and_not_bytes():
    assert short(positions('"grün" = { "ö" = 1 }', "c")["grün", "ö"]) == "1:12 1:18"


def test_a_tables_own_header_counts_and_not_an_earlier_mention():
    assert short(positions("[a.b]\n[a]\n", "c")["a",]) == "2:2 2:2"


def test_line_breaks_in_inline_tables_as_in_toml_1_1():
    found = positions("a = {\n  b = 1, # c\n  d = 2,\n}\n", "c")
    assert short(found["a", "d"]) == "3:3 3:7"


def test_offsets_and_places_are_inverse():
    lines = Lines(EXAMPLE, "c")
    for offset in range(len(EXAMPLE)):
        place = lines.place(offset)
        assert lines.offset(place.line, place.column) == offset


@pytest.mark.parametrize(
    ("text", "path", "line", "earlier"),
    [
        ("a = 1\na = [\n2]", "a", 2, 1),
        ("[a]\n[b]\n[a", "a", 3, 1),
        ("a = 1\n[a.b", "a.b", 2, 1),
        ("[a]\nb = 1\n[c]\n[a.b", "a.b", 4, 2),
        ("[[a]]\nb = 1\n[[a]]\nb = 1\nb = 2", "a.1.b", 5, 4),
        ("[a]\nb = {c = {d = 1}, c.e = 2", "a.b", 2, None),
    ],
)
def test_clash_finds_both_places(text, path, line, earlier):
    found, place, first = clash(text, "c")
    assert (".".join(found), place.line, first and first.line) == (path, line, earlier)


class Writer:
    """Writes TOML in many ways and notes what begins where, as the truth to compare with."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.spots: dict[Path, tuple[int, int]] = {}

    def any_of(self, *texts: str) -> str:
        return self.draw(st.sampled_from(texts))

    def space(self) -> None:
        self.text += self.any_of("", " ", "\t", "  ")

    def break_line(self) -> None:
        self.text += self.any_of("", " ", "# x = [1, '\"\n", "\n", "\r\n", " # ]}\r\n")

    def key(self, name: str) -> int:
        at = len(self.text)
        forms = [json.dumps(name), '"' + "".join(f"\\U{ord(character):08x}" for character in name) + '"']
        forms += [f"'{name}'"] * (name.isprintable() and "'" not in name)
        forms += [name] * (name.isascii() and name.replace("-", "a").isalnum())
        self.text += self.any_of(*forms)
        return at

    def pair(self, table: Path, name: str, depth: int) -> None:
        path = (*table, name)
        at = self.key(name)
        while depth and self.draw(st.integers(0, 4)) == 0:
            self.spots[path] = at, at
            self.text += self.any_of(".", " . ", "\t.")
            path = (*path, self.draw(NAMES))
            at = self.key(path[-1])
        self.text += self.any_of("=", " = ", "\t= ")
        self.spots[path] = at, len(self.text)
        self.value(path, depth)

    def value(self, path: Path, depth: int) -> None:
        kind = self.draw(st.integers(0, 3)) if depth else 0
        if kind <= 1:
            self.text += self.any_of(*SCALARS)
        elif kind == 2:
            self.text += "["
            for index in range(self.draw(st.integers(0, 2))):
                self.text += "," if index else ""
                self.break_line()
                inner = (*path, str(index))
                self.spots[inner] = len(self.text), len(self.text)
                self.value(inner, depth - 1)
                self.break_line()
            self.text += self.any_of("]", "\n]")
        else:
            self.text += "{"
            for index, name in enumerate(self.draw(st.lists(NAMES, unique=True, max_size=2))):
                self.text += "," if index else ""
                self.space()
                self.pair(path, name, depth - 1)
                self.space()
            self.text += "}"

    def header(self, table: Path, brackets: tuple[str, str]) -> None:
        self.space()
        self.text += brackets[0]
        self.space()
        for index, name in enumerate(table):
            self.text += self.any_of(".", " . ") if index else ""
            at = self.key(name)
            self.spots.setdefault(table[: index + 1], (at, at))
        self.space()
        self.text += brackets[1]

    def document(self) -> None:
        tables = self.draw(st.lists(NAMES, unique=True, max_size=2))
        for name in self.draw(st.lists(NAMES.filter(lambda name: name not in tables), unique=True, max_size=2)):
            self.pair((), name, 2)
            self.end_line()
        for table in tables:
            kind = self.draw(st.integers(0, 2))
            for index in range(1 if kind < 2 else 2):
                inner: Path = (table, "in ner") if kind == 1 else (table,)
                self.header(inner, ("[[", "]]") if kind == 2 else ("[", "]"))
                self.end_line()
                if kind == 2:
                    inner = (table, str(index))
                    self.spots[inner] = self.spots[table,] if index == 0 else (self.last_header(), self.last_header())
                for name in self.draw(st.lists(NAMES, unique=True, max_size=2)):
                    self.pair(inner, name, 2)
                    self.end_line()

    def last_header(self) -> int:
        at = self.text.rindex("[[") + 2
        return at + len(self.text[at:]) - len(self.text[at:].lstrip(" \t"))

    def end_line(self) -> None:
        self.text += self.any_of("\n", "\r\n", " # ü = [ { \" '\n", "\n\n\t\n")


NAMES = st.sampled_from(
    ["a", "b-2", "3", "", "ü", "a.b", 'q"q', "it's", "x = y", "#", "[t]", "\n", "\\", "temperature"]
)
SCALARS = [
    *("1", "-0.5e3", "0x7F", "+inf", "true", "1979-05-27 07:32:00.5-07:00", "1979-05-27T07:32:00Z", "07:32:00"),
    *('""', "''", '"a # ] } , = \\" \\\\"', "'a \"\\'", '"grün"'),
    *('""""""', "''''''", '"""a\n"b" ""c\\\n  \\""" = 1 """""', "'''\r\nit's ''x''\\'''''", '"""\n[x]\ny = 1\n"""'),
]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Path, tuple[int, int]]]:
    writer = Writer(draw)
    writer.document()
    return writer.text, writer.spots


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(documents())
def test_every_path_of_any_document_is_where_it_was_written(document):
    text, written = document
    lines = Lines(text, "c")
    assert set(paths(tomllib.loads(text))) == set(written)
    assert positions(text, "c") == {path: Spot(*map(lines.place, offsets)) for path, offsets in written.items()}
