"""Who uses the store: destinations that come and go, and what drivers remember over restarts."""

import contextlib
import json
import sqlite3
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edged.errors import StoreUnusable
from edged.reading import Entry, Reading
from edged.store import desk
from edged.store import disk as disk_module
from edged.store import registry as registry_module
from edged.store.files import Changes, Files
from edged.store.log import Log
from edged.store.queue import Bounds, Queue
from edged.store.tables import FILE
from tests.store import (
    ALL,
    BOOT,
    NOW_MS,
    abandon,
    cannot_write,
    files,
    files_of,
    only,
    open_log,
    readings,
    settle_all,
)

HOUR_S = 3600.0


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path)
    yield log
    abandon(log)


class Time:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr(registry_module, "time", time)
    return time


def keeping(folder: Path, keep_removed_s: float) -> Log:
    return Log(folder, HOUR_S, BOOT, lambda: NOW_MS, lambda: 0, keep_removed_s)


def change_state(folder: Path, name: str, data: object) -> None:
    """Writes into the closed store."""
    change_states(folder, "UPDATE dict_state SET data = ? WHERE key = ?", data, f"destination:{name}")


def encoded(state: dict[str, Any]) -> bytes:
    """A state as it is on disk."""
    text = json.dumps(state).encode()
    return b"%08x" % zlib.crc32(text) + text


def change_states(folder: Path, statement: str, *values: object) -> None:
    """The same, of any."""
    connection = sqlite3.connect(folder / FILE)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


# --- destinations that leave


def test_how_long_one_has_been_away_is_known_from_a_store_that_counted_it_in_hours(tmp_path, time):
    log = keeping(tmp_path, 3 * HOUR_S)
    web = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.close_queue(web, removed=True)
    log.stop()
    state = log.queues["web"].to_json() | {"removed_h": 2, "removed_s": 1800}
    change_state(tmp_path, "web", encoded(state))
    log = keeping(tmp_path, 3 * HOUR_S)
    assert log.queues["web"].removed_s == 2.5 * HOUR_S
    time.now_s += HOUR_S / 2
    log.flush()
    assert log.queues == {}
    abandon(log)


def test_a_removed_destination_is_forgotten_after_so_long_and_it_is_said(tmp_path, time, caplog):
    log = keeping(tmp_path, 24 * HOUR_S)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x", "c.x"), 0)
    web.settle(web.take(1)[0], reason="refused")
    settle_all(other)
    log.close_queue(web, removed=True)
    log.flush()
    for _ in range(23):
        time.now_s += HOUR_S
        log.flush()
    assert log.queues["web"].queued == 2
    assert caplog.messages == []
    time.now_s += HOUR_S
    log.flush()
    assert caplog.messages == [
        "web left the config (keep_removed): its 2 queued readings and 1 dead letters are dropped"
    ]
    assert list(log.queues) == ["other"]
    assert log.disk.last() == 0
    for table in ("queue_log", "dead_letters"):
        assert files_of(log).connection.execute(f"SELECT * FROM {table}").fetchall() == []
    abandon(log)
    log = keeping(tmp_path, 24 * HOUR_S)
    assert list(log.queues) == ["other"]
    again = log.open_queue("web", ALL)  # as a new one
    assert (again.queued, again.dead, again.delivered) == (0, 0, 0)
    abandon(log)


def test_one_that_is_forgotten_while_the_disk_cannot_be_written_is_gone_from_it_afterwards(tmp_path, time, monkeypatch):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    log = keeping(tmp_path, HOUR_S)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x"), 0)
    web.settle(web.take(1)[0], reason="refused")
    log.close_queue(web, removed=True)
    log.flush()
    time.now_s += HOUR_S
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        with pytest.raises(StoreUnusable):
            log.flush()
    log.flush()
    settle_all(other)
    log.stop()
    log = keeping(tmp_path, HOUR_S)
    assert (list(log.queues), list(log.dead_letters("web"))) == (["other"], [])
    abandon(log)


def test_the_time_counts_in_which_a_daemon_ran(tmp_path, time):
    """And not the months that the board lay in a drawer; and a board that never runs for an hour gets there as well."""
    log = keeping(tmp_path, 10 * HOUR_S)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.close_queue(queue, removed=True)
    for run in range(20):
        assert list(log.queues) == ["web"], run
        for _ in range(5):
            time.now_s += 0.1 * HOUR_S
            log.flush()
        log.stop()
        time.now_s += 1000 * HOUR_S
        log = keeping(tmp_path, 10 * HOUR_S)
        log.flush()
    time.now_s += 20.0  # the parts of seconds
    log.flush()
    assert list(log.queues) == []
    abandon(log)


@pytest.mark.pain("A29")
def test_the_time_alone_is_never_worth_a_commit(tmp_path, time):
    log = keeping(tmp_path, 100 * HOUR_S)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.close_queue(queue, removed=True)
    log.flush()
    before, commits = files(tmp_path), log.commits
    for _ in range(50):
        time.now_s += HOUR_S
        log.flush()
    assert (log.commits, files(tmp_path)) == (commits, before)
    abandon(log)


def test_one_that_is_disabled_is_kept_for_ever(tmp_path, time):
    log = keeping(tmp_path, HOUR_S)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.close_queue(queue, removed=False)
    time.now_s += 1000 * HOUR_S
    log.flush()
    assert log.queues["web"].queued == 1
    abandon(log)


def test_one_that_comes_back_has_all_of_its_time_again(tmp_path, time):
    log = keeping(tmp_path, 10 * HOUR_S)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    for _ in range(3):
        log.close_queue(queue, removed=True)
        time.now_s += 9 * HOUR_S
        log.flush()
        queue = log.open_queue("web", ALL)
    time.now_s += 90 * HOUR_S
    log.flush()
    assert len(settle_all(queue)) == 1
    abandon(log)


def test_one_that_left_the_config_while_the_daemon_was_off_is_closed_at_the_next_start(tmp_path, time):
    log = open_log(tmp_path)
    log.open_queue("web", ALL)
    log.put(readings("a.x", value=1), 0)
    log.stop()
    log = keeping(tmp_path, 2 * HOUR_S)
    queue = log.queues["web"]
    assert (queue.open, queue.active, queue.removed, queue.queued) == (True, False, False, 1)
    log.close_queue(queue, removed=True)
    log.put(readings("a.x", value=2), 0)
    log.stop()
    log = keeping(tmp_path, 2 * HOUR_S)
    queue = log.queues["web"]
    assert (queue.open, queue.removed, queue.queued) == (False, True, 1)
    time.now_s += HOUR_S
    log.flush()
    queue = log.open_queue("web", ALL)
    assert [entry.value for entry in settle_all(queue)] == [1]
    abandon(log)


def test_one_that_is_disabled_can_leave_the_config_later(tmp_path):
    log = open_log(tmp_path)
    log.close_queue(log.open_queue("web", ALL), removed=False)
    log.close_queue(log.queues["web"], removed=True)
    log.stop()
    log = open_log(tmp_path)
    assert (log.queues["web"].removed, log.queues["web"].open) == (True, False)
    abandon(log)


def test_a_queue_that_nobody_opened_takes_what_comes_before_the_first_reading_of_a_start(tmp_path):
    """Sensors and destinations start side by side; no reading between is missed."""
    log = open_log(tmp_path)
    log.open_queue("web", only("a.x"))
    log.stop()
    log = open_log(tmp_path)
    log.put(readings("a.x", "b.x"), 0)
    assert log.queues["web"].queued == 1
    assert [entry.series for entry in settle_all(log.open_queue("web", only("a.x")))] == ["a.x"]
    abandon(log)


def test_its_bounds_stay_while_it_is_closed(log):
    bounds = Bounds(max_size=4096, max_dead_letters=7)
    log.close_queue(log.open_queue("web", ALL, bounds), removed=True)
    assert log.queues["web"].bounds == bounds


def test_a_queue_comes_back_as_it_was(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", only("a.x", "b.x"))
    log.put(readings("a.x", "b.x", "c.x", "a.x", "b.x", "a.x"), 0)
    first, second = queue.take(2)
    queue.settle(first, merged=True)
    queue.settle(second, reason="refused")
    queue.settle(queue.take(1, blocked={"b.x"})[0])
    kept = queue.to_json()
    log.stop()
    log = open_log(tmp_path)
    assert log.queues["web"].to_json() == kept
    assert log.open_queue("web", only("a.x", "b.x")).to_json() == kept
    assert json.loads(json.dumps(kept)) == kept
    abandon(log)


# --- states that cannot be read


DAMAGED = [
    b"",
    b"\xff\xfe",
    b"{",
    b"[]",
    b"7",
    b"null",
    b'"web"',
    b"{}",
    b'{"head": 1}',
    b'{"head": "x", "behind": {}, "choice": [["*", true]]}',
    None,
    "text",
    7,
]


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("data", DAMAGED)
def test_a_destination_whose_state_cannot_be_read_gets_again_what_is_there_and_it_is_said(tmp_path, data, caplog):
    log = open_log(tmp_path)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    for value in range(3):
        log.put(readings("a.x", value=value), 0)
    for queue, number in ((web, 2), (other, 1)):
        for entry in queue.take(number):
            queue.settle(entry)
    log.stop()
    change_state(tmp_path, "web", data)
    caplog.clear()
    log = open_log(tmp_path)
    (message,) = caplog.messages
    assert message.startswith("web: its place in the store cannot be read (")
    assert message.endswith("); it gets again all that is there")
    other, web = log.open_queue("other", ALL), log.open_queue("web", ALL)
    assert [entry.value for entry in settle_all(other)] == [1, 2]
    assert [entry.value for entry in settle_all(web)] == [1, 2]
    assert (web.queued, web.delivered) == (0, 2)
    log.put(readings("a.x", value=9), 0)
    assert [entry.value for entry in settle_all(web)] == [9]
    abandon(log)


@pytest.mark.guarantee(1)
def test_a_destination_whose_state_is_gone_is_missed_and_gets_again_what_is_there(tmp_path, caplog):
    log = open_log(tmp_path)
    web = log.open_queue("web", ALL)
    log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x", "a.x"), 0)
    web.settle(web.take(1)[0])
    log.stop()
    change_states(tmp_path, "DELETE FROM dict_state WHERE key = 'destination:web'")
    log = open_log(tmp_path)
    assert caplog.messages == [
        "web: its place in the store cannot be read (it is damaged or gone); it gets again all that is there"
    ]
    web, new = log.open_queue("web", ALL), log.open_queue("new", ALL)
    assert (web.queued, new.queued) == (3, 0)
    assert len(settle_all(web)) == 3
    log.stop()
    caplog.clear()
    abandon(open_log(tmp_path))
    assert not caplog.messages


LOST = "UPDATE dict_state SET data = x'00' WHERE key = 'destination:web'"


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
@pytest.mark.parametrize("choice", [ALL, only("a.x", "b.x")])
def test_one_whose_state_is_lost_keeps_what_is_there_until_it_is_opened(tmp_path, choice, caplog):
    """It may be disabled, or have left the config; or a command has looked into the store first."""
    log = open_log(tmp_path)
    web, other = log.open_queue("web", choice), log.open_queue("other", ALL)
    for value in range(30):
        log.put(readings("a.x", "b.x", "c.x", value=value), 0)
    for entry in web.take(6):
        web.settle(entry, reason="refused")
    desk.retry(log, "web")
    for entry in web.take(2):
        web.settle(entry, reason="refused")
    log.close_queue(web, removed=False)
    log.stop()
    change_states(tmp_path, LOST)
    caplog.clear()
    for start in range(3):
        log = open_log(tmp_path)
        other, web = log.open_queue("other", ALL), log.queues["web"]
        assert (web.open, web.queued, web.dead, web.lost) == (False, 90 + 4, 2, 0)
        assert sum(1 for _ in web.pending()) == web.queued
        log.put(readings("a.x", value=100), 0)  # not its own: it is closed
        settle_all(other)
        log.flush()
        assert len(caplog.messages) == 1, start  # it has been said
        log.stop()
    log = open_log(tmp_path)
    web = log.open_queue("web", choice)
    wanted = 90 if choice == ALL else 60
    assert (web.queued, web.dead, web.lost, web.dropped) == (wanted + 4, 2, 0, 0)
    assert len(settle_all(web)) == wanted + 4
    assert (web.queued, len(list(log.dead_letters("web")))) == (0, 2)
    log.stop()


def test_one_whose_state_is_lost_and_that_left_the_config_is_dropped_in_time(tmp_path, time):
    log = keeping(tmp_path, HOUR_S)
    web = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.stop()
    change_states(tmp_path, LOST)
    log = keeping(tmp_path, HOUR_S)
    web = log.queues["web"]
    assert web.queued == 1
    log.close_queue(web, removed=True)
    log.flush()
    assert log.disk.last() == 1
    time.now_s += HOUR_S
    log.flush()
    assert (log.queues, log.disk.last()) == ({}, 0)
    abandon(log)


@pytest.mark.guarantee(1)
def test_one_whose_state_is_lost_in_a_store_that_cannot_be_read_further_is_counted_by_the_next_flush(tmp_path):
    log = open_log(tmp_path)
    web = log.open_queue("web", ALL)
    for value in range(40):
        log.put(readings("a.x", value=float(value)), 0)
        log.flush()
    for entry in web.take(2):
        web.settle(entry, reason="refused")
    log.stop()
    change_states(tmp_path, LOST)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'queue_log'").fetchone()
    data = bytearray((tmp_path / FILE).read_bytes())
    assert data[(root - 1) * 1024] == 5
    first = int.from_bytes(data[(root - 1) * 1024 + 12 :][:2], "big")
    child = int.from_bytes(data[(root - 1) * 1024 + first :][:4], "big")
    data[(child - 1) * 1024] = 0xEE  # the page with the first readings
    (tmp_path / FILE).write_bytes(data)
    log = open_log(tmp_path)
    assert log.queues["web"].queued > 0
    log.flush()
    web = log.queues["web"]
    there = sum(1 for _ in web.pending())
    assert (web.queued, web.dead) == (there, 2)
    assert 0 < there < 40
    web = log.open_queue("web", ALL)
    assert len(settle_all(web)) == there
    log.stop()


@pytest.mark.guarantee(1)
def test_one_whose_name_too_is_lost_in_a_damaged_store_keeps_what_is_there(tmp_path):
    """A command that knows the config may have mended the store, and the daemon starts later."""
    log = open_log(tmp_path)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x"), 0)
    log.flush()
    web.settle(web.take(1)[0], reason="refused")
    settle_all(other)
    log.stop()
    change_states(tmp_path, "UPDATE dict_state SET data = x'00' WHERE key IN ('destination:web', 'names')")
    log = open_log(tmp_path)
    log.disk.torn = log.registry._torn = True  # as it is behind a salvage
    log.keep_queue("web", ALL, Bounds())
    log.keep_queue("other", only("c.x"), Bounds())
    assert log.queues["other"].choice == ALL
    log.stop()
    log = open_log(tmp_path)
    log.keep_queue("new", ALL, Bounds())
    assert sorted(log.queues) == ["other", "web"]
    web = log.open_queue("web", ALL)
    assert (web.queued, web.dead) == (2, 1)
    assert len(settle_all(web)) == 2
    log.stop()


def test_a_destination_that_was_dropped_is_not_missed(tmp_path, caplog):
    log = Log(tmp_path, 3600.0, BOOT, lambda: NOW_MS, lambda: 0, keep_removed_s=0.0)
    log.close_queue(log.open_queue("web", ALL), removed=True)
    log.open_queue("other", ALL)
    log.put(readings("a.x"), 0)
    log.flush()
    log.stop()
    caplog.clear()
    log = open_log(tmp_path)
    assert (list(log.queues), caplog.messages) == (["other"], [])
    abandon(log)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("key", sorted(Queue.new(ALL, 5)))
@pytest.mark.parametrize(
    "value",
    [None, "7", -1, 1.5, [[None, True]], 10**400],
    ids=["nothing", "text", "negative", "broken", "list", "huge"],
)
def test_a_state_with_a_part_that_makes_no_sense_keeps_nothing_from_starting(tmp_path, key, value):
    """Whatever it is taken for, readings come in and go out."""
    log = open_log(tmp_path)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x", "a.x"), 0)
    web.settle(web.take(1)[0])
    settle_all(other)
    state: dict[str, Any] = web.to_json()
    log.stop()
    change_state(tmp_path, "web", encoded(state | {key: value}))
    log = open_log(tmp_path)
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x"), 0)
    log.flush()
    assert len(settle_all(other)) == 2
    settle_all(web)
    log.stop()


def test_what_destinations_lack_of_what_is_in_memory_only(log, monkeypatch):
    """It is what is lost where the store cannot be written to the end."""
    web, part = log.open_queue("web", ALL), log.open_queue("part", only("a.x"))
    log.open_queue("none", only("c.x"))
    log.put(readings("a.x", "b.x"), 0)
    log.flush()
    assert log.registry.lacking(behind=log.reader.in_memory()) == {}
    monkeypatch.setattr(Files, "commit", cannot_write)
    for _ in range(3):
        log.put(readings("a.x", "b.x"), 0)
        with pytest.raises(StoreUnusable):
            log.flush()
    web.settle(web.take(1)[0])  # one of those on disk
    settle_all(part)
    log.put(readings("a.x"), 0)
    assert log.registry.lacking(behind=log.reader.in_memory()) == {"web": 7, "part": 1}


# --- memories


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("how", ["UPDATE dict_state SET data = substr(data, 2)", "DELETE FROM dict_state"])
def test_a_memory_that_is_damaged_or_gone_is_said_and_begins_anew(tmp_path, how, caplog):
    log = open_log(tmp_path)
    log.put([], 0, {"sensor:meter:pulse-counter": {"total": 7}, "sensor:rain:rain": {"total": 8}})
    log.stop()
    change_states(tmp_path, f"{how} WHERE key = 'memory:sensor:meter:pulse-counter'")
    log = open_log(tmp_path)
    assert caplog.messages == [
        "what sensor:meter:pulse-counter remembered in the store is damaged or gone: it begins anew, a total from 0"
    ]
    assert log.recall("sensor:meter:pulse-counter") is None
    assert log.recall("sensor:rain:rain") == {"total": 8}
    log.put([], 0, {"sensor:meter:pulse-counter": {"total": 1}})
    log.stop()
    caplog.clear()
    log = open_log(tmp_path)
    assert (log.recall("sensor:meter:pulse-counter"), caplog.messages) == ({"total": 1}, [])
    abandon(log)


def pulse(log: Log, total: int, offset_ms: int = 0) -> None:
    log.put([Reading("meter.total", NOW_MS, total)], offset_ms, memory={"meter": {"total": total}})


@pytest.mark.guarantee(12)
def test_what_is_remembered_is_recalled_by_its_owner_alone(tmp_path):
    log = open_log(tmp_path)
    assert log.recall("meter") is None
    pulse(log, 7)
    log.put([], 0, memory={"gas": [1, 2]})  # a baseline, without a reading
    assert (log.recall("meter"), log.recall("gas"), log.recall("destination:web")) == ({"total": 7}, [1, 2], None)
    log.stop()
    log = open_log(tmp_path)
    assert (log.recall("meter"), log.recall("gas"), log.recall("met")) == ({"total": 7}, [1, 2], None)
    abandon(log)


@pytest.mark.guarantee(12)
@pytest.mark.pain("D10")
def test_a_memory_is_in_the_commit_of_its_readings(log, monkeypatch):
    log.open_queue("web", ALL)
    seen: list[Changes] = []
    commit = log.disk.commit

    def noting(changes: Changes) -> None:
        seen.append(changes)
        commit(changes)

    monkeypatch.setattr(log.disk, "commit", noting)
    pulse(log, 1)
    log.flush()
    assert len(seen) == 1
    assert seen[0].states["memory:meter"] == {"total": 1}
    assert [entry.value for segment in seen[0].segments for entry in segment.entries] == [1]


@pytest.mark.guarantee(12)
@pytest.mark.pain("D10")
def test_readings_are_sent_only_when_their_total_is_on_disk(log):
    web = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    pulse(log, 1)
    log.put(readings("a.x"), 0)  # whatever comes behind waits as well; it is in order, and soon over
    assert [entry.series for entry in web.take(10)] == ["a.x"]
    assert web.queued == 3
    assert [entry.series for entry in web.pending()] == ["a.x", "meter.total", "a.x"]
    web.wake.clear()
    log.flush()
    assert web.wake.is_set()
    assert [entry.series for entry in web.take(10)] == ["a.x", "meter.total", "a.x"]


@pytest.mark.guarantee(12)
def test_what_comes_during_the_commit_waits_for_the_next(log, monkeypatch):
    web = log.open_queue("web", ALL)
    pulse(log, 1)
    commit = Files.commit

    def slow_commit(*arguments):
        pulse(log, 2)
        assert web.take(10) == []
        commit(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", slow_commit)
        log.flush()
    assert [entry.value for entry in web.take(10)] == [1]
    log.flush()
    assert [entry.value for entry in web.take(10)] == [1, 2]


@pytest.mark.guarantee(12)
def test_a_memory_is_committed_before_the_interval_is_over(tmp_path):
    log = open_log(tmp_path)
    web = log.open_queue("web", ALL)
    log.start()
    pulse(log, 1)
    for _ in range(1000):
        web.wake.clear()
        if web.take(10):
            break
        web.wake.wait(0.01)  # another thread's work
    assert [entry.value for entry in web.take(10)] == [1]
    assert log.commits == 1
    log.stop()


@pytest.mark.guarantee(12)
@pytest.mark.pain("A29")
def test_a_memory_that_stays_the_same_is_not_written_again(log, tmp_path):
    web = log.open_queue("web", ALL)
    pulse(log, 1)
    log.flush()
    settle_all(web)
    log.flush()
    before, commits = files(tmp_path), log.commits
    for _ in range(10):
        pulse(log, 1)
        log.put([], 0, memory={"meter": {"total": 1}})
        assert [entry.value for entry in settle_all(web)] == [1]  # and nothing waits for a commit
        log.flush()
    assert (log.commits, files(tmp_path)) == (commits, before)


@pytest.mark.guarantee(12)
def test_a_memory_whose_reading_goes_nowhere_is_kept_all_the_same_and_holds_up_nothing(tmp_path):
    log = open_log(tmp_path)
    web = log.open_queue("web", only("a.x"))
    pulse(log, 1)
    log.flush()
    assert log.commits == 1
    log.put(readings("a.x"), 0)
    assert len(settle_all(web)) == 1
    pulse(log, 2)
    pulse(log, 1)  # as it is on disk: there is nothing to commit
    log.flush()
    assert log.commits == 1
    log.put(readings("a.x"), 0)
    assert len(web.take(10)) == 1
    abandon(log)
    log = open_log(tmp_path)
    assert log.recall("meter") == {"total": 1}
    abandon(log)


@pytest.mark.guarantee(12)
def test_while_the_disk_cannot_be_written_totals_are_sent_all_the_same(log, monkeypatch):
    """They go back if the power fails as well; but a platform without values is the worse end of that."""
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    web = log.open_queue("web", ALL)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        for total in range(1, 4):
            pulse(log, total)
            with pytest.raises(StoreUnusable):
                log.flush()
            assert [entry.value for entry in web.take(10)] == [total]
            assert log.recall("meter") == {"total": total}
            settle_all(web)
    log.flush()
    assert log.trouble == ""
    assert files_of(log).states.read()["memory:meter"] == {"total": 3}


@pytest.mark.guarantee(12)
def test_a_memory_that_cannot_be_read_is_none(tmp_path):
    log = open_log(tmp_path)
    pulse(log, 3)
    log.put([], 0, memory={"gas": 1})
    log.flush()
    connection = files_of(log).connection
    connection.execute("UPDATE dict_state SET data = x'7bff' WHERE key = 'memory:meter'")
    connection.commit()
    abandon(log)
    log = open_log(tmp_path)
    assert (log.recall("meter"), log.recall("gas")) == (None, 1)
    pulse(log, 1)
    log.stop()
    log = open_log(tmp_path)
    assert log.recall("meter") == {"total": 1}
    abandon(log)


class TotalMachine(RuleBasedStateMachine):
    """A pulse counter over deaths at any point: what the platform saw and what is queued is never above the memory."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.folder = Path(self.directory.name)
        self.highest = 0  # that was ever delivered
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(disk_module, "_AGAIN_S", 0.0)
        self.begin()

    def begin(self) -> None:
        self.log = open_log(self.folder)
        self.queue = self.log.open_queue("web", only("meter.total", "a.x"))
        kept = self.log.recall("meter")
        self.total = kept["total"] if kept else 0
        assert self.total >= self.highest
        self.delivered = [0]  # in this run; what was delivered before may come once more
        there = [int(entry.value) for entry in self.queue.pending() if entry.series == "meter.total"]
        assert max(there, default=0) <= self.total

    def teardown(self):
        abandon(self.log)
        self.patch.undo()
        self.directory.cleanup()

    @rule(more=st.integers(0, 3), mapped=st.booleans(), offset_ms=st.sampled_from([0, 5000]))
    def count(self, more, mapped, offset_ms):
        self.total += more
        series = "meter.total" if mapped else "nowhere.total"
        reading = Reading(series, NOW_MS, self.total)
        self.log.put([reading], offset_ms, memory={"meter": {"total": self.total}})

    @rule()
    def measure(self):
        self.log.put([Reading("a.x", NOW_MS, -1)], 0)

    @rule(most=st.integers(1, 5))
    def deliver(self, most):
        for entry in self.queue.take(most):
            self.arrive(entry)
            self.queue.settle(entry)

    def arrive(self, entry: Entry) -> None:
        if entry.series == "meter.total":
            self.delivered.append(int(entry.value))
            self.highest = max(self.highest, int(entry.value))

    @rule()
    def flush(self):
        self.log.flush()
        assert len(self.queue.take(1000)) == self.queue.queued

    @rule()
    def flush_and_count_in_its_midst(self):
        commit = Files.commit

        def slow(*arguments):
            self.count(1, mapped=True, offset_ms=0)
            self.deliver(5)
            commit(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Files, "commit", slow)
            self.log.flush()

    @rule(how=st.sampled_from(["die", "die at the commit", "stop"]))
    def start_again(self, how):
        if how == "stop":
            self.log.stop()
        elif how == "die":
            abandon(self.log)
        else:
            log = self.log

            def die(*_):
                for entry in self.queue.take(10):  # its sender is at work up to the last moment
                    self.arrive(entry)
                abandon(log)
                raise KeyboardInterrupt

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Files, "commit", die)
                try:
                    log.flush()
                    abandon(log)  # there was nothing to commit
                except KeyboardInterrupt:
                    pass
        self.begin()

    @invariant()
    def a_total_never_goes_back(self):
        assert self.delivered == sorted(self.delivered)


TestTotals = pytest.mark.pain("D10")(pytest.mark.guarantee(12)(TotalMachine.TestCase))
TestTotals.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
