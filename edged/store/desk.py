"""What people do with queues: put dead letters back, drop readings, give a removed destination's queue to another.

Each is one commit (dropping what is queued: one for each part of it), works beside a running sender, and returns how
many readings it was about.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, takewhile

from edged.errors import EdgedError
from edged.reading import Entry
from edged.series import Choice, matches
from edged.store.files import Changes
from edged.store.letters import AGAIN, DeadLetter
from edged.store.log import Log
from edged.store.position import Skip
from edged.store.queue import Queue
from edged.store.split import Where

_PART = 20_000  # readings that are looked through at once


def retry(log: Log, name: str) -> int:
    """Puts a destination's dead letters back into its queue.  Raises EdgedError."""
    with _at(log, name) as queue, log.disk.lock:
        with log.lock:
            number, queue.dead = queue.dead, 0
            queue.queued += number
            queue.again += number
        log.writer.write(Changes(retried=[name]))
    queue.wake.set()
    return number


def drop(log: Log, name: str, series: str | None = None, before_ms: int | None = None) -> int:
    """Drops what is queued for a destination: of a series (or a pattern), before a time, or all.  Raises EdgedError."""
    return sum(dropping(log, name, series, before_ms))


def dropping(log: Log, name: str, series: str | None = None, before_ms: int | None = None) -> Iterator[int]:
    """The same in parts, each a commit, so that flushes and the sender go on in between: how many each has dropped."""

    def chosen(entry: Entry) -> bool:
        return _meant(entry, series, before_ms)

    at, last = 0, log.tail.last
    begun: dict[str, int] = {}
    while True:
        with _at(log, name) as queue:
            again = [entry for entry in log.retried(name) if chosen(entry)] if not at else []
            part = list(islice(takewhile(lambda entry: entry.seq <= last, queue.owed.behind(at)), _PART))
            ranges, number = _ranges(part, chosen, begun)

            def forget(position: Where, ranges: list[Skip] = ranges) -> None:
                for after, upto, of in ranges:
                    position.skip(after, upto, of)

            queue.discard(forget, number, "dropped")
            queue.discard_again(again)
            log.writer.write(Changes(settled_letters=[entry.seq - AGAIN for entry in again]))
        yield number + len(again)
        if len(part) < _PART:
            return
        at = part[-1].seq


def _ranges(entries: Iterable[Entry], chosen: Callable[[Entry], bool], begun: dict[str, int]) -> tuple[list[Skip], int]:
    """What is chosen of readings as ranges, series by series, and how many readings that is.

    `begun` has where the ranges that have not ended yet began, from one part to the next.
    """
    done: list[Skip] = []
    ends: dict[str, int] = {}
    number = 0
    for entry in entries:
        if chosen(entry):
            number += 1
            begun.setdefault(entry.series, entry.seq - 1)
            ends[entry.series] = entry.seq
        elif entry.series in begun:
            after = begun.pop(entry.series)
            if entry.series in ends:
                done.append(Skip(after, ends.pop(entry.series), entry.series))
    return [*done, *(Skip(begun[series], end, series) for series, end in ends.items())], number


def _meant(reading: Entry | DeadLetter, series: str | None, before_ms: int | None) -> bool:
    """Whether the reading is of the series (or the pattern) and measured before the time, as far as they are given."""
    return (series is None or matches(series, reading.series)) and (before_ms is None or reading.time_ms < before_ms)


def drop_dead(log: Log, name: str, series: str | None = None, before_ms: int | None = None) -> int:
    """Drops dead letters of a destination: of a series (or a pattern), before a time, or all.  Raises EdgedError."""
    with _at(log, name) as queue:
        chosen = [letter.id for letter in log.dead_letters(name) if _meant(letter, series, before_ms)]
        with log.lock:
            queue.dead -= len(chosen)
            queue.dropped += len(chosen)
        log.writer.write(Changes(settled_letters=chosen))
    return len(chosen)


def adopt(log: Log, old: str, new: str, choice: Choice | None = None) -> int:
    """Gives the queue of a destination that left the config to another one.  Raises EdgedError.

    What the new one does not take is dropped, counted.  `choice`: what it took when a person was asked about that.
    """
    with _at(log, new) as queue, _at(log, old) as earlier:
        if choice not in (None, queue.choice):
            raise EdgedError(f"nothing was moved: a reload has just changed what {new} takes; try again")
        if old == new or not earlier.removed:
            raise EdgedError(f"{old} is in the config; only the queue of a destination that left it can be adopted")
        before = queue.queued
        queue.join(earlier, queue.began)
        moved = queue.queued - before
        with log.lock:
            queue.dropped += earlier.queued - moved
            del log.registry.queues[old]
        log.writer.write(Changes(handed_over=[(old, new)]))
    queue.wake.set()
    return moved


@contextmanager
def _at(log: Log, name: str) -> Iterator[Queue]:
    """The queue of that name, with everything of it on disk, and to oneself.  Raises EdgedError."""
    with log.flushing:
        log.flush()
        queue = log.registry.queues.get(name)
        if queue is None:
            known = ", ".join(sorted(log.registry.queues)) or "none"
            raise EdgedError(f"the store knows no destination {name}; there are: {known}")
        with queue.turn:
            log.flush()  # what its sender has settled in the meantime
            undo = queue.snapshot()
            try:
                yield queue
            except BaseException:  # it was not written: as if it had not been asked for
                undo()
                with log.lock:
                    log.registry.queues[name] = queue
                raise
