"""Reads sensors a single time, outside of any schedule: lanes side by side, the sensors of a lane in turn."""

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor

from edged.sampling.sampler import Sampler

_SIDE_BY_SIDE = 16


def read_once(samplers: Iterable[tuple[Hashable, Sampler]]) -> None:
    """Reads each sampler, given with its lane; what came of it is in its `last` and its `health`."""
    lanes = defaultdict(list)
    for lane, sampler in samplers:
        lanes[lane].append(sampler)
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="read") as pool:
        list(pool.map(_read_lane, lanes.values()))


def _read_lane(samplers: list[Sampler]) -> None:
    for sampler in samplers:
        wait = sampler.begin(time.monotonic())
        while wait is not None:
            time.sleep(wait)
            wait = sampler.resume(time.monotonic())
