"""Has a platform check series, so that each gets a verdict of its own, in few requests."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edged.errors import NoAnswer
from edged.outcome import Again, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item, Platform
from edged.probing import Finding
from edged.probing.trials import requests_of

STEP = "credentials"
MOST_REQUESTS = 40
LONGEST_S = 30.0


def ask(platform: Platform, exchange: Callable[[Any], Any], items: Sequence[Item], found: dict[str, Outcome]) -> None:
    """Puts what the platform says of each series into `found`; what concerns them all ends it.

    A culprit that the answer names is taken out, one that it does not is looked for by halves.
    """
    waiting = list(requests_of(platform, items))
    ends = time.monotonic() + LONGEST_S
    for _ in range(MOST_REQUESTS):
        if not waiting or time.monotonic() >= ends:
            return
        group = waiting.pop(0)
        again, suspects = [], []
        for item, outcome in zip(group, _outcomes(platform, exchange, group), strict=True):
            if isinstance(outcome, Again):
                again.append(item)
            elif isinstance(outcome, Isolate) and len(group) > 1:
                suspects.append(item)
            else:
                found[item.entry.series] = outcome
        if any(map(_is_of_all, found.values())):
            return
        half = (len(suspects) + 1) // 2
        waiting[:0] = [part for part in (again, suspects[:half], suspects[half:]) if part]


def _outcomes(platform: Platform, exchange: Callable[[Any], Any], group: list[Item]) -> list[Outcome]:
    """Of one request."""
    try:
        return platform.judge(exchange(platform.probe(group)), group)
    except NoAnswer as error:
        return [Transient(str(error))] * len(group)


def told(items: Sequence[Item], found: dict[str, Outcome], typical: Callable[[Item], bool]) -> Iterator[Finding]:
    """What is to be said of each series, and once of what concerns them all.

    `typical`: whether an item's value, which is made up, has the type of the sensor's own.
    """
    of_all = [outcome for outcome in found.values() if _is_of_all(outcome)]
    for reason in dict.fromkeys(_reason(outcome) for outcome in of_all):
        yield Finding(STEP, False, reason)
    for item in items:
        outcome = found.get(item.entry.series)
        if outcome is not None and not _is_of_all(outcome):
            yield verdict(item, outcome, typical=typical(item))
        elif not of_all:
            yield Finding(STEP, None, f"{item.entry.series}: not asked yet; put the others right, and probe again")


def verdict(item: Item, outcome: Outcome, *, typical: bool) -> Finding:
    """What is to be said of one series."""
    series = item.entry.series
    match outcome:
        case Delivered(remark):
            return Finding(STEP, True, f"{series}: accepted, and not stored" + (f"; {remark}" if remark else ""))
        case Permanent(reason) if not typical:
            known = f"{series}: known there, but whether it takes the sensor's values cannot be told"
            return Finding(STEP, None, f"{known}: of {item.entry.value!r}, which is made up, it says {reason}")
        case Permanent(reason):
            return Finding(STEP, False, f"{series}: a value such as {item.entry.value!r} is refused: {reason}")
        case _:
            return Finding(STEP, False, f"{series}: {_reason(outcome)}")


def answered(status: int) -> tuple[bool, str]:
    """Whether an HTTP status, of a request that asks for nothing, shows that the server is there; what to say of it."""
    match status:
        case 407:
            return False, "HTTP 407: the proxy wants a login, which edged has none for"
        case 502 | 503 | 504:
            return False, f"HTTP {status}: what stands before the platform answers, but not the platform"
        case _:
            return True, f"it answers (HTTP {status})"


def _is_of_all(outcome: Outcome) -> bool:
    """Whether it concerns the destination, not one series."""
    return isinstance(outcome, Transient) or (isinstance(outcome, Parked) and outcome.whole)


def _reason(outcome: Outcome) -> str:
    return str(getattr(outcome, "reason", outcome))
