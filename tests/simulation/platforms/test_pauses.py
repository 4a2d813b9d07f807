"""Statement 6: what no jittered back-off does is noticed, and what one does never."""

import random

import pytest

from edged.simulation.platforms._pauses import Pauses

HASTY_S = 0.020

pytestmark = pytest.mark.statement(6)


def outage(pauses: Pauses, lengths, **how) -> list[str]:
    """What is found in a row of failures with pauses of these lengths between them."""
    now = 1000.0
    found = [pauses.attempt(now)]
    for length in lengths:
        pauses.failed(now + 0.001, **how)
        now += 0.001 + length
        found.append(pauses.attempt(now))
    return [fault for fault in found if fault]


@pytest.mark.parametrize("length", [0.021, 0.025, 1.0, 300.0])
def test_equal_pauses_are_not_drawn(length):
    assert outage(Pauses(HASTY_S), [length] * 4) == []
    (fault,) = outage(Pauses(HASTY_S), [length] * 5)
    assert "5 in a row" in fault


def test_nearly_equal_pauses_are_not_drawn_either():
    draw = random.Random(6)
    assert outage(Pauses(HASTY_S), [draw.uniform(0.025, 0.030) for _ in range(30)])
    assert outage(Pauses(HASTY_S), [draw.uniform(9, 11) for _ in range(30)])


def test_a_success_ends_the_row():
    pauses = Pauses(HASTY_S)
    for _ in range(10):
        assert outage(pauses, [1.0] * 4) == []
        pauses.settled()


def test_pauses_that_an_answer_or_nobody_decided_are_not_judged():
    assert outage(Pauses(HASTY_S), [30.0] * 100, bidden=True) == []
    pauses = Pauses(HASTY_S)
    for now in range(100):
        pauses.attempt(now)
        pauses.left()
        assert pauses.attempt(now + 0.5) == ""
        pauses.failed(now + 0.6)


def test_a_pause_behind_an_attempt_that_still_goes_on_cannot_be_told():
    pauses = Pauses(HASTY_S)
    pauses.attempt(0.0)
    for now in range(1, 100):  # each comes a second behind the one before, which fails only then
        assert pauses.attempt(float(now)) == ""
        pauses.failed(now + 0.5)


@pytest.mark.parametrize("pace_s", [0.5, 1.0, 60.0])
def test_a_pace_is_no_back_off(pace_s):
    lengths = [pace_s + random.Random(6).uniform(0, 0.05) * pace_s for _ in range(100)]
    assert outage(Pauses(HASTY_S, pace_s), lengths) == []
    assert outage(Pauses(HASTY_S, pace_s), [10 * pace_s] * 5)
    assert outage(Pauses(HASTY_S, pace_s), [0.1 * pace_s] * 5), "whoever is faster does not keep to it"


def test_without_a_shortest_pause_nothing_is_found():
    assert outage(Pauses(0.0), [1.0] * 100) == []
    assert outage(Pauses(0.0), [0.0] * 100) == []


@pytest.mark.parametrize("pace_s", [0.0, 1.0])
@pytest.mark.parametrize(("first", "longest"), [(0.05, 0.05), (0.1, 1.0), (1.0, 10.0), (1.0, 300.0), (1.0, 1.0)])
def test_full_jitter_is_never_blamed(first, longest, pace_s):
    """On top of each draw comes what a busy board takes; bounds may have stopped growing."""
    draw = random.Random(f"{first} {longest} {pace_s}")
    for _ in range(200):
        bounds = (min(longest, first * 2.0**n) for n in range(60))
        lengths = [max(pace_s, draw.uniform(0, bound)) + draw.uniform(0.002, 0.02) for bound in bounds]
        assert outage(Pauses(0.002, pace_s), lengths) == []
