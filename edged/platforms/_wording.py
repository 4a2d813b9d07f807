"""What a refusal is about by its text, where the status does not tell: throttling, or credentials and identifiers.

The texts are those of services that ingest readings, as their users report them.  What is looked for are phrases and
not words, since a refusal may quote our own names and values, and those may be any words.  A text that leaves it open
is taken to be about an identifier: then nothing is lost.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from edged.platforms import Item
from edged.platforms._phrases import GRAMMAR, Word, complaints, letters, words

_MOST = 4096  # characters that are looked at; what a refusal is about stands at its beginning

# Phrases; `|` parts alternatives, `~` stands for any end of a word, `...` for up to six words of the same sentence.
_THROTTLED = (
    "was|were|been|being|is|are throttl~",
    "throttl~",
    "too many requests|request|calls|writes|messages|updates",
    "rate limited|limiting",
    "rate|rates|request|requests|call|message|write|daily|hourly|monthly|usage limit ... exceeded|reached|hit",
    "limit exceeded exception",
    "rate|throughput exceeded",
    "exceed~|reached|hit ... rate|request|requests limit",
    "exceed~|reached|hit ... limit of|on|for ... request|requests",
    "exceed~|max~|most|only|limit ... requests|calls|messages|writes|updates per|a second|minute|hour|day|month",
    "quota exceeded|reached|exhausted",
    "quota is|was exceeded|reached|exhausted",
    "quota has been exceeded|reached|exhausted",
    "exceed~ ... quota",
    "sending|publishing|posting|writing|requests|messages too fast|quickly|often|frequently",
    "interval between requests|messages|writes|updates",
    "try|retry later",
    "try again later",
    "please wait",
    "slow down",
    "server|service|system busy|overloaded|unavailable",
    "server|service|system is busy|overloaded|unavailable",
    "server|service|system is|too|temporarily busy|overloaded|unavailable",
    "too busy",
    "temporarily unavailable",
    "flood control",
    "cache max memory size exceeded",
)

_ASKED = (  # credentials, and what is named besides the reading
    "token apikey password secret jwt signature hmac certificate grant session permission privilege right access id "
    "identifier pk device gateway station node client user account tenant org organization organisation workspace "
    "namespace project subscription plan license bucket database dataset index channel stream topic feed policy "
    "resource thing serial username publish publishing you ip"
)
_OF_READINGS = (
    "value unit type date time timestamp stamp field signal json number reading data point measurement measure entry "
    "float int integer bool boolean string clock format range precision input payload content"
)
_STRONG = "unauthorized unauthorised unauthenticated authentication authorization authorisation credential login"
_OF_PARSERS = "json parse parser parsing syntax line column position character"
_OF_KEYS = "api access auth secret write read private shared feed license"  # what makes a key one of credentials
_PARSERS, _KEYS = frozenset(_OF_PARSERS.split()), frozenset(_OF_KEYS.split())
_TABLE: Mapping[str, str] = {
    **dict.fromkeys(_ASKED.split(), "W"),
    **dict.fromkeys([*_OF_READINGS.split(), *_PARSERS], "R"),
    **dict.fromkeys(_STRONG.split(), "S"),
    "ids": "W",
    "apikeys": "W",
    **GRAMMAR,
}


class _Ours(NamedTuple):
    """Where a name or a value of ours stands, and whether it is several words that are written as one."""

    start: int
    end: int
    is_joined: bool


def _any_of(phrases: Sequence[str]) -> re.Pattern[str]:
    """A pattern of phrases for words that a space follows each."""
    return re.compile("|".join("(?<= )" + "".join(map(_element, phrase.split())) for phrase in phrases))


def _element(element: str) -> str:
    return r"(?:[^ .]+ ){0,6}?" if element == "..." else f"(?:{element.replace('~', r'[^ ]*')}) "


_SAYS_THROTTLED = _any_of(_THROTTLED)


def says_throttled(text: str, items: Sequence[Item]) -> bool:
    """Whether too much was sent in too short a time, or the server has too much to do."""
    text = text[:_MOST]
    found = words(text, {})
    joined, index_at = " ", {}
    for index, word in enumerate(found):
        index_at[len(joined)] = index
        joined += f"{word.text} "
    index_at[len(joined)] = len(found)
    spans = [(index_at[m.start()], index_at[m.end()]) for m in _SAYS_THROTTLED.finditer(joined)]
    return _any_elsewhere(spans, found, _ours(text, items) if spans else [])


def blames_identifiers(text: str, items: Sequence[Item]) -> bool:
    """Whether credentials, or an identifier that is not a reading's own, are refused."""
    text = text[:_MOST]
    found = words(text, _TABLE)
    classes = letters(found, _TABLE)
    _look_around(found, classes)
    _clear_of_parsers(found, classes)
    ours = _ours(text, items)
    _know_ours(found, classes, [each for each in ours if each.is_joined], items)
    return _any_elsewhere(list(complaints(found, classes)), found, ours)


def _know_ours(found: Sequence[Word], classes: list[str], ours: Sequence[_Ours], items: Sequence[Item]) -> None:
    """Takes the meaning from the words of our joined names; our quantities are of readings."""
    quantities = {part for item in items for part in _parts(item.entry.series.rpartition(".")[2].lower())}
    for index, word in enumerate(found):
        if any(each.start <= word.start and word.end <= each.end for each in ours):
            classes[index] = "x"
        elif classes[index] == "x" and word.text in quantities:
            classes[index] = "R"


def _look_around(found: Sequence[Word], classes: list[str]) -> None:
    """Reclasses the words that mean what their neighbours make of them."""
    texts = [word.text for word in found]
    for index, (before, text, behind) in enumerate(zip(["", *texts], texts, [*texts[1:], ""], strict=False)):
        of_what = classes[index - 1] if index else ""
        is_key = text in ("key", "keys") and before in _KEYS
        is_number = text == "number" and of_what == "W"  # a device's or a serial number
        if is_key or is_number:
            classes[index] = "W"
        elif text == "field" and of_what == "W" and behind == "is":  # "the token field is required"
            classes[index] = "i"
        elif (before == "this" and classes[index] == "R") or (text == "json" and behind == "web"):
            classes[index] = "x"  # "this field" is whichever was named before; a JSON web token is no parser's
        elif text == "in" and before in ("log", "logged", "sign", "signed"):
            classes[index] = "S"


def _clear_of_parsers(found: Sequence[Word], classes: list[str]) -> None:
    """Where a sentence is a parser's, its tokens are no credentials."""
    begin = 0
    for index, word in enumerate(found):
        if word.text == "." or index + 1 == len(found):
            sentence = range(begin, index + 1)
            if any(found[at].text in _PARSERS and classes[at] == "R" for at in sentence):
                for at in sentence:
                    classes[at] = "x" if found[at].text in ("token", "tokens") else classes[at]
            begin = index + 1


def _ours(text: str, items: Sequence[Item]) -> list[_Ours]:
    """The names and values of ours in the text; one of several words in any writing, a lone word only as it is."""
    names = {name for item in items for name in _names(item) if 0 < len(name) <= _MOST}
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    if not names:
        return []
    found = re.finditer(rf"(?<!\w)(?:{'|'.join(map(_written, longest_first))})(?!\w)", text)
    return [_Ours(m.start(), m.end(), len(_parts(m[0])) > 1 and " " not in m[0]) for m in found]


def _written(name: str) -> str:
    parts = _parts(name)
    several = r"[\W_]{1,3}".join(map(re.escape, parts))
    return f"(?i:{several})" if len(parts) > 1 else re.escape(name)


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", name) if part]


def _names(item: Item) -> Iterator[str]:
    yield item.entry.series
    if isinstance(item.entry.value, str):
        yield item.entry.value
    yield from (value for value in getattr(item.target, "__dict__", {}).values() if isinstance(value, str))


def _any_elsewhere(spans: Sequence[tuple[int, int]], found: Sequence[Word], ours: Sequence[_Ours]) -> bool:
    """Whether any span of words is not wholly within a name or a value of ours."""
    return any(
        not any(each.start <= found[first].start and found[end - 1].end <= each.end for each in ours)
        for first, end in spans
    )
