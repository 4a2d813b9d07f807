import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.simulation.faults import FaultSchedule, flip


def test_a_fault_takes_the_last_seconds_of_each_period():
    schedule = FaultSchedule("nack", every_s=60, for_s=10)
    assert [t for t in range(130) if schedule.active(1000 + t, since=1000)] == [*range(50, 60), *range(110, 120)]


@given(st.floats(0, 1e6), st.floats(0.1, 1e5), st.floats(0.01, 0.99))
def test_a_start_is_healthy(since, every_s, share):
    assert not FaultSchedule("hang", every_s, every_s * share).active(since, since)


def test_a_fault_as_long_as_its_period_never_ends():
    schedule = FaultSchedule("nack", every_s=1, for_s=1)
    assert all(schedule.active(t / 7, since=0) for t in range(100))


def test_healed_is_the_end_of_the_last_fault():
    schedule = FaultSchedule("unplugged", every_s=60, for_s=10)
    assert [schedule.healed(5 + t, since=5) for t in (0, 59, 60, 119, 185)] == [5, 5, 65, 65, 185]


@pytest.mark.parametrize(("every_s", "for_s"), [(60, 0), (60, -1), (60, 61), (0, 0)])
def test_a_fault_has_to_fit_into_its_period(every_s, for_s):
    with pytest.raises(ValueError, match="does not fit"):
        FaultSchedule("nack", every_s, for_s)


@given(st.binary(min_size=1, max_size=40), st.integers(0, 1000))
def test_flip_turns_over_one_to_three_bits(reply, seed):
    flipped = flip(reply, random.Random(seed))
    assert len(flipped) == len(reply)
    assert 1 <= sum((a ^ b).bit_count() for a, b in zip(reply, flipped, strict=True)) <= 3
    assert flipped == flip(reply, random.Random(seed))
