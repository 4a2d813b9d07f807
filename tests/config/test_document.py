"""A config is read from all its files, and whatever is wrong with one is a line with its place and what to do."""

import pathlib
import random
import sys
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edged.config import document as module
from edged.config.document import Document, Problem, dotted, load
from edged.config.positions import Place, Spot
from tests.conftest import without_root

GOOD = """\
# a greenhouse

[daemon]
name = "greenhouse-pi"
[sensors.greenhouse]
driver = "bme280"
address = 0x76
[sensors.greenhouse.quantities.temperature]
offset = -0.4
[destinations.databoom]
platform = "databoom"
device = "0abc12def3"
"""
VALUES = {
    "daemon": {"name": "greenhouse-pi"},
    "sensors": {
        "greenhouse": {"driver": "bme280", "address": 0x76, "quantities": {"temperature": {"offset": -0.4}}},
    },
    "destinations": {"databoom": {"platform": "databoom", "device": "0abc12def3"}},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes files below a fresh folder, which places name relatively, and loads the main one."""
    monkeypatch.chdir(tmp_path)

    def write(main: str | bytes | None, **fragments: str | bytes) -> Document:
        pathlib.Path("config.d").mkdir(exist_ok=True)
        for name, content in {"config": main, **{f"config.d/{name}": text for name, text in fragments.items()}}.items():
            if content is not None:
                data = content.encode() if isinstance(content, str) else content
                pathlib.Path(f"{name}.toml").write_bytes(data)
        return load(pathlib.Path("config.toml"))

    return write


def lines(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


def test_a_good_file(config):
    document = config(GOOD)
    assert document.values == VALUES
    assert lines(document) == []
    assert document.files == [pathlib.Path("config.toml")]
    assert document.spots["sensors", "greenhouse", "address"] == Spot(
        Place("config.toml", 7, 1), Place("config.toml", 7, 11)
    )


def test_an_empty_file_is_an_empty_document(config):
    document = config(b"")
    assert (document.values, document.spots, document.problems) == ({}, {}, [])
    assert str(document.place(("daemon", "name"))) == "config.toml:1:1"


# Case 16: what editors, and power cuts, make of the good config


@pytest.mark.case(16)
@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_or_crlf_changes_nothing(config, data):
    marked, plain = config(data), config(GOOD)
    assert marked.problems == []
    assert (marked.values, marked.spots) == (plain.values, plain.spots)


@pytest.mark.case(16)
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf16_is_named(config, codec, mark):
    expected = 'config.toml:1:1: the file is UTF-16 (Windows calls it "Unicode"); save it as UTF-8'
    assert lines(config((mark + GOOD).encode(codec))) == [expected]


CR = "a carriage return without line feed; save with Unix (LF) or Windows (CRLF) line ends"
NUL = "a NUL byte: the file is damaged, as by a power cut while it was written; restore it from a copy"
LATIN_1 = 'byte 0xFC ("ü" in Latin-1) is not UTF-8; save the file as UTF-8'
HEX = "leading zeros are not allowed; write 0x76 (hexadecimal) or 76"
WRONG_EDITOR = [
    (GOOD.replace("\n", "\r").encode(), f"1:15: {CR}"),
    (b"a = 1\nb = 2\rc = 3\n", f"2:6: {CR}"),
    (b'a = "x\ry"\n', f"1:7: {CR}"),
    ("[daemon]\nname = “pi”\n".encode(), "2:8: “ is a typographic quote; write a straight one: \" or '"),
    ("[daemon]\n‘name’ = 1\n".encode(), "2:1: ‘ is a typographic quote; write a straight one: \" or '"),
    ('[daemon]\nname = "pi”  # the Pi\n'.encode(), '2:11: ” is a typographic quote; write a straight one: "'),
    (b"#\n" * 11 + b'name = "gr\xfcn"\n', f"12:11: {LATIN_1}"),
    ("# über \xe9\n".encode() + b'n = "\xc3\xbc \xfc"\n', f"2:8: {LATIN_1}"),
    (b"a = 1\n\x81\n", "2:1: byte 0x81 is not UTF-8; save the file as UTF-8"),
    (b"a = 'cut off\xc3", '1:13: byte 0xC3 ("Ã" in Latin-1) is not UTF-8; save the file as UTF-8'),
    (b"[sensors.a]\naddress = 076\n", f"2:11: {HEX}"),
    (b"mux = { address = 076 }\n", f"1:19: {HEX}"),
    (b"all = [0x77, 076]\n", f"1:14: {HEX}"),
    (b"a = 1\n\nb = \x00\n", f"3:5: {NUL}"),
    (b"a = 1\n" + bytes(4096), f"2:1: {NUL}"),
    (bytes(4096), f"1:1: {NUL}"),
    (b"\0", f"1:1: {NUL}"),
    ("a =\xa01\n".encode(), "1:4: U+00A0 (NO-BREAK SPACE) cannot stand here; remove it, or put the text in quotes"),
]


@pytest.mark.case(16)
@pytest.mark.parametrize(("data", "line"), WRONG_EDITOR)
def test_what_a_wrong_editor_saves_is_one_line_with_its_place(config, data, line):
    assert lines(config(data)) == [f"config.toml:{line}"]


@pytest.mark.case(16)
@pytest.mark.parametrize(("data", "line"), WRONG_EDITOR)
def test_the_same_in_a_fragment(config, data, line):
    document = config(GOOD, roof=data)
    assert lines(document) == [f"config.d/roof.toml:{line}"]
    assert document.values == VALUES


# Other mistakes in TOML


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1,5\n", "1:5: a number has a point, not a comma"),
        ("a = 10s\n", "1:5: this is no number or date; text needs quotes"),
        ("a = info\n", "1:5: this is no number or date; text needs quotes"),
        ("a = wait\n", "1:5: text needs quotes"),
        ("a = True\n", "1:5: write true, in small letters"),
        ("a = null\n", "1:5: TOML has no empty value; leave the key out"),
        ("a = 0X76\n", "1:5: 0x, 0o and 0b have to be in small letters"),
        ("a = \r\n", "1:5: a value or a closing bracket is missing here"),
        ("a: 1\n", "1:2: write = between key and value"),
        ("; note\n", "1:1: a comment begins with #"),
        ("a = [1,\nb = 2\n", "2:1: a key, where a value should be; is a bracket before it not closed?"),
        ("a = [1\nb = 2\n", "2:1: a comma or the closing ] of the array is missing before this"),
        pytest.param(
            "a = {b = 1,}\n",
            "1:12: a table in braces has no comma behind its last pair",
            marks=pytest.mark.skipif(sys.version_info >= (3, 15), reason="TOML 1.1 allows it"),
        ),
        ('a = "x\n', "1:7: the closing quote of this line's text is missing"),
        ('a = """x\n\n', "1:9: closing quotes are missing: the file ends within a text"),
        (
            'a = "C:\\d"\n',
            "1:8: a backslash in double quotes begins an escape; double it, or take single quotes",
        ),
        ("a = 2024-02-30\n", "1:5: there is no such date or time"),
        ("a = " + "9" * 5000, "1:5: a number of too many digits"),
        ("a = 1\nb = " + "[" * 5000, "1:1: brackets are nested too deeply somewhere"),
        ("a = " + "{a = " * 5000, "1:1: brackets are nested too deeply somewhere"),
        ("a = " + "[" * 80 + "]" * 80, "1:55: nested too deeply: more than 50 keys within each other"),
        (".".join("a" * 2000) + " = 1", "1:101: nested too deeply: more than 50 keys within each other"),
        ("[a]\nb = 1\nb = [\n2]\n", "3:1: a.b: already set at config.toml:2:1; remove one of the two"),
        ("[a]\n[b]\n[a]\n", "3:1: a: already set at config.toml:1:2; remove one of the two"),
        ('"a b" = 1\n["a b".c]\n', '2:1: "a b".c: already set at config.toml:1:1; remove one of the two'),
        ("a = {b = 1, b = 2}\n", "1:18: duplicate inline table key 'b'"),
    ],
)
def test_a_mistake_has_its_place_and_advice(config, text, line):
    assert lines(config(text)) == [f"config.toml:{line}"]


@pytest.mark.parametrize("value", ["hunter2xyz", "0123456789", "12345,678", "1e5hunter2", '"hunter2xyz', "'hunter2xyz"])
def test_no_message_repeats_a_value_which_may_be_a_secret(config, value):
    (line,) = lines(config(f"password = {value}\n"))
    assert not any(secret in line for secret in ("hunter", "1234", "678", "1e5"))


# Several files


def test_fragments_are_read_in_the_order_of_their_names(config):
    document = config(GOOD, b="[daemon]\nlog_level = 'debug'\n", a="[sensors.roof]\ndriver = 'sht3x'\n")
    assert [str(file) for file in document.files] == ["config.toml", "config.d/a.toml", "config.d/b.toml"]
    assert list(document.values["sensors"]) == ["greenhouse", "roof"]
    assert document.values["daemon"] == {"name": "greenhouse-pi", "log_level": "debug"}
    assert document.problems == []
    assert str(document.place(("daemon", "log_level"))) == "config.d/b.toml:2:13"
    assert str(document.place(("sensors", "roof", "bus"))) == "config.d/a.toml:1:10"
    assert str(document.place(("daemon",))) == "config.toml:3:2"


def test_an_inline_table_merges_with_another_files_table(config):
    document = config("mux = { address = 0x70 }\n", a="[mux]\nchannel = 3\n")
    assert (document.values, document.problems) == ({"mux": {"address": 0x70, "channel": 3}}, [])


def test_the_same_key_twice_is_an_error_with_both_places(config):
    document = config(GOOD, x='[sensors.greenhouse]\naddress = 0x77\ninterval = "1m"\n')
    expected = "config.d/x.toml:2:1: sensors.greenhouse.address: already set at config.toml:7:1; remove one of the two"
    assert lines(document) == [expected]
    assert document.values["sensors"]["greenhouse"]["address"] == 0x76
    assert document.values["sensors"]["greenhouse"]["interval"] == "1m"


def test_arrays_are_values_and_do_not_merge(config):
    document = config("[[a]]\nb = 1\n", x="[[a]]\nb = 2\n")
    assert lines(document) == ["config.d/x.toml:1:3: a: already set at config.toml:1:3; remove one of the two"]


def test_a_table_against_a_value_is_an_error_with_both_places(config):
    document = config("a = 1\n[b]\nc = 1\n", x="b = 1\n[a]\nc = 1\n")
    assert lines(document) == [
        "config.d/x.toml:1:1: b: a value here, but a table at config.toml:2:2",
        "config.d/x.toml:2:2: a: a table here, but a value at config.toml:1:1",
    ]


def test_every_problem_of_every_file_is_reported(config):
    document = config("a = \n", x="b = \n", y="c = 1\n", z="c = 2\n")
    assert [line.split(": ")[0] for line in lines(document)] == [
        "config.toml:1:5",
        "config.d/x.toml:1:5",
        "config.d/z.toml:1:1",
    ]
    assert document.values == {"c": 1}


def test_hidden_and_other_files_are_left_alone(config):
    config(GOOD)
    pathlib.Path("config.d/notes.txt").write_text("no TOML")
    pathlib.Path("config.d/.#roof.toml").symlink_to("user@host.1234")  # the lock of an editor
    assert load(pathlib.Path("config.toml")).problems == []


# Files that cannot be read


def test_a_missing_main_file(config):
    document = config(None, x="a = 1\n")
    expected = "config.toml:1:1: there is no such file; write one, or name another with --config or $EDGED_CONFIG"
    assert lines(document) == [expected]
    assert document.values == {"a": 1}


def test_a_place_names_the_file_as_the_user_did(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text("a = \n")
    assert lines(load(path)) == [f"{path}:1:5: a value or a closing bracket is missing here"]


def test_a_folder_in_place_of_a_file(config):
    pathlib.Path("config.d/x.toml").mkdir(parents=True)
    pathlib.Path("config.toml").mkdir()
    message = "this is a folder; a TOML file is needed here"
    assert lines(config(None)) == [f"config.toml:1:1: {message}", f"config.d/x.toml:1:1: {message}"]


def test_a_file_in_place_of_the_folder(config, tmp_path):
    pathlib.Path("config.toml").write_text(GOOD)
    pathlib.Path("config.d").write_text("")
    assert lines(load(pathlib.Path("config.toml"))) == ["config.d:1:1: a file stands where a folder is needed"]
    assert lines(load(pathlib.Path("config.toml/x.toml"))) == [
        "config.toml/x.toml:1:1: a file stands where a folder is needed"
    ]


def test_a_broken_symbolic_link(config):
    config(GOOD)
    pathlib.Path("config.d/x.toml").symlink_to("gone.toml")
    expected = "a symbolic link to gone.toml, which does not exist; repair or remove the link"
    assert lines(load(pathlib.Path("config.toml"))) == [f"config.d/x.toml:1:1: {expected}"]


def test_a_symbolic_link_to_itself(config):
    config(GOOD)
    pathlib.Path("config.d/x.toml").symlink_to("x.toml")
    (line,) = lines(load(pathlib.Path("config.toml")))
    assert line.startswith("config.d/x.toml:1:1: cannot be read: ")


def test_permission_denied_by_the_system(config):
    config(GOOD)
    pathlib.Path().chmod(0o755)
    pathlib.Path("config.toml").chmod(0)
    with without_root():
        assert "permission denied" in lines(load(pathlib.Path("config.toml")))[0]


def test_permission_denied(config, monkeypatch):
    config(GOOD)

    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", deny)
    expected = "config.toml:1:1: permission denied; let the user that edged runs as read it (chown, chmod)"
    assert lines(load(pathlib.Path("config.toml"))) == [expected]


def test_a_file_without_end():
    assert lines(load(pathlib.Path("/dev/zero"))) == ["/dev/zero:1:1: larger than 4 MiB; is this the config?"]


def test_a_megabyte_is_read(config):
    text = "".join(f"[sensors.s{i}]\ninterval = '10s'  # {'x' * 60}\n" for i in range(11_000))
    assert len(text) > 1_000_000
    started = time.monotonic()
    document = config(text)
    assert document.problems == []
    assert document.place(("sensors", "s10999")).line == 21_999
    assert time.monotonic() - started < 30  # s; about 1 on a desktop


def test_a_long_broken_line_takes_no_time(config):
    for text in ("9" * 1_000_000 + ",", 'a = "' + '"' * 1_000_000, "a = " + "a." * 500_000, "0" * 1_000_000):
        started = time.monotonic()
        assert len(lines(config(text))) == 1
        assert time.monotonic() - started < 10


# What the words are made of


def test_problem():
    place = Place("c.toml", 12, 9)
    assert str(Problem(place, "a.b", "unknown key")) == "c.toml:12:9: a.b: unknown key"
    assert str(Problem(place, "", "no")) == "c.toml:12:9: no"
    assert str(Problem(place, "a", "late", "warning")) == "c.toml:12:9: a: warning: late"
    assert str(Problem(place, "", "late", "warning")) == "c.toml:12:9: warning: late"


def test_dotted():
    path = ("destinations", "databoom", "series", "greenhouse.temperature")
    assert dotted(path) == 'destinations.databoom.series."greenhouse.temperature"'
    assert dotted(("grün", "a-1_B", "", 'q"\n')) == '"grün".a-1_B."".' + r'"q\"\n"'


def test_place_is_of_the_value_the_key_or_what_is_around(config):
    document = config("[a]\nb = { c = 1 }\n")
    assert str(document.place(("a", "b", "c"))) == "config.toml:2:11"
    assert str(document.place(("a", "b", "c"), key=True)) == "config.toml:2:7"
    assert str(document.place(("a", "b", "x", "y"))) == "config.toml:2:5"
    assert str(document.place(("a", "x"))) == "config.toml:1:2"
    assert str(document.place(("x",))) == "config.toml:1:1"


# Nothing makes it raise


def check_any(tmp_path: pathlib.Path, data: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(data)
    document = load(path)
    if document.problems:
        (problem,) = document.problems
        text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
        assert 1 <= problem.place.line <= text.count("\n") + 1
        assert 1 <= problem.place.column <= len(text) + 1
        assert "\n" not in str(problem)
        assert problem.message


FRAGMENTS = st.sampled_from(
    [
        *"[]{}=.,#\"'\\\n\r\0 \tax05-:+_ü“”°",
        "[[",
        "]]",
        '"""',
        "'''",
        "true",
        "0x",
        "a = ",
        "a.b",
        "[a]\n",
        "1979-05-27",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200) | st.lists(FRAGMENTS, max_size=40).map(lambda parts: "".join(parts).encode()))
@example(data=b"a = {b = {c = 1}, b.d = 2}")
@example(data=b"[[a]]\n[a.b]\n[a.b]")
@example(data=b"a = 9999-99-99T99:99:99Z")
def test_no_bytes_make_it_raise(tmp_path, data):
    check_any(tmp_path, data)


def test_no_damage_to_a_good_file_makes_it_raise(tmp_path):
    draw = random.Random(16)
    for _ in range(2000):
        data = bytearray(GOOD.encode())
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data))
            data[at : at + draw.randint(0, 30)] = draw.choice([b"", b"\0", b"[", b'"', draw.randbytes(2), data[:at]])
        check_any(tmp_path, bytes(data))


def test_the_depth_that_it_takes_leaves_room_for_recursion():
    assert module.MAX_DEPTH < 100
