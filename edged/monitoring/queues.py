"""What `edged queue` does with the queues of a store: the same within the running daemon and on a store at rest.

Each action takes a request with the name of a destination; `configured` has the names of the config's, which may have
no queue yet.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from edged.errors import EdgedError, StoreUnusable
from edged.monitoring.control import Action, Answer, item, progress
from edged.reading import iso
from edged.series import matches
from edged.store import desk
from edged.store.log import Log
from edged.store.queue import Queue

_STEP = 5000  # readings between two words of progress


def actions(log: Log) -> dict[str, Action]:
    """The actions by their names."""
    return {
        "queues": lambda request: {name: _summary(queue) for name, queue in log.queues.items()},
        "queue-list": partial(_list, log),
        "queue-count": partial(_count, log),
        "queue-retry": partial(_retry, log),
        "queue-drop": partial(_drop, log),
        "queue-adopt": partial(_adopt, log),
    }


def _summary(queue: Queue) -> dict[str, Any]:
    oldest_ms = None
    with contextlib.suppress(StoreUnusable):  # the counts are known all the same
        oldest_ms = queue.oldest_ms()
    return {
        "queued": queue.queued,
        "oldest": None if oldest_ms is None else iso(oldest_ms),
        "delivered": queue.delivered,
        "dead": queue.dead,
        "dropped": queue.dropped,
        "merged": queue.merged,
        "lost": queue.lost,
    }


class _Filter(NamedTuple):
    """Which readings are meant."""

    dead: bool
    series: str | None  # or a pattern
    before_ms: int | None

    def takes(self, series: str, time_ms: int) -> bool:
        chosen = self.series is None or matches(self.series, series)
        return chosen and (self.before_ms is None or time_ms < self.before_ms)


def _list(log: Log, request: dict[str, Any]) -> Generator[Answer, None, int]:
    """The readings, the oldest first, each an item; returns how many."""
    queue = _queue(log, request)
    limit = _given(request, "limit", int)
    number = 0
    if queue is not None:
        rows = _dead(log, queue.name) if request.get("dead") else _pending(queue)
        total = queue.dead if request.get("dead") else queue.queued
        total = total if limit is None else min(limit, total)
        for number, row in enumerate(islice(rows, limit), 1):
            yield item(row)
            if number % _STEP == 0:
                yield progress(number, total)
    return number


def _pending(queue: Queue) -> Iterator[dict[str, Any]]:
    for entry in queue.pending():
        yield {"series": entry.series, "time": iso(entry.time_ms), "value": entry.value}


def _dead(log: Log, name: str) -> Iterator[dict[str, Any]]:
    for letter in log.dead_letters(name):
        yield {
            "series": letter.series,
            "time": iso(letter.time_ms),
            "value": json.loads(letter.value),
            "reason": letter.reason,
            "refused_at": iso(letter.refused_at_ms),
        }


def _count(log: Log, request: dict[str, Any]) -> Generator[Answer, None, int]:
    """How many readings `queue-drop` would drop."""
    queue, which = _queue(log, request), _filter(request)
    if queue is None:
        return 0
    total = queue.dead if which.dead else queue.queued
    if which.series is None and which.before_ms is None:
        return total
    readings: Iterable[Any] = log.dead_letters(queue.name) if which.dead else queue.pending()
    found = 0
    for number, reading in enumerate(readings, 1):
        found += which.takes(reading.series, reading.time_ms)
        if number % _STEP == 0:
            yield progress(number, total)
    return found


def _retry(log: Log, request: dict[str, Any]) -> int:
    queue = _queue(log, request)
    return 0 if queue is None else desk.retry(log, queue.name)


def _drop(log: Log, request: dict[str, Any]) -> Generator[Answer, None, int]:
    queue, which = _queue(log, request), _filter(request)
    if queue is None:
        return 0
    if which.dead:
        return desk.drop_dead(log, queue.name, which.series, which.before_ms)
    total, dropped = queue.queued, 0
    for number in desk.dropping(log, queue.name, which.series, which.before_ms):
        dropped += number
        yield progress(dropped, total)
    return dropped


def _adopt(log: Log, request: dict[str, Any]) -> Generator[Answer, None, dict[str, Any]]:
    """How many readings have a new destination, and how many are dropped: it does not take them, or has had them.

    `untaken` is how many it does not take, series by series; with any of them nothing is done without a `yes`.
    """
    queue, new = _queue(log, request), _text(request, "new")
    if queue is None:
        return {"moved": 0, "dropped": 0, "untaken": {}}
    configured, taker = _configured(request), log.queues.get(new)
    if new in configured and taker is None:
        raise EdgedError(f"the running daemon does not know {new} yet: systemctl reload edged (with {new} enabled)")
    if queue.name not in configured and not queue.removed:
        raise EdgedError(f"the running daemon does not know yet that {queue.name} is removed: systemctl reload edged")
    untaken: dict[str, int] = {} if taker is None else (yield from _untaken(queue, taker))
    if untaken and not request.get("yes"):
        return {"moved": 0, "dropped": 0, "untaken": untaken}
    queued = queue.queued
    moved = desk.adopt(log, queue.name, new, None if taker is None else taker.choice)
    return {"moved": moved, "dropped": queued - moved, "untaken": untaken}


def _untaken(queue: Queue, taker: Queue) -> Generator[Answer, None, dict[str, int]]:
    """How many readings are queued of each series that another destination does not take."""
    found: Counter[str] = Counter()
    for number, entry in enumerate(queue.owed, 1):
        if not taker.choice.wants(entry.series):
            found[entry.series] += 1
        if number % _STEP == 0:
            yield progress(number, queue.queued)
    return dict(found)


def _queue(log: Log, request: dict[str, Any]) -> Queue | None:
    """The queue that is meant; None where the destination is configured, and has none yet."""
    name = _text(request, "destination")
    if (queue := log.queues.get(name)) is not None:
        return queue
    configured = _configured(request)
    if name in configured:
        return None
    raise unknown(name, [*configured, *log.queues])


def _configured(request: dict[str, Any]) -> list[str]:
    return [str(each) for each in _given(request, "configured", list) or ()]


def unknown(name: str, known: Iterable[str]) -> EdgedError:
    """What to say of a destination that is neither in the config nor in the store."""
    return EdgedError(f"there is no destination {name}; there are: {', '.join(dict.fromkeys(known)) or 'none'}")


def _filter(request: dict[str, Any]) -> _Filter:
    return _Filter(bool(request.get("dead")), _given(request, "series", str), _given(request, "before_ms", int))


def _text(request: dict[str, Any], key: str) -> str:
    if not (text := _given(request, key, str)):
        raise EdgedError(f"the request lacks {key}")
    return str(text)


def _given(request: dict[str, Any], key: str, kind: type) -> Any:
    """The value of a key that may be missing."""
    value = request.get(key)
    if value is not None and type(value) is not kind:
        raise EdgedError(f"in the request {key} is no {kind.__name__}")
    return value
