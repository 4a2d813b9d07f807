"""Damaged files: no start fails or is silent, what is whole is delivered, and what is lost is counted."""

import contextlib
import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.errors import StoreUnusable
from edged.series import Choice
from edged.store import desk
from edged.store import disk as disk_module
from edged.store import salvage as salvage_module
from edged.store.files import APPLICATION, Files
from edged.store.lock import Lock
from edged.store.log import Log
from edged.store.queue import Queue
from edged.store.segment import Segment
from tests.store import ALL, abandon, files_of, only, open_log, settle_all
from tests.store.ledger import Ledger, account, killed, number_of

PAGE = 1024
CHOICES = {"web": ALL, "part": only("b.x")}


def look_through(log: Log) -> None:
    """What the checking thread and the first flush do."""
    log.inspect()
    log.flush()


def fill(folder: Path, segments: int = 6, each: int = 10, size: int = 300) -> Ledger:
    """A store with a segment a flush, for two destinations; one has dead letters, one of them in its queue again."""
    ledger = Ledger(**CHOICES)
    log = open_log(folder)
    queues = ledger.open(log)
    for _ in range(segments):
        ledger.put(log, each, size)
        log.flush()
    for entry in queues["web"].take(5):
        queues["web"].settle(entry, reason="" if entry.seq % 2 else "refused")
    desk.retry(log, "web")
    for entry in queues["web"].take(2 + 8)[1:]:
        queues["web"].settle(entry, reason="" if entry.seq % 3 else "refused")
    queues["part"].settle(queues["part"].take(1)[0])
    ledger.check(log)
    log.stop()
    return ledger


def deliver(log: Log, ledger: Ledger, queues: dict[str, Queue]) -> dict[str, list[int]]:
    """Delivers all: each series in order, nothing twice, nothing that never was; returns who got which readings."""
    got = {}
    for name, queue in queues.items():
        entries = settle_all(queue)
        for series in ("a.x", "b.x"):
            numbers = [number_of(entry.value) for entry in entries if entry.series == series and entry.seq > 0]
            assert numbers == sorted(set(numbers))
            assert set(numbers) <= set(range("ab".index(series[0]), ledger.next, 2))
        got[name] = sorted(number_of(entry.value) for entry in entries)
        assert queue.queued == 0
    log.flush()
    ledger.check(log)
    return got


def works(folder: Path, ledger: Ledger) -> None:
    """The store is well again: nothing more is said, what comes is kept, and all of it is delivered."""
    log = open_log(folder)
    queues = ledger.open(log)
    look_through(log)
    ledger.check(log)
    assert log.trouble == ""
    ledger.put(log, 4)
    log.stop()
    log = open_log(folder)
    queues = ledger.open(log)
    look_through(log)
    deliver(log, ledger, queues)
    log.stop()


@contextlib.contextmanager
def by_hand(folder: Path) -> Iterator[sqlite3.Connection]:
    """Somebody with sqlite3."""
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as connection:
        yield connection
        connection.commit()


def aside(folder: Path) -> list[Path]:
    """What was set aside."""
    return sorted(folder.glob("damaged-*.db"))


# --- rows


@pytest.mark.case(34)
@pytest.mark.guarantee(1)
@pytest.mark.pain("A19")
def test_rows_that_sqlite_cannot_hand_out_are_set_aside_and_counted(tmp_path, caplog):
    log = open_log(tmp_path)
    ledger = Ledger()
    ledger.open(log)
    for _ in range(6):
        ledger.put(log, 10)
        log.flush()
    log.stop()
    with by_hand(tmp_path) as connection:
        for key, value in ((20, "CAST(x'807D71' AS TEXT)"), (30, "NULL"), (40, "x''"), (50, "7")):
            connection.execute(f"UPDATE queue_log SET data = {value} WHERE _id = {key}")
    caplog.clear()
    log = open_log(tmp_path)
    queue = ledger.open(log)["web"]
    assert [number_of(entry.value) for entry in queue.pending()] == [*range(10), *range(50, 60)]  # `queue list`
    look_through(log)
    assert len(list(queue.pending())) == queue.queued == 20
    assert (queue.lost, log.trouble, aside(tmp_path)) == (40, "", [])
    assert deliver(log, ledger, {"web": queue})["web"] == [*range(10), *range(50, 60)]
    for _ in range(3):
        log.flush()
    assert len(caplog.messages) == 4 + 1
    assert sum("a segment of the store is damaged and set aside" in message for message in caplog.messages) == 4
    assert "web: 40 readings are lost to the damaged store" in caplog.messages
    caplog.clear()
    log.stop()
    works(tmp_path, ledger)
    assert caplog.messages == []


@pytest.mark.case(34)
@pytest.mark.pain("A22")
def test_rows_that_cannot_be_handed_out_hold_up_no_sender(tmp_path):
    """It gets there before the check does."""
    ledger = fill(tmp_path)
    with by_hand(tmp_path) as connection:
        connection.execute("UPDATE queue_log SET data = CAST(x'807D71' AS TEXT) WHERE _id = 20")
    log = open_log(tmp_path)
    queues = ledger.open(log)
    taken = queues["web"].take(1000)
    assert 20 < taken[-1].seq == 60
    for entry in taken:
        queues["web"].settle(entry)
    log.flush()
    ledger.check(log)
    assert {name: (queue.lost, queue.queued) for name, queue in queues.items()} == {"web": (7, 0), "part": (5, 24)}
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A5")
@pytest.mark.parametrize("rows", ["_id = 10", "_id IN (20, 40)", "_id = 60", "_id > 30", "1"])
def test_rows_that_somebody_deleted_are_counted(tmp_path, rows, caplog):
    ledger = fill(tmp_path)
    with by_hand(tmp_path) as connection:
        connection.execute(f"DELETE FROM queue_log WHERE {rows}")
    log = open_log(tmp_path)
    queues = ledger.open(log)
    look_through(log)
    ledger.check(log)
    for name in CHOICES:
        said = f"{name}: {queues[name].lost} readings are lost to the damaged store" in caplog.messages
        assert said == bool(queues[name].lost)
    assert queues["part"].lost
    deliver(log, ledger, queues)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A19")
@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits_in_rows_are_found_and_counted(tmp_path, seed, caplog):
    ledger = fill(tmp_path)
    chance = random.Random(seed)
    with by_hand(tmp_path) as connection:
        for key, data in connection.execute("SELECT _id, data FROM queue_log").fetchall():
            if chance.random() < 0.5:
                changed = bytearray(data)
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                connection.execute("UPDATE queue_log SET data = ? WHERE _id = ?", (bytes(changed), key))
    log = open_log(tmp_path)
    queues = ledger.open(log)
    look_through(log)
    assert "are lost to the damaged store" in caplog.text
    deliver(log, ledger, queues)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("data", ["x'00' || data", "NULL", "x''", "CAST(x'807D71' AS TEXT)", "7"])
def test_without_its_place_a_destination_gets_again_what_is_there(tmp_path, data, caplog):
    fill(tmp_path)
    with by_hand(tmp_path) as connection:
        connection.execute(f"UPDATE dict_state SET data = {data} WHERE key = 'destination:part'")
    log = open_log(tmp_path)
    ledger = Ledger(**CHOICES)
    queues = ledger.open(log)
    look_through(log)
    assert "part" in caplog.text
    numbers = [number_of(entry.value) for entry in settle_all(queues["part"])]
    assert numbers == list(range(1, 60, 2))
    log.stop()


# --- dead letters


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE dead_letters SET value = '{no json'",
        "UPDATE dead_letters SET value = '[1]'",
        "UPDATE dead_letters SET value = x'00ff'",
        "UPDATE dead_letters SET series = x''",
        "UPDATE dead_letters SET time_ms = 'soon'",
        "UPDATE dead_letters SET reason = CAST(x'807D71' AS BLOB)",
        "DELETE FROM dead_letters",
    ],
)
def test_dead_letters_that_are_damaged_or_gone_are_counted_as_lost(tmp_path, damage, caplog):
    ledger = fill(tmp_path)
    log = open_log(tmp_path)
    before = account(ledger.open(log)["web"])
    again = ledger.open(log)["web"].again
    log.stop()
    assert (before["dead"], again) == (3, 1)
    with by_hand(tmp_path) as connection:
        connection.execute(damage)
    caplog.clear()
    log = open_log(tmp_path)
    queues = ledger.open(log)
    look_through(log)
    ledger.check(log)
    web = queues["web"]
    assert account(web) == before | {"dead": 0, "lost": 4, "queued": before["queued"] - 1}
    assert list(log.dead_letters("web")) == []
    assert "web: 4 readings are lost to the damaged store" in caplog.messages
    deliver(log, ledger, queues)
    log.stop()
    with by_hand(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)
    caplog.clear()
    works(tmp_path, ledger)
    assert caplog.messages == []


def test_a_text_of_a_dead_letter_that_is_not_utf8_can_be_shown(tmp_path):
    ledger = fill(tmp_path)
    with by_hand(tmp_path) as connection:
        connection.execute("UPDATE dead_letters SET response = CAST(x'807D71' AS TEXT)")
    log = open_log(tmp_path)
    ledger.open(log)
    assert [letter.response.encode(errors="replace") for letter in log.dead_letters("web")] == [b"?}q"] * 3
    look_through(log)
    ledger.check(log)
    log.stop()


@pytest.mark.guarantee(1)
def test_a_dead_letter_that_is_lost_on_its_way_and_arrives_is_delivered(tmp_path):
    ledger = fill(tmp_path)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    on_its_way = queues["web"].take(3)
    assert on_its_way[0].seq < 0
    files_of(log).connection.execute("DELETE FROM dead_letters")
    files_of(log).connection.commit()
    log.disk.recount = True
    log.flush()
    assert (queues["web"].lost, queues["web"].again) == (4, 0)
    ledger.check(log)
    for entry in on_its_way:
        queues["web"].settle(entry)
    assert queues["web"].lost == 3
    ledger.check(log)
    deliver(log, ledger, queues)
    log.stop()


# --- pages


def wipe(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(bytes(PAGE))


def scribble(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(random.Random(page).randbytes(PAGE))


def flip(path: Path, page: int) -> None:
    chance = random.Random(page)
    data = bytearray(path.read_bytes())
    for _ in range(3):
        data[(page - 1) * PAGE + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.truncate((page - 1) * PAGE + 100)


def pages(path: Path) -> range:
    return range(1, path.stat().st_size // PAGE + 1)


def states_of(path: Path) -> set[int]:
    """The pages without which it is not known where destinations are: of the states' table, and all of a cut schema."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        roots = connection.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'dict_state'").fetchall()
    return {root for (root,) in roots}


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(1)
@pytest.mark.pain("A19")
@pytest.mark.pain("A20")
@pytest.mark.pain("A22")
@pytest.mark.pain("A28")
@pytest.mark.parametrize("damage", [wipe, scribble, flip, cut])
@pytest.mark.parametrize("choice", [ALL, Choice((("*", True), ("c.x", False)))], ids=["same", "another mapping"])
def test_whatever_page_is_damaged_the_rest_is_delivered_and_all_is_counted(tmp_path, damage, choice, caplog):
    """With another mapping what is queued is counted anew, so that the damage is met before the check."""
    ledger = fill(tmp_path / "whole")
    states = states_of(tmp_path / "whole/store.db")
    ledger.choices["web"] = choice
    for page in pages(tmp_path / "whole/store.db"):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / "store.db", page)
        caplog.clear()
        log = open_log(folder)
        queues = ledger.open(log)
        look_through(log)
        assert log.trouble == ""
        known = not (page in states or (damage is cut and page <= max(states)))
        if known or (damage is flip and "cannot be read" not in caplog.text):
            ledger.check(log)
            for name, queue in queues.items():
                assert bool(queue.lost) == (f"{name}: {queue.lost} readings are lost" in caplog.text)
            assert "is not known" not in caplog.text
            deliver(log, ledger, queues)
            log.stop()
            caplog.clear()
            works(folder, Ledger.continued(ledger))
            assert caplog.messages == []
        else:
            assert caplog.messages
            for queue in queues.values():
                settle_all(queue)
            log.stop()


@pytest.mark.guarantee(1)
@pytest.mark.pain("A22")
@pytest.mark.parametrize("damage", [wipe, scribble])
def test_damage_under_a_running_store_is_mended_without_a_restart(tmp_path, damage, caplog):
    ledger = fill(tmp_path / "whole")
    for page in pages(tmp_path / "whole/store.db"):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        running = Ledger.continued(ledger)
        log = open_log(folder)
        queues = running.open(log)
        running.put(log, 10, 300)
        log.flush()
        files_of(log).connection.execute("PRAGMA wal_checkpoint")
        damage(folder / "store.db", page)
        files_of(log).connection.execute("PRAGMA shrink_memory")
        log.reader.recent.clear()
        on_its_way = []
        with contextlib.suppress(StoreUnusable):
            on_its_way = queues["web"].take(20)
        running.put(log, 10, 300)
        with contextlib.suppress(StoreUnusable):
            log.inspect()
        log.flush()
        log.flush()
        assert log.trouble == ""
        running.check(log)
        for entry in on_its_way:
            queues["web"].settle(entry)
        running.check(log)
        got = deliver(log, running, queues)
        assert set(range(70, 80)) <= set(got["web"])
        assert all(bool(queue.lost) <= ("are lost" in caplog.text) for queue in queues.values())
        log.stop()
        works(folder, running)


# --- whole files


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def another_database(path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE playlists (name TEXT, tracks INTEGER)")
        connection.execute("INSERT INTO playlists VALUES ('rain', 12)")
        connection.commit()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.guarantee(10)
@pytest.mark.pain("A18")
@pytest.mark.pain("A22")
@pytest.mark.parametrize("damage", [garbage, another_database, empty, delete])
def test_a_store_whose_file_was_replaced_begins_anew_and_says_so(tmp_path, damage, caplog):
    fill(tmp_path)
    damage(tmp_path / "store.db")
    data = (tmp_path / "store.db").read_bytes() if damage in (garbage, another_database) else b""
    caplog.clear()
    log = open_log(tmp_path)
    assert log.trouble == ""
    (message,) = caplog.messages
    if data:
        (kept,) = aside(tmp_path)
        assert kept.read_bytes()[100:] == data[100:]
        assert f"into a new one, how many were lost is not known; the old file is kept as {kept}" in message
    else:
        assert message == (
            f"{tmp_path}/store.db {'is gone' if damage is delete else 'was empty'}; a new one was begun:"
            " what was queued there is lost, nobody knows how much"
        )
    ledger = Ledger(**CHOICES)
    ledger.open(log)
    ledger.put(log, 10)
    log.stop()
    caplog.clear()
    works(tmp_path, ledger)
    assert caplog.messages == []


@pytest.mark.guarantee(10)
def test_a_folder_in_the_place_of_the_file_keeps_nothing_from_starting(tmp_path, monkeypatch):
    monkeypatch.setattr("edged.store.disk._AGAIN_S", 0.0)
    (tmp_path / "store.db").mkdir()
    log = open_log(tmp_path)
    ledger = Ledger()
    queue = ledger.open(log)["web"]
    ledger.put(log, 10)
    with pytest.raises(StoreUnusable):
        log.flush()
    assert len(queue.take(5)) == 5
    (tmp_path / "store.db").rmdir()
    log.flush()
    ledger.check(log)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(10)
@pytest.mark.pain("A18")
@pytest.mark.parametrize("damage", [garbage, empty, delete])
def test_after_a_kill_a_log_that_is_gone_is_said_and_the_rest_goes_on(tmp_path, damage, caplog):
    log = open_log(tmp_path / "running")
    ledger = Ledger()
    ledger.open(log)
    ledger.put(log, 10)
    log.flush()
    files_of(log).connection.execute("PRAGMA wal_checkpoint")
    ledger.put(log, 10)
    log.flush()
    folder = killed(tmp_path / "running", tmp_path / "killed")
    abandon(log)
    damage(folder / "store.db-wal")
    log = open_log(folder)
    assert caplog.messages == [
        f"{folder}/store.db-wal is gone or no log of SQLite's: what was stored last before the end may be lost"
    ]
    queue = ledger.open(log)["web"]
    look_through(log)
    assert [number_of(entry.value) for entry in settle_all(queue)] == list(range(10))
    log.stop()


@pytest.mark.guarantee(10)
@pytest.mark.pain("A18")
def test_a_start_that_fails_does_not_forget_how_the_last_end_was(tmp_path, caplog):
    log = open_log(tmp_path / "running")
    ledger = Ledger()
    ledger.open(log)
    ledger.put(log, 10)
    log.flush()
    files_of(log).connection.execute("PRAGMA wal_checkpoint")
    ledger.put(log, 10)
    log.flush()
    folder = killed(tmp_path / "running", tmp_path / "killed")
    abandon(log)
    Lock(folder).release()  # a start that is killed while it opens the store
    delete(folder / "store.db-wal")
    folder = started_and_killed(folder, tmp_path / "once more")
    assert "store.db-wal is gone" in caplog.text
    caplog.clear()
    started_and_killed(folder, tmp_path / "and again")
    assert not caplog.messages  # it has been said


def test_what_a_start_has_found_is_in_the_database_itself(tmp_path, caplog):
    """What it wrote may stand behind pages that the kernel takes for written, and that are not."""
    log = open_log(tmp_path / "running")
    ledger = Ledger()
    ledger.open(log)
    ledger.put(log, 10)
    log.flush()
    folder = killed(tmp_path / "running", tmp_path / "killed")
    abandon(log)
    folder = started_and_killed(folder, tmp_path / "started")
    assert (folder / "store.db-wal").stat().st_size == 0
    delete(folder / "store.db-wal")
    log = open_log(folder)
    assert not caplog.messages
    ledger.open(log)
    ledger.check(log)
    abandon(log)


def started_and_killed(folder: Path, to: Path) -> Path:
    """What a start leaves that is killed before anything was written."""
    log = open_log(folder)
    killed(folder, to)
    abandon(log)
    return to


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(12)
@pytest.mark.pain("A18")
def test_what_is_behind_a_damaged_part_of_the_log_of_sqlite_is_found(tmp_path, caplog):
    """SQLite itself would pass over all that was committed after it, and not say a word."""
    log = open_log(tmp_path / "running")
    ledger = Ledger()
    ledger.open(log)
    for total in range(1, 11):
        ledger.put(log, 10, 300)
        log.put([], 0, {"meter": {"counted": total}})
        log.flush()
    folder = killed(tmp_path / "running", tmp_path / "killed")
    abandon(log)
    wal = folder / "store.db-wal"
    with wal.open("r+b") as file:
        file.seek(wal.stat().st_size // 3)  # readings; in the midst of it is a page that leads to half of them
        file.write(b"?" * 100)
    log = open_log(folder)
    assert caplog.messages[0].startswith("the store was damaged (a part of its write-ahead log): ")
    assert log.recall("meter") == {"counted": 10}
    queue = ledger.open(log)["web"]
    look_through(log)
    ledger.check(log)
    assert queue.queued >= 80
    assert ledger.next - 1 in {number_of(entry.value) for entry in queue.pending()}
    log.stop()
    works(folder, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A18")
def test_after_a_kill_all_is_found_though_a_bit_is_wrong_in_the_header_of_the_log_of_sqlite(tmp_path, caplog):
    log = open_log(tmp_path / "running")
    ledger = Ledger()
    ledger.open(log)
    for _ in range(5):
        ledger.put(log, 10, 100)
        log.flush()
    folder = killed(tmp_path / "running", tmp_path / "killed")
    abandon(log)
    wal = bytearray((folder / "store.db-wal").read_bytes())
    wal[9] ^= 1
    (folder / "store.db-wal").write_bytes(wal)
    log = open_log(folder)
    queue = ledger.open(log)["web"]
    look_through(log)
    assert caplog.messages[0].startswith("the store was damaged (a part of its write-ahead log): 50 readings ")
    assert (queue.queued, queue.lost) == (50, 0)
    log.stop()
    works(folder, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A18")
@pytest.mark.parametrize("damage", [empty, delete, garbage])
def test_after_a_kill_all_that_the_log_holds_is_saved_though_the_file_is_gone(tmp_path, damage, caplog):
    log = open_log(tmp_path / "running")
    ledger = Ledger(**CHOICES)
    ledger.open(log)
    for _ in range(5):
        ledger.put(log, 10, 100)
        log.flush()
    folder = killed(tmp_path / "running", tmp_path / "killed")
    abandon(log)
    damage(folder / "store.db")
    log = open_log(folder)
    assert len(caplog.messages) <= 1
    queues = ledger.open(log)
    look_through(log)
    ledger.check(log)
    assert [queue.lost for queue in queues.values()] == [0, 0]
    deliver(log, ledger, queues)
    log.stop()
    works(folder, ledger)


# --- salvage itself


@pytest.mark.pain("A18")
def test_no_more_than_two_damaged_files_are_kept_and_these_are_the_newest(tmp_path, monkeypatch):
    ledger = fill(tmp_path)
    last: list[bytes] = []
    for number in range(4):
        monkeypatch.setattr("edged.store.aside.time.strftime", lambda *_, day=number: f"2026010{day}T000000Z")
        wipe(tmp_path / "store.db", 1)
        last.append((tmp_path / "store.db").read_bytes())
        log = open_log(tmp_path)
        ledger.open(log)
        look_through(log)
        ledger.check(log)
        log.stop()
    assert [path.read_bytes() for path in aside(tmp_path)] == last[-2:]
    works(tmp_path, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.parametrize("moment", ["_save_small", "_save_segments", "set_damaged_aside", "_finish"])
def test_a_salvage_that_ends_halfway_is_begun_anew(tmp_path, monkeypatch, moment):
    """By a kill, or by a disk that fails."""
    ledger = fill(tmp_path)
    wipe(tmp_path / "store.db", 1)
    original: Callable[..., object] = getattr(salvage_module, moment)
    calls: list[object] = []

    def fail(*arguments: object) -> object:
        calls.append(arguments)
        if moment == "_finish" and len(calls) == 1:
            return original(*arguments)  # the one that looks for what an earlier start has left
        raise sqlite3.OperationalError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(salvage_module, moment, fail)
        log = open_log(tmp_path)
        assert "killed" in log.trouble
        abandon(log)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    look_through(log)
    ledger.check(log)
    assert [queue.lost for queue in queues.values()] == [0, 0]
    assert not (tmp_path / "salvaged").exists()
    deliver(log, ledger, queues)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(1)
def test_what_cannot_be_salvaged_just_now_is_sent_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("edged.store.disk._AGAIN_S", 0.0)
    ledger = fill(tmp_path)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    wipe(tmp_path / "store.db", 1)
    files_of(log).connection.execute("PRAGMA shrink_memory")
    ledger.put(log, 10)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(salvage_module, "_save_segments", fail)
        log.disk._damage.suspected = sqlite3.DatabaseError("damaged")
        log.disk._damage.suspected.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        for _ in range(2):
            with pytest.raises(StoreUnusable):
                log.flush()
        batch = queues["web"].take(1000)
        assert number_of(batch[-1].value) == 69
        assert len(batch) == queues["web"].queued
        for entry in batch[:30]:
            queues["web"].settle(entry)
    log.flush()
    ledger.check(log)
    assert [queue.lost for queue in queues.values()] == [0, 0]
    deliver(log, ledger, queues)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(1)
def test_what_a_salvage_does_not_help_is_trouble_and_not_salvaged_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr("edged.store.disk._AGAIN_S", 0.0)
    ledger = fill(tmp_path)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    salvages = [0]

    def counted(folder: Path, error: Exception) -> Files:
        salvages[0] += 1
        return salvage_module.salvage(folder, error)

    def damaged(*_: object) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(disk_module, "salvage", counted)
        patch.setattr(Files, "commit", damaged)
        for _ in range(3):
            ledger.put(log, 10)
            with pytest.raises(StoreUnusable, match="malformed"):
                log.flush()
            assert "malformed" in log.trouble
            ledger.check(log)
        assert salvages == [1]
    log.flush()
    assert log.trouble == ""
    ledger.check(log)
    assert [queue.lost for queue in queues.values()] == [0, 0]
    deliver(log, ledger, queues)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.guarantee(1)
def test_damage_that_a_flush_meets_before_its_commit_is_mended_by_the_same_flush(tmp_path):
    ledger = fill(tmp_path)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    met, after = [0], log.disk.after

    def meets(seq: int) -> Segment | None:
        with log.disk._damage.met():
            met[0] += 1
            if met[0] == 1:
                error = sqlite3.DatabaseError("database disk image is malformed")
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error
        return after(seq)

    log.disk.after = meets  # type: ignore[method-assign]
    log.disk.recount = True
    ledger.put(log, 10)
    log.flush()
    assert met[0] > 1
    assert (log.trouble, len(aside(tmp_path))) == ("", 1)
    log.flush()
    assert len(aside(tmp_path)) == 1
    ledger.check(log)
    deliver(log, ledger, queues)
    log.stop()
    works(tmp_path, ledger)


@pytest.mark.parametrize("mark", [0, APPLICATION])
def test_a_database_of_another_program_gets_no_tables_of_ours(tmp_path, mark):
    another_database(tmp_path / "store.db")
    with by_hand(tmp_path) as connection:
        connection.execute(f"PRAGMA application_id = {mark}")
    open_log(tmp_path).stop()
    (kept,) = aside(tmp_path)
    with contextlib.closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("playlists",)]
        assert connection.execute("SELECT * FROM playlists").fetchall() == [("rain", 12)]


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("what", ["the database", "all", "the folder", "replaced"])
def test_a_store_that_is_deleted_while_it_is_in_use_is_written_anew(tmp_path, caplog, what):
    folder = tmp_path / "running"
    log = open_log(folder)
    ledger = Ledger()
    queue = ledger.open(log)["web"]
    for _ in range(5):
        ledger.put(log, 20)
        log.flush()
    match what:
        case "the database":
            (folder / "store.db").unlink()
        case "all":
            for path in folder.iterdir():
                path.unlink()
        case "the folder":
            shutil.rmtree(folder)
        case _:
            (folder / "other").write_bytes(b"somebody's copy")
            (folder / "other").rename(folder / "store.db")
    ledger.put(log, 20)
    log.flush()
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "was deleted or replaced while it was in use: all that it held is written anew" in record.getMessage()
    assert (queue.queued, queue.lost) == (120, 0)
    assert any(folder.glob("found-*.db")) == (what == "replaced")
    look_through(log)
    ledger.check(log)
    killed(folder, tmp_path / "killed")
    abandon(log)
    caplog.clear()
    log = open_log(tmp_path / "killed")
    ledger.open(log)
    ledger.check(log)
    assert caplog.messages == []
    abandon(log)
