"""Turns a TOML table into the options that it is declared to be, reporting all that is wrong with it at once.

voluptuous walks the tables and collects the errors; what a value may be is said here, by the option's annotation.
"""

import difflib
import json
import math
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

import voluptuous as vol

from edged import secret
from edged.config.quantities import seconds, size, size_text
from edged.config.templates import filled, filled_for_readings
from edged.errors import SecretUnreadable
from edged.options import DURATION, READING_TEMPLATE, SIZE, TEMPLATE, URL, Declaration, declarations
from edged.secret import Secret

Errors = list[tuple[tuple[str, ...], str]]  # path below the table, message

MISSING = "is missing"  # how the message begins where a key has to be there


class Reader:
    """Reads values; knows what `{name}` and `{serial}` stand for."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def options(self, kind: type, table: dict[str, Any]) -> tuple[Any, Errors]:
        """The options of a dataclass from a table that holds its keys only; None where there are errors."""
        try:
            return self._table(kind)(table), []
        except vol.MultipleInvalid as invalid:
            return None, [(tuple(map(str, error.path)), error.error_message) for error in invalid.errors]

    def _table(self, kind: type) -> Callable[[Any], Any]:
        """Validates a table and makes the dataclass of it."""
        declared = declarations(kind)
        schema = vol.Schema(
            {
                vol.Required(option.name, msg=f"{MISSING}: {option.help}")
                if option.required
                else vol.Optional(option.name): self._value(option)
                for option in declared.values()
            },
            extra=vol.ALLOW_EXTRA,
        )

        def read(table: Any) -> Any:
            if not isinstance(table, dict):
                raise vol.MultipleInvalid([vol.Invalid(f"a table is expected, not {shown(table)}")])
            errors = [
                vol.Invalid(unknown(key, [option.name for option in declared.values()]), path=[key])
                for key in table
                if key not in {option.name for option in declared.values()}
            ]
            try:
                values = schema(table)
            except vol.MultipleInvalid as invalid:
                errors += invalid.errors
            if errors:
                raise vol.MultipleInvalid(errors)
            defaults = {
                field: self._type(option.type)(option.default)
                for field, option in declared.items()
                if {TEMPLATE, READING_TEMPLATE} & set(get_args(option.type)) and isinstance(option.default, str)
            }
            given = {field: values[option.name] for field, option in declared.items() if option.name in values}
            return kind(**defaults | given)

        return read

    def _value(self, option: Declaration) -> Callable[[Any], Any]:
        """Validates one value by the option's type and limits."""
        read = self._type(option.type)

        def limited(value: Any) -> Any:
            value = read(value)
            if option.required and value == "":
                raise vol.Invalid(f"it is empty; {option.help} is expected")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                if option.minimum is not None and value < option.minimum:
                    raise vol.Invalid(f"{shown(value)} is too small; at least {_limit(option, option.minimum)}")
                if option.above is not None and value <= option.above:
                    raise vol.Invalid(f"{shown(value)} is too small; more than {_limit(option, option.above)}")
                if option.maximum is not None and value > option.maximum:
                    raise vol.Invalid(f"{shown(value)} is too large; at most {_limit(option, option.maximum)}")
            return value

        return limited

    def _type(self, kind: Any) -> Callable[[Any], Any]:
        origin, parts = get_origin(kind), get_args(kind)
        if origin is Annotated:
            readers: dict[Any, Callable[[Any], Any]] = {
                DURATION: _refusing(seconds),
                SIZE: _refusing(size),
                TEMPLATE: _refusing(lambda value: filled(self._text(value), self.names)),
                READING_TEMPLATE: _refusing(lambda value: filled_for_readings(self._text(value), self.names)),
                URL: self._url,
            }
            return readers[parts[1]]
        if origin is Literal:
            return lambda value: _one_of(value, parts)
        if origin in (Union, UnionType):
            return self._any(parts)
        if origin is tuple:
            return self._list(self._type(parts[0]))
        if origin is dict:
            return self._dict(self._type(parts[1]))
        if kind is Secret:
            return self._secret
        if is_dataclass(kind) and isinstance(kind, type):
            return self._table(kind)
        plain: dict[Any, Callable[[Any], Any]] = {
            str: self._text,
            Path: lambda value: Path(self._text(value)),
            bool: _bool,
            int: _int,
            float: _float,
            Any: lambda value: value,  # looked at where its meaning is known
        }
        return plain[kind]

    def _any(self, kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
        """The first of several types that the value is; None is TOML's absent key, never a value."""
        readers = [self._type(kind) for kind in kinds if kind is not type(None)]

        def read(value: Any) -> Any:
            for reader in readers[:-1]:
                try:
                    return reader(value)
                except vol.Invalid:
                    continue
            return readers[-1](value)

        return read

    def _list(self, item: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read(value: Any) -> Any:
            if not isinstance(value, list):
                raise vol.Invalid(f"a list is expected, not {shown(value)}")
            return tuple(item(each) for each in value)

        return read

    def _dict(self, item: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read(value: Any) -> Any:
            if not isinstance(value, dict):
                raise vol.Invalid(f"a table is expected, not {shown(value)}")
            return vol.Schema({str: item})(value)

        return read

    def _text(self, value: Any) -> str:
        """A string, or where it is to be read from."""
        if isinstance(value, dict) and set(value) <= {"env", "file"} and len(value) == 1:
            try:
                value = _source(value, ("env", "file")).reveal()
            except SecretUnreadable as error:
                raise vol.Invalid(str(error)) from None
        if not isinstance(value, str):
            raise vol.Invalid(f"a string is expected, not {shown(value)}")
        return _without_nul(value)

    def _url(self, value: Any) -> str:
        """An http(s) URL without credentials; never quoted in a message, since it may hold some."""
        text = self._text(value)
        try:
            parts = urlsplit(text)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise vol.Invalid(
                "this is no URL: https:// or http://, a host name, and perhaps a port from 1 to 65535; "
                'for example "https://example.org"'
            )
        if parts.username is not None or parts.password is not None:
            raise vol.Invalid(
                "a URL with user:password@ in it is refused, since URLs end up in logs; use the keys for credentials"
            )
        return text

    def _secret(self, value: Any) -> Secret:
        """A secret, by its source; it is read when it is first needed."""
        if isinstance(value, str):
            if not value.strip("\r\n"):
                raise vol.Invalid("an empty secret")
            return secret.plain(_without_nul(value))
        forms = ("credential", "env", "file")
        if isinstance(value, dict) and len(value) == 1 and set(value) <= set(forms):
            return _source(value, forms)
        raise vol.Invalid(
            'a secret is expected: a string, { credential = "NAME" }, { env = "NAME" } or { file = "PATH" }'
        )


def _source(value: dict[str, Any], forms: tuple[str, ...]) -> Secret:
    ((form, name),) = value.items()
    if not isinstance(name, str) or not name:
        raise vol.Invalid(f"{form} wants a name, not {'an empty string' if name == '' else shown(name)}")
    _without_nul(name)
    return {"credential": secret.from_credential, "env": secret.from_env, "file": secret.from_file}[form](name)


def unknown(key: str, known: list[str]) -> str:
    """What to say of a key that does not exist."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f'unknown key; did you mean "{near[0]}"?' if near else f"unknown key; there are: {', '.join(sorted(known))}"


def choose(value: str, known: list[str], what: str) -> str:
    """What to say of a name that is none of the known ones."""
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    return f"there is no {what} {json.dumps(value, ensure_ascii=False)}; " + (
        f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(known)}"
    )


def shown(value: Any) -> str:
    """A value in a message: numbers and booleans as TOML has them; of the rest the kind, since it may be a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a number so large"  # and maybe of more digits than Python prints
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return {"str": "a string", "list": "a list", "dict": "a table"}.get(kind := type(value).__name__, f"a {kind}")


def _limit(option: Declaration, limit: float) -> str:
    kinds = (option.type, *get_args(option.type))  # `Seconds | None` has it a level below
    units = [unit for kind in kinds for unit in get_args(kind)]
    if SIZE in units:
        return size_text(int(limit))
    return f"{limit:g}" + (" s" if DURATION in units else f" {option.unit}" if option.unit else "")


def _refusing(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same reader, with what is wrong told as voluptuous collects it."""

    def refusing(value: Any) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise vol.Invalid(str(error)) from None

    return refusing


def _without_nul(value: str) -> str:
    if "\0" in value:  # ends a string for the system: in a path, a host name, a variable
        raise vol.Invalid("a NUL character (\\u0000) cannot be in it")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise vol.Invalid(f"true or false is expected, not {shown(value)}")
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise vol.Invalid(f"a whole number is expected, not {shown(value)}")
    if abs(value) >= 2**63:
        raise vol.Invalid("the number is too large")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise vol.Invalid(f"a number is expected, not {shown(value)}")
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) >= 2**63):
        raise vol.Invalid("a finite number is expected")
    return float(value)


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    for each in allowed:
        if value == each and type(value) is type(each):
            return each
    names = ", ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in allowed)
    raise vol.Invalid(f"one of {names} is expected" + ("" if isinstance(value, str) else f", not {shown(value)}"))
