"""Placeholders in the config's strings: those that are filled in when it is read, and those left to each reading."""

import re
from collections.abc import Mapping

from edged.options import READING_WORDS

_BRACES = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"\{([^\W\d]\w*)\}")


def filled(text: str, names: Mapping[str, str]) -> str:
    """The text with each `{name}` filled in.  Raises ValueError where braces hold anything else."""
    _refuse_others(_BRACES.findall(text), names)
    return _BRACES.sub(lambda match: names[match[1]], text)


def filled_for_readings(text: str, names: Mapping[str, str]) -> str:
    """The text with each `{name}` filled in; what a reading fills stays, and so do braces around more than a word.

    Raises ValueError for a word that stands for nothing.
    """
    _refuse_others(_WORD.findall(text), (*names, *READING_WORDS))
    return _WORD.sub(lambda match: names.get(match[1], match[0]), text)


def _refuse_others(words: list[str], known: Mapping[str, str] | tuple[str, ...]) -> None:
    for word in words:
        if word not in known:
            raise ValueError(f"{{{word}}} stands for nothing; there are {', '.join(f'{{{name}}}' for name in known)}")
