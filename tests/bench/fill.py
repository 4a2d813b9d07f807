"""Puts a backlog into a store, through the daemon's own parts: `python -m tests.bench.fill CONFIG SENSORS READINGS`."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from edged.config.reader import require
from edged.daemon import Daemon
from edged.reading import Reading
from tests.bench import plant

STEP_MS = 1000  # between two readings of a series
CHUNK = 5000  # readings in one flush


def run(folder: Path, config: str, sensors: int, readings: int) -> None:
    """Makes the store in `folder`, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.fill", str(plant.write(folder, config)), str(sensors), str(readings)]
    log = folder / "fill.log"
    with log.open("w") as stderr:
        done = subprocess.run(command, stderr=stderr, cwd=plant.ROOT, env=os.environ | plant.package(folder))
    if done.returncode:
        raise RuntimeError(f"the backlog could not be made:\n{log.read_text()}")


def readings(sensors: int, count: int) -> Iterator[Reading]:
    """Readings of the last days, as a sensor gives them: values that wander, with two decimals."""
    draw = random.Random(1)
    values = [20.0] * sensors
    begin = time.time_ns() // 1_000_000 - (count // sensors + 60) * STEP_MS
    for number in range(count):
        sensor = number % sensors
        values[sensor] = round(values[sensor] + draw.uniform(-0.1, 0.1), 2)
        yield Reading(f"s{sensor}.level", begin + number // sensors * STEP_MS, values[sensor])


def main(config: str, sensors: int, count: int) -> None:
    daemon = Daemon(require(Path(config))[0])
    daemon.start(sampling=False)
    source = readings(sensors, count)
    while chunk := list(islice(source, CHUNK)):
        with daemon.store.lock:
            daemon.store.put(chunk, 0)
        daemon.store.flush()
    queued = {name: sender.queue.queued for name, sender in daemon.senders.items()}
    daemon.stop()
    if set(queued.values()) != {count}:
        sys.exit(f"queued are {queued}, not {count} each")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
