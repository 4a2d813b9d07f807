"""What a day costs the card while all destinations are up."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import fill, plant
from tests.bench.bare_file import BareFile
from tests.bench.disk import Disk, disk
from tests.bench.measure import fresh
from tests.bench.plant import Daemon, Server
from tests.bench.table import Row

SENSORS = 19  # 10 readings/s in all, and no more of a field than Datacake takes
INTERVAL = "1.9s"  # in no step with the flushes: whether a reading is on its way when one comes is left to chance
DAEMONS = 4  # side by side, so that there are more such chances
GROWING_S = 10.0
DAY_S = 86_400
STATES_A_DAY = 24 * 4  # where destinations are is written every quarter of an hour, if nothing else is


def measure(quick: bool) -> list[Row]:
    """Daemons with three destinations for some flush intervals, and the same flushes to a bare file."""
    interval, flushes = (10, 2) if quick else (30, 5)
    with disk() as its:
        each, at_end = _daemons(its, interval, flushes)
        bare = fresh(_file, its, interval * 10)
    day = DAY_S / interval / 1e6
    ours = each * day + at_end * STATES_A_DAY / 1e6
    detail = (
        f"{flushes * DAEMONS} flush intervals of {interval} s of {DAEMONS} daemons, extrapolated: {each * day:.1f} MB;"
        f" and for the counters {STATES_A_DAY} commits like that of a clean end ({at_end / 1e3:.0f} kB); {its.how}"
    )
    return [Row("bytes-a-day", ours, bare * day, "MB, append-only file", detail)]


def _daemons(its: Disk, interval: int, flushes: int) -> tuple[float, float]:
    """Bytes of one daemon in a flush interval, and at its clean end."""
    with ExitStack() as running:
        folders = [running.enter_context(plant.folder()) for _ in range(DAEMONS)]
        urls = [running.enter_context(Server(folders[0], name)).url for name in ("bbdata", "databoom", "datacake")]
        _grow(its, folders, urls)
        config = _config(urls, f"{interval}s")
        daemons = [running.enter_context(Daemon(each, config, _state(its, each))) for each in folders]
        time.sleep(2 * interval + 15.0)  # until what was queued has gone, and the disk knows of it
        began = _written(its, daemons)
        time.sleep(interval * flushes)
        ended = _written(its, daemons)
        for daemon in daemons:
            daemon.stop()
        at_end = max(0, _written(its, []) - ended)  # not known without the device: the processes are gone
        return (ended - began) / flushes / DAEMONS, at_end / DAEMONS


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
