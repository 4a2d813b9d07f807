"""A daemon's store in the small, to be killed at any moment.

Its report gets a JSON line before each delivery, and one after each flush with what is safe by now.  The time of a
reading is its sequence number, and so is that of the clock; its value tells it from all others of all lives.
"""

import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.reading import Entry, Reading
from edged.store import desk
from edged.store.log import Log
from edged.store.queue import Bounds, Queue
from tests.store import ALL
from tests.store.ledger import number_of

PER_LIFE = 1_000_000_000  # a reading's value is its life's number times this, and its sequence number
METER = "meter.total"  # it counts its own readings, and remembers how many there were
SIZE = 20_000  # bytes
USUAL = Bounds()
AGE_S = 2.0  # so many thousand readings


@dataclass(frozen=True)
class Destination:
    """How a destination takes what it is sent."""

    bounds: Bounds = USUAL
    most: int = 0  # readings at a time; 0: it is down
    takes_s: float = 0.001  # a request, at most
    refuses: bool = False  # some readings for good; and single series are blocked for a while

    def judge(self, entry: Entry) -> str:
        """What becomes of a reading: the same each time it is sent."""
        seq = number_of(entry.value) % PER_LIFE
        if self.refuses and not seq % (7 if entry.seq > 0 else 14):  # half of them are taken at the second try
            return "refused"
        return "merged" if not seq % 11 else "delivered"


FAST = Destination(most=500)
SLOW = Destination(most=3, refuses=True)
SCENARIOS = {
    "plain": {"fast": FAST, "slow": SLOW, "dead": Destination()},
    "bounded": {
        "fast": FAST,
        "slow": Destination(Bounds(SIZE, max_dead_letters=20), most=3, refuses=True),
        "late": Destination(Bounds(SIZE, when_full="drop-newest"), most=50, takes_s=0.02),
        "oldest": Destination(Bounds(SIZE)),
        "newest": Destination(Bounds(SIZE, when_full="drop-newest")),
        "aged": Destination(Bounds(max_age_s=AGE_S)),
    },
    "people": {"fast": FAST, "slow": SLOW, "dead": Destination(), "switched": Destination(most=50)},
}


SERIES = [METER, *(f"sensor{number}.value" for number in range(5))]


def series_of(seq: int) -> str:
    """The series of a reading."""
    return METER if not seq % 50 else SERIES[1 + seq % 5]


class Child:
    """The store with those who put and take, as threads."""

    def __init__(self, folder: Path, report: Path, life: int, destinations: dict[str, Destination]) -> None:
        self.next = 0  # sequence number
        self.life = life
        self.destinations = destinations
        self.report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.log = Log(folder, 0.05, "boot", lambda: self.next, lambda: self.next)
        self.next = self.log.registry.last() + 1
        self.total: int = self.log.recall(METER) or 0
        self.say(first=self.next, total=self.total)
        self.queues: dict[str, Queue] = {}
        self.settled = dict.fromkeys(destinations, 0)  # batches
        self.sending = {name: threading.Lock() for name in destinations}
        for name, destination in destinations.items():
            self.queues[name] = self.log.open_queue(name, ALL, destination.bounds)

    def say(self, **line: Any) -> None:
        os.write(self.report, json.dumps(line).encode() + b"\n")

    def produce(self) -> None:
        while True:
            with self.log.lock:
                memory, readings = {}, []
                for seq in range(self.next, self.next + random.randint(1, 8)):
                    value: int | str = self.life * PER_LIFE + seq
                    if series_of(seq) == METER:
                        self.total += 1
                        memory, value = {METER: self.total}, f"{value}:{self.total}"
                    readings.append(Reading(series_of(seq), seq, value))
                self.log.put(readings, 0, memory)
                self.next += len(readings)
            time.sleep(0.001)

    def send(self, name: str) -> None:
        destination = self.destinations[name]
        while True:
            with self.sending[name]:
                queue = self.queues[name]
                blocked = {series_of(random.randint(1, 5))} if destination.refuses and random.random() < 0.5 else set()
                batch = [(entry, destination.judge(entry)) for entry in queue.take(destination.most, blocked)]
                if batch:
                    self.say(
                        to=name,
                        batch=[[number_of(entry.value), fate, entry.seq < 0] for entry, fate in batch],
                        total=max(
                            (int(e.value.split(":")[1]) for e, _ in batch if isinstance(e.value, str)), default=0
                        ),
                    )
                time.sleep(random.uniform(0, destination.takes_s))
                for entry, fate in batch:
                    queue.settle(entry, merged=fate == "merged", reason="no" if fate == "refused" else "")
                self.settled[name] += bool(batch)

    def work(self) -> None:
        """People at work."""
        while True:
            time.sleep(random.uniform(0, 0.02))
            random.choice([self.retry, self.drop, self.switch])()

    def retry(self) -> None:
        desk.retry(self.log, "slow")

    def drop(self) -> None:
        name, series = random.choice(["slow", "dead"]), random.choice([series_of(random.randint(1, 5)), None])
        before = random.randint(max(0, self.next - 2000), self.next)
        self.say(drop=name, series=series, before=before)
        random.choice([desk.drop, desk.drop_dead])(self.log, name, series, before)

    def switch(self) -> None:
        """Disables a destination for a moment."""
        name, log = "switched", self.log
        with self.sending[name]:
            with self.queues[name].turn, log.lock:  # so that it is known between which readings it was
                self.say(switch=name, open=False, last=self.next - 1)
                log.close_queue(self.queues[name], removed=False)
            time.sleep(random.uniform(0, 0.01))
            with log.flushing, log.queues[name].turn, log.disk.lock, log.lock:
                self.say(switch=name, open=True, last=self.next - 1)
                self.queues[name] = log.open_queue(name, ALL)

    def run(self, *, people: bool) -> None:
        tasks: list[tuple[Callable[..., None], tuple[str, ...]]] = [(self.produce, ())] * 2
        tasks += [(self.send, (name,)) for name, destination in self.destinations.items() if destination.most]
        tasks += [(self.work, ())] if people else []
        self.log.start()
        for task, of in tasks:
            threading.Thread(target=task, args=of, daemon=True).start()
        while True:
            with self.log.lock:
                safe, settled = self.next - 1, dict(self.settled)
            self.log.flush()
            self.say(safe=safe, settled=settled)
            time.sleep(random.uniform(0, 0.03))


def main(begun: Any, folder: Path, report: Path, life: int, scenario: str) -> None:
    """Runs until it is killed; closes `begun` first.  What goes wrong is in `report`.err then."""
    begun.close()
    os.dup2(os.open(f"{report}.err", os.O_WRONLY | os.O_CREAT, 0o600), sys.stderr.fileno())
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("edged.store.bounds").disabled = True  # it is an error that readings are dropped, and meant here
    Child(folder, report, life, SCENARIOS[scenario]).run(people=scenario == "people")
