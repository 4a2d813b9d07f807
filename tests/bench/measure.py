"""What the rows have in common: processes looked at from outside, fresh processes, pairs of measurements."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def fresh(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Calls the function in a new interpreter, so that nothing of an earlier measurement is in its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


class Pairs(NamedTuple):
    """Several rounds of a measurement and its baseline, turn by turn, so that a busy spell hits both."""

    ours: list[float]
    bare: list[float]

    @classmethod
    def measured(cls, rounds: int, ours: Callable[[], float], bare: Callable[[], float]) -> "Pairs":
        """Runs both `rounds` times."""
        pairs = cls([], [])
        for _ in range(rounds):
            pairs.add(ours(), bare())
        return pairs

    def add(self, ours: float, bare: float) -> None:
        """Adds a round."""
        self.ours.append(ours)
        self.bare.append(bare)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        """Of each round."""
        return [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)]

    @property
    def baseline(self) -> float:
        """The baseline's median."""
        return median(self.bare)

    def detail(self, unit: str, scale: float = 1.0) -> str:
        """Ours in figures, and how far the rounds lie apart."""
        spread = f"{min(self.ratios):.2f}..{max(self.ratios):.2f}"
        return f"{median(self.ours) * scale:,.4g} {unit}; ratios of {len(self.ours)} rounds {spread}"


def cpu_s(pid: int) -> float:
    """CPU seconds of a process with all its threads, those that have ended too; to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's number for that process's clock, see clock_getcpuclockid


def resident_mb(pid: int) -> float:
    """Resident memory of a process, 1 MB = 2**20 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def until(condition: Callable[[], object], patience_s: float = 60.0, step_s: float = 0.02) -> None:
    """Waits for the condition.  Raises TimeoutError."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {patience_s:g} s")
        time.sleep(step_s)


def sleep_past_grid() -> None:
    """Sleeps until half a second after a full second: between two rounds of readings."""
    time.sleep((0.5 - time.time()) % 1.0)
