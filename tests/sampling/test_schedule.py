"""When a sensor is due: no drift, no burst, no stall."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


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


def test_events_only_are_never_due():
    assert Never().after(5, 6, OFFSET) == math.inf


def test_a_failing_sensor_is_tried_again_at_longer_and_longer_intervals():
    assert [retry_pause(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
