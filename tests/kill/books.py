"""The books of a store that is killed again and again: what its children reported, against what is found on disk."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from edged.store.log import Log
from edged.store.queue import Queue
from tests.kill.child import METER, PER_LIFE, SERIES, USUAL, Destination, series_of
from tests.store import ALL
from tests.store.ledger import account, number_of

# Bytes that may be queued beyond `max_size`: it is looked after before a commit, and more comes until that is made.
A_FLUSH = 20_000


def seq_of(value: int) -> int:
    """The sequence number of a reading."""
    return value % PER_LIFE


class Account:
    """One destination's.  All sets are of readings, by their values."""

    def __init__(self, name: str, destination: Destination) -> None:
        self.name = name
        self.most = destination.most
        self.bounds = destination.bounds
        self.accepted: set[int] = set()
        self.done: set[int] = set()  # reported as delivered or merged
        self.refused: set[int] = set()
        self.settled: set[int] = set()  # for the first time, and a commit has ended since
        self.doubtful: set[int] = set()  # done, but maybe not on disk: may come again, or be dropped
        self.earlier: set[int] = set()  # the same, before the last life
        self.there: set[int] = set()  # queued, or dead letters
        self.unwanted: dict[str, int] = {}  # series -> people have dropped it, at most to this sequence number
        self.over = 0  # counted as dropped although they were delivered
        self.twice = 0
        self.missing = 0
        self.dropped = 0

    def accept(self, life: int, first: int, last: int) -> None:
        """These have come."""
        self.accepted.update(life * PER_LIFE + seq for seq in range(first, last + 1))

    def read(self, batches: list[list[tuple[int, str, bool]]], safe: int) -> None:
        """Takes the batches of a life, of which so many were settled before its last commit."""
        self.earlier = set(self.doubtful)
        last: dict[str, int] = {}
        for number, batch in enumerate(batches):
            for value, fate, again in batch:
                series = series_of(seq_of(value))
                if not again:
                    assert last.get(series, 0) < value, "out of order"
                    last[series] = value
                    if number < safe:
                        self.settled.add(value)
                assert series != METER or value in self.accepted, "sent before it was on disk, or while disabled"
                if fate == "refused":
                    self.refused.add(value)
                    continue
                if value in self.done:
                    assert value in self.doubtful, "settled on disk, and sent again"
                    self.twice += fate == "delivered"
                self.done.add(value)
                if number < safe:
                    self.doubtful.discard(value)
                else:
                    self.doubtful.add(value)

    def check(self, log: Log, safe: int) -> None:
        """Compares with the store; `safe`: up to here all was committed."""
        queue = log.open_queue(self.name, ALL, self.bounds)
        queued = list(queue.pending())
        taken = queue.take(100)
        for series in SERIES:
            of_it = [entry for entry in taken if entry.series == series]
            assert of_it == [entry for entry in queued if entry.series == series][: len(of_it)], "out of order"
        assert bool(taken) == bool(queued), "stuck"
        assert all(one.seq < other.seq for one, other in pairwise(queued)), "out of order"
        fresh = {number_of(entry.value): entry for entry in queued if entry.seq > 0}
        assert all(entry.seq == entry.time_ms == seq_of(value) for value, entry in fresh.items()), "mixed up"
        letters = [number_of(json.loads(letter.value)) for letter in log.dead_letters(self.name)]
        before, self.there = self.there, {*letters, *(number_of(entry.value) for entry in queued)}
        assert len(self.there) == len(queued) + len(letters), "twice in the store"
        assert self.there <= self.accepted, "out of nowhere"
        assert (queue.queued, queue.again, queue.dead) == (len(queued), len(queued) - len(fresh), len(letters))
        assert sum(account(queue).values()) == len(self.accepted), "wrong sums"
        assert queue.lost == 0
        assert not self.done & self.there - self.doubtful, "delivered on disk, and yet there"
        assert not self.settled & fresh.keys(), "settled on disk, and yet queued"

        gone = self.accepted - self.done - self.there
        over = queue.dropped - len(gone)
        self.missing += max(0, -over)
        assert over >= 0, f"{-over} are missing"
        # The batch that was on its way, and what the lives before had delivered and could not note any more.
        assert self.over <= over <= self.over + self.most + len(self.earlier), "too many are counted as dropped"
        self.over, self.dropped = over, queue.dropped
        self.doubtful &= self.there
        self._check_bounds(log, queue, safe)
        self._check_gone(gone, before, min(fresh, default=PER_LIFE**2), log.registry.last())

    def _check_bounds(self, log: Log, queue: Queue, safe: int) -> None:
        size = sum(log.bytes_of(*needed) for needed in queue.needs())
        assert size <= self.bounds.max_size + A_FLUSH, f"{self.name} takes {size} bytes"
        assert queue.dead <= self.bounds.max_dead_letters
        if self.bounds.max_age_s is not None:
            assert queue.position.lowest >= safe - self.bounds.max_age_s * 1000, "older than max_age"

    def _check_gone(self, gone: set[int], before: set[int], oldest: int, last: int) -> None:
        """Nothing is gone but what the bounds take, or people have asked for."""
        if self.bounds.max_dead_letters != USUAL.max_dead_letters:
            gone = gone - self.refused
        if self.bounds.max_age_s is not None:
            old = last - self.bounds.max_age_s * 1000
            assert all(seq_of(value) <= old for value in gone), "not old enough"
            assert max(gone, default=0) < oldest, "not the oldest was dropped"
        elif self.bounds.when_full == "drop-newest":
            assert not gone & before, "what was on disk was dropped"
        elif self.bounds.max_size != USUAL.max_size:
            assert max(gone, default=0) < oldest, "not the oldest was dropped"
        else:
            asked = (seq_of(value) < self.unwanted.get(series_of(seq_of(value)), 0) for value in gone)
            assert all(asked), "nobody wanted that to be dropped"


class Books:
    """Of all destinations."""

    def __init__(self, destinations: dict[str, Destination]) -> None:
        self.accounts = {name: Account(name, destination) for name, destination in destinations.items()}
        self.last = 0  # sequence number on disk
        self.total = 0  # of the meter
        self.missing = 0  # committed, and not on disk

    def round(self, report: Path, life: int, folder: Path) -> None:
        """Takes a killed child's report, and compares with what it has left in the folder."""
        *lines, _ = report.read_bytes().split(b"\n") if report.exists() else [b""]  # the last one may be cut
        said: list[dict[str, Any]] = [json.loads(line) for line in lines]
        safe, settled = 0, dict.fromkeys(self.accounts, 0)
        for line in said:
            if "first" in line:
                assert (line["first"], line["total"]) == (self.last + 1, self.total), "begins where it was not left"
            elif "safe" in line:
                safe, settled = line["safe"], line["settled"]
            elif "drop" in line:
                unwanted = self.accounts[line["drop"]].unwanted
                for name in [line["series"]] if line["series"] else SERIES:
                    unwanted[name] = max(unwanted.get(name, 0), line["before"])
        log = Log(folder, 60.0, "boot")
        assert (log.disk.readable, log.trouble, log.disk.recount) == (True, "", False)
        self._accept(log, said, life, safe)
        for name, account_ in self.accounts.items():
            try:
                account_.read([line["batch"] for line in said if line.get("to") == name], settled[name])
                account_.check(log, safe)
            except AssertionError as error:
                error.add_note(f"{name}, in life {life}: {account(log.queues[name]) if name in log.queues else ''}")
                raise
        assert (log.recall(METER) or 0) == self.total
        assert max((line["total"] for line in said if "total" in line), default=0) <= self.total, "it goes back"
        log.disk.close(clean=True)

    def _accept(self, log: Log, said: list[dict[str, Any]], life: int, safe: int) -> None:
        """What has come in that life."""
        first, self.last = self.last + 1, log.registry.last()
        self.missing += max(0, safe - self.last, first - 1 - self.last)
        assert self.last >= max(safe, first - 1), "committed, and not there"
        self.total += sum(1 for seq in range(first, self.last + 1) if series_of(seq) == METER)
        for name, account_ in self.accounts.items():
            at: int | None = first
            for line in said:
                if line.get("switch") == name and line["open"]:
                    at = line["last"] + 1
                elif line.get("switch") == name and at is not None:
                    account_.accept(life, at, min(line["last"], self.last))
                    at = None
            if at is not None:
                account_.accept(life, at, self.last)

    def totals(self) -> dict[str, int]:
        """What is worth to be told of it in the end."""
        accounts = self.accounts.values()
        return {
            "committed": self.last,
            "missing": self.missing + sum(one.missing for one in accounts),
            "delivered twice": sum(one.twice for one in accounts),
            "dropped": sum(one.dropped for one in accounts),
        }
