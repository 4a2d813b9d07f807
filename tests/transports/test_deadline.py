"""One thread that ends what takes too long."""

import threading

import pytest

from edged.transports.deadline import Deadlines

LONG_S = 60.0


def test_what_takes_too_long_is_cut_once():
    cut = threading.Semaphore(0)
    with Deadlines().within(0.0, cut.release):
        assert cut.acquire(timeout=10)
    assert not cut.acquire(blocking=False)


def test_what_is_in_time_is_never_cut():
    deadlines, cuts = Deadlines(), []
    overdue = threading.Event()
    with deadlines.within(LONG_S, lambda: cuts.append("long")):
        for _ in range(100):
            with deadlines.within(LONG_S, lambda: cuts.append("short")):
                pass
        with deadlines.within(0.0, overdue.set):  # the thread has been asked to look again
            assert overdue.wait(10)
    assert cuts == []


def test_an_earlier_deadline_does_not_wait_for_a_later_one():
    deadlines, first, second = Deadlines(), threading.Event(), threading.Event()
    with deadlines.within(LONG_S, lambda: None):
        for cut in (first, second):  # the second time the thread waits already
            with deadlines.within(0.01, cut.set):
                assert cut.wait(10)


def test_an_exchange_that_fails_has_no_deadline_any_more():
    deadlines, cut, other = Deadlines(), threading.Event(), threading.Event()
    with pytest.raises(OSError, match="gone"), deadlines.within(0.05, cut.set):
        raise OSError("gone")
    with deadlines.within(0.1, other.set):
        assert other.wait(10)
    assert not cut.is_set()


def test_no_cut_comes_after_the_end():
    """A cut that had begun would hit the next exchange: leaving waits for it."""
    deadlines, begun, goes_on, ended = Deadlines(), threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        goes_on.wait(10)
        ended.append("cut")

    def exchange() -> None:
        with deadlines.within(0.0, slow):
            begun.wait(10)
        ended.append("left")

    thread = threading.Thread(target=exchange)
    thread.start()
    assert begun.wait(10)
    goes_on.set()
    thread.join(10)
    assert ended == ["cut", "left"]


def test_all_share_a_thread():
    deadlines = Deadlines()
    before = threading.active_count()
    for _ in range(10):
        with deadlines.within(LONG_S, lambda: None):
            assert threading.active_count() <= before + 1


def test_a_thread_that_cannot_be_had_at_first_is_had_later(monkeypatch):
    deadlines, cut = Deadlines(), threading.Event()

    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(OSError, match="can't start"), deadlines.within(0.0, cut.set):
            pass
    with deadlines.within(0.0, cut.set):
        assert cut.wait(10)
