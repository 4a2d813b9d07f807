"""The store as a whole: few commits, each of them all or nothing, one process, and nothing lost between threads."""

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import StoreHeld, StoreUnusable
from edged.reading import Reading
from edged.store import disk as disk_module
from edged.store.files import Changes, Files
from edged.store.log import Log
from edged.store.tables import StateTable
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

HOLD = """
import pathlib, sys
from edged.store.log import Log
log = Log(pathlib.Path(sys.argv[1]), 60.0, "boot")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path)
    yield log
    abandon(log)


def rows(log: Log, table: str) -> list[tuple[object, ...]]:
    return files_of(log).connection.execute(f"SELECT * FROM {table}").fetchall()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def text(seed: int) -> str:
    """1 KB that zlib cannot shrink."""
    return "".join(chr(0x4E00 + (seed * 7919 + place * 104729) % 20000) for place in range(340))


# --- what is written, and when


@pytest.mark.pain("A10")
@pytest.mark.parametrize("destinations", [1, 3, 10])
def test_a_flush_is_one_commit_whatever_the_number_of_destinations(log, destinations):
    queues = [log.open_queue(f"d{number}", ALL) for number in range(destinations)]
    told: list[str] = []
    files_of(log).connection.set_trace_callback(told.append)
    for _ in range(5):
        log.put(readings("a.x", "b.x"), 0)
        first, second = queues[0].take(2)
        queues[0].settle(first, reason="refused")
        queues[0].settle(second)
        log.flush()
    files_of(log).connection.set_trace_callback(None)
    assert told.count("COMMIT") == log.commits == 5


@pytest.mark.pain("A29")
def test_nothing_is_written_while_nothing_is_new(log, tmp_path):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.flush()
    before, commits = files(tmp_path), log.commits
    for _ in range(10):
        assert len(queue.take(10)) == 1  # an outage: it is tried, and tried again
        log.flush()
    assert log.commits == commits
    assert files(tmp_path) == before


@pytest.mark.pain("A29")
def test_what_is_delivered_before_the_flush_is_never_written(log, tmp_path):
    queue = log.open_queue("web", ALL)
    before = files(tmp_path)
    for _ in range(100):
        log.put(readings("a.x", "b.x"), 0)
        settle_all(queue)
        log.flush()
    assert (log.commits, log.stored, queue.delivered) == (0, 200, 200)
    assert files(tmp_path) == before
    assert len(log.tail) == 0


def test_only_what_some_destination_lacks_is_written(log):
    fast, slow = log.open_queue("fast", ALL), log.open_queue("slow", only("b.x"))
    for value in range(3):
        log.put(readings("a.x", "b.x", value=value), 0)
    settle_all(fast)
    slow.settle(slow.take(1)[0])
    log.flush()
    segment = log.after(0)
    assert segment is not None
    assert (segment.first, segment.last) == (3, 6)


@pytest.mark.pain("A25")
def test_what_was_settled_on_disk_is_committed_though_nothing_is_new(log, tmp_path):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    log.flush()
    settle_all(queue)
    log.flush()
    assert log.commits == 2
    log.flush()
    assert log.commits == 2
    abandon(log)
    again = open_log(tmp_path)
    queue = again.open_queue("web", ALL)
    assert (queue.queued, queue.take(10), queue.delivered) == (0, [], 2)
    assert again.disk.last() == 0
    abandon(again)


@pytest.mark.pain("B2")
def test_what_is_settled_during_the_commit_that_writes_it_is_owed_to_the_next(log, monkeypatch):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    commit = log.disk.commit

    def slow_commit(changes):
        queue.settle(queue.take(1)[0])  # its sender is quick, the card is not
        commit(changes)

    monkeypatch.setattr(log.disk, "commit", slow_commit)
    log.flush()
    monkeypatch.undo()
    log.flush()
    assert log.commits == 2
    assert log.disk.last() == 0
    log.flush()
    assert log.commits == 2


@pytest.mark.pain("A25")
def test_a_drained_store_does_not_grow(log, tmp_path):
    queue = log.open_queue("web", ALL)
    sizes = []
    for _ in range(6):
        for number in range(2000):
            log.put([Reading("a.x", NOW_MS, number)], 0)
        log.flush()
        settle_all(queue)
        log.flush()
        sizes.append((tmp_path / "store.db").stat().st_size + (tmp_path / "store.db-wal").stat().st_size)
    assert sizes[-1] < 2 * 1024 * 1024 + 200_000
    files_of(log).connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert (tmp_path / "store.db").stat().st_size < 200_000


def test_a_long_tail_is_flushed_before_the_interval_is_over(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.start()
    for _ in range(6):
        log.put(readings(*["a.x"] * 1000), 0)
    deadline = time.monotonic() + 10
    while not log.commits and time.monotonic() < deadline:
        time.sleep(0.01)  # another thread's work
    assert log.commits
    log.stop()
    assert queue.queued == 6000


# --- dead letters


@pytest.mark.pain("A17")
@pytest.mark.guarantee(1)
def test_dead_letters_are_in_the_transaction_that_settles_them(log, monkeypatch, tmp_path):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    log.flush()
    queue.settle(queue.take(1)[0], reason="HTTP 422", response='{"error": "type"}')
    with monkeypatch.context() as patch:
        patch.setattr(StateTable, "__setitem__", cannot_write)  # behind the letter, in the same group
        with pytest.raises(StoreUnusable):
            log.flush()
    assert rows(log, "dead_letters") == []
    abandon(log)

    again = open_log(tmp_path)  # neither the position nor the letter is there: it is taken again
    queue = again.open_queue("web", ALL)
    assert (queue.queued, queue.dead, list(again.dead_letters("web"))) == (2, 0, [])
    entry = queue.take(1)[0]
    queue.settle(entry, reason="HTTP 422", response='{"error": "type"}')
    again.flush()
    abandon(again)

    again = open_log(tmp_path)
    queue = again.open_queue("web", ALL)
    assert (queue.queued, queue.dead) == (1, 1)
    (letter,) = again.dead_letters("web")
    assert letter[1:] == ("web", "a.x", NOW_MS, "1.0", "HTTP 422", '{"error": "type"}', NOW_MS)
    assert list(again.dead_letters("other")) == []
    abandon(again)


# --- commits that fail


@pytest.mark.guarantee(1)
def test_readings_stay_in_memory_while_the_disk_cannot_be_written_and_are_written_afterwards(
    log, tmp_path, monkeypatch
):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    queue = log.open_queue("web", ALL)
    log.flush()
    commits = log.commits
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        for seed in range(100):
            log.put([Reading("a.x", seed, text(seed))], 0)
            if seed % 10 == 9:
                with pytest.raises(StoreUnusable, match="disk I/O error"):
                    log.flush()
                assert "disk I/O error" in log.trouble
        assert (log.commits, queue.queued, log.reader.in_memory()) == (commits, 100, 0)
        for entry in queue.take(30):  # uploads go on
            queue.settle(entry)
    log.flush()
    assert (log.commits, log.trouble, log.tail.begins()) == (commits + 1, "", None)
    abandon(log)
    again = open_log(tmp_path)
    queue = again.open_queue("web", ALL)
    assert (queue.queued, queue.delivered, queue.lost) == (70, 30, 0)
    assert [entry.value for entry in settle_all(queue)] == [text(seed) for seed in range(30, 100)]
    abandon(again)


def test_what_was_owed_to_a_commit_that_failed_is_owed_to_the_next(log, monkeypatch):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.flush()
    settle_all(queue)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        with pytest.raises(StoreUnusable):
            log.flush()
    log.flush()
    assert log.commits == 2
    assert log.disk.last() == 0


def test_of_readings_with_one_that_is_none_nothing_is_taken(log):
    queue = log.open_queue("web", ALL)
    with pytest.raises(ValueError, match=r"b\.x: nan is no reading"):
        log.put([*readings("a.x"), *readings("b.x", value=float("nan"))], 0, {"meter": 7})
    assert (queue.queued, log.stored, log.recall("meter")) == (0, 0, None)
    log.put(readings("c.x"), 0)
    assert [entry.series for entry in queue.take(10)] == ["c.x"]


@pytest.mark.guarantee(1)
def test_a_commit_that_arrived_though_it_failed_is_made_once_more(log, monkeypatch, tmp_path):
    """An I/O error may come from the last of its steps: then all of it is there, and the same is written again."""
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    queue.settle(queue.take(1)[0], reason="no")
    commit = Files.commit

    def arrive_and_fail(*arguments):
        commit(*arguments)
        cannot_write()

    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", arrive_and_fail)
        with pytest.raises(StoreUnusable):
            log.flush()
    log.put(readings("c.x"), 0)
    log.flush()
    abandon(log)
    again = open_log(tmp_path)
    queue = again.open_queue("web", ALL)
    assert (queue.queued, queue.dead, len(list(again.dead_letters("web")))) == (2, 1, 1)
    assert [entry.series for entry in settle_all(queue)] == ["b.x", "c.x"]
    abandon(again)


@pytest.mark.guarantee(1)
def test_what_arrived_though_it_failed_is_there_once_though_it_is_joined_with_more(log, monkeypatch, tmp_path):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    queue = log.open_queue("web", ALL)
    commit = Files.commit

    def arrive_and_fail(*arguments):
        commit(*arguments)
        cannot_write()

    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", arrive_and_fail)
        for value in range(9):
            log.put(readings("a.x", value=value), 0)
            with pytest.raises(StoreUnusable):
                log.flush()
    log.flush()
    log.inspect()
    log.flush()
    assert (queue.queued, queue.lost) == (9, 0)
    abandon(log)
    again = open_log(tmp_path)
    queue = again.open_queue("web", ALL)
    again.inspect()
    again.flush()
    assert (queue.queued, queue.lost) == (9, 0)
    assert [entry.value for entry in settle_all(queue)] == list(range(9))
    again.flush()
    assert again.disk.last() == 0
    abandon(again)


@pytest.mark.guarantee(2)
def test_a_disk_that_is_well_again_is_used_at_once_though_nothing_was_to_be_written_when_it_was_tried(tmp_path):
    """The next try is not 10 s away then, in which a stop would lose what has come."""
    folder = tmp_path / "state"
    folder.write_text("no folder")
    log = open_log(folder)
    log.open_queue("web", ALL)
    folder.unlink()
    log.flush()
    assert log.trouble == ""
    log.put(readings("a.x"), 0)
    log.stop()
    log = open_log(folder)
    assert log.open_queue("web", ALL).queued == 1
    abandon(log)


@pytest.mark.guarantee(2)
def test_the_last_flush_of_all_does_not_wait_for_the_next_try(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        for _ in range(2):
            with pytest.raises(StoreUnusable):
                log.flush()
    log.stop()
    log = open_log(tmp_path)
    assert log.open_queue("web", ALL).queued == 1
    abandon(log)


def test_a_disk_that_fails_is_said_once_and_so_is_its_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    log = open_log(tmp_path, flush_interval=0.0)
    log.open_queue("web", ALL)
    with caplog.at_level(logging.INFO):
        fail_five_times(log, monkeypatch, cannot_write)
    assert [record.getMessage() for record in caplog.records] == [
        f"the store cannot be written: {tmp_path}: disk I/O error."
        "  Readings are kept in memory and sent from there; tried again every 0 s",
        "the store can be written again",
    ]
    again = open_log(tmp_path)
    assert again.open_queue("web", ALL).queued == 1
    abandon(again)


def test_a_bug_in_a_flush_does_not_end_the_flushing(tmp_path, monkeypatch, caplog):
    log = open_log(tmp_path, flush_interval=0.0)
    monkeypatch.setattr(log.background._stopping, "wait", lambda timeout: False)  # it pauses, lest it fill the journal
    log.open_queue("web", ALL)

    def bug(*_):
        raise RuntimeError("a bug")

    with caplog.at_level(logging.INFO):
        fail_five_times(log, monkeypatch, bug)
    assert {record.getMessage() for record in caplog.records} == {
        "a bug interrupts the writing of the store; please report it"
    }
    assert all(record.exc_info for record in caplog.records)
    again = open_log(tmp_path)
    assert again.open_queue("web", ALL).queued == 1
    abandon(again)


def fail_five_times(log: Log, monkeypatch: pytest.MonkeyPatch, failure: Callable[..., None]) -> None:
    """The flusher at work on a disk that takes a reading at the sixth try."""
    tries, enough = [], threading.Semaphore(0)
    commit = log.disk.commit

    def fail(changes: Changes) -> None:
        tries.append(1)
        enough.release()
        if len(tries) <= 5:
            failure()
        commit(changes)

    monkeypatch.setattr(log.disk, "commit", fail)
    log.start()
    log.put(readings("a.x"), 0)
    for _ in range(6):
        assert enough.acquire(timeout=10)
    log.stop()


@pytest.mark.guarantee(10)
@pytest.mark.pain("A19")
def test_a_damaged_segment_is_passed_over(log, caplog):
    queue = log.open_queue("web", ALL)
    for value in range(3):
        log.put(readings("a.x", value=value), 0)
        log.flush()
    log.reader.recent.clear()
    files_of(log).connection.execute("UPDATE queue_log SET data = substr(data, 1, 40) WHERE _id = 2")
    files_of(log).connection.commit()
    for _ in range(3):  # an outage: the same is taken again and again
        assert [entry.value for entry in queue.take(10)] == [0, 2]
    (record,) = caplog.records
    assert record.getMessage().startswith("a segment of the store is damaged and set aside: ")
    assert record.__dict__["segment"] == 2


# --- one process at a time


def test_a_second_store_on_the_folder_is_refused_with_one_clear_line(log, tmp_path):
    with pytest.raises(StoreHeld) as refused:
        open_log(tmp_path)
    assert str(refused.value) == (f"{tmp_path}: another edged (process {os.getpid()}) holds this store; stop it first")


def test_a_refused_store_leaves_no_file_open(log, tmp_path):
    gc.collect()  # what earlier tests left
    before = open_files()
    for _ in range(3):
        with pytest.raises(StoreHeld):
            open_log(tmp_path)
    assert open_files() == before


@pytest.mark.guarantee(10)
def test_a_folder_that_cannot_be_used_is_no_obstacle_and_leaves_no_file_open(tmp_path):
    (tmp_path / "state").write_text("no folder")
    before = open_files()
    for _ in range(2):
        log = open_log(tmp_path / "state")
        assert str(tmp_path / "state") in log.trouble
        queue = log.open_queue("web", ALL)
        log.put(readings("a.x"), 0)
        assert [entry.series for entry in settle_all(queue)] == ["a.x"]
        with pytest.raises(StoreUnusable):
            log.stop()
    assert open_files() == before


def test_a_store_is_free_again_after_a_stop(tmp_path):
    for _ in range(2):
        log = open_log(tmp_path)
        log.start()
        log.stop()


def test_a_stop_whose_flush_fails_lets_go_as_well(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        with pytest.raises(StoreUnusable, match="disk I/O error"):
            log.stop()
    open_log(tmp_path).stop()


@pytest.mark.guarantee(2)
def test_another_process_holds_the_store_until_it_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreHeld, match=f"process {other.pid}"):
            open_log(tmp_path)
        other.send_signal(signal.SIGKILL)
        other.wait()
    open_log(tmp_path).stop()


def test_the_lock_says_who_even_where_it_could_not_be_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        log = open_log(tmp_path)
    with pytest.raises(StoreHeld, match="process unknown"):
        open_log(tmp_path)
    abandon(log)


# --- across a restart


def test_a_number_is_not_used_twice_though_all_was_delivered(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", only("a.x"))
    log.put(readings("a.x"), 0)
    settle_all(queue)
    log.put(readings("b.x", "b.x"), 0)  # it never even looks at them
    log.stop()
    log = open_log(tmp_path)
    queue = log.open_queue("web", only("a.x"))
    log.put(readings("a.x"), 0)
    assert [entry.seq for entry in queue.take(1)] == [4]
    abandon(log)


def test_the_boot_and_the_offset_are_kept_with_the_readings(tmp_path):
    log = open_log(tmp_path)
    log.open_queue("web", ALL)
    log.put(readings("a.x"), 123)
    log.stop()
    log = Log(tmp_path, 60.0, "another boot")
    log.put(readings("a.x"), 456)
    segments = [log.after(0), log.after(1)]
    assert [(s.boot_id, s.offset_ms) for s in segments if s] == [(BOOT, 123), ("another boot", 456)]
    abandon(log)


# --- threads


@pytest.mark.guarantee(3)
@pytest.mark.guarantee(4)
def test_threads_lose_and_reorder_nothing(tmp_path):
    """A producer, three consumers of their own pace, one of which is replaced all the time, and a hasty flusher."""
    log = open_log(tmp_path, flush_interval=0.0)
    log.start()
    series = [f"s{number}.x" for number in range(5)]
    produced = threading.Event()
    errors: list[BaseException] = []
    taken: dict[str, list[tuple[str, object]]] = {"fast": [], "slow": [], "reloaded": []}

    def consume(name, most, blocked_every):
        try:
            queue = log.open_queue(name, ALL)
            ready.wait()
            turn = 0
            while True:
                done = produced.is_set()
                turn += 1
                blocked = {series[turn % 5]} if blocked_every and turn % blocked_every else set()
                batch = queue.take(most, blocked=blocked)
                for entry in batch:
                    queue.settle(entry, reason="refused" if entry.value % 97 == 0 else "")
                    taken[name].append((entry.series, entry.value))
                if name == "reloaded" and turn % 7 == 0:
                    queue = log.open_queue(name, ALL)
                if done and not batch and not blocked:
                    assert queue.queued == 0
                    return
                if not batch:
                    queue.wake.wait(0.005)
                    queue.wake.clear()
        except BaseException as error:
            errors.append(error)
            raise

    ready = threading.Barrier(4)
    consumers = [
        threading.Thread(target=consume, args=arguments)
        for arguments in (("fast", 1000, 0), ("slow", 3, 2), ("reloaded", 20, 0))
    ]
    for consumer in consumers:
        consumer.start()
    ready.wait()
    end = time.monotonic() + 1.0
    value = 0
    while time.monotonic() < end and value < 30_000:
        log.put([Reading(series[(value + i) % 5], NOW_MS, value + i) for i in range(4)], 0)
        value += 4
        if value % 400 == 0:
            time.sleep(0.001)  # or the producer has the processor for itself
    produced.set()
    for consumer in consumers:
        consumer.join(60)
    assert not errors
    log.stop()
    for name, got in taken.items():
        for each in series:
            assert [v for s, v in got if s == each] == [v for v in range(value) if series[v % 5] == each], name
    again = open_log(tmp_path)
    for name in taken:
        assert any(True for _ in again.dead_letters(name))
        assert sorted(int(letter.value) for letter in again.dead_letters(name)) == list(range(0, value, 97))
        assert again.open_queue(name, ALL).queued == 0
    assert again.disk.last() == 0
    abandon(again)
