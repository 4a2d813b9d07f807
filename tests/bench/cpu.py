"""CPU per reading of the running daemon, against a bare loop that does the same."""

import time

from tests.bench import plant
from tests.bench.measure import Pairs, cpu_s, sleep_past_grid
from tests.bench.plant import Daemon, Loop, Process, Server
from tests.bench.table import Row


def measure(sensors: int, quick: bool) -> list[Row]:
    """Sensors at 1 Hz; all sync once a second and post to BBData's server.

    First the plainest driver, which has a thread for each sensor; then one whose sensors share a bus, as chips do.
    """
    seconds, rounds = (4, 1) if quick else (7, 3)
    plain, shared = Pairs([], []), Pairs([], [])
    for _ in range(rounds):
        bare = _loop(sensors, seconds)
        plain.add(_daemon(sensors, seconds, bus=""), bare)
        shared.add(_daemon(sensors, seconds, bus="one"), bare)
    return [
        Row(name, pairs.ratio, pairs.baseline * 1e6, "us, bare loop", f"{pairs.detail('us a reading', 1e6)}; {how}")
        for name, pairs, how in (
            (f"cpu-{sensors}", plain, "a thread for each sensor"),
            (f"cpu-{sensors}-bus", shared, "all on one bus"),
        )
    ]


def _daemon(sensors: int, seconds: int, bus: str) -> float:
    with plant.folder() as folder, Server(folder, "bbdata") as server:
        config = plant.head() + plant.sensors(sensors, bus=bus) + plant.bbdata(server.url, sensors)
        with Daemon(folder, config) as daemon:
            return _cpu_per_reading(daemon, server, sensors, seconds)


def _loop(sensors: int, seconds: int) -> float:
    with plant.folder() as folder, Server(folder, "bbdata") as server, Loop(folder, server, sensors) as loop:
        return _cpu_per_reading(loop, server, sensors, seconds)


def _cpu_per_reading(process: Process, server: Server, sensors: int, seconds: int) -> float:
    server.until(2 * sensors)  # by then all is imported and connected
    sleep_past_grid()
    count, cpu = server.count(), cpu_s(process.pid)
    time.sleep(seconds)
    return (cpu_s(process.pid) - cpu) / (server.count() - count)
