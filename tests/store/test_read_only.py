"""A store that cannot be written or cannot be reached: senders go on with what is there, and then it is mended."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import StoreUnusable
from edged.store import desk
from edged.store import disk as disk_module
from edged.store.log import Log
from edged.store.queue import Queue
from tests.conftest import without_root
from tests.store import ALL, BOOT, NOW_MS, abandon, only, open_log, settle_all
from tests.store.conftest import SmallDisk
from tests.store.ledger import Ledger, account, killed, number_of

MEMORY = 4 * 1024 * 1024


@pytest.fixture
def at_once(monkeypatch):
    """What cannot be written is tried again at each flush."""
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)


def fails(log: Log) -> bool:
    """Whether nothing can be written."""
    try:
        log.flush()
    except StoreUnusable:
        return True
    return False


def reopened(folder: Path, ledger: Ledger) -> None:
    """Another start finds all of it."""
    log = open_log(folder)
    queues = ledger.open(log)
    ledger.check(log)
    for queue in queues.values():
        numbers = [number_of(entry.value) for entry in settle_all(queue) if entry.seq > 0]
        assert numbers == sorted(set(numbers))
    log.stop()


def with_backlog(folder: Path, number: int = 1000, size: int = 0) -> Ledger:
    """A store with so many readings, of which ten are delivered and two are dead letters."""
    ledger = Ledger(web=ALL, part=only("b.x"))
    log = open_log(folder)
    queues = ledger.open(log)
    for _ in range(10):
        ledger.put(log, number // 10, size)
        log.flush()
    for entry in queues["web"].take(12):
        queues["web"].settle(entry, reason="" if entry.seq <= 10 else "refused")
    log.stop()
    return ledger


# --- a file system that turns read-only


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(3)
@pytest.mark.guarantee(8)
@pytest.mark.case(38)
def test_the_file_system_turns_read_only_and_is_mended(small_disk, at_once, caplog):
    ledger = Ledger(live=ALL, slow=ALL, dead=ALL)
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    ledger.put(log, 500, 1000)
    log.flush()
    small_disk.fail()
    for _ in range(8):
        ledger.put(log, 1000, 1000)
        settle_all(queues["live"])
        for entry in queues["slow"].take(40):  # from the disk, which can be read
            queues["slow"].settle(entry)
        assert fails(log)
        assert sum(segment.pack() for segment in log.tail.waiting) <= MEMORY
        ledger.check(log)
    assert "is read-only" in log.trouble or "disk I/O error" in log.trouble  # as the kernel has it
    assert queues["live"].delivered == 8500
    assert 3000 < queues["dead"].lost < 6000
    said = [message for message in caplog.messages if "cannot be written:" in message]
    assert len(said) == 1
    assert str(small_disk.store) in said[0]
    small_disk.replace()
    assert not fails(log)
    ledger.check(log)
    assert (log.trouble, log.reader.in_memory()) == ("", 8500)
    assert caplog.messages[-1] == "the store can be written again"
    folder = killed(small_disk.store, small_disk.path.parent / "killed")
    lost = queues["dead"].lost
    log.stop()
    for place in (folder, small_disk.store):
        log = open_log(place)
        queue = ledger.open(log)["dead"]
        ledger.check(log)
        numbers = [number_of(entry.value) for entry in settle_all(queue)]
        assert (queue.lost, numbers) == (lost, [*range(500), *range(500 + lost, 8500)])
        abandon(log)


@pytest.mark.guarantee(2)
@pytest.mark.case(38)
def test_it_is_durable_within_a_minute_after_the_remount(small_disk, monkeypatch):
    """Nobody has to restart it; it tries every ten seconds."""
    now_s = [1000.0]
    monkeypatch.setattr("edged.store.disk.time.monotonic", lambda: now_s[0])
    ledger = Ledger()
    log = open_log(small_disk.store)
    ledger.open(log)
    small_disk.fail()
    ledger.put(log, 10)
    assert fails(log)
    small_disk.replace()
    waited = 0
    while fails(log):
        now_s[0] += 1.0
        waited += 1
        assert waited <= 60
    assert waited <= 10
    folder = killed(small_disk.store, small_disk.path.parent / "killed")
    log.stop()
    reopened(folder, ledger)


@pytest.mark.guarantee(1)
def test_it_stops_while_it_is_read_only_and_what_is_on_disk_is_there_afterwards(small_disk):
    ledger = with_backlog(small_disk.store)
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    small_disk.fail()
    settle_all(queues["web"])
    with pytest.raises(StoreUnusable):
        log.stop()
    small_disk.replace()
    reopened(small_disk.store, ledger)  # what was settled is sent again


@pytest.mark.guarantee(1)
def test_people_are_told_that_it_is_read_only_and_nothing_changes(small_disk, at_once):
    ledger = with_backlog(small_disk.store)
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    small_disk.fail()
    before = account(queues["web"])
    for ask in (desk.retry, desk.drop, desk.drop_dead):
        with pytest.raises(StoreUnusable):
            ask(log, "web")
        assert account(queues["web"]) == before
        ledger.check(log)
    small_disk.replace()
    assert desk.retry(log, "web") == 2
    ledger.check(log)
    log.stop()
    reopened(small_disk.store, ledger)


# --- read-only at the start


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
@pytest.mark.case(38)
@pytest.mark.parametrize("end", ["clean", "killed"])
def test_read_only_at_the_start_the_queue_is_sent(small_disk, at_once, caplog, end):
    ledger = with_backlog(small_disk.store)
    if end == "killed":  # all that is new is in the write-ahead log then
        log = open_log(small_disk.store)
        ledger.open(log)
        ledger.put(log, 100)
        log.flush()
        saved = killed(small_disk.store, small_disk.path.parent / "saved")
        abandon(log)
        for path in saved.iterdir():
            (small_disk.store / path.name).write_bytes(path.read_bytes())
    small_disk.remount("ro")
    caplog.clear()
    log = open_log(small_disk.store)
    assert len(caplog.messages) == 1
    assert "is read-only" in caplog.messages[0]
    queues = ledger.open(log)
    ledger.check(log)
    before = ledger.next
    assert [number_of(entry.value) for entry in settle_all(queues["web"])] == list(range(12, before))
    assert len(list(log.dead_letters("web"))) == 2
    for _ in range(5):
        ledger.put(log, 10)
        assert fails(log)
        assert len(settle_all(queues["web"])) == 10
        ledger.check(log)
    small_disk.remount("rw")
    assert not fails(log)
    assert not fails(log)
    ledger.check(log)
    assert log.trouble == ""
    log.stop()
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    assert (queues["web"].queued, queues["web"].delivered, queues["web"].dead) == (0, before + 50 - 2, 2)
    assert [number_of(entry.value) for entry in settle_all(queues["part"])] == list(range(1, before + 50, 2))
    ledger.check(log)
    log.stop()


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(8)
def test_read_only_at_the_start_memory_is_bounded_and_the_newest_are_kept(small_disk, at_once):
    ledger = with_backlog(small_disk.store, 1000, 300)
    small_disk.remount("ro")
    log = open_log(small_disk.store)
    queues = ledger.open(log)
    for _ in range(8):
        ledger.put(log, 1000, 1000)
        assert fails(log)
        assert sum(segment.pack() for segment in log.tail.waiting) <= MEMORY
        ledger.check(log)
    numbers = [number_of(entry.value) for entry in queues["web"].pending()]
    lost = queues["web"].lost
    assert numbers == [*range(12, 1000), *range(1000 + lost, 9000)]
    small_disk.remount("rw")
    assert not fails(log)
    ledger.check(log)
    log.stop()
    reopened(small_disk.store, ledger)


@pytest.mark.guarantee(12)
def test_what_a_driver_remembers_is_known_though_the_store_is_read_only(small_disk):
    log = open_log(small_disk.store)
    log.put([], 0, {"meter": {"total": 12}})
    log.stop()
    small_disk.remount("ro")
    log = open_log(small_disk.store)
    assert log.recall("meter") == {"total": 12}
    abandon(log)


# --- no place for it


def file_there(folder: Path) -> None:
    folder.write_text("no folder")


def parent_is_a_file(folder: Path) -> None:
    folder.parent.write_text("no folder")


def not_writable(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o555)


def not_creatable(folder: Path) -> None:
    folder.parent.mkdir()
    folder.parent.chmod(0o555)


def not_searchable(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o000)
    if os.geteuid() == 0:
        os.chown(folder, 12345, -1)  # whose daemon runs nowhere


def mend(folder: Path) -> None:
    for path in (folder.parent, folder):
        if path.is_file():
            path.unlink()
        elif path.is_dir():
            path.chmod(0o777)


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(1)
@pytest.mark.parametrize("obstacle", [file_there, parent_is_a_file, not_writable, not_creatable, not_searchable])
def test_a_folder_that_cannot_be_used_is_said_in_one_line_and_used_once_it_can_be(tmp_path, at_once, caplog, obstacle):
    folder = tmp_path / "var" / "state"
    if obstacle is file_there:
        folder.parent.mkdir()
    obstacle(folder)
    for path in (tmp_path, *tmp_path.parents):  # so that nobody gets there
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    ledger = Ledger()
    with without_root():
        log = open_log(folder)
        queue = ledger.open(log)["web"]
        for _ in range(5):
            ledger.put(log, 10)
            assert fails(log)
        assert str(folder) in log.trouble
        assert [message for message in caplog.messages if "cannot be written" in message] == caplog.messages[:1]
        assert len(caplog.messages) <= 2
        for entry in queue.take(5):
            queue.settle(entry)
    mend(folder)
    with without_root():
        assert not fails(log)
        ledger.check(log)
        assert (log.trouble, queue.queued) == ("", 45)
        log.stop()
        reopened(folder, ledger)


# --- not readable at the start, and readable later


class Hidden:
    """A store whose folder is not there at the start, as of a disk that is mounted late; and then it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._away = folder.with_name("away")

    def hide(self) -> None:
        self.folder.rename(self._away)
        self.folder.write_text("no folder")

    def show(self) -> None:
        self.folder.unlink()
        self._away.rename(self.folder)


def clock(now_ms: int) -> Callable[[], int]:
    """One that stands still."""
    return lambda: now_ms


def numbers_of(queue: Queue) -> list[int]:
    return [number_of(entry.value) for entry in queue.pending()]


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
def test_a_store_that_can_be_read_only_later_is_joined_with_what_has_come_in_memory(tmp_path, at_once):
    hidden = Hidden(tmp_path / "state")
    ledger = with_backlog(hidden.folder)
    hidden.hide()
    log = open_log(hidden.folder)
    queues = ledger.open(log)
    ledger.put(log, 50)
    assert fails(log)
    assert numbers_of(queues["web"]) == list(range(1000, 1050))
    delivered = queues["web"].take(20)
    for entry in delivered:
        queues["web"].settle(entry)
    on_its_way = queues["web"].take(5)
    hidden.show()
    assert not fails(log)
    ledger.check(log)
    assert (queues["web"].delivered, queues["web"].dead, queues["web"].lost) == (30, 2, 0)
    assert numbers_of(queues["web"]) == [*range(12, 1000), *range(1020, 1050)]
    for entry in on_its_way:
        queues["web"].settle(entry)
    assert numbers_of(queues["web"]) == [*range(12, 1000), *range(1025, 1050)]
    assert numbers_of(queues["part"]) == list(range(1, 1050, 2))
    ledger.put(log, 10)
    log.flush()
    ledger.check(log)
    folder = killed(hidden.folder, tmp_path / "killed")
    abandon(log)
    log = open_log(folder)
    queues = ledger.open(log)
    ledger.check(log)
    assert numbers_of(queues["web"]) == [*range(12, 1000), *range(1025, 1060)]
    log.stop()
    reopened(folder, ledger)


@pytest.mark.guarantee(1)
def test_dead_letters_of_both_are_there_when_they_are_joined(tmp_path, at_once):
    hidden = Hidden(tmp_path / "state")
    ledger = with_backlog(hidden.folder)
    hidden.hide()
    log = open_log(hidden.folder)
    web = ledger.open(log)["web"]
    ledger.put(log, 50)
    for entry in web.take(3):
        web.settle(entry, reason="refused")
    assert fails(log)
    hidden.show()
    assert not fails(log)
    assert (web.dead, len({letter.id for letter in log.dead_letters("web")})) == (5, 5)
    ledger.check(log)
    log.stop()
    reopened(hidden.folder, ledger)


@pytest.mark.guarantee(1)
def test_one_whose_place_is_lost_gets_all_that_is_there_when_they_are_joined(tmp_path, at_once):
    hidden = Hidden(tmp_path / "state")
    with_backlog(hidden.folder)
    with contextlib.closing(sqlite3.connect(hidden.folder / "store.db")) as connection:
        connection.execute("UPDATE dict_state SET data = x'00' WHERE key IN ('destination:web', 'destination:part')")
        connection.commit()
    hidden.hide()
    log = open_log(hidden.folder)
    ledger = Ledger(web=ALL, part=only("b.x"))
    queues = ledger.open(log)
    ledger.next = 1000
    ledger.put(log, 50)
    assert fails(log)
    hidden.show()
    assert not fails(log)
    web, part = queues["web"], queues["part"]
    there = numbers_of(web)
    assert there[-1050 + 100 :] == list(range(100, 1050))
    assert (web.queued, web.dead, web.lost) == (len(there), 2, 0)
    assert numbers_of(part) == [number for number in there if number % 2]
    assert part.queued == len(numbers_of(part))
    log.stop()


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
@pytest.mark.parametrize("stays", [True, False])
def test_twice_in_a_row(tmp_path, at_once, stays):
    """What came in memory the first time has very high numbers; what comes the second time must not get the same.

    Its destinations may have got all of it or nothing.
    """
    hidden = Hidden(tmp_path / "state")
    ledger = with_backlog(hidden.folder, 100)
    for start in range(3):
        hidden.hide()
        log = Log(hidden.folder, 3600.0, BOOT, clock(NOW_MS + start * 10_000), lambda: 0)
        queues = ledger.open(log)
        ledger.put(log, 50)
        assert fails(log)
        for entry in queues["web"].take(10):
            queues["web"].settle(entry)
        hidden.show()
        assert not fails(log)
        ledger.check(log)
        if not stays:
            settle_all(queues["web"])
            settle_all(queues["part"])
            ledger.check(log)
        log.stop()
    log = open_log(hidden.folder)
    queues = ledger.open(log)
    ledger.check(log)
    if stays:
        assert numbers_of(queues["web"]) == [*range(12, 100), *range(110, 150), *range(160, 200), *range(210, 250)]
        assert numbers_of(queues["part"]) == list(range(1, 250, 2))
    log.stop()
    reopened(hidden.folder, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
def test_a_clock_that_went_back_between_the_two_makes_it_wait_for_the_next_start(tmp_path, at_once):
    hidden = Hidden(tmp_path / "state")
    ledger = with_backlog(hidden.folder, 100)
    for now_ms in (NOW_MS, 1000):
        hidden.hide()
        log = Log(hidden.folder, 3600.0, BOOT, clock(now_ms), lambda: 0)
        queues = ledger.open(log)
        ledger.put(log, 50)
        assert fails(log)
        settle_all(queues["web"])
        hidden.show()
        assert fails(log) == (now_ms < NOW_MS)
        assert ("at the next start" in str(log.disk.trouble)) == (now_ms < NOW_MS)
        abandon(log)
    log = open_log(hidden.folder)
    queues = ledger.open(log)
    assert numbers_of(queues["part"]) == list(range(1, 150, 2))
    log.stop()


@pytest.mark.guarantee(1)
def test_a_store_that_is_damaged_where_it_could_not_be_read_is_salvaged_and_joined(tmp_path, at_once, caplog):
    """Whatever page it is, but for the one of the states, without which all is sent again."""
    whole = with_backlog(tmp_path / "whole", 100, 300)
    for page in range((tmp_path / "whole/store.db").stat().st_size // 1024):
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "state")
        hidden = Hidden(tmp_path / "state")
        ledger = Ledger.continued(whole)
        with (hidden.folder / "store.db").open("r+b") as file:
            file.seek(page * 1024)
            file.write(bytes(1024))
        hidden.hide()
        log = open_log(hidden.folder)
        queues = ledger.open(log)
        ledger.put(log, 50)
        assert fails(log)
        hidden.show()
        fails(log)
        assert not fails(log)
        log.inspect()
        log.flush()
        if "its place in the store cannot be read" not in caplog.text and page != 1:
            ledger.check(log)
            assert set(range(100, 150)) <= set(numbers_of(queues["web"])) <= set(range(12, 150))
        log.stop()
        if page != 1:
            reopened(hidden.folder, ledger)


@pytest.mark.guarantee(12)
def test_what_a_driver_remembers_is_not_known_until_it_can_be_read(tmp_path, at_once):
    hidden = Hidden(tmp_path / "state")
    log = open_log(hidden.folder)
    log.put([], 0, {"meter": {"total": 12}})
    log.stop()
    hidden.hide()
    log = open_log(hidden.folder)
    with pytest.raises(StoreUnusable, match="meter"):
        log.recall("meter")
    hidden.show()
    log.flush()
    assert log.recall("meter") == {"total": 12}
    log.stop()


@pytest.mark.guarantee(1)
def test_a_folder_that_is_gone_under_a_running_store_is_made_again(tmp_path, at_once):
    """Somebody has deleted it: what is in the open file goes with it, what comes is kept."""
    folder = tmp_path / "state"
    ledger = Ledger()
    log = open_log(folder)
    queue = ledger.open(log)["web"]
    ledger.put(log, 10)
    log.flush()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    for _ in range(3):
        ledger.put(log, 10)
        fails(log)
    assert sum(account(queue).values()) == 40
    log.disk.try_at_once()
    abandon(log)


def test_the_small_disk_can_be_made_read_only(small_disk: SmallDisk):
    """What this file rests on."""
    small_disk.remount("ro")
    with pytest.raises(OSError, match="Read-only"):
        (small_disk.path / "more").write_bytes(b"x")
