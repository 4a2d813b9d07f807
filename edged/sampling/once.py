"""Reads sensors a single time, outside of any schedule: lanes side by side, the sensors of a lane in turn."""

import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable

from edged.sampling.sampler import Sampler

_MORE_S = 2.0  # than the timeouts of a lane's sensors: a slow board imports libraries at the first read


def read_once(samplers: Iterable[tuple[Hashable, Sampler]]) -> set[Sampler]:
    """Reads each sampler, given with its lane; what came of it is in its `last` and its `health`.

    Returns those that hang, or wait for one that does.  They have failed and must not be read again.
    """
    lanes = defaultdict(list)
    for lane, sampler in samplers:
        lanes[lane].append(sampler)
    reads = [_Read(lane) for lane in lanes.values()]
    for read in reads:
        read.start()
    return {sampler for read in reads for sampler in read.hanging()}


class _Read(threading.Thread):
    """Of one lane; a daemon thread, so that a device that hangs does not keep the process from its end."""

    def __init__(self, samplers: list[Sampler]) -> None:
        super().__init__(name="read", daemon=True)
        self._open = list(samplers)
        self._limit_s = sum(sampler.timeout_s for sampler in samplers) + _MORE_S
        self._deadline = time.monotonic() + self._limit_s

    def run(self) -> None:
        """Reads one after another."""
        while self._open and time.monotonic() < self._deadline:
            sampler = self._open[0]
            wait = sampler.begin(time.monotonic())
            while wait is not None:
                time.sleep(wait)
                wait = sampler.resume(time.monotonic())
            self._open.remove(sampler)

    def hanging(self) -> list[Sampler]:
        """Waits for its end or its deadline; gives up those that are not read by then."""
        self.join(max(0.0, self._deadline - time.monotonic()))
        hanging = list(self._open)
        for sampler in hanging:
            sampler.give_up(f"no complete reading within {self._limit_s:g} s")
        return hanging
