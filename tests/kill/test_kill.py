"""kill -9 at any moment: what was committed is delivered, dead-lettered, queued, or dropped by who may, and counted."""

import logging
import multiprocessing
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from edged.store.tables import FILE
from tests.kill import child
from tests.kill.books import Books
from tests.store.ledger import killed

MOST_S = (0.05, 0.3)  # a life, at most: some end while the store is being opened
MOST_BYTES = 100_000  # of the database, in which each destination may need another part of the log
WAL_AND_RESERVE = 5 * 1024 * 1024
PROCESSES = multiprocessing.get_context("forkserver")  # a child of its own, in which all is imported already


def live_and_die(folder: Path, report: Path, life: int, scenario: str) -> None:
    """A child's life; it ends from outside."""
    begun, of_child = PROCESSES.Pipe(duplex=False)
    with begun:
        process = PROCESSES.Process(target=child.main, args=(of_child, folder, report, life, scenario))
        process.start()
        of_child.close()
        assert begun.poll(60)
    time.sleep(random.uniform(0, random.choice(MOST_S)))  # the moment is what is tested
    process.kill()
    process.join()
    errors = Path(f"{report}.err")
    assert (process.exitcode, errors.read_text() if errors.exists() else "") == (-signal.SIGKILL, "")
    process.close()


# What is never dropped only grows: now and then it begins anew.
@pytest.mark.parametrize(("scenario", "anew"), [("plain", 10), ("bounded", 100), ("people", 10)])
@pytest.mark.timeout(3600)
@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.guarantee(4)
@pytest.mark.guarantee(12)
@pytest.mark.pain("A17")
@pytest.mark.pain("A20")
def test_a_killed_store_loses_nothing_that_was_committed(scenario, anew, tmp_path, caplog, pytestconfig):
    PROCESSES.set_forkserver_preload(["tests.kill.child"])
    rounds = int(pytestconfig.getoption("rounds"))
    totals = Counter(dict.fromkeys(("rounds", "committed", "missing", "delivered twice", "dropped"), 0))
    store, report, found = (tmp_path / name for name in ("store", "report", "found"))
    books = Books({})
    began = time.monotonic()
    for number in range(rounds):
        if not number % anew:
            totals.update(books.totals())
            books = Books(child.SCENARIOS[scenario])
            shutil.rmtree(store, ignore_errors=True)
            store.mkdir()  # there is one already
        live_and_die(store, report, number, scenario)
        books.round(report, number, killed(store, found))
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
        if scenario == "bounded":
            assert (found / FILE).stat().st_size < MOST_BYTES
            assert sum(path.stat().st_size for path in store.iterdir()) < MOST_BYTES + WAL_AND_RESERVE
        shutil.rmtree(found)
        report.unlink(missing_ok=True)
        totals["rounds"] += 1
    totals.update(books.totals())
    print(f"{scenario}: {dict(totals)} in {time.monotonic() - began:.0f} s")
    assert totals["missing"] == 0
    assert totals["committed"] > 10 * rounds
