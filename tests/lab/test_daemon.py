"""The whole daemon in a machine of its own: as systemd's service, and with its power cut."""

import json
import random
import time
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from edged.simulation.platforms import open_stand_in
from edged.store.log import Log
from tests.lab import disk
from tests.lab.guest import make_data
from tests.lab.machine import SERIES, TOKEN

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]


def test_the_service_starts_stores_and_stops(machine, tmp_path):
    data = make_data(tmp_path / "data")
    with machine.restored(data) as guest:
        guest.check("mount /dev/vdc /var/lib/edged")
        checked = guest.check("edged check")
        assert "error" not in checked
        guest.check("systemctl start edged")
        guest.check("until [ -S /run/edged/control.sock ]; do sleep 0.1; done; sleep 2", 60)
        status = json.loads(guest.check("edged status --json"))
        assert status["sensors"]["greenhouse"]["ok"]
        assert status["store"]["trouble"] is None
        guest.check("systemctl stop edged", 30)
        assert guest.check("systemctl show -P Result -P ExecMainStatus edged").split() == ["success", "0"]
        journal = guest.check("journalctl -u edged -o cat")
        assert "1 sensors, 2 destinations" in journal
        assert "Traceback" not in journal
        queued = json.loads(guest.check("edged queue witness --json"))["witness"]["queued"]
        assert queued >= status["destinations"]["witness"]["queued"] > 0
        assert guest.check("stat -c %U:%a /var/lib/edged/store.db").strip() == "edged:600"
        guest.check("umount /var/lib/edged")
    log = Log(disk.take_out(data, "/", tmp_path / "looked"), 60.0, "from outside")
    assert sum(1 for _ in log.queues["witness"].pending()) == queued
    log.disk.close(clean=False)


class Committed:
    """Which readings are on disk, by what the running daemon answers to `status`."""

    def __init__(self) -> None:
        self.readings: set[tuple[str, int]] = set()  # (series, time in ms)
        self._stored: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by series: (time, commits by then)
        self._newest: dict[str, int] = {}

    def read(self, answer: dict[str, Any]) -> None:
        """Takes an answer.

        A sample is known a moment before it is stored; the one before it is stored.  What is stored when there were
        `n` commits is in commit `n` + 2 at the latest, since that one had not begun yet.
        """
        for series, text in answer["times"].items():
            time_ms = round(datetime.fromisoformat(text).timestamp() * 1000)
            if series in self._newest and self._newest[series] != time_ms:
                self._stored[series].append((self._newest[series], answer["commits"]))
            self._newest[series] = time_ms
        for series, stored in self._stored.items():
            self.readings |= {(series, time_ms) for time_ms, commits in stored if commits + 2 <= answer["commits"]}

    def restarted(self) -> None:
        """The daemon counts from nothing again."""
        self._stored.clear()
        self._newest.clear()


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.guarantee(4)
@pytest.mark.guarantee(10)
@pytest.mark.pain("A22")
@pytest.mark.pain("F4")
def test_no_power_cut_takes_a_reading_from_a_destination(machine, tmp_path, pytestconfig):
    """The other end is a stand-in on this side of the wire, which knows for certain what it was given."""
    data, committed = make_data(tmp_path / "data"), Committed()
    rounds = max(2, int(pytestconfig.getoption("rounds")) // 10)
    stand_in = open_stand_in("bbdata")
    stand_in.admit({}, [{"object": number, "token": TOKEN, "type": "float"} for number in SERIES.values()])
    objects = {str(number): series for series, number in SERIES.items()}

    def accepted() -> set[tuple[str, int]]:
        return {(objects[each.target], each.time_ms) for each in stand_in.snapshot()[0]}

    started = time.monotonic()
    seen = 0
    with stand_in:
        for number in range(rounds + 1):
            stand_in.forgive()
            committed.restarted()
            with machine.restored(data, forward=stand_in.port) as guest:
                guest.shell.send(f"mount /dev/vdc /var/lib/edged && echo {number} > /run/daemon")
                guest.shell.send("python3 -m tests.lab.inside.watch")
                last = number == rounds
                until, begun, answer = time.monotonic() + 120, False, None
                for line in guest.shell.lines(until):
                    answer = json.loads(line)
                    assert answer["trouble"] is None
                    if not begun and answer["commits"]:
                        begun = True
                        until = time.monotonic() + random.uniform(0 if number else 2, 4)
                    committed.read(answer)
                    if last and begun and committed.readings <= accepted():
                        break
                    if not last and begun and time.monotonic() > until:
                        break
                assert begun, (answer, machine.console.read_text(errors="replace"))
            log = Log(disk.take_out(data, "/", tmp_path / "looked"), 60.0, "from outside")
            assert (log.disk.readable, log.trouble, log.disk.recount) == (True, "", False)
            queued = {
                name: [(entry.series, entry.time_ms) for entry in log.queues[name].pending()]
                for name in ("witness", "building")
            }
            log.disk.close(clean=False)
            assert committed.readings - set(queued["witness"]) == set()
            assert committed.readings - set(queued["building"]) - accepted() == set()
            for name, readings in queued.items():
                for series in SERIES:
                    times = [time_ms for of, time_ms in readings if of == series]
                    assert all(earlier < later for earlier, later in pairwise(times)), (name, series)
            seen = len(queued["witness"])
        assert committed.readings <= accepted()
        assert stand_in.snapshot()[1] == []
    print(
        f"\n{rounds} power cuts of the daemon, {seen} readings stored, {len(committed.readings)} known to be committed,"
        f" 0 missing; {len(accepted())} accepted, {stand_in.resends} came again,"
        f" {(time.monotonic() - started) / (rounds + 1):.1f} s a round"
    )
    assert committed.readings
