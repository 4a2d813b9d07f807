"""A store that can be neither written nor read for a while, and destinations that are opened in the meantime."""

import contextlib
import math
import sqlite3

import pytest

from edged.errors import StoreUnusable
from edged.store import disk as disk_module
from edged.store.log import Log
from edged.store.tables import FILE
from tests.store import ALL, abandon, files_of, only, open_log, readings, settle_all
from tests.store.ledger import Ledger, number_of


def take_away(log: Log) -> None:
    """The disk is gone."""
    files_of(log).close()
    log.reader.recent.clear()
    log.disk._files, log.disk._trouble.why, log.disk._next_try = None, "unplugged", math.inf


def bring_back(log: Log) -> None:
    """It is there again; the next flush finds it."""
    log.disk._next_try = 0.0


def fails(log: Log) -> bool:
    try:
        log.flush()
    except StoreUnusable:
        return True
    return False


@pytest.fixture
def log(tmp_path):
    """A store with 100 readings on disk, of which `web` has 10, and 5 dead letters."""
    log = open_log(tmp_path)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    log.put([reading for value in range(50) for reading in readings("a.x", "b.x", value=value)], 0)
    for queue in (web, other):
        for number, entry in enumerate(queue.take(15)):
            queue.settle(entry, reason="refused" if number >= 10 else "")
    log.flush()
    yield log
    abandon(log)


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(1)
@pytest.mark.parametrize("again", [False, True])
def test_another_choice_is_counted_when_the_disk_is_back(log, again):
    take_away(log)
    web = log.open_queue("web", only("a.x"))
    log.put(readings("a.x", "b.x", value=50), 0)
    if again:
        web = log.open_queue("web", only("b.x", "c.x"))
        log.put(readings("a.x", "b.x", value=51), 0)
    assert fails(log)
    assert web.queued > 43  # at most; so nothing is let go of
    bring_back(log)
    assert not fails(log)
    assert (web.delivered, web.dead, web.lost, web.dropped) == (10, 5, 0, 0)
    got = settle_all(web)
    assert [entry.value for entry in got] == list(range(7, 52) if again else range(8, 51))
    assert {entry.series for entry in got} == {"b.x" if again else "a.x"}
    assert web.queued == 0


@pytest.mark.guarantee(1)
def test_what_is_damaged_in_the_meantime_is_counted_as_lost_by_the_choice_of_before(log, tmp_path):
    """And not what the new one would have taken, nor what has been delivered from memory."""
    log.put([reading for value in range(50, 60) for reading in readings("a.x", "b.x", value=value)], 0)
    log.flush()
    log.put(readings("a.x", "b.x", value=60), 0)  # in memory alone
    take_away(log)
    web = log.open_queue("web", only("a.x"))
    log.put(readings("a.x", "b.x", value=61), 0)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("DELETE FROM queue_log WHERE _id = 120")
        connection.execute("DELETE FROM dead_letters WHERE destination = 'web' AND id = 1")
        connection.commit()
    bring_back(log)
    assert not fails(log)
    assert (web.lost, web.dead) == (20 + 1, 4)
    assert [entry.value for entry in settle_all(web)] == [*range(8, 50), 60, 61]
    assert web.queued == 0
    log.flush()
    assert web.lost == 21


@pytest.mark.guarantee(1)
def test_dead_letters_that_cannot_be_read_are_not_lost(log):
    settle_all(log.queues["web"])
    log.flush()
    take_away(log)
    web = log.open_queue("web", only("a.x"))  # with all that it lacks in memory
    new = log.open_queue("new", ALL)
    with pytest.raises(StoreUnusable):
        list(log.dead_letters("web"))
    assert (web.queued, web.dead, web.lost, new.queued) == (0, 5, 0, 0)
    bring_back(log)
    assert not fails(log)
    assert (web.queued, web.dead, web.lost) == (0, 5, 0)
    assert len(list(log.dead_letters("web"))) == 5


@pytest.mark.guarantee(1)
def test_one_that_is_closed_before_it_could_be_counted_is_counted_later(log):
    take_away(log)
    log.close_queue(log.open_queue("web", only("a.x")), removed=False)
    log.put(readings("a.x", value=50), 0)
    bring_back(log)
    assert not fails(log)
    web = log.open_queue("web", only("a.x"))
    assert (web.queued, web.lost) == (42, 0)
    assert [entry.value for entry in settle_all(web)] == list(range(8, 50))


@pytest.mark.guarantee(10)
def test_damage_that_cannot_be_mended_keeps_no_queue_from_opening(tmp_path, monkeypatch):
    """As on a full disk: the salvage needs room.  What is whole can be read all the same."""
    ledger = Ledger(web=ALL, part=ALL)
    log = open_log(tmp_path)
    ledger.open(log)
    for _ in range(30):
        ledger.put(log, 20, 300)
        log.flush()
    log.stop()
    data = bytearray((tmp_path / FILE).read_bytes())
    pages = [page for page in range(40, len(data) // 1024) if data[page * 1024] == 13]
    data[pages[0] * 1024] = 0xEE
    (tmp_path / FILE).write_bytes(data)
    log = open_log(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    ledger.choices["part"] = only("b.x")
    with monkeypatch.context() as patch:
        patch.setattr(disk_module, "salvage", full)
        queues = ledger.open(log)
        assert fails(log)
        assert queues["part"].queued > 250
        abandon(log)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    log.flush()
    for queue, most in ((queues["web"], 600), (queues["part"], 300)):
        there = [number_of(entry.value) for entry in queue.pending()]
        assert there == sorted(set(there))
        assert most - 100 < len(there) == queue.queued < most
    assert queues["web"].queued + queues["web"].lost == 600
    assert queues["part"].lost == queues["web"].lost
    log.stop()
