"""A store at work until its power is cut.  It waits for its arguments, a line: FOLDER ROUND SYNCHRONOUS.

Two producers put readings whose values are told apart over all rounds; `fast` takes all, `slow` takes little and
refuses every seventh, `dead` takes nothing.  Each line that it prints has left the machine before it goes on: one
before each delivery, one before each flush, and after it one with what is committed by then.
"""

import random
import sys
import threading
import time
from pathlib import Path

from edged.reading import Reading
from edged.series import Choice
from edged.store import tables
from edged.store.log import Log
from edged.store.queue import Queue
from tests.lab.inside.line import say

SERIES = [("p0.a", "p0.b", "p0.c"), ("p1.a", "p1.b")]
DESTINATIONS = ("fast", "slow", "dead")
PER_ROUND = 1_000_000  # values of a round begin with a multiple of it
REFUSED = 7  # each value that it divides


def main(folder: Path, number: int, synchronous: str) -> None:
    """Runs until it is cut off.  `synchronous` in place of the store's own: a control."""
    tables._PRAGMAS += (f"PRAGMA synchronous = {synchronous}",)  # type: ignore[assignment]  # the last one holds
    draw = random.Random(number)
    first = number * PER_ROUND
    say(opening=number)
    log = Log(folder, 1.0, f"boot {number}")
    say(running=number, trouble=log.trouble, recount=log.disk.recount)
    put: dict[str, int] = {}  # the last value of each series
    settled: dict[str, dict[str, int]] = {"fast": {}, "slow": {}}

    def produce(series: tuple[str, ...]) -> None:
        value = first
        while True:
            now_ms = time.time_ns() // 1_000_000
            with log.lock:
                log.put([Reading(name, now_ms, value) for name in series], 0)
                put.update(dict.fromkeys(series, value))
            value += 1
            time.sleep(0.005)

    def consume(queue: Queue, most: int) -> None:
        while True:
            batch = queue.take(most)
            refused = [entry for entry in batch if queue.name == "slow" and not int(entry.value) % REFUSED]
            got: dict[str, list[object]] = {}
            for entry in batch:
                if entry not in refused:
                    got.setdefault(entry.series, []).append(entry.value)
            if got:
                say(to=queue.name, got=got)
            for entry in batch:
                queue.settle(entry, reason="no" if entry in refused else "")
                with log.lock:
                    settled[queue.name][entry.series] = int(entry.value)
            time.sleep(0.01)

    queues = [log.open_queue(name, Choice((("*", True),))) for name in DESTINATIONS]
    threads = [threading.Thread(target=produce, args=(series,), daemon=True) for series in SERIES]
    threads += [
        threading.Thread(target=consume, args=pair, daemon=True) for pair in zip(queues, (100, 3), strict=False)
    ]
    for thread in threads:
        thread.start()
    while True:
        with log.lock:
            safe = {"put": dict(put), "settled": {name: dict(last) for name, last in settled.items()}}
        say(flush=log.commits)
        log.flush()
        say(safe=safe)
        time.sleep(draw.uniform(0, 0.05))


if __name__ == "__main__":
    say(ready="writer")
    where, which, how = sys.stdin.readline().split()
    main(Path(where), int(which), how)
