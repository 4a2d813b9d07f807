"""A daemon's store in the small, to be killed: python child.py FOLDER REPORT FIRST.

Two producers put readings with values from FIRST on; `fast` takes all, `slow` takes little and refuses every seventh,
`dead` takes nothing.  REPORT gets a JSON line before each delivery, and one after each flush with what is safe by now.
"""

import json
import os
import random
import sys
import threading
import time
from pathlib import Path

from edged.reading import Reading
from edged.series import Choice
from edged.store.log import Log
from edged.store.queue import Queue

SERIES = [("p0.a", "p0.b", "p0.c"), ("p1.a", "p1.b")]
REFUSED = 7  # each value that it divides


def main(folder: Path, report: Path, first: int) -> None:
    log = Log(folder, 1.0, "boot")
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    put: dict[str, int] = {}  # the last value of each series
    settled: dict[str, dict[str, int]] = {"fast": {}, "slow": {}}

    def say(**line: object) -> None:
        os.write(file, json.dumps(line).encode() + b"\n")

    def produce(series: tuple[str, ...]) -> None:
        value = first
        while True:
            with log.lock:
                log.put([Reading(name, value, value) for name in series], 0)
                put.update(dict.fromkeys(series, value))
            value += 1
            if value % 5 == 0:
                time.sleep(0.001)

    def consume(queue: Queue, most: int) -> None:
        while True:
            batch = queue.take(most)
            refused = [entry for entry in batch if queue.name == "slow" and not int(entry.value) % REFUSED]
            say(to=queue.name, got=[[entry.series, entry.value] for entry in batch if entry not in refused])
            for entry in batch:
                with log.lock:
                    queue.settle(entry, reason="no" if entry in refused else "")
                    settled[queue.name][entry.series] = int(entry.value)
            time.sleep(0.001)

    queues = [log.open_queue(name, Choice((("*", True),))) for name in ("fast", "slow", "dead")]
    threads = [threading.Thread(target=produce, args=(series,), daemon=True) for series in SERIES]
    threads += [
        threading.Thread(target=consume, args=pair, daemon=True) for pair in zip(queues, (500, 3), strict=False)
    ]
    for thread in threads:
        thread.start()
    print("running", flush=True)
    while True:
        with log.lock:
            safe = {"put": dict(put), "settled": {name: dict(last) for name, last in settled.items()}}
        log.flush()
        say(safe=safe)
        time.sleep(random.uniform(0, 0.03))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
