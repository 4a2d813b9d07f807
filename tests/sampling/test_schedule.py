"""When a sensor is due: no drift, no burst, no stall."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.sampling import schedule
from edged.sampling.schedule import Cron, Every, Never, retry_pause

OFFSET = 1_700_000_000.0  # what the wall clock is ahead of the monotonic one


def test_every_is_aligned_to_the_wall_clock():
    assert Every(10).after(3.2, 3.3, OFFSET + 0.5) + OFFSET + 0.5 == 1_700_000_010.0


def test_every_does_not_drift_over_a_day_of_late_reads():
    due = 0.0
    for _ in range(86_400):
        due = Every(1).after(due, due + 0.013, OFFSET)
    assert due == 86_400.0


@pytest.mark.pain("C4")
def test_missed_times_are_skipped_and_counted():
    every = Every(10)
    following = every.after(100.0, 137.2, OFFSET)
    assert following == 140.0
    assert every.between(100.0, following) == 3


@pytest.mark.pain("C3")
@pytest.mark.pain("C5")
@given(
    interval=st.sampled_from([0.1, 1.0, 10.0, 60.0, 3600.0]),
    due=st.floats(0, 1e6),
    late=st.floats(0, 0.4),
    step=st.floats(-1e9, 1e9),
)
def test_a_step_of_the_clock_neither_repeats_a_time_nor_leaves_a_gap(interval, due, late, step):
    now = due + late * interval
    following = Every(interval).after(due, now, OFFSET + step)
    assert due + 0.499 * interval < following < due + 1.501 * interval
    assert following > now
    wall = following + OFFSET + step
    assert math.isclose(wall / interval, round(wall / interval), rel_tol=0, abs_tol=1e-4)


def test_an_early_wake_up_does_not_fire_twice():
    due = Every(10).after(0.0, 5.0, OFFSET)
    assert Every(10).after(due, due - 0.0001, OFFSET) == due + 10


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")


def fires(expression: str, start: float, count: int) -> list[float]:
    """The wall-clock times at which a cron schedule fires, a read taking 10 ms each."""
    times, due = [], start
    for _ in range(count):
        due = Cron(expression).after(due, due + 0.01, 0.0)
        times.append(due)
    return times


def test_cron_fires_on_its_minutes():
    assert fires("*/5 * * * *", 1_709_647_650.25, 3) == [1_709_647_800, 1_709_648_100, 1_709_648_400]


@pytest.mark.pain("C6")
@pytest.mark.usefixtures("berlin")
def test_cron_over_both_changes_of_summer_time():
    # 2026-03-29 01:00 UTC: 02:00 becomes 03:00.  2026-10-25 01:00 UTC: 03:00 becomes 02:00.
    for change in (1_774_746_000, 1_792_890_000):
        times = fires("*/30 * * * *", change - 3600.5, 6)
        assert times == [change - 3600 + 1800 * n for n in range(6)]


# 00:00 UTC of the day of the change
@pytest.mark.parametrize(("day", "before", "after"), [(1_774_742_400, 1, 2), (1_792_886_400, 2, 1)])
@pytest.mark.pain("C6")
@pytest.mark.usefixtures("berlin")
def test_once_a_day_is_at_the_same_hour_over_both_changes(day, before, after):
    noon = day + 12 * 3600
    assert fires("0 12 * * *", day - 86_400, 3) == [
        noon - 86_400 - before * 3600,
        noon - after * 3600,
        noon + 86_400 - after * 3600,
    ]


@pytest.mark.pain("C6")
@pytest.mark.usefixtures("berlin")
def test_once_a_day_in_the_hour_that_is_skipped_or_comes_twice():
    # skipped: at its end, 03:00, which is 01:00 UTC; then 02:30 of summer time
    spring, autumn = 1_774_746_000, 1_792_890_000
    assert fires("30 2 * * *", spring - 7200, 2) == [spring, spring + 23.5 * 3600]
    # twice: the first
    assert fires("30 2 * * *", autumn - 7200, 2) == [autumn - 1800, autumn - 1800 + 25 * 3600]
    # begun in the second of the two hours: not the first again, which has passed
    assert fires("30 2 * * *", autumn + 600, 2) == [autumn + 24.5 * 3600, autumn + 48.5 * 3600]


@pytest.mark.pain("C6")
def test_the_zone_is_that_of_tz_or_of_the_system_or_utc(monkeypatch, tmp_path):
    noon = [1_774_778_400, 1_774_778_400 + 86_400]  # 2026-03-29 and 30, 10:00 UTC
    monkeypatch.setattr(schedule, "LOCALTIME", Path("/usr/share/zoneinfo/Europe/Berlin"))
    for name in ("", "Europe/Berlin", ":Europe/Berlin", "/etc/localtime", "CET-1CEST,M3.5.0,M10.5.0/3", "Europe"):
        monkeypatch.setenv("TZ", name)
        assert fires("0 12 * * *", 1_774_742_400, 2) == noon
    monkeypatch.delenv("TZ")
    assert fires("0 12 * * *", 1_774_742_400, 2) == noon
    for content in (None, b"no zone"):
        monkeypatch.setattr(schedule, "LOCALTIME", tmp_path / "localtime")
        if content:
            (tmp_path / "localtime").write_bytes(content)
        assert fires("0 12 * * *", 1_774_742_400, 1) == [1_774_742_400 + 12 * 3600]


def test_events_only_are_never_due():
    assert Never().after(5, 6, OFFSET) == math.inf


def test_a_failing_sensor_is_tried_again_at_longer_and_longer_intervals():
    assert [retry_pause(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
