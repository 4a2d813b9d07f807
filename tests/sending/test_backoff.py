"""Back-off: how long to wait after failures in a row."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.sending.backoff import Backoff


@pytest.mark.statement(6)
def test_the_bound_doubles_up_to_the_longest():
    backoff = Backoff(first=1.0, max=300.0)
    assert [backoff.delay(n, lambda: 1.0) for n in (1, 2, 3, 4, 8, 9, 10, 100, 10**9)] == [
        1,
        2,
        4,
        8,
        128,
        256,
        300,
        300,
        300,
    ]


@pytest.mark.pain("G3")
def test_the_whole_of_it_is_jitter_from_the_first_failure_on():
    backoff = Backoff(first=8.0)
    draws = iter((0.0, 0.25, 1.0))
    assert [backoff.delay(1, draws.__next__) for _ in range(3)] == [0, 2, 8]
    delays = {backoff.delay(1) for _ in range(1000)}
    assert len(delays) > 900, "a thousand boards do not come back as one"


@given(
    failures=st.integers(1, 10**6),
    draw=st.floats(0, 1, exclude_max=True),
    first=st.floats(0.001, 1e6),
    longest=st.floats(0.001, 1e6),
)
def test_any_delay_is_within_its_bound(failures, draw, first, longest):
    backoff = Backoff(first=first, max=longest)
    delays = [backoff.delay(failures, lambda: draw), backoff.delay(failures + 1, lambda: draw)]
    assert all(0 <= delay <= longest for delay in delays)
    assert all(earlier <= later for earlier, later in pairwise(delays))
