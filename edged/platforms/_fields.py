"""Whether a refusal says that a field is unknown, which a person has to repair, or that its value is no good."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from edged.platforms._json import parsed
from edged.platforms._phrases import GRAMMAR, complaints, letters, words
from edged.transports.http import Reply

_MOST = 1024  # characters of a sentence that are looked at
_MOST_SENTENCES = 64
_CODE = "FIELD_DOES_NOT_EXIST"  # the platform's own
_OF_NO_NAME = re.compile(r"\b\w*field matching query", re.IGNORECASE)  # what a lookup that found none says
_NAMED = "namedfield"  # stands for the field's name, which may be any words
_FIELDS = frozenset({"field", "fields", "fieldname", "identifier"})
_OF_VALUES = "value unit type number timestamp date time boolean bool float int integer string range format"
_TABLE: Mapping[str, str] = {
    **dict.fromkeys(_FIELDS | {_NAMED}, "W"),
    **dict.fromkeys(_OF_VALUES.split(), "R"),
    **GRAMMAR,
}
_LACKING = (  # a name alone may be "invalid" for its value; with these it is the field itself that is lacking
    "unknown unrecognized unrecognised undefined unregistered nonexistent missing no known recognized recognised "
    "registered found exist exists defined configured"
)
_ABSENT = frozenset(_LACKING.split())


def is_unknown(name: re.Pattern[str], reply: Reply) -> bool:
    """Whether the answer to a reading alone calls its field, whose whole name the pattern finds, unknown."""
    text = reply.text
    if _CODE in text:
        return True
    answer = parsed(reply.body)
    sentences = _sentences(answer, name) if isinstance(answer, dict | list) else iter([text])
    of_fields = ("",) if name.search(text) or _OF_NO_NAME.search(text) else ("field ", "fields ")
    return any(
        _says_so(name.sub(_NAMED, sentence[:_MOST]))
        for sentence in islice(sentences, _MOST_SENTENCES)
        if sentence.startswith(of_fields)
    )


def _says_so(sentence: str) -> bool:
    found = words(sentence, _TABLE)
    classes = letters(found, _TABLE)
    for first, end in complaints(found, classes):
        said = {word.text for word in found[first:end]}
        if said & (_FIELDS | _ABSENT) and "R" not in "".join(classes[end:]).partition(".")[0]:
            return True
    return False


def _sentences(answer: Any, name: re.Pattern[str]) -> Iterator[str]:
    """Each text of an answer in JSON behind its key; beside a key whose text is the field's name, behind that too."""
    left = [("", answer)]
    while left:
        key, part = left.pop()
        if isinstance(part, str):
            yield f"{key} {part}" if key in _FIELDS else f"{key}: {part}"
        elif isinstance(part, list):
            left += [(key, each) for each in part]
        elif isinstance(part, dict):
            left += part.items()
            if any(isinstance(each, str) and name.fullmatch(each) for each in part.values()):
                left += [(f"field {_NAMED}", each) for each in part.values() if isinstance(each, str)]
