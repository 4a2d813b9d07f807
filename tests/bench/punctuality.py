"""When sensors are read, against the grid on which they ought to be."""

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

from tests.bench import plant
from tests.bench.measure import percentile
from tests.bench.plant import Daemon, Server
from tests.bench.table import Row

BUSES = 4  # with one sensor each: on a bus those after the first take turns
RATES = {"schedule-1hz": 1.0, "schedule-10hz": 0.1}


def measure(quick: bool) -> list[Row]:
    """Sensors of both rates in one daemon, and beside it a bare loop of each rate that only sleeps until it is due."""
    seconds = 8 if quick else 40
    with (
        plant.folder() as folder,
        Server(folder, "bbdata") as server,
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        config = plant.head() + "".join(_sensors(name, interval, folder) for name, interval in RATES.items())
        config += plant.databoom(server.url, "enabled = false")
        with Daemon(folder, config):
            bare = {name: pool.submit(sleeper, interval, seconds) for name, interval in RATES.items()}
            time.sleep(seconds)
        ours = {
            name: [_errors(file, interval) for file in folder.glob(f"{name}-*.json")]
            for name, interval in RATES.items()
        }
        return [
            *(_row(name, ours[name], bare[name].result()) for name in RATES),
            _drift(ours["schedule-10hz"], seconds, bare["schedule-10hz"].result()),
        ]


def _sensors(name: str, interval: float, folder: Path) -> str:
    return "".join(
        plant.sensors(
            1,
            f"{interval}s",
            prefix=f"{name}-{number}-",
            bus=f"{name}-{number}",
            keys=f'times = "{folder}/{name}-{number}.json"',
        )
        for number in range(BUSES)
    )


def _errors(file: Path, interval: float) -> list[float]:
    """How late each read was, in s; without the one at the start, which is on no grid."""
    return [_late(at, interval) for at in json.loads(file.read_text())[1:]]


def _late(at: float, interval: float) -> float:
    return at - round(at / interval) * interval


def sleeper(interval: float, seconds: float) -> list[float]:
    """How late a bare loop is that sleeps until it is due."""
    errors = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        due = (time.time() // interval + 1) * interval
        time.sleep(max(0.0, due - time.time()))
        errors.append(_late(time.time(), interval))
    return errors


def _row(name: str, sensors: list[list[float]], bare: list[float]) -> Row:
    errors = [abs(error) * 1000 for sensor in sensors for error in sensor]
    detail = (
        f"{len(errors)} reads of {len(sensors)} sensors; median {median(errors):.2g} ms, worst {max(errors):.2g} ms"
    )
    baseline = percentile([abs(error) * 1000 for error in bare], 0.99)
    return Row(name, percentile(errors, 0.99), baseline, "ms, bare sleep loop", detail)


def _drift(sensors: list[list[float]], seconds: int, bare: list[float]) -> Row:
    """Whether the error grows: the last quarter's median less the first quarter's, to a whole millisecond.

    A schedule that counts from the last read would be late by some 0.1 ms more with each of them.
    """
    growths = [_growth(errors) for errors in sensors]
    missed = sum(round(seconds / RATES["schedule-10hz"]) - 1 - len(errors) > 15 for errors in sensors)  # 1.5 s to start
    detail = f"{max(growths, key=abs):+.3f} ms in {seconds} s at most; {missed} sensors with reads missing"
    worst = float(round(max(map(abs, growths))))
    return Row("drift", worst, abs(_growth(bare)), "ms, bare sleep loop", detail, broken=bool(missed))


def _growth(errors: list[float]) -> float:
    quarter = len(errors) // 4
    return (median(errors[-quarter:]) - median(errors[:quarter])) * 1000
