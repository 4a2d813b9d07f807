"""How a backlog leaves the real daemon: beside what is new, and in rounds."""

import time
from pathlib import Path
from typing import Any

import pytest

from edged import board
from edged.reading import Reading
from edged.sending.rounds import phase_of
from edged.series import Choice
from edged.simulation.platforms import HttpStandIn, open_stand_in
from edged.store.log import Log
from tests.endtoend.running import Running, until
from tests.endtoend.test_neighbours import moments

BACKLOG = 2400
BATCH = 200
NAME = "there"


@pytest.fixture
def stand_in():
    with open_stand_in("databoom") as made:
        yield made


def config(stand_in: HttpStandIn, state_dir: Path, interval: str, keys: str) -> str:
    token, device = stand_in.made_up_token, stand_in.made_up_device  # type: ignore[attr-defined]
    return f"""
    [daemon]
    state_dir = "{state_dir}"
    flush_interval = "300ms"
    [sensors.greenhouse]
    driver = "bme280"
    bus = "sim"
    interval = "{interval}"
    quantities = {{ humidity = {{ enabled = false }}, pressure = {{ enabled = false }} }}
    [destinations.{NAME}]
    platform = "databoom"
    url = "{stand_in.url}"
    token = "{token}"
    device = "{device}"
    series = {{ "*" = true }}
    {keys}
    """


def fill(state_dir: Path, end_ms: int) -> list[int]:
    """An outage's readings in the store, a second apart; returns their times."""
    log = Log(state_dir, 60.0, "the boot before")
    log.open_queue(NAME, Choice((("*", True),)))
    times = [end_ms - (BACKLOG - n) * 1000 for n in range(BACKLOG)]
    for first in range(0, BACKLOG, 500):
        log.put([Reading("greenhouse.temperature", t, 1.0) for t in times[first : first + 500]], 0)
        log.flush()
    log.stop()
    return times


def stamps(stand_in: HttpStandIn, request: Any) -> list[int]:
    """The times of a request's readings."""
    return [time_ms for _, time_ms in moments(stand_in, request)]


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.guarantee(4)
@pytest.mark.pain("A12")
def test_what_is_new_is_seen_at_once_after_an_outage_and_the_backlog_follows_through_a_kill(tmp_path, run, stand_in):
    state_dir = tmp_path / "state"
    keys = f'drain = "live-first"\nbatch_size = {BATCH}\nmin_request_interval = "1s"'
    started_ms = time.time_ns() // 1_000_000
    old = fill(state_dir, started_ms - 5000)
    for killed in (True, False):
        begun = len(stand_in.requests)
        begun_ms = time.time_ns() // 1_000_000
        daemon: Running = run(config(stand_in, state_dir, "500ms", keys))
        until(lambda: len(stand_in.requests) >= begun + 3, tell=lambda: daemon.log)  # noqa: B023
        firsts = stand_in.requests[begun : begun + 2]
        assert max(stamp for request in firsts for stamp in stamps(stand_in, request)) >= begun_ms
        if killed:
            daemon.kill()
            stand_in.forgive()
            assert len(stand_in.snapshot()[0]) < BACKLOG / 2
    until(lambda: set(old) <= {each.time_ms for each in stand_in.snapshot()[0]}, tell=lambda: daemon.log)
    assert daemon.stop()[0] == 0, daemon.log
    arrived = [each.time_ms for each in stand_in.snapshot()[0]]
    assert [stamp for stamp in arrived if stamp < started_ms] == old, "each once and in order"
    assert are_two_streams(arrived)
    assert stand_in.resends <= 2 * BATCH  # a request under way, and one confirmed in the last flush interval
    assert stand_in.snapshot()[1] == []
    log = Log(state_dir, 60.0, "test")
    left = log.queues[NAME]
    assert (left.dead, left.dropped, left.lost) == (0, 0, 0)
    log.stop()


def are_two_streams(times: list[int]) -> bool:
    """Whether the times are two rows, each in order, put together: what is new, and the backlog."""
    ahead = behind = 0
    for each in times:
        if each > ahead:
            ahead = each
        elif each > behind:
            behind = each
        else:
            return False
    return True


@pytest.mark.parametrize("every_s", [3.0])
def test_requests_come_in_rounds_at_a_phase_of_the_boards_own(tmp_path, run, stand_in, every_s):
    state_dir = tmp_path / "state"
    daemon: Running = run(config(stand_in, state_dir, "200ms", f'every = "{every_s:g}s"'))
    until(lambda: len(stand_in.requests) >= 4, tell=lambda: daemon.log)
    assert daemon.stop()[0] == 0, daemon.log
    requests = stand_in.requests[1:]  # the first round began in the middle of one
    phase = phase_of(board.serial(state_dir), NAME) * every_s
    for request in requests:
        held = stamps(stand_in, request)
        beyond = (max(held) / 1000 - phase) % every_s  # the newest has been measured just before
        assert min(beyond, every_s - beyond) < 0.6, (phase, held)
        assert len(held) >= every_s / 0.2 - 3
    times = sorted(each.time_ms for each in stand_in.snapshot()[0])
    assert times == [each.time_ms for each in stand_in.snapshot()[0]]
    assert stand_in.snapshot()[1] == []
