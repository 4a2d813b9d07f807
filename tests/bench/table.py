"""The figures to reach, and the rows of a run against them: as a table for people and as JSON for machines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure that a run judges."""

    what: str
    unit: str  # "x": a ratio to the baseline
    at_least: float | None = None  # None: there is nothing to reach, it is only told
    goal: float | None = None
    more_is_better: bool = False

    def reaches(self, value: float, limit: float | None) -> bool:
        """Whether the value is as good as the limit."""
        return limit is None or (value >= limit if self.more_is_better else value <= limit)


FIGURES = {
    "enqueue": Figure("durable enqueue", "x", 0.6, 0.9, more_is_better=True),
    "drain": Figure("drain of a backlog in bulk", "x", 0.4, 0.8, more_is_better=True),
    "drain-week": Figure("drain of a week offline, 1,000,000 readings", "x", 0.4, 0.8, more_is_better=True),
    "cpu-10": Figure("CPU per reading, 10 sensors at 1 Hz", "x", 2.0, 1.4),
    "cpu-10-bus": Figure("the same on one bus", "x", 2.0, 1.4),
    "cpu-100": Figure("CPU per reading, 100 sensors at 1 Hz", "x", 3.0, 1.6),
    "cpu-100-bus": Figure("the same on one bus", "x", 3.0, 1.6),
    "cpu-1000": Figure("CPU per reading, 1000 sensors at 1 Hz", "x", 3.0, 2.0),
    "cpu-1000-bus": Figure("the same on one bus", "x", 3.0, 2.0),
    "bytes-per-commit": Figure("bytes to the device per commit", "x", 1.0, 0.6),
    "syncs": Figure("syncs per flush interval", "", 1.0, 1.0),
    "bytes-a-day": Figure('bytes to the card a day, 10 readings/s, flush_interval = "30s"', "MB", 50.0, 5.0),
    "memory": Figure("resident memory, HTTPS, 100 sensors", "MB", 45.0, 38.0),
    "memory-backlog": Figure("the same with a backlog of 1,000,000 more", "MB", 10.0, 5.0),
    "reopen": Figure("opening a store with a backlog of 1,000,000", "ms"),
    "start": Figure("first reading delivered after start", "s", 1.5, 0.5),
    "outage": Figure('first delivery after an outage, backoff.max = "1s"', "s", 2.0, 1.0),
    "neighbours": Figure("latency beside dead and slow destinations, against alone", "x", 1.25, 1.1),
    "schedule-1hz": Figure("schedule error p99, 1 Hz", "ms", 3.0, 1.0),
    "schedule-10hz": Figure("schedule error p99, 10 Hz", "ms", 3.0, 1.0),
    "drift": Figure("drift of the schedule over the run", "ms", 0.0, 0.0),
    "datacake": Figure("Datacake drain, of one write per min_write_interval", "x", 0.95, 0.99, more_is_better=True),
}


@dataclass(frozen=True)
class Row:
    """One figure as a run found it."""

    name: str
    value: float | None  # None: it could not be measured
    baseline: float | None = None
    against: str = ""  # what the baseline is, with its unit
    detail: str = ""  # how it was measured; where it could not be, why
    impossible: bool = False  # on this machine: it is no failure then
    broken: bool = False  # the value means nothing: something that must never be was seen

    @property
    def figure(self) -> Figure:
        """What it is judged by."""
        return FIGURES[self.name]

    def reaches(self, limit: float | None) -> bool:
        """Whether the value is as good as the limit."""
        return self.value is not None and not self.broken and self.figure.reaches(self.value, limit)

    @property
    def unmeasured(self) -> bool:
        """Whether there is no figure where there should be one."""
        return self.broken or (self.value is None and not self.impossible)

    @property
    def fails(self) -> bool:
        """Whether the run fails for it."""
        return not self.impossible and not self.reaches(self.figure.at_least)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        figure = self.figure
        return {
            "name": self.name,
            "value": self.value,
            "baseline": self.baseline,
            "at_least": figure.at_least,
            "goal": figure.goal,
            "reached": self.reaches(figure.at_least),
            "goal_reached": self.reaches(figure.goal),
            "what": figure.what,
            "unit": figure.unit,
            "against": self.against,
            "detail": self.detail,
            "impossible": self.impossible,
        }


def text(rows: Sequence[Row]) -> str:
    """The table, and below it how each row was measured."""
    head = ("name", "figure", "measured", "at least", "goal", "", "baseline")
    lines = [head] + [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    table.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"{row.name}: {row.detail}" for row in rows if row.detail]
    return "\n".join([*table, "", *notes])


def _cells(row: Row) -> tuple[str, ...]:
    figure = row.figure
    if row.value is None:
        verdict = "impossible here" if row.impossible else "NOT MEASURED"
    elif figure.at_least is None:
        verdict = ""
    else:
        verdict = "goal" if row.reaches(figure.goal) else "reached" if row.reaches(figure.at_least) else "MISSED"
    limits = (_quantity(limit, figure.unit) for limit in (figure.at_least, figure.goal))
    baseline = "" if row.baseline is None else f"{_short(row.baseline)} {row.against}"
    return row.name, figure.what, _quantity(row.value, figure.unit), *limits, verdict, baseline


def _quantity(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_short(value)}{unit}" if unit == "x" else f"{_short(value)} {unit}".rstrip()


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write_json(rows: Sequence[Row], file: Path) -> None:
    """Leaves the rows in a file."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([row.to_json() for row in rows], indent=1) + "\n")
