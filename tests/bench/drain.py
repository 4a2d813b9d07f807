"""How fast a backlog leaves for a server on loopback, against a bare keep-alive POST loop with the same bodies."""

import http.client
import shutil
import time
from functools import partial
from pathlib import Path

from edged import secret
from edged.platforms import Item
from edged.platforms.bbdata import BBData
from edged.reading import Entry
from tests.bench import fill, plant
from tests.bench.loop import post
from tests.bench.measure import Pairs, fresh
from tests.bench.plant import Daemon, Request, Server
from tests.bench.table import Row

SENSORS = 100
BATCH = 100  # readings in one request


def measure(quick: bool) -> list[Row]:
    """Several drains of the same backlog."""
    readings, rounds = (10_000, 1) if quick else (100_000, 3)
    with plant.folder() as folder:
        state = backlog(folder, readings)
        pairs = Pairs.measured(rounds, partial(_daemon, state, readings), partial(bare, readings))
    detail = f"{readings:,} readings; {pairs.detail('readings/s')}"
    return [Row("drain", pairs.ratio, pairs.baseline, "readings/s, POST loop", detail)]


def config(url: str) -> str:
    """The daemon that sends and does not sample."""
    destination = plant.bbdata(url, SENSORS, 'backoff = { first = "0.1s", max = "0.2s" }\n')
    return plant.head() + plant.sensors(SENSORS, keys="enabled = false") + destination


def backlog(folder: Path, readings: int) -> Path:
    """A store with a backlog, made by the daemon's own parts while nobody answers; returns its folder."""
    nobody = "http://127.0.0.1:1"
    fill.run(folder, config(nobody), SENSORS, readings)
    return folder / "state"


def _daemon(state: Path, readings: int) -> float:
    with plant.folder() as folder, Server(folder, "bbdata") as server:
        shutil.copytree(state, folder / "state")
        with Daemon(folder, config(server.url)):
            server.until(readings, patience_s=300)
            return rate(server.report())


def rate(requests: list[Request]) -> float:
    """Readings a second from the first answer to the last."""
    return sum(int(request.held) for request in requests[1:]) / (requests[-1].answered - requests[0].answered)


def bare(readings: int) -> float:
    """Readings a second of the bare loop."""
    return fresh(_bare, readings)


def _bare(readings: int) -> float:
    with plant.folder() as folder, Server(folder, "bbdata") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        bodies = _bodies(readings)
        post(connection, bodies[0])
        began = time.monotonic()
        for body in bodies[1:]:
            post(connection, body)
        return (readings - BATCH) / (time.monotonic() - began)


def _bodies(readings: int) -> list[bytes]:
    """What the daemon sends of such a backlog."""
    platform = BBData(BBData.Options(api="objects"))
    token = secret.plain(plant.TOKEN)
    targets = [BBData.Series(object=number, token=token, type="float") for number in range(SENSORS)]
    items = [
        Item(Entry(seq, reading.series, reading.time_ms, reading.value), targets[seq % SENSORS])
        for seq, reading in enumerate(fill.readings(SENSORS, readings))
    ]
    return [platform.encode(items[start : start + BATCH]).body for start in range(0, readings, BATCH)]
