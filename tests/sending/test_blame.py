"""Suspects: readings that get no answer when they are sent alone."""

from edged.sending.blame import Suspects


def test_failures_count_where_others_get_through_in_between():
    suspects = Suspects()
    assert [suspects.failed(7).alternations for _ in range(3)] == [0, 0, 0]
    for expected in (1, 2, 3):
        suspects.got_through()
        assert suspects.failed(7).alternations == expected
    suspects.another_failed()
    assert suspects.failed(7).alternations == 0


def test_a_witness_is_called_where_there_are_no_others():
    suspects = Suspects()
    called = [suspects.calls_witness(7) for _ in range(13) if suspects.failed(7)]
    assert called == [False] * 11 + [True] * 2
    suspects.got_through()
    suspects.failed(7)
    assert not suspects.calls_witness(7)
    assert suspects[7].times == 14
    assert (7 in suspects, 8 in suspects) == (True, False)


def test_suspects_do_not_pile_up():
    suspects = Suspects()
    for seq in range(5000):
        suspects.failed(seq)
    assert len(suspects) <= 1001
