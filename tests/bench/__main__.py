"""Runs the benchmarks: `python -m tests.bench`.

Exit status 1 where a figure is worse than its "at least"; with `--quick` only where one could not be measured.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from tests.bench import commit, cpu, delivery, drain, enqueue, memory, neighbours, pacing, punctuality, wear, week
from tests.bench.plant import ROOT
from tests.bench.table import FIGURES, Row, text, write_json

RESULT = ROOT / ".bench" / "latest.json"

# What is measured together -> how; each in a process of its own.
MEASUREMENTS: dict[tuple[str, ...], Callable[[bool], list[Row]]] = {
    ("enqueue",): enqueue.measure,
    ("drain",): drain.measure,
    ("reopen", "drain-week", "memory-backlog"): week.measure,
    ("cpu-10", "cpu-10-bus"): partial(cpu.measure, 10),
    ("cpu-100", "cpu-100-bus"): partial(cpu.measure, 100),
    ("cpu-1000", "cpu-1000-bus"): partial(cpu.measure, 1000),
    ("bytes-per-commit", "syncs"): commit.measure,
    ("memory",): memory.measure,
    ("start",): delivery.start,
    ("neighbours",): neighbours.measure,
    ("schedule-1hz", "schedule-10hz", "drift"): punctuality.measure,
    ("outage",): delivery.outage,
    ("datacake",): pacing.measure,
    ("bytes-a-day",): wear.measure,
}
# These mostly wait, and what they measure is not CPU; they run beside one another.
IDLE = (("outage",), ("datacake",), ("bytes-a-day",))


def main() -> int:
    """Measures, prints the table, leaves the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each, for CI")
    parser.add_argument("--only", action="append", choices=FIGURES, metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _measure(tuple(options.child.split()), options.quick)

    chosen = [names for names in MEASUREMENTS if not options.only or set(options.only) & set(names)]
    began = time.monotonic()
    rows: list[Row] = []
    for names in chosen:
        if names not in IDLE:
            rows += _wait(names, _begin(names, options.quick))
    for names, child in [(names, _begin(names, options.quick)) for names in chosen if names in IDLE]:
        rows += _wait(names, child)
    rows = sorted((row for row in rows if not options.only or row.name in options.only), key=_place)
    kind = "QUICK: one short round of each, a hint and no more\n" if options.quick else ""
    print(f"\n{kind}{text(rows)}\n\n{time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f}; {RESULT}")
    write_json(rows, RESULT)
    return int(any(row.unmeasured if options.quick else row.fails for row in rows))


def _place(row: Row) -> int:
    return list(FIGURES).index(row.name)


def _begin(names: tuple[str, ...], quick: bool) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.bench", "--child", " ".join(names)] + ["--quick"] * quick
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _wait(names: tuple[str, ...], child: "subprocess.Popen[str]") -> list[Row]:
    said, _ = child.communicate()
    if child.returncode:
        return [Row(name, None, detail="the measurement failed; see above") for name in names]
    return [Row(**row) for row in json.loads(said)]


def _measure(names: tuple[str, ...], quick: bool) -> int:
    began = time.monotonic()
    rows = MEASUREMENTS[names](quick)
    print(f"{', '.join(names)}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(json.dumps([asdict(row) for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
