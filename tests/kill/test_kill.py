"""kill -9 at any moment: what was committed is delivered, dead-lettered or still queued, and in order."""

import json
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from edged.store import desk
from edged.store import queue as queue_module
from edged.store.log import Log
from tests.kill import child
from tests.store import ALL

PER_ROUND = 1_000_000  # values of a round begin with a multiple of it
DESTINATIONS = ("fast", "slow", "dead")
SERIES = [series for group in child.SERIES for series in group]


class Ledger:
    """What must have happened to the readings, from all reports so far."""

    def __init__(self) -> None:
        self.committed: set[tuple[str, int]] = set()  # (series, value)
        self.delivered: dict[str, set[tuple[str, int]]] = {name: set() for name in DESTINATIONS}
        # The last value of each series that is known to be settled on disk.
        self.settled: dict[str, dict[str, int]] = {name: {} for name in DESTINATIONS}
        self.again = dict.fromkeys(DESTINATIONS, 0)

    def read(self, report: Path, first: int) -> None:
        """Takes a killed child's report; its last line may be cut."""
        *lines, _ = report.read_bytes().split(b"\n")
        safe: dict[str, int] = {}
        last_value: dict[tuple[str, str], int] = {}
        for line in map(json.loads, lines):
            if "safe" in line:
                safe = line["safe"]["put"]
                for name, settled in line["safe"]["settled"].items():
                    self.settled[name].update(settled)
            else:
                for series, value in line["got"]:
                    assert last_value.get((line["to"], series), -1) < value, "out of order"
                    last_value[line["to"], series] = value
                    self.again[line["to"]] += (series, value) in self.delivered[line["to"]]
                    self.delivered[line["to"]].add((series, value))
        self.committed |= {(series, value) for series, last in safe.items() for value in range(first, last + 1)}

    def check(self, log: Log) -> None:
        """Compares with the store as it was found."""
        assert (log.disk.readable, log.trouble, log.disk.recount) == (True, "", False)
        for name in DESTINATIONS:
            queue = log.open_queue(name, ALL)
            queued = [(entry.series, int(entry.value)) for entry in queue.take(sys.maxsize)]
            assert queue.queued == len(queued)
            letters = {(letter.series, int(letter.value)) for letter in log.dead_letters(name)}
            assert self.committed - self.delivered[name] - letters - set(queued) == set(), "missing"
            for series in SERIES:
                values = [value for s, value in queued if s == series]
                assert all(earlier < later for earlier, later in pairwise(values)), "out of order"
                settled = self.settled[name].get(series, -1)
                assert all(value > settled for value in values), "settled on disk, and yet queued"
                refused = {(s, v) for s, v in self.committed if name == "slow" and s == series and v <= settled}
                assert {(s, v) for s, v in refused if not v % child.REFUSED} <= letters, "dead letters missing"


@pytest.mark.timeout(3600)
@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.guarantee(4)
@pytest.mark.pain("A17")
@pytest.mark.pain("A20")
def test_a_killed_store_loses_nothing_that_was_committed(tmp_path, monkeypatch, pytestconfig):
    monkeypatch.setattr(queue_module, "LOOK_AHEAD", sys.maxsize)
    folder, ledger = tmp_path / "store", Ledger()
    totals = dict.fromkeys(("rounds", "committed", "again"), 0)
    for number in range(int(pytestconfig.getoption("rounds"))):
        report, first = tmp_path / f"report{number}", number * PER_ROUND
        command = [sys.executable, "-m", "tests.kill.child", str(folder), str(report), str(first)]
        with subprocess.Popen(
            command, cwd=pytestconfig.rootpath, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            started = process.stdout.readline()
            time.sleep(random.uniform(0, 0.4))  # the moment is what is tested
            process.kill()
            assert (started, process.communicate()[1]) == (b"running\n", b"")
        ledger.read(report, first)
        log = Log(folder, 60.0, "boot")
        ledger.check(log)
        log.disk.close(clean=True)  # as found: the next child goes on from there
        if number % 10 == 9:  # begin anew, so that long runs need no more room than short ones
            log = Log(folder, 60.0, "boot")
            for name in DESTINATIONS:
                queue = log.open_queue(name, ALL)
                for entry in queue.take(sys.maxsize):
                    queue.settle(entry)
                desk.drop_dead(log, name)
            log.stop()
            totals["committed"] += len(ledger.committed)
            totals["again"] += ledger.again["fast"]
            ledger = Ledger()
        totals["rounds"] += 1
    totals["committed"] += len(ledger.committed)
    totals["again"] += ledger.again["fast"]
    print(totals)
    assert totals["committed"] > 100 * totals["rounds"]
