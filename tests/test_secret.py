"""Secrets: read from where the config says, and shown nowhere."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from edged import secret
from edged.errors import SecretUnreadable
from edged.options import option
from edged.secret import Secret, from_credential, from_env, from_file, plain, public, redact, within

TOKEN = "a-made-up-token-of-this-test"


def test_from_the_environment(monkeypatch):
    monkeypatch.setenv("EDGED_TEST_TOKEN", TOKEN)
    assert from_env("EDGED_TEST_TOKEN").reveal() == TOKEN
    monkeypatch.delenv("EDGED_TEST_TOKEN")
    with pytest.raises(SecretUnreadable, match="EDGED_TEST_TOKEN is not set"):
        from_env("EDGED_TEST_TOKEN").reveal()


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"token", "token"), (b"token\n", "token"), (b"token\r\n", "token"), (b"token\n\n", "token\n"), (b" t ", " t ")],
)
def test_one_trailing_newline_is_dropped(tmp_path, content, text):
    path = tmp_path / "token"
    path.write_bytes(content)
    assert from_file(str(path)).reveal() == text


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "no UTF-8 text"), (None, "No such file")],
)
def test_what_cannot_be_read_is_named(tmp_path, content, reason):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretUnreadable, match=reason) as caught:
        from_file(str(path)).reveal()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"secret\xff\xfetoken", b"\xff"])
def test_a_variable_whose_bytes_are_no_text_is_named(monkeypatch, content):
    monkeypatch.setenv("EDGED_TEST_TOKEN", os.fsdecode(content))
    with pytest.raises(SecretUnreadable, match="EDGED_TEST_TOKEN cannot be read: it is no UTF-8 text"):
        from_env("EDGED_TEST_TOKEN").reveal()


def test_a_plain_one_is_known_as_such(tmp_path):
    assert plain("one-token").is_plain
    assert not from_env("A").is_plain
    assert not from_file(str(tmp_path)).is_plain


def test_a_secret_that_appears_later_is_read_then(tmp_path):
    late = from_file(str(tmp_path / "token"))
    with pytest.raises(SecretUnreadable):
        late.reveal()
    (tmp_path / "token").write_text(TOKEN)
    assert late.reveal() == TOKEN


@pytest.mark.parametrize("name", ["token", "edged_token", "edged.token"])
def test_a_credential_of_systemds(monkeypatch, tmp_path, name):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / name).write_text(TOKEN + "\n")
    assert from_credential("token").reveal() == TOKEN


def test_a_credential_for_a_login_shell(monkeypatch, tmp_path):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(secret, "CREDENTIALS", tmp_path)
    with pytest.raises(SecretUnreadable, match="put it into") as caught:
        from_credential("token").reveal()
    assert str(tmp_path / "token") in str(caught.value)
    (tmp_path / "token").write_text(TOKEN)
    assert from_credential("token").reveal() == TOKEN


def test_a_credential_that_only_the_service_may_read(monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SecretUnreadable, match="readable by the service only"):
        from_credential("token").reveal()


@pytest.mark.pain("F15")
def test_no_representation_shows_it():
    made = plain(TOKEN)
    for text in (repr(made), str(made), f"{made}", repr({"token": made}), repr([made])):
        assert TOKEN not in text


def test_equal_where_the_config_says_the_same():
    assert from_env("A") == from_env("A")
    assert from_env("A") != from_env("B")
    assert plain("one-token") == plain("one-token")
    assert plain("one-token") != plain("another-token")
    assert len({plain("one-token"), plain("one-token"), from_env("A"), from_env("A")}) == 2


@pytest.mark.pain("F15")
def test_redact_blacks_out_all_that_was_read(monkeypatch):
    monkeypatch.setenv("EDGED_TEST_TOKEN", "read-from-the-environment")
    assert redact("read-from-the-environment") == "read-from-the-environment", "nothing is known of it yet"
    from_env("EDGED_TEST_TOKEN").reveal()
    plain("plain-in-the-config")
    assert redact("a read-from-the-environment b plain-in-the-config c") == "a *** b *** c"


def test_redact_leaves_nothing_of_the_longer_one():
    plain("wxyz")
    plain("wxyz-and-more-of-it")
    assert redact("wxyz-and-more-of-it wxyz") == "*** ***"


def test_what_is_public_or_too_short_stays():
    assert public("bbdata-default").reveal() == "bbdata-default"
    assert redact("bbdata-default") == "bbdata-default"
    plain("bbdata-default")  # whoever writes it down
    assert redact("bbdata-default") == "bbdata-default"
    plain("abc")
    assert redact("abcdef") == "abcdef"


@pytest.mark.pain("F15")
def test_of_a_whole_header_the_credentials_alone_are_known_too():
    plain("Bearer header-token-of-this-test")
    plain("one phrase of several words")
    assert redact("header-token-of-this-test Bearer") == "*** Bearer"
    assert redact("several words") == "several words"


@dataclass(frozen=True)
class Inner:
    deep: Secret = option(help="a secret")


@dataclass(frozen=True)
class Outer:
    direct: Secret = option(help="a secret")
    text: str = option("text", help="none")
    nested: Inner = option(help="a table")
    by_name: dict[str, Secret] = option(help="a table of secrets")
    several: tuple[Secret, ...] = option((), help="a list of secrets")
    absent: dict[str, Secret] = option(None, help="nothing")


def test_secrets_are_found_however_deep():
    given = [plain(f"secret-{number}-of-this-test") for number in range(5)]
    outer = Outer(direct=given[0], nested=Inner(deep=given[1]), by_name={"X": given[2]}, several=(given[3],))
    assert list(within(outer, None, "text", Inner(deep=given[4]))) == given


def test_redact_while_others_read_secrets():
    stop = threading.Event()

    def read_on():
        number = 0
        while not stop.is_set() and number < 2000:
            plain(f"secret-number-{number}-of-this-test")
            number += 1

    before = set(secret._known)
    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        for _ in range(50):
            redact("text " * 10)
    finally:
        stop.set()
        reader.join()
        secret._known.intersection_update(before)
