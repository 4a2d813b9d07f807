"""Rounds: at most every so often, at a phase of the board's own."""

import pytest

from edged.sending.rounds import Rounds, phase_of

MINUTE_MS = 1_709_647_620_000  # 14:07:00


def test_a_round_begins_at_the_phase():
    rounds = Rounds(60.0, 0.25)
    assert rounds.opens_in(100.0, MINUTE_MS, enough=False) == 15.0
    assert rounds.opens_in(114.0, MINUTE_MS + 14_000, enough=False) == 1.0
    assert rounds.opens_in(115.0, MINUTE_MS + 15_000, enough=False) == 0.0


def test_it_goes_on_until_all_is_sent():
    rounds = Rounds(60.0, 0.0)
    assert rounds.opens_in(100.0, MINUTE_MS, enough=False) == 0.0
    assert rounds.opens_in(130.0, MINUTE_MS + 30_000, enough=False) == 0.0
    rounds.end(130.0, MINUTE_MS + 30_000)
    assert rounds.opens_in(131.0, MINUTE_MS + 31_000, enough=False) == 29.0


def test_enough_for_a_request_does_not_wait_for_it():
    rounds = Rounds(300.0, 0.5)
    assert rounds.opens_in(100.0, MINUTE_MS, enough=False) > 0
    assert rounds.opens_in(101.0, MINUTE_MS + 1000, enough=True) == 0.0


def test_what_cannot_be_sent_yet_waits_for_the_phase_after_that():
    rounds = Rounds(1.0, 0.4)
    rounds.opens_in(100.0, MINUTE_MS + 500, enough=False)
    rounds.end(100.0, MINUTE_MS + 500, pause=0.5)  # a second that is not over: at its end all boards would send at once
    assert rounds.opens_in(100.0, MINUTE_MS + 500, enough=False) == pytest.approx(0.9)


def test_a_step_of_the_clock_costs_one_round_at_most():
    rounds = Rounds(60.0, 0.0)
    assert rounds.opens_in(100.0, MINUTE_MS + 1000, enough=False) == 59.0
    assert rounds.opens_in(120.0, MINUTE_MS - 10_000_000_000, enough=False) == 39.0


def test_no_pause_is_no_round():
    assert Rounds(0.0, 0.7).opens_in(5.0, MINUTE_MS, enough=False) == 0.0


def test_a_phase_is_a_boards_own_and_stays():
    phases = [phase_of(f"10000000{n:08x}", "datacake") for n in range(1000)]
    assert phases == [phase_of(f"10000000{n:08x}", "datacake") for n in range(1000)]
    assert all(0 <= phase < 1 for phase in phases)
    tenths = [sum(int(phase * 10) == tenth for phase in phases) for tenth in range(10)]
    assert min(tenths) > 60  # of 100: spread evenly
    assert phase_of("a", "bc") != phase_of("ab", "c")
