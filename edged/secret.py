"""Secrets: where they are read from, and how they are kept out of everything that goes out."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edged.errors import SecretUnreadable

CREDENTIALS = Path("/etc/edged/credentials")  # where a login shell, which systemd gives no directory, may look

_public: set[str] = set()  # what platforms publish themselves, and so is no secret whoever writes it down
_known: set[str] = set()  # the secrets that this process has read, so that `redact` finds them
SHORTEST = 4  # characters; a shorter secret would black out half of every text


class Secret:
    """A secret as the config names it.  It is read when it is first needed; no representation shows it."""

    def __init__(self, source: str, read: Callable[[], str]) -> None:
        """`source` says where it comes from, for a person; `read` raises OSError or SecretUnreadable."""
        self.source = source
        self._read = read
        self._text: str | None = None

    def reveal(self) -> str:
        """The secret itself.  Raises SecretUnreadable; the next call tries again."""
        if self._text is None:
            try:
                text = self._read().removesuffix("\n").removesuffix("\r")
                forms = _forms(text)
            except (OSError, UnicodeError) as error:  # a variable's bytes show what they are in its forms only
                reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
                raise SecretUnreadable(f"{self.source} cannot be read: {reason}") from None
            if not text:
                raise SecretUnreadable(f"{self.source} is empty")
            if len(text) >= SHORTEST and text not in _public:
                _known.update(forms)
            self._text = text
        return self._text

    def refresh(self) -> bool:
        """Forgets what was read, so that a rotated secret is found; whether it is another one now."""
        before, self._text = self._text, None
        try:
            return before is not None and self.reveal() != before
        except SecretUnreadable:
            return before is not None

    @property
    def is_plain(self) -> bool:
        """Whether it stands in the config itself, so that what is wrong with it is an error of the config's."""
        return isinstance(self._read, _Plain)

    def __eq__(self, other: object) -> bool:
        """Same source; a plain string's source is itself."""
        return isinstance(other, Secret) and (self.source, self._key()) == (other.source, other._key())

    def __hash__(self) -> int:
        return hash((self.source, self._key()))

    def _key(self) -> str:
        return self._read() if self.is_plain else ""

    def __repr__(self) -> str:
        return f"Secret({self.source})"


class _Plain:
    """Reads a secret that stands in the config itself."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> str:
        return self._text


def plain(text: str) -> Secret:
    """A secret that is written in the config as it is; known from now on, so that no text lets it out."""
    secret = Secret("a plain string", _Plain(text))
    if text:
        secret.reveal()
    return secret


def public(text: str) -> Secret:
    """A platform's own published default (BBData's `bbdata`): no secret, so not blacked out."""
    _public.add(text)
    return Secret("the platform's default", _Plain(text))


def from_env(name: str) -> Secret:
    """A secret in an environment variable."""

    def read() -> str:
        if name not in os.environ:
            raise SecretUnreadable(f"environment variable {name} is not set")
        return os.environ[name]

    return Secret(f"environment variable {name}", read)


def from_file(path: str) -> Secret:
    """A secret that is a file's content."""
    return Secret(f"file {path}", Path(path).read_text)


def from_credential(name: str) -> Secret:
    """A secret that systemd hands to the service (LoadCredential=), or that an administrator's shell finds in /etc."""

    def read() -> str:
        folders = [Path(folder) for folder in [os.environ.get("CREDENTIALS_DIRECTORY")] if folder] or [CREDENTIALS]
        for path in (folder / prefix for folder in folders for prefix in (name, f"edged_{name}", f"edged.{name}")):
            try:
                return path.read_text()
            except FileNotFoundError:
                continue
            except PermissionError:
                reason = f"user {os.environ.get('USER') or os.geteuid()} may not read {path}"
                raise SecretUnreadable(f"credential {name} is readable by the service only: {reason}") from None
        given = "CREDENTIALS_DIRECTORY" in os.environ
        advice = "LoadCredential= in the unit puts it there" if given else f"put it into {CREDENTIALS / name}"
        raise SecretUnreadable(f"credential {name} is not in {folders[0]}; {advice}")

    return Secret(f"credential {name}", read)


def _forms(text: str) -> set[str]:
    """A secret as others quote it: as it is, within JSON, within a representation, within a URL.

    Of a whole Authorization header (`Bearer abc`) others quote the credentials without the scheme.
    """
    scheme, _, rest = text.partition(" ")
    alone = {rest} if scheme.isalpha() and len(rest) >= SHORTEST and " " not in rest else set()
    return {
        form
        for each in {text} | alone
        for form in (each, json.dumps(each)[1:-1], each.replace("/", r"\/"), repr(each)[1:-1], quote(each, safe=""))
    }


def named(options: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Secret]]:
    """The secrets in dataclasses of options, however deep in tables and lists, with their paths (lists add none)."""
    if isinstance(options, Secret):
        yield path, options
    elif isinstance(options, tuple):
        for each in options:
            yield from named(each, path)
    elif isinstance(options, Mapping) or is_dataclass(options):
        for key, value in (options if isinstance(options, Mapping) else vars(options)).items():
            yield from named(value, (*path, key))


def within(*options: Any) -> Iterator[Secret]:
    """The same, without paths."""
    return (secret for each in options for _, secret in named(each))


def replaced(options: Any, by: Callable[[Secret], Secret]) -> Any:
    """The options with another secret for each one in them; themselves where all are the same."""
    if isinstance(options, Secret):
        return by(options)
    if isinstance(options, tuple):
        return tuple(replaced(each, by) for each in options)
    if isinstance(options, Mapping):
        return {key: replaced(each, by) for key, each in options.items()}
    if is_dataclass(options) and not isinstance(options, type):
        found = {each.name: getattr(options, each.name) for each in fields(options) if each.init}
        changed = {name: made for name, each in found.items() if (made := replaced(each, by)) is not each}
        return replace(options, **changed) if changed else options
    return options


def redact(text: str) -> str:
    """The text with every secret that this process has read blacked out."""
    for secret in sorted(_known, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return text
