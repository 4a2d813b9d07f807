"""What people do with queues: put dead letters back, drop readings, give a removed destination's queue to another.

Each is one commit, works beside a running sender, and returns how many readings it was about.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edged.errors import EdgedError
from edged.reading import Entry
from edged.store.files import Changes
from edged.store.letters import AGAIN
from edged.store.log import Log
from edged.store.position import Position, Skip
from edged.store.queue import Queue


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
    """Drops what is queued for a destination: of one series, measured before a time, or all.  Raises EdgedError."""

    def chosen(entry: Entry) -> bool:
        return series in (None, entry.series) and (before_ms is None or entry.time_ms < before_ms)

    with _at(log, name) as queue:
        again = [entry for entry in log.retried(name) if chosen(entry)]
        ranges, number = _ranges(queue, chosen)

        def forget(position: Position) -> None:
            for after, upto, of in ranges:
                position.skip(after, upto, of)

        queue.discard(forget, number, "dropped")
        queue.discard_again(again)
        log.writer.write(Changes(settled_letters=[entry.seq - AGAIN for entry in again]))
    return number + len(again)


def _ranges(queue: Queue, chosen: Callable[[Entry], bool]) -> tuple[list[Skip], int]:
    """What is chosen of a queue as ranges, series by series, and how many readings that is."""
    begun: dict[str, Skip] = {}
    done: list[Skip] = []
    number = 0
    for entry in queue.owed:
        if chosen(entry):
            number += 1
            after = begun[entry.series].after if entry.series in begun else entry.seq - 1
            begun[entry.series] = Skip(after, entry.seq, entry.series)
        elif entry.series in begun:
            done.append(begun.pop(entry.series))
    return [*done, *begun.values()], number


def drop_dead(log: Log, name: str, series: str | None = None, before_ms: int | None = None) -> int:
    """Drops dead letters of a destination: of one series, measured before a time, or all.  Raises EdgedError."""
    with _at(log, name) as queue:
        chosen = [
            letter.id
            for letter in log.dead_letters(name)
            if series in (None, letter.series) and (before_ms is None or letter.time_ms < before_ms)
        ]
        with log.lock:
            queue.dead -= len(chosen)
            queue.dropped += len(chosen)
        log.writer.write(Changes(settled_letters=chosen))
    return len(chosen)


def adopt(log: Log, old: str, new: str) -> int:
    """Gives the queue of a destination that left the config to another one.  Raises EdgedError.

    What the new one does not take is dropped, counted.
    """
    with _at(log, new) as queue, _at(log, old) as earlier:
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
