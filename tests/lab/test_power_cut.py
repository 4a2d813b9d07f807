"""The power is cut at any moment, again and again: what was committed is there.

A guest writes to a disk whose every write that its kernel has issued is safe, and ends without warning.  So all that
it has not synced is lost with it, as with a real machine.
"""

import random
import time
from copy import deepcopy
from pathlib import Path

import pytest

from edged.store.log import Log
from tests.lab import disk
from tests.lab.books import Books, Problem
from tests.lab.guest import make_data
from tests.lab.machine import Machine

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]

# The kernel writes back what is not synced after 30 s; or soon, so that a cut finds a part of it on the disk.
_WRITE_BACK = ("", "echo 5 > /proc/sys/vm/dirty_writeback_centisecs; echo 1 > /proc/sys/vm/dirty_expire_centisecs; ")


def cut(
    machine: Machine, data: Path, number: int, *, synchronous: str = "FULL", early: bool = False, least_s: float = 0.0
) -> list[str]:
    """Lets the writer work for a while; `early`: it may not even have begun.  Returns what it has said."""
    said = []
    with machine.restored(data) as guest:
        guest.shell.send(
            f"{_WRITE_BACK[number % 2]}mount /dev/vdc /data && echo /data/store {number} {synchronous} > /run/writer"
        )
        until = time.monotonic() + (random.uniform(0.1, 1.5) if early else 60)
        for line in guest.shell.lines(until):
            said.append(line)
            if '"running"' in line:
                break
        else:
            assert early, (said, machine.console.read_text(errors="replace"))
        if not early:
            said += guest.shell.lines(time.monotonic() + random.uniform(least_s, 2.5))
    return said


def look(data: Path, books: Books, folder: Path) -> list[Problem]:
    """Compares the disk with the books."""
    store = disk.take_out(data, "/store", folder / "looked")
    if not store.exists():  # cut before there was one
        return [Problem("no store", "", len(books.committed), None)] if books.committed else []
    log = Log(store, 60.0, "from outside")
    problems = books.problems(log)
    log.disk.close(clean=False)
    return problems


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.guarantee(4)
@pytest.mark.pain("A17")
@pytest.mark.pain("A20")
@pytest.mark.pain("A22")
def test_no_power_cut_takes_what_was_committed(machine, tmp_path, pytestconfig):
    data, books = make_data(tmp_path / "data"), Books()
    rounds = int(pytestconfig.getoption("rounds"))
    mid_commit = 0
    started = time.monotonic()
    for number in range(rounds):
        books.read(cut(machine, data, number, early=number % 5 == 4), number)
        mid_commit += books.begun > books.flushed
        books.begun = books.flushed
        problems = look(data, books, tmp_path)
        assert (problems, books.strange) == ([], []), f"round {number}"
    seconds = (time.monotonic() - started) / rounds
    print(
        f"\n{rounds} power cuts, {mid_commit} of them in the middle of a commit, {books.flushed} commits,"
        f" {len(books.committed)} readings committed, 0 missing, {books.again} delivered again,"
        f" {seconds:.1f} s a round"
    )
    assert len(books.committed) > 10 * rounds
    assert mid_commit or rounds < 10


@pytest.mark.guarantee(2)
@pytest.mark.pain("A28")
@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_it_would_be_seen_if_the_store_did_not_sync(machine, tmp_path, synchronous):
    """The control, without which the test above proves nothing: the same, with a store that syncs too little."""
    data, books = make_data(tmp_path / "data"), Books()
    books.read(cut(machine, data, 0, least_s=1.0), 0)
    assert look(data, books, tmp_path) == []
    committed = lost = 0
    for number in (2, 4, 6):
        careless, after = disk.copy(data, tmp_path / "careless"), deepcopy(books)
        after.read(cut(machine, careless, number, synchronous=synchronous, least_s=1.0), number)
        committed += len(after.committed) - len(books.committed)
        problems = look(careless, after, tmp_path)
        lost += sum(found.number for found in problems if (found.kind, found.destination) == ("missing", "dead"))
    print(f"\nsynchronous = {synchronous}: of {committed} readings said to be committed, {lost} are missing")
    assert lost
