"""A disk that is full: readings keep flowing, the oldest are lost and counted, and it is over when there is room."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edged.errors import StoreUnusable
from edged.store import disk as disk_module
from edged.store import room as room_module
from edged.store.files import Files
from edged.store.log import Log
from edged.store.queue import Bounds, Queue
from edged.store.room import RESERVE_BYTES, keep_reserve
from tests.store import ALL, BOOT, abandon, open_log, settle_all
from tests.store.conftest import SmallDisk
from tests.store.ledger import Ledger, account, killed, number_of

REOPEN = """
import pathlib, sys
from edged.series import Choice
from edged.store.log import Log
log = Log(pathlib.Path(sys.argv[1]), 60.0, "boot")
queue = log.open_queue("web", Choice((("*", True),)))
print(queue.queued, len(queue.take(100000)), flush=True)
"""


def flush(log: Log) -> bool:
    """Whether it could be written."""
    try:
        log.flush()
    except StoreUnusable:
        return False
    return True


def put_until_full(log: Log, ledger: Ledger) -> None:
    """More than there is room for."""
    for _ in range(500):
        ledger.put(log, 100, 1000)
        assert flush(log)
        if log.disk.room.cap is not None:
            return
    pytest.fail("the disk is not full")


def oldest_first(queue: Queue) -> list[int]:
    return [number_of(entry.value) for entry in settle_all(queue)]


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(3)
@pytest.mark.pain("A4")
@pytest.mark.pain("A5")
def test_on_a_full_disk_readings_flow_and_the_oldest_are_lost_and_counted(small_disk, caplog):
    """The bound is 256 MB, on a disk of 10."""
    ledger = Ledger(live=ALL, slow=ALL, dead=ALL)
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    for number in range(120):
        ledger.put(log, 100, 1000)
        settle_all(queues["live"])
        for entry in queues["slow"].take(20):
            queues["slow"].settle(entry)
        assert flush(log)
        if number % 10 == 0:
            ledger.check(log)
    ledger.check(log)
    assert account(queues["live"]) == dict.fromkeys(account(queues["live"]), 0) | {"delivered": 12000}
    assert queues["dead"].lost > 4000
    assert queues["dead"].queued > 3000
    assert not (small_disk.store / "reserve").exists()
    on_its_way = queues["slow"].take(50)
    for _ in range(5):
        ledger.put(log, 1000, 1000)
        settle_all(queues["live"])
        assert flush(log)
    for entry in on_its_way:  # which were lost meanwhile, and arrived
        queues["slow"].settle(entry)
    ledger.check(log)
    assert caplog.messages[0] == (
        f"the disk of {small_disk.store} is full: the oldest readings are lost as new ones come; make room on it"
    )
    assert sorted(message.partition(":")[0] for message in caplog.messages[1:]) == ["dead", "slow"]
    log.stop()
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    ledger.check(log)
    numbers = oldest_first(queues["dead"])
    assert numbers == list(range(ledger.next - len(numbers), ledger.next))  # the newest, without a gap
    log.stop()


@pytest.mark.guarantee(1)
@pytest.mark.pain("A25")
def test_once_it_has_drained_it_is_as_before(small_disk, caplog):
    """The room that is to be kept as a reserve is in the store's own file: it is given back first."""
    ledger = Ledger()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    put_until_full(log, ledger)
    settle_all(queue)
    assert flush(log)
    assert (log.disk.room.cap, (small_disk.store / "reserve").stat().st_size) == (None, RESERVE_BYTES)
    assert log.bytes < RESERVE_BYTES + 2_200_000
    assert caplog.messages[-1] == f"the disk of {small_disk.store} has room again"
    ledger.check(log)
    before = queue.lost
    ledger.put(log, 1000, 1000)
    assert flush(log)
    assert (queue.lost, queue.queued) == (before, 1000)
    log.stop()


@pytest.mark.parametrize("small_disk", [20], indirect=True)
@pytest.mark.guarantee(1)
@pytest.mark.guarantee(8)
def test_more_at_once_than_there_is_room_for_is_lost_and_then_it_goes_on(small_disk, monkeypatch):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    ledger = Ledger()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    put_until_full(log, ledger)
    ledger.put(log, 6000, 1000)
    assert not flush(log)
    assert sum(segment.pack() for segment in log.tail.waiting) <= 1024 * 1024
    assert flush(log)
    ledger.check(log)
    assert queue.lost > 4000
    ledger.put(log, 100, 1000)
    assert flush(log)
    ledger.check(log)
    log.stop()


@pytest.mark.parametrize("small_disk", [20], indirect=True)
@pytest.mark.guarantee(1)
def test_others_fill_the_disk_and_free_it_again(small_disk, monkeypatch, caplog):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    ledger = Ledger()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    ledger.put(log, 1000, 1000)
    assert flush(log)
    small_disk.fill()
    for _ in range(30):
        ledger.put(log, 100, 1000)
        assert flush(log)  # into the room of the reserve
    assert (queue.lost > 0, log.trouble) == (True, "")
    ledger.check(log)
    small_disk.clear()
    ledger.put(log, 100, 1000)
    assert flush(log)
    assert (log.disk.room.cap, (small_disk.store / "reserve").exists()) == (None, True)
    before = queue.lost
    for _ in range(10):
        ledger.put(log, 100, 1000)
        assert flush(log)
    assert queue.lost == before
    ledger.check(log)
    assert [message.rpartition("/")[2] for message in caplog.messages if "disk of" in message] == [
        "state is full: the oldest readings are lost as new ones come; make room on it",
        "state has room again",
    ]
    log.stop()


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(8)
def test_others_take_the_reserve_too_and_the_newest_are_kept_in_memory(small_disk, monkeypatch, caplog):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    ledger = Ledger()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    ledger.put(log, 1000, 1000)
    log.stop()
    log = open_log(small_disk.store)  # whose write-ahead log has no room of its own yet
    queue = ledger.open(log)["web"]
    for _ in range(60):
        small_disk.fill()
        ledger.put(log, 200, 1000)
        flush(log)
    assert "full" in log.trouble
    assert sum(segment.pack() for segment in log.tail.waiting) <= 1024 * 1024
    pending = [number_of(entry.value) for entry in queue.pending()]
    assert pending[-700:] == list(range(ledger.next - 700, ledger.next))  # before them, what is on the disk
    ledger.check(log)
    for entry in queue.take(300):  # senders go on
        queue.settle(entry)
    assert sum(account(queue).values()) == ledger.next
    assert sum("the store cannot be written" in message for message in caplog.messages) == 1
    small_disk.clear()
    assert flush(log)
    assert log.trouble == ""
    assert flush(log)
    ledger.check(log)
    assert caplog.messages[-1] == "the store can be written again"
    log.stop()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    ledger.check(log)
    numbers = oldest_first(queue)
    assert numbers == sorted(set(numbers))
    log.stop()


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(2)
@pytest.mark.pain("A22")
@pytest.mark.parametrize("reserve", [True, False])
def test_after_an_unclean_end_it_opens_on_a_full_disk(small_disk, tmp_path, reserve):
    """With a shared-memory file it would end by SIGBUS; so it is done in a process of its own."""
    ledger = Ledger()
    log = Log(small_disk.store, 3600.0, BOOT)
    ledger.open(log)
    ledger.put(log, 1000, 1000)
    assert flush(log)
    saved = killed(small_disk.store, tmp_path / "killed")
    abandon(log)
    shutil.rmtree(small_disk.store)
    if not reserve:
        (saved / "reserve").unlink()
    folder = killed(saved, small_disk.store)
    small_disk.fill()
    assert (folder / "store.db-wal").stat().st_size > 900_000
    done = subprocess.run([sys.executable, "-c", REOPEN, str(folder)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "1000 1000\n"), done.stderr
    small_disk.clear()
    log = open_log(folder)
    ledger.open(log)
    ledger.check(log)
    ledger.put(log, 10)
    assert flush(log)
    log.stop()


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("leave", [0, 5_000, 300_000])
def test_it_begins_on_a_full_disk(small_disk, monkeypatch, leave):
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    small_disk.store.mkdir()
    small_disk.fill(leave)
    ledger = Ledger()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    for _ in range(20):
        ledger.put(log, 100, 1000)
        flush(log)
    assert sum(account(queue).values()) == ledger.next
    for entry in queue.take(100):
        queue.settle(entry)
    small_disk.clear()
    assert flush(log)
    ledger.put(log, 100, 1000)
    assert flush(log)
    ledger.check(log)
    assert log.trouble == ""
    log.stop()
    log = open_log(small_disk.store)
    ledger.open(log)
    ledger.check(log)
    log.stop()


@pytest.mark.guarantee(1)
def test_room_that_comes_back_is_used_though_it_is_too_little_for_a_reserve(small_disk):
    ledger = Ledger()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    small_disk.fill(1_000_000)
    put_until_full(log, ledger)
    small_disk.clear()
    small_disk.fill(6_000_000)
    ledger.put(log, 100, 1000)
    assert flush(log)
    before = queue.lost
    for _ in range(15):
        ledger.put(log, 100, 1000)
        assert flush(log)
    assert (queue.lost, (small_disk.store / "reserve").exists()) == (before, False)
    ledger.check(log)
    for _ in range(60):
        ledger.put(log, 100, 1000)
        assert flush(log)
    assert queue.lost > before
    ledger.check(log)
    log.stop()


@pytest.mark.parametrize("small_disk", [20], indirect=True)
@pytest.mark.guarantee(1)
@pytest.mark.pain("A22")
def test_a_store_that_is_damaged_on_a_full_disk_saves_what_there_is_room_for(small_disk, caplog):
    ledger = Ledger()
    log = open_log(small_disk.store)
    ledger.open(log)
    for _ in range(60):
        ledger.put(log, 100, 1000)
        assert flush(log)
    log.stop()
    small_disk.fill()
    with (small_disk.store / "store.db").open("r+b") as file:
        file.write(bytes(1024))
    caplog.clear()
    log = open_log(small_disk.store)
    queue = ledger.open(log)["web"]
    log.inspect()
    flush(log)
    ledger.check(log)
    assert 1000 < queue.queued < 6000
    assert "for more the disk has no room" in caplog.text
    ledger.put(log, 100, 1000)
    assert flush(log)  # what was set aside makes room
    assert not list(small_disk.store.glob("damaged-*.db"))
    ledger.check(log)
    small_disk.clear()
    log.stop()


@pytest.mark.guarantee(1)
def test_what_is_said_of_a_full_disk_is_said_once_a_full_hour(small_disk, caplog, monkeypatch):
    """Also where the one destination's bound is smaller than what the disk has room for."""
    ledger = Ledger(small=ALL, web=ALL)
    log = open_log(small_disk.store)
    queues = ledger.open(log, small=Bounds(max_size=1024 * 1024))
    for _ in range(100):
        ledger.put(log, 100, 1000)
        assert flush(log)
    ledger.check(log)
    assert (queues["small"].lost, queues["web"].dropped) == (0, 0)
    assert (queues["small"].dropped > 5000, queues["web"].lost > 1000) == (True, True)
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "small: the oldest readings are dropped, since its queue is at its max_size of 1048576 bytes",
        f"the disk of {small_disk.store} is full: the oldest readings are lost as new ones come",
        "web: the oldest readings are lost, since the disk is full",
    ]
    log.stop()


# --- the reserve, wherever the store is


def test_a_reserve_is_made_only_where_there_is_room_for_two(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    (tmp_path / "reserve").unlink()
    for free, made in ((2 * RESERVE_BYTES - 1, False), (2 * RESERVE_BYTES, True)):
        monkeypatch.setattr(room_module, "free_bytes", lambda _, free=free: free)
        assert (keep_reserve(tmp_path), (tmp_path / "reserve").exists()) == (made, made)
    abandon(log)


def test_a_reserve_takes_its_room_and_a_part_of_one_is_made_whole(tmp_path):
    log = open_log(tmp_path)
    reserve = tmp_path / "reserve"
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    os.truncate(reserve, 1000)
    assert keep_reserve(tmp_path)
    assert reserve.stat().st_size == RESERVE_BYTES
    abandon(log)


def test_the_disk_is_never_called_full_for_another_error(tmp_path, monkeypatch, caplog):
    log = open_log(tmp_path)
    ledger = Ledger()
    ledger.open(log)
    ledger.put(log, 10)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, contextlib.suppress(StoreUnusable):
        patch.setattr(Files, "commit", fail)
        log.flush()
    assert (log.disk.room.cap, (tmp_path / "reserve").exists()) == (None, True)
    assert "full" not in caplog.text
    abandon(log)


def test_the_small_disk_is_one(small_disk: SmallDisk):
    """What all of this rests on."""
    small_disk.fill()
    with pytest.raises(OSError, match="No space left"):
        Path(small_disk.path / "more").write_bytes(bytes(100_000))
