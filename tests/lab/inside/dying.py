"""A store at work on a disk whose writes fail for a while: python3 -m tests.lab.inside.dying FOLDER LIFE.

The disk is the device mapper's `data`, over /dev/vdc.  It says what happened.  `whole` lives through it and waits for
the power to be cut; `killed` ends without a word while writes fail, and `next` is its successor on the healthy disk.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edged.errors import StoreUnusable
from edged.reading import Reading
from edged.series import Choice
from edged.store import disk
from edged.store.log import Log
from edged.store.queue import COUNTERS, Queue
from tests.lab.inside.line import say

REFUSED = 7
NEXT = 1_000_000  # the first value of the next life
HEALTHY = "linear /dev/vdc 0"
WRITES_FAIL = "flakey /dev/vdc 0 0 3600 1 error_writes"
AGAIN_S = 0.5


class Loud(logging.Handler):
    """What a person would be told: errors and warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.levelname} {record.getMessage()}")


def become(kind: str) -> None:
    """Makes the disk one of the kind, under the mounted file system."""
    size = subprocess.check_output(["blockdev", "--getsz", "/dev/vdc"], text=True).strip()
    for command in (["suspend", "--nolockfs", "--noflush"], ["load", "--table", f"0 {size} {kind}"], ["resume"]):
        subprocess.run(["dmsetup", command[0], "data", *command[1:]], check=True)


def until(condition: Callable[[], object], patience_s: float = 60.0) -> bool:
    """Waits for it; False: it did not come to pass."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Work:
    """A producer, and two destinations that take what comes; a third one takes nothing."""

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._first = first
        self.log = Log(folder, 0.1, "boot")
        self.queues = {name: self.log.open_queue(name, Choice((("*", True),))) for name in ("fast", "slow", "dead")}
        self.accepted = 0
        self._stopping = threading.Event()
        self._consumers = [threading.Thread(target=self._consume, args=(self.queues[n],)) for n in ("fast", "slow")]
        self.log.start()
        for consumer in self._consumers:
            consumer.start()

    def put(self, number: int) -> None:
        """So many readings, with values that go on from the last ones."""
        for _ in range(number):
            self.log.put([Reading("a.x", time.time_ns() // 1_000_000, self._first + self.accepted)], 0)
            self.accepted += 1
            time.sleep(0.005)

    def _consume(self, queue: Queue) -> None:
        while not self._stopping.is_set():
            try:
                batch = queue.take(20)
            except StoreUnusable:
                batch = []
            for entry in batch:
                queue.settle(entry, reason="no" if queue.name == "slow" and not int(entry.value) % REFUSED else "")
            self._stopping.wait(0.02)

    def delivers(self) -> bool:
        """Whether the two destinations get all that there is."""
        return until(lambda: not self.queues["fast"].queued and not self.queues["slow"].queued)

    def rest(self) -> None:
        """Nothing is delivered any more."""
        self._stopping.set()
        for consumer in self._consumers:
            consumer.join()

    def accounts(self) -> dict[str, dict[str, int]]:
        """What has become of each destination's readings."""
        return {
            name: {counter: getattr(queue, counter) for counter in (*COUNTERS, "queued")}
            for name, queue in self.queues.items()
        }


def live(folder: Path, loud: Loud, *, killed: bool) -> None:
    """A healthy disk, a dying one, and a healthy one again, where it is not killed before."""
    work = Work(folder)
    work.put(200)
    delivered = work.delivers()
    work.log.flush()
    say(phase="healthy", safe=work.accepted, delivered=delivered, messages=loud.messages)

    become(WRITES_FAIL)
    work.put(100)
    known = until(lambda: work.log.trouble)
    work.put(200)
    time.sleep(5 * AGAIN_S)  # it is tried again in vain
    delivered = work.delivers()
    say(phase="dying", known=known, delivered=delivered, messages=loud.messages, accounts=work.accounts())
    if killed:
        os.abort()

    loud.messages.clear()
    become(HEALTHY)
    healed = until(lambda: not work.log.trouble, 20)
    work.put(200)
    delivered = work.delivers()
    work.rest()
    if healed:
        work.log.flush()
    accounts = work.accounts()
    say(
        phase="after",
        healed=healed,
        safe=work.accepted,
        delivered=delivered,
        messages=loud.messages,
        accounts=accounts,
    )


def live_on(folder: Path, loud: Loud) -> None:
    """The next process, on a disk that is healthy again, in the same machine."""
    become(HEALTHY)
    work = Work(folder, NEXT)
    work.put(200)
    work.log.flush()
    say(phase="next", safe=work.accepted, messages=loud.messages)


def main(folder: Path, life: str) -> None:
    """One life."""
    disk._AGAIN_S = AGAIN_S  # instead of 10 s
    loud = Loud()
    logging.getLogger().addHandler(loud)
    if life == "next":
        live_on(folder, loud)
    else:
        live(folder, loud, killed=life == "killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    time.sleep(3600)
