"""All dead letters: those on disk, and in memory what the next commit adds to them and takes from them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from edged.reading import Entry
from edged.store.disk import Disk
from edged.store.files import Changes
from edged.store.letters import AGAIN, DeadLetter
from edged.store.queue import Queue

_MOST = 10_000  # letters in memory, while the disk cannot be written


class Letterbox:
    """What changes it is called with the log's lock held."""

    def __init__(self, lock: threading.RLock, disk: Disk, now_ms: Callable[[], int], *, bounded: bool = True) -> None:
        """`lock` is the log's; unless `bounded`, no destination's bound is kept."""
        self._lock = lock
        self._disk = disk
        self._now_ms = now_ms
        self._bounded = bounded
        self._known = disk.readable
        self._next = disk.last_letter() + 1
        self._new: list[DeadLetter] = []
        self._settled: set[int] = set()  # that were in a queue again, and have left it
        self._surplus: dict[str, int] = {}  # how many of a destination's oldest are beyond its bound, and dropped

    def bury(self, destination: str, entry: Entry, reason: str, response: str) -> None:
        """Keeps a dead letter until the commit that settles its reading."""
        self._new.append(DeadLetter.of(self._next, destination, entry, reason, response, self._now_ms()))
        self._next += 1

    def settled(self, seq: int) -> None:
        """A letter that was in a queue again has left it; `seq` is the number that it had there."""
        self._settled.add(seq - AGAIN)

    def retried(self, destination: str) -> Iterator[Entry]:
        """A destination's dead letters that are in its queue again, the oldest first."""
        with self._lock:
            settled = set(self._settled)  # first: a commit may delete them while the disk is read
        for letter in self._disk.letters(destination, retry=True):
            if letter.id not in settled:
                yield letter.entry()

    def of(self, destination: str) -> Iterator[DeadLetter]:
        """A destination's dead letters, the oldest first."""
        yield from self._disk.letters(destination, retry=False)
        with self._lock:
            letters = [letter for letter in self._new if letter.destination == destination]
        yield from letters

    def kept(self, destination: str) -> tuple[int, set[int]]:
        """How many dead letters of a destination there are, and the numbers of those in its queue again.

        Exact with its turn held.  Raises StoreUnusable.
        """
        dead = len({letter.id for letter in self.of(destination)})
        return dead - self._surplus.get(destination, 0), {entry.seq for entry in self.retried(destination)}

    def join(self) -> None:
        """The disk is open again: where it was not known what it holds, what is new gets numbers behind all of that."""
        last = self._disk.last_letter()
        with self._lock:
            if not self._known:
                self._new = [letter._replace(id=letter.id + last) for letter in self._new]
                self._next += last
                self._known = True

    # --- what is written

    def bound(self, queues: Iterable[Queue]) -> None:
        """Drops what is beyond each destination's bound; the next commit deletes it."""
        for queue in queues if self._bounded else ():
            if (over := queue.dead - queue.bounds.max_dead_letters) > 0:
                queue.dead -= over
                queue.dropped += over
                self._surplus[queue.name] = self._surplus.get(queue.name, 0) + over

    def add_to(self, changes: Changes) -> bool:
        """Adds to a commit what is new; whether there is anything."""
        changes.letters = list(self._new)
        changes.settled_letters += self._settled
        changes.surplus_letters = dict(self._surplus)
        return bool(changes.letters or changes.settled_letters or changes.surplus_letters)

    def wrote(self, changes: Changes) -> None:
        """The changes are on disk."""
        del self._new[: len(changes.letters)]
        self._settled.difference_update(changes.settled_letters)
        self._surplus = {}

    def hold_on(self, queues: Mapping[str, Queue]) -> None:
        """Nothing can be written: what is beyond a bound is lost, the oldest first."""
        for letter in self._new[:-_MOST]:
            if (queue := queues.get(letter.destination)) is not None:
                queue.dead -= 1
                queue.lost += 1
        del self._new[:-_MOST]
