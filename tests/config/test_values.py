"""Values are what their option declares, and secrets are read from where they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import secret
from edged.config.quantities import size_text
from edged.config.values import Reader, choose, shown, unknown
from edged.errors import SecretUnreadable
from edged.options import Bytes, ReadingTemplate, Seconds, Template, Url, option
from edged.secret import Secret


@dataclass(frozen=True)
class Nested:
    deep: int = option(1, help="a number", minimum=0)


@dataclass(frozen=True)
class Options:
    flag: bool = option(False, help="a flag")
    count: int = option(0, help="a count")
    ratio: float = option(0.0, help="a ratio")
    text: str = option("", help="a text")
    path: Path | None = option(None, help="a path")
    duration: Seconds | None = option(None, help="a duration")
    size: Bytes = option(0, help="a size")
    template: Template = option("", help="a template")
    topic: ReadingTemplate = option("{name}/{sensor}", help="a template that each reading fills")
    url: Url = option("", help="a URL")
    secret: Secret | None = option(None, help="a secret")
    choice: Literal["up", "down"] = option("up", help="a choice")
    either: int | str = option(0, help="a number or a text")
    words: tuple[str, ...] = option((), help="several texts")
    numbers: tuple[int, ...] = option((), help="several numbers")
    headers: dict[str, Secret] = option(None, help="secrets by name")
    nested: Nested = option(Nested(), help="a table")
    named: dict[str, Nested] = option(None, help="tables by name")


READER = Reader({"name": "greenhouse-pi", "serial": "10000000abcdef01"})


def value(key: str, given: object) -> object:
    """The option of that key, where the value is right."""
    options, errors = READER.options(Options, {key: given})
    assert errors == []
    return getattr(options, key)


def error(key: str, given: object) -> str:
    """What is said of a value that is wrong."""
    options, errors = READER.options(Options, {key: given})
    assert options is None
    (((path, *_), message),) = errors
    assert path == key
    return message


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("5m", 300), ("1h", 3600), ("7d", 604800), ("1.5s", 1.5), (10, 10), (0.25, 0.25)],
)
def test_duration(given, seconds):
    assert value("duration", given) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "given", ["10", "10 sec", "10S", "-1s", "+1s", "1h30m", "s", "", "1e3s", ".5s", "١s", True, []]
)
def test_no_duration(given):
    assert error("duration", given) == 'a duration such as "10s", "5m" or "1h", or a number of seconds is expected'


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("64MiB", 64 * 2**20),
        ("1GB", 10**9),
        ("256KiB", 2**18),
        ("10kB", 10_000),
        ("10KB", 10_000),
        ("5MB", 5 * 10**6),
        ("2GiB", 2**31),
        ("1TB", 10**12),
        ("1TiB", 2**40),
        ("1.5KiB", 1536),
        ("64 MiB", 64 * 2**20),
        ("512", 512),
        ("512B", 512),
        (4096, 4096),
    ],
)
def test_size(given, size):
    assert value("size", given) == size


@pytest.mark.parametrize(
    "given", ["64 megabytes", "64M", "64mib", "64MiB/s", "-1MB", "1e6", "٣MB", "", True, "MiB", []]
)
def test_no_size(given):
    assert error("size", given) == 'a size such as "64MiB" or "1GB", or a number of bytes is expected'


@pytest.mark.parametrize("given", ["9000000TiB", 2.0**63, "9" * 30])
def test_a_size_that_no_disk_has(given):
    assert error("size", given) == "that is more than any disk has"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (2**16, "64KiB"),
        (2**28, "256MiB"),
        (1536 * 2**20, "1.5GiB"),
        (2**50, "1024TiB"),
    ],
)
def test_sizes_as_people_say_them(size, text):
    assert size_text(size) == text


def test_whole_numbers_are_numbers_too():
    assert value("ratio", 2) == 2.0
    assert error("count", 2.0) == "a whole number is expected, not 2"


@pytest.mark.parametrize("key", ["count", "ratio", "duration", "size"])
def test_true_is_no_number(key):
    assert "expected" in error(key, True)


@pytest.mark.parametrize("given", [1, 0, "true", "yes", []])
def test_only_true_and_false_are_booleans(given):
    assert error("flag", given).startswith("true or false is expected, not ")


def test_a_number_or_a_text():
    assert value("either", 1) == 1
    assert value("either", "sim") == "sim"
    assert "expected" in error("either", 1.5)


def test_tables_within():
    assert value("nested", {"deep": 5}) == Nested(deep=5)
    assert value("named", {"a": {"deep": 5}, "b": {}}) == {"a": Nested(deep=5), "b": Nested()}
    _, errors = READER.options(Options, {"nested": {"deep": -1}, "named": {"a": {"depp": 1}, "b": 5}})
    assert dict(errors) == {
        ("nested", "deep"): "-1 is too small; at least 0",
        ("named", "a", "depp"): 'unknown key; did you mean "deep"?',
        ("named", "b"): "a table is expected, not 5",
    }


def test_a_list():
    assert value("words", ["a", "b"]) == ("a", "b")
    assert error("words", "a") == "a list is expected, not a string"


def test_a_list_of_numbers():
    assert value("numbers", [200, 204]) == (200, 204)
    assert error("numbers", [200, "204"]) == "a whole number is expected, not a string"
    assert error("numbers", 200) == "a list is expected, not 200"


def test_secrets_by_name(monkeypatch):
    monkeypatch.setenv("EDGED_TOKEN", "canary")
    read = value("headers", {"X-Key": {"env": "EDGED_TOKEN"}, "X-Scope": "plain"})
    assert isinstance(read, dict)
    assert {name: each.reveal() for name, each in read.items()} == {"X-Key": "canary", "X-Scope": "plain"}
    assert "canary" not in repr(read)
    _, errors = READER.options(Options, {"headers": {"X-Key": 1, "X-Empty": ""}})
    assert [path for path, _ in errors] == [("headers", "X-Key"), ("headers", "X-Empty")]
    assert error("headers", "canary") == "a table is expected, not a string"


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ("{name}", "greenhouse-pi"),
        ("bbdata_{serial}", "bbdata_10000000abcdef01"),
        ("{name}/{name}", "greenhouse-pi/greenhouse-pi"),
        ("plain", "plain"),
        ("a { b", "a { b"),
    ],
)
def test_template(given, filled):
    assert value("template", given) == filled


@pytest.mark.parametrize("given", ["{}", "{Name}", "{value}"])
def test_unknown_placeholder(given):
    assert error("template", given) == f"{given} stands for nothing; there are {{name}}, {{serial}}"


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ("{name}/{sensor}/{quantity}", "greenhouse-pi/{sensor}/{quantity}"),
        ("{value} {unit} {time} {serial}", "{value} {unit} {time} 10000000abcdef01"),
        ('{"a": {value}, "b": ["{unit}", {}]}', '{"a": {value}, "b": ["{unit}", {}]}'),
        ("{{value}}", "{{value}}"),
        ('{"name": "{name}"}', '{"name": "greenhouse-pi"}'),
        ("{1} { value } {a b} {} } {", "{1} { value } {a b} {} } {"),
        ("plain", "plain"),
    ],
)
def test_a_template_that_each_reading_fills(given, filled):
    assert value("topic", given) == filled


def test_a_default_is_filled_like_any_other():
    options, errors = READER.options(Options, {})
    assert (options.topic, errors) == ("greenhouse-pi/{sensor}", [])


@pytest.mark.parametrize(("given", "word"), [("{foo}", "{foo}"), ('{"a": {Value}}', "{Value}"), ("{größe}", "{größe}")])
def test_a_word_that_no_reading_fills(given, word):
    there_are = "{name}, {serial}, {sensor}, {quantity}, {value}, {unit}, {time}"
    assert error("topic", given) == f"{word} stands for nothing; there are {there_are}"


def test_a_text_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "text").write_text("from a file\n")
    monkeypatch.setenv("EDGED_TEXT", "from {name}")
    assert value("text", {"file": str(tmp_path / "text")}) == "from a file"
    assert value("template", {"env": "EDGED_TEXT"}) == "from greenhouse-pi"
    assert error("text", {"env": "EDGED_NO_SUCH"}) == "environment variable EDGED_NO_SUCH is not set"
    missing = tmp_path / "none"
    assert error("text", {"file": str(missing)}) == f"file {missing} cannot be read: No such file or directory"
    assert error("text", {"credential": "x"}) == "a string is expected, not a table"


@pytest.mark.parametrize("given", ["http://localhost", "https://example.org:8443/v1?a=b", "https://[::1]:443/"])
def test_url(given):
    assert value("url", given) == given


@pytest.mark.pain("F14")
@pytest.mark.parametrize(
    "given",
    [
        "https://user:canary@example.org/",
        "https://canary@example.org/",
        "https://:canary@example.org",
        "user:canary@example.org",
        "ftp://canary.example.org",
        "https://",
        "https:///canary",
        "https://[canary/",
        "https://example.org:canary/",
        "https://example.org:0/canary",
        "canary",
    ],
)
def test_no_url(given):
    message = error("url", given)
    assert "https://example.org" in message or "user:password@" in message
    assert "canary" not in message


def test_a_message_shows_no_text():
    """It may be a secret that stands at the wrong key."""
    for key in ("flag", "count", "ratio", "nested", "choice", "duration", "size", "words", "headers"):
        assert "canary" not in error(key, "canary")


# --- secrets


def reveal(given: object) -> str:
    read = value("secret", given)
    assert isinstance(read, Secret)
    assert "canary" not in repr(read)
    return read.reveal()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """$CREDENTIALS_DIRECTORY and /etc/edged/credentials."""
    service, etc = tmp_path / "service", tmp_path / "etc"
    service.mkdir()
    etc.mkdir()
    monkeypatch.setattr(secret, "CREDENTIALS", etc)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(service))
    return service, etc


def test_a_secret_as_it_is():
    assert reveal("canary") == "canary"


def test_a_secret_in_the_environment(monkeypatch):
    monkeypatch.setenv("EDGED_TOKEN", "canary")
    assert reveal({"env": "EDGED_TOKEN"}) == "canary"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("canary", "canary"),
        ("canary\n", "canary"),
        ("canary\r\n", "canary"),
        ("canary\n\n", "canary\n"),
        (" c ", " c "),
    ],
)
def test_one_trailing_newline_is_dropped(tmp_path, content, text):
    (tmp_path / "token").write_bytes(content.encode())
    assert reveal({"file": str(tmp_path / "token")}) == text


@pytest.mark.parametrize("name", ["token", "edged_token", "edged.token"])
def test_a_credential_by_each_of_its_names(folders, name):
    service, _ = folders
    (service / name).write_text("canary\n")
    assert reveal({"credential": "token"}) == "canary"


def test_a_login_shell_looks_into_etc(folders, monkeypatch):
    _, etc = folders
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    (etc / "token").write_text("canary\n")
    assert reveal({"credential": "token"}) == "canary"


def test_the_service_looks_into_its_own_folder_only(folders):
    _, etc = folders
    (etc / "token").write_text("canary\n")
    with pytest.raises(SecretUnreadable, match="credential token is not in "):
        reveal({"credential": "token"})


def test_a_credential_of_the_service(folders, monkeypatch):
    def deny(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", deny)
    with pytest.raises(SecretUnreadable, match="credential token is readable by the service only"):
        reveal({"credential": "token"})


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "it is no UTF-8 text")]
)
def test_a_file_without_a_secret(tmp_path, content, says):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SecretUnreadable, match=says):
        reveal({"file": str(tmp_path / "token")})


def test_a_secret_is_looked_for_again(tmp_path):
    """It may be put there while the daemon runs."""
    read = value("secret", {"file": str(tmp_path / "token")})
    assert isinstance(read, Secret)
    with pytest.raises(SecretUnreadable):
        read.reveal()
    (tmp_path / "token").write_text("canary\n")
    assert read.reveal() == "canary"


def test_secrets_are_equal_by_what_the_config_says():
    assert value("secret", "one-secret") == value("secret", "one-secret")
    assert value("secret", "one-secret") != value("secret", "another-secret")
    assert value("secret", {"env": "A"}) == value("secret", {"env": "A"})
    assert value("secret", {"env": "A"}) != value("secret", {"file": "A"})


def test_a_secret_that_is_a_part_of_another_leaves_nothing_of_it():
    for text in ("canary", "canary-and-more", "more-than-canary"):
        secret.plain(text).reveal()
    assert secret.redact("x canary-and-more y more-than-canary z canary") == "x *** y *** z ***"


# --- messages


def test_did_you_mean():
    assert unknown("adress", ["address", "bus"]) == 'unknown key; did you mean "address"?'
    assert unknown("zebra", ["bus", "address"]) == "unknown key; there are: address, bus"
    assert choose("bme28", ["bme280", "host"], "driver") == 'there is no driver "bme28"; did you mean "bme280"?'
    assert choose("zebra", ["bme280", "host"], "driver") == 'there is no driver "zebra"; there are: bme280, host'


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(_ANYTHING, st.sampled_from(sorted(Options.__dataclass_fields__)))
def test_anything_is_read_or_refused_in_a_line(given, key):
    options, errors = READER.options(Options, {key: given})
    assert (options is None) == bool(errors)
    for path, message in errors:
        assert path[0] == key
        assert message.isprintable()


@given(_ANYTHING)
def test_anything_can_be_shown(given):
    assert len(shown(given)) < 30
