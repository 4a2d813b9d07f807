"""What a refusal is about by its text, where the status does not tell: throttling, or credentials and identifiers.

The texts are those of services that ingest readings, as their users report them.  What is looked for are phrases and
not words, since a refusal may quote our own names and values, and those may be any words.
"""

import re
from collections.abc import Iterator, Sequence

from edged.platforms import Item

_MOST = 4096  # characters that are looked at; what a refusal is about stands at its beginning

_THROTTLED = re.compile(
    r"""
    \b((was|were|been|being|is|are)[ ])?throttl\w*
  | \btoo[ _-]?many[ _-]?(requests|calls|writes|messages)\b
  | \brate[ _-]?limit(ed|ing)\b
  | \b(rate|request|call|message|write)s?[ _-]?limit[ _-](is[ ]|was[ ]|has[ ]been[ ])?(exceeded|reached|hit)\b
  | \b(exceed\w*|reached|hit)\b [^.;{}]{0,40} \b(rate|requests?)[ _-]?limit\b
  | \b(exceed\w*|reached|hit)\b [^.;{}]{0,40} \blimit[ ](of|on|for)[ ] [^.;{}]{0,30} \brequests?\b
  | \bquota[ _-](is[ ]|was[ ]|has[ ]been[ ])?(exceeded|reached|exhausted)\b
  | \bexceed\w*\b [^.;{}]{0,30} \bquota\b
  | \b(re)?try[ ](again[ ])?later\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

_WHO = r"""(
    ((access|auth|api|bearer|oauth|security|device|signal)[ _-]?)?tokens? | (api|access|auth)[ _-]?keys?
  | credentials? | passwords? | devices? | projects? | accounts? | users? | tenants? | workspaces? | buckets?
  | databases? | feeds? | organi[sz]ations?
)"""
_FLAW = r"""(
    invalid | unknown | wrong | bad | missing | expired | revoked | incorrect | unregistered | disabled | inactive
)"""
_FAILS = rf"""(is[ ]|was[ ]|were[ ]|has[ ]been[ ]|could[ ]not[ ]be[ ])?(
    {_FLAW} | not[ _](found|valid|registered|recogni[sz]ed|known|active|authori[sz]ed) | wasn't[ ]found
  | does[ ]?(not|n't)[ ]exist | denied
)"""
_ABOUT_READINGS = r"(values?|units?|types?|dates?|times?|timestamps?|fields?|signals?|json)\b"
_IDENTIFIERS = re.compile(
    rf"""
    \b({_FLAW}|no[ ]such) [ _-] ((?!{_ABOUT_READINGS})\w+[ _-])? {_WHO}\b (?![ ](value|type))
  | \b{_WHO} ([ ='"\\\[\]_-]+(?!{_ABOUT_READINGS})[\w-]+){{0,5}}? [ '"\\\]_-]+ {_FAILS}\b (?![ ]json)
  | \b{_WHO}"\s*:\s*[\["]* ((?!{_ABOUT_READINGS})[\w='"-]+[ ]){{0,5}} {_FAILS}\b
  | \bno[ ]{_WHO}\b [^.;{{}}]{{0,20}} \bfound\b
  | \b(un|not[ ])authori[sz]ed\b | \b(un|not[ ])authenticated\b | \bauthentication\b
  | \b(permission|access)[ ](is[ ])?(denied|forbidden)\b
  | \b(not[ ]have|lacks?|insufficient|missing|without|no)\b [^.;{{}}]{{0,30}} \b(permissions?|privileges?)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def says_throttled(text: str, items: Sequence[Item]) -> bool:
    """Whether too much was sent in too short a time."""
    return _says(_THROTTLED, text, items)


def blames_identifiers(text: str, items: Sequence[Item]) -> bool:
    """Whether credentials, or an identifier that is not a reading's own, are refused."""
    return _says(_IDENTIFIERS, text, items)


def _says(pattern: re.Pattern[str], text: str, items: Sequence[Item]) -> bool:
    """Whether the pattern is found elsewhere than within a name or a value of ours."""
    text = text[:_MOST]
    found = list(pattern.finditer(text))
    if not found:
        return False
    ours = sorted(filter(None, {word for item in items for word in _words(item)}), key=len, reverse=True)
    quoted = [m.span() for m in re.finditer(rf"(?<!\w)({'|'.join(map(re.escape, ours))})(?!\w)", text)] if ours else []
    return any(not any(start <= m.start() and m.end() <= end for start, end in quoted) for m in found)


def _words(item: Item) -> Iterator[str]:
    yield item.entry.series
    if isinstance(item.entry.value, str):
        yield item.entry.value
    yield from (value for value in getattr(item.target, "__dict__", {}).values() if isinstance(value, str))
