"""A disk on which every write fails for a while, under a file system that is mounted."""

import json
from pathlib import Path
from typing import Any

import pytest

from edged.store.log import Log
from edged.store.queue import COUNTERS
from tests.lab import disk
from tests.lab.guest import Guest, make_data
from tests.lab.inside.dying import NEXT, REFUSED

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

Report = dict[str, dict[str, Any]]  # by phase

_MAP = 'dmsetup create data --table "0 $(blockdev --getsz /dev/vdc) linear /dev/vdc 0" && mount /dev/mapper/data /data'


def lives(guest: Guest, life: str, *phases: str) -> Report:
    """What the program in the guest has to say of the phases of its life."""
    guest.shell.send(f"python3 -m tests.lab.inside.dying /data/store {life} 2>&1")
    report = {}
    for phase in phases:
        line = guest.shell.expect(f'{{"phase":"{phase}"[^\n]*\n', 180)
        report[phase] = json.loads(line[0])
    return report


def assert_all_there(store: Path, safe: int) -> None:
    """Readings up to `safe` are delivered, dead or queued on disk, and the store's sums are right."""
    log = Log(store, 60.0, "from outside")
    assert (log.disk.readable, log.trouble, log.disk.recount) == (True, "", False)
    queued = {name: [int(entry.value) for entry in queue.pending()] for name, queue in log.queues.items()}
    assert queued["dead"] == list(range(len(queued["dead"])))
    assert len(queued["dead"]) >= safe
    letters = {int(letter.value) for letter in log.dead_letters("slow")}
    refused = set(range(0, safe, REFUSED))
    assert refused <= letters | set(queued["slow"])
    sums = {
        name: sum(getattr(queue, counter) for counter in COUNTERS) + queue.queued for name, queue in log.queues.items()
    }
    assert set(sums.values()) == {len(queued["dead"])}
    log.disk.close(clean=False)


def assert_goes_on(report: Report) -> None:
    """One loud message, and destinations that get their readings all the same."""
    assert report["healthy"]["messages"] == []
    assert report["healthy"]["delivered"]
    dying = report["dying"]
    assert (dying["known"], dying["delivered"]) == (True, True)
    assert len(dying["messages"]) == 1, dying["messages"]
    assert "the store cannot be written" in dying["messages"][0]
    assert report["after"]["delivered"]
    for phase in ("dying", "after"):
        for name, account in report[phase]["accounts"].items():
            assert account["lost"] == account["dropped"] == 0, (phase, name, account)
    for name, account in report["after"]["accounts"].items():
        assert sum(account.values()) == report["after"]["safe"], (name, account)


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.guarantee(3)
@pytest.mark.guarantee(10)
def test_a_disk_that_fails_for_a_while_is_written_again(machine, tmp_path):
    """Where the file system bears it: one without a journal.  All that is committed afterwards outlives a power cut."""
    data = make_data(tmp_path / "data", journal=False)
    with machine.restored(data) as guest:
        guest.check(_MAP)
        report = lives(guest, "whole", "healthy", "dying", "after")
    assert_goes_on(report)
    assert report["after"]["healed"]
    assert [message.split()[0] for message in report["after"]["messages"]] == ["ERROR"]
    assert "can be written again" in report["after"]["messages"][0]
    assert_all_there(disk.take_out(data, "/store", tmp_path / "looked", journal=False), report["after"]["safe"])


@pytest.mark.guarantee(2)
@pytest.mark.guarantee(10)
def test_the_process_that_comes_after_a_disk_had_failed_can_rely_on_it(machine, tmp_path):
    """What could not be written is still in the kernel's memory, as if it were on the disk: nothing may build on it."""
    data = make_data(tmp_path / "data", journal=False)
    with machine.restored(data) as guest:
        guest.check(_MAP)
        before = lives(guest, "killed", "healthy", "dying")["healthy"]["safe"]
        report = lives(guest, "next", "next")
    assert report["next"]["messages"] == []
    log = Log(disk.take_out(data, "/store", tmp_path / "looked", journal=False), 60.0, "from outside")
    assert (log.disk.readable, log.trouble, log.disk.recount) == (True, "", False)
    queued = [int(entry.value) for entry in log.queues["dead"].pending()]
    log.disk.close(clean=False)
    assert queued[:before] == list(range(before))
    assert [value for value in queued if value >= NEXT] == list(range(NEXT, NEXT + report["next"]["safe"]))


@pytest.mark.guarantee(2)
@pytest.mark.guarantee(3)
@pytest.mark.guarantee(10)
def test_a_journal_that_was_aborted_costs_nothing_that_was_committed(machine, tmp_path):
    """ext4 with a journal is read-only from the first error on, until it is mounted anew."""
    data = make_data(tmp_path / "data")
    with machine.restored(data) as guest:
        guest.check(_MAP)
        report = lives(guest, "whole", "healthy", "dying", "after")
    assert_goes_on(report)
    assert not report["after"]["healed"]
    assert report["after"]["messages"] == []
    assert_all_there(disk.take_out(data, "/store", tmp_path / "looked"), report["healthy"]["safe"])
