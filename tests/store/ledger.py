"""The books of a store under test: what each destination was given, and what must have become of it."""

import shutil
from pathlib import Path
from typing import Any

from edged.reading import Reading
from edged.series import Choice
from edged.store.log import Log
from edged.store.queue import COUNTERS, Bounds, Queue
from tests.store import ALL, NOW_MS


def text(seed: int, size: int = 1000) -> str:
    """So many bytes, about, that zlib cannot shrink; no two are alike."""
    return f"{seed}:" + "".join(chr(0x4E00 + (seed * 7919 + place * 104729) % 20000) for place in range(size // 3))


class Ledger:
    """Puts readings whose values are 0, 1, 2 ..., or texts that begin so, and knows who must get them."""

    def __init__(self, **choices: Choice) -> None:
        self.choices = choices or {"web": ALL}
        self.accepted = dict.fromkeys(self.choices, 0)
        self.next = 0

    @classmethod
    def continued(cls, earlier: "Ledger") -> "Ledger":
        """The same books, to be gone on with twice."""
        ledger = cls(**earlier.choices)
        ledger.accepted, ledger.next = dict(earlier.accepted), earlier.next
        return ledger

    def open(self, log: Log, **bounds: Bounds) -> dict[str, Queue]:
        """The queues of all destinations."""
        return {name: log.open_queue(name, choice, bounds.get(name, Bounds())) for name, choice in self.choices.items()}

    def put(self, log: Log, number: int, size: int = 0, series: tuple[str, ...] = ("a.x", "b.x")) -> None:
        """Puts so many readings of the series in turn, at one moment; texts of `size` bytes, where that is given."""
        new = []
        for value in range(self.next, self.next + number):
            name = series[value % len(series)]
            new.append(Reading(name, NOW_MS + value, text(value, size) if size else value))
            for destination, choice in self.choices.items():
                self.accepted[destination] += choice.wants(name)
        self.next += number
        log.put(new, 0)

    def check(self, log: Log) -> None:
        """Every reading is somewhere, and in one place only; what is counted as queued is there."""
        for name, accepted in self.accepted.items():
            queue = log.registry.queues[name]
            assert sum(account(queue).values()) == accepted, (name, accepted, account(queue))
            pending = [entry.seq for entry in queue.pending()]
            assert len(pending) == queue.queued, (name, len(pending), account(queue))
            assert pending == sorted(set(pending))


def account(queue: Queue) -> dict[str, int]:
    """What has become of a destination's readings."""
    return {name: getattr(queue, name) for name in (*COUNTERS, "queued")}


def number_of(value: Any) -> int:
    """Which reading of the ledger's it is."""
    return int(value.partition(":")[0]) if isinstance(value, str) else int(value)


def killed(folder: Path, to: Path) -> Path:
    """What a kill at this moment leaves behind of a store that is open."""
    shutil.copytree(folder, to)
    return to
