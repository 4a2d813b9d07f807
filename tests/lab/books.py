"""What must have become of the readings of a store whose power is cut again and again, by all that it said before."""

import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from edged.store.log import Log
from edged.store.queue import COUNTERS
from tests.lab.inside.writer import DESTINATIONS, PER_ROUND, REFUSED, SERIES

Value = tuple[str, int]  # a series, and one of its values
_ALL = [series for group in SERIES for series in group]


class Problem(NamedTuple):
    """Something that must not be."""

    kind: str
    destination: str
    number: int
    example: Any


class Books:
    """What the writer has said over the line, in all rounds so far."""

    def __init__(self) -> None:
        self.committed: set[Value] = set()
        self.delivered: dict[str, set[Value]] = {name: set() for name in DESTINATIONS}
        # The last value of each series that is known to be settled on disk.
        self.settled: dict[str, dict[str, int]] = {name: {} for name in DESTINATIONS}
        self.begun = 0  # flushes
        self.flushed = 0  # of these came to their end
        self.again = 0  # deliveries of what had been delivered in an earlier round
        self.strange: list[str] = []  # lines that are none of the writer's: warnings, tracebacks

    def read(self, lines: Iterable[str], number: int) -> None:
        """Takes the lines of a round."""
        last: dict[tuple[str, str], int] = {}
        safe: dict[str, int] = {}
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                self.strange.append(text)
                continue
            if "safe" in line:
                self.flushed += 1
                safe = line["safe"]["put"]
                for name, settled in line["safe"]["settled"].items():
                    self.settled[name].update(settled)
            elif "flush" in line:
                self.begun += 1
            elif "got" in line:
                self._deliver(line["to"], line["got"], last)
            elif line.get("trouble") or line.get("recount"):
                self.strange.append(text)
        first = number * PER_ROUND
        self.committed |= {(series, value) for series, upto in safe.items() for value in range(first, upto + 1)}

    def _deliver(self, name: str, got: dict[str, list[int]], last: dict[tuple[str, str], int]) -> None:
        for series, values in got.items():
            for value in values:
                if last.get((name, series), -1) >= value:
                    self.strange.append(f"out of order: {series} {value} to {name}")
                last[name, series] = value
                self.again += (series, value) in self.delivered[name]
                self.delivered[name].add((series, value))

    def problems(self, log: Log) -> list[Problem]:
        """What is wrong with the store as the cut left it."""
        found: list[Problem] = []

        def note(kind: str, name: str, examples: Iterable[Any]) -> None:
            if listed := sorted(examples):
                found.append(Problem(kind, name, len(listed), listed[0]))

        if (log.disk.readable, log.trouble, log.disk.recount) != (True, "", False):
            found.append(Problem("opened with damage", "", 1, log.trouble))
        sums = {}
        for name in DESTINATIONS:
            queue = log.queues.get(name)
            queued = [(entry.series, int(entry.value)) for entry in queue.pending()] if queue else []
            letters = {(letter.series, int(letter.value)) for letter in log.dead_letters(name)}
            note("missing", name, self.committed - self.delivered[name] - letters - set(queued))
            of: dict[str, list[int]] = defaultdict(list)
            for series, value in queued:
                of[series].append(value)
            note(
                "out of order",
                name,
                (pair for values in of.values() for pair in pairwise(values) if pair[0] >= pair[1]),
            )
            settled = self.settled[name]
            note("settled, and yet queued", name, ((s, v) for s, v in queued if v <= settled.get(s, -1)))
            if name == "slow":
                refused = {(s, v) for s, v in self.committed if not v % REFUSED and v <= settled.get(s, -1)}
                note("dead letters missing", name, refused - letters)
            if name == "dead":
                note("holes", name, _holes(of))
            if queue:
                sums[name] = sum(getattr(queue, counter) for counter in COUNTERS) + queue.queued
                note("counted wrongly", name, {queue.queued - len(queued), queue.dead - len(letters), queue.lost} - {0})
        if len(set(sums.values())) > 1:
            found.append(Problem("different sums", "", len(sums), sums))
        return found


def _holes(of: dict[str, list[int]]) -> list[Value]:
    """Values whose successor is missing, although a later one of the same round is there."""
    return [
        (series, one)
        for series, values in of.items()
        for one, following in pairwise(values)
        if following != one + 1 and one // PER_ROUND == following // PER_ROUND
    ]
