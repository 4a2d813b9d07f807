"""What a day costs the card while all destinations are up."""

import os
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from edged.series import Choice
from edged.store.log import Log
from edged.store.writer import COUNTERS_A_DAY
from tests.bench import fill, plant
from tests.bench.bare_file import BareFile
from tests.bench.commit import settle_all
from tests.bench.disk import Disk, disk
from tests.bench.measure import fresh
from tests.bench.plant import Daemon, Server
from tests.bench.table import Row

SENSORS = 19  # 10 readings/s in all, and no more of a field than Datacake takes
INTERVAL = "1.9s"  # in no step with the flushes: whether a reading is on its way when one comes is left to chance
DAEMONS = 4  # side by side, so that there are more such chances
GROWING_S = 10.0
GROWING, COUNTED = 400, 30  # commits
DAY_S = 86_400


def measure(quick: bool) -> list[Row]:
    """Daemons with three destinations for some flush intervals, and the same flushes to a bare file."""
    interval, flushes = (10, 2) if quick else (30, 5)
    with disk() as its:
        each = _daemons(its, interval, flushes) / flushes
        bare = fresh(_file, its, interval * 10)
        counters = fresh(_counters, its)
    day = DAY_S / interval / 1e6
    detail = (
        f"{flushes * DAEMONS} flush intervals of {interval} s of {DAEMONS} daemons, extrapolated: {each * day:.1f} MB;"
        f" and for the counters {COUNTERS_A_DAY} commits of {counters / 1e3:.0f} kB; {its.how}"
    )
    return [
        Row("bytes-a-day", each * day + counters * COUNTERS_A_DAY / 1e6, bare * day, "MB, append-only file", detail)
    ]


def _daemons(its: Disk, interval: int, flushes: int) -> float:
    """Bytes of one daemon in so many flush intervals."""
    with ExitStack() as running:
        folders = [running.enter_context(plant.folder()) for _ in range(DAEMONS)]
        urls = [running.enter_context(Server(folders[0], name)).url for name in ("bbdata", "databoom", "datacake")]
        _grow(its, folders, urls)
        config = _config(urls, f"{interval}s")
        daemons = [running.enter_context(Daemon(each, config, _state(its, each))) for each in folders]
        time.sleep(2 * interval + 15.0)  # until what was queued has gone, and the disk knows of it
        before = _written(its, daemons)
        time.sleep(interval * flushes)
        return (_written(its, daemons) - before) / DAEMONS


def _counters(its: Disk) -> float:
    """Bytes of a commit that comes only since the counters have not been written for long."""
    quarter_ms = DAY_S * 1000 // COUNTERS_A_DAY
    now = 0
    log = Log(its.folder / "counters", 30.0, "bench", boot_ms=lambda: now)
    choices = [[f"s{number}.level" for number in range(SENSORS)], ["*"], ["*"]]
    queues = [
        log.open_queue(f"destination {number}", Choice(tuple((pattern, True) for pattern in choice)))
        for number, choice in enumerate(choices)
    ]
    source = fill.readings(SENSORS, 100_000)
    total = before = 0
    for number in range(GROWING + COUNTED):
        log.put(islice(source, SENSORS), 0)
        for queue in queues:
            settle_all(queue)
        now += quarter_ms
        if number == GROWING:
            before = its.written(os.getpid())
        log.flush_in_time()
        if number >= GROWING:  # each by itself, as in life, with what the file system writes for it
            total = its.written(os.getpid()) - before
    log.stop()
    return total / COUNTED


def _written(its: Disk, daemons: list[Daemon]) -> int:
    return its.written(*(daemon.pid for daemon in daemons))


def _grow(its: Disk, folders: list[Path], urls: list[str]) -> None:
    """Lets the write-ahead logs reach their size, which costs more and would take an hour of such a day.

    A daemon that is killed leaves it behind.
    """
    config = _config(urls, "50ms").replace(INTERVAL, "50ms", 2)  # two sensors that keep it busy
    with ExitStack() as running:
        daemons = [running.enter_context(Daemon(each, config, _state(its, each))) for each in folders]
        time.sleep(GROWING_S)
        for daemon in daemons:
            daemon.process.kill()


def _config(urls: list[str], flush_interval: str) -> str:
    destinations = plant.bbdata(urls[0], SENSORS) + plant.databoom(urls[1]) + plant.datacake(urls[2])
    return plant.head(flush_interval) + plant.sensors(SENSORS, INTERVAL) + destinations


def _state(its: Disk, folder: Path) -> Path:
    return its.folder / folder.name


def _file(its: Disk, readings: int) -> float:
    """Bytes that a flush of the append-only file costs."""
    file = BareFile(its.folder / "file")
    before = its.written(os.getpid())
    for number, reading in enumerate(fill.readings(SENSORS, 20 * readings), 1):
        file.put(reading)
        if number % readings == 0:
            file.flush()
    return (its.written(os.getpid()) - before) / 20
