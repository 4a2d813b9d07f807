"""Somebody looked at the store as root: no file changes hands, and one that did is named, with what to do about it."""

import contextlib
import os
import pwd
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.errors import StoreHeld, StoreUnusable
from edged.store import disk as disk_module
from edged.store.lock import Lock
from edged.store.log import Log
from tests.conftest import without_root
from tests.store import ALL, abandon, open_log, readings, settle_all
from tests.store.ledger import Ledger, account, killed, number_of

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def place(monkeypatch) -> Iterator[Path]:
    """A folder of another user, where he can get to."""
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, -1)
        yield Path(folder)


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def give(path: Path, owner: int) -> None:
    os.chown(path, owner, -1)
    path.chmod(0o644)


def name_of(owner: int) -> str:
    return pwd.getpwuid(owner).pw_name


def killed_with_500(place: Path) -> tuple[Path, Ledger]:
    """The store of a user, killed with 500 readings in it, the last of them in the write-ahead log."""
    ledger = Ledger()
    with without_root():
        log = open_log(place / "running")
        ledger.open(log)
        for _ in range(5):
            ledger.put(log, 100)
            log.flush()
        folder = killed(place / "running", place / "state")
        abandon(log)
    assert owners(folder) == {NOBODY}
    return folder, ledger


@pytest.mark.case(35)
@pytest.mark.parametrize("moment", ["new", "there", "killed", "damaged"])
def test_what_root_does_in_it_leaves_no_file_of_another_owner(place, moment):
    folder, ledger = killed_with_500(place)
    if moment == "new":
        folder = place / "new"
        folder.mkdir()
        os.chown(folder, NOBODY, -1)
        ledger = Ledger()
    elif moment == "there":
        with without_root():
            open_log(folder).stop()
    elif moment == "damaged":
        with without_root():
            open_log(folder).stop()
        with (folder / "store.db").open("r+b") as file:
            file.write(bytes(1024))
    log = open_log(folder)
    queue = ledger.open(log)["web"]
    ledger.put(log, 10)
    queue.settle(queue.take(1)[0], reason="refused")
    log.flush()
    assert (folder / "store.db-wal").exists()
    assert owners(folder) == {NOBODY}
    ledger.check(log)
    log.stop()
    assert owners(folder) == {NOBODY}
    with without_root():
        log = open_log(folder)
        ledger.open(log)
        ledger.put(log, 10)
        log.flush()
        ledger.check(log)
        log.stop()


@pytest.mark.case(35)
@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize(
    "foreign",
    [["store.db-wal"], ["store.db"], ["store.db", "store.db-wal", "store.db-shm"], ["store.db-shm"], ["lock"]],
)
def test_a_file_of_another_owner_is_named_and_nothing_is_lost(place, foreign, restarted, caplog):
    folder, ledger = killed_with_500(place)
    for name in foreign:
        (folder / name).touch()
        give(folder / name, 0)
    with without_root():
        log = open_log(folder)
        queue = ledger.open(log)["web"]
        ledger.put(log, 10)
        if foreign == ["store.db-shm"]:  # which is not used: nothing is wrong
            log.flush()
            assert caplog.messages == []
        else:
            for _ in range(2):
                with pytest.raises(StoreUnusable):
                    log.flush()
            (message,) = caplog.messages
            assert "/".join(("", "state", foreign[0])) in message
            assert f"belongs to {name_of(0)} and cannot be written by {name_of(NOBODY)}" in message
            assert f"sudo chown -R {name_of(NOBODY)}: {folder}" in message
        # What is there is sent, and what comes, from memory.
        batch = queue.take(1000)
        assert [number_of(entry.value) for entry in batch] == list(range(510))
        for entry in batch[:20]:
            queue.settle(entry)
        ledger.check(log)
        if restarted:
            abandon(log)
    for name in foreign:
        os.chown(folder / name, NOBODY, -1)
    with without_root():
        if restarted:
            ledger.accepted["web"] -= 10 if foreign != ["store.db-shm"] else 0  # they were in memory only
            log = open_log(folder)
            queue = ledger.open(log)["web"]
        log.flush()
        assert log.trouble == ""
        ledger.check(log)
        expected = list(range(0 if restarted else 20, ledger.accepted["web"]))
        assert [number_of(entry.value) for entry in settle_all(queue)] == expected
        log.stop()
        assert owners(folder) == {NOBODY}


@pytest.mark.case(35)
@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
def test_files_that_cannot_even_be_read_are_joined_once_they_can_be(place, caplog):
    """As root's with a mask of 077."""
    folder, ledger = killed_with_500(place)
    for name in ("store.db", "store.db-wal"):
        os.chown(folder / name, 0, -1)
        (folder / name).chmod(0o600)
    with without_root():
        log = open_log(folder)
        queue = ledger.open(log)["web"]
        ledger.put(log, 10)
        with pytest.raises(StoreUnusable):
            log.flush()
        assert f"belongs to {name_of(0)}" in caplog.messages[0]
        assert [number_of(entry.value) for entry in settle_all(queue)] == list(range(500, 510))
    for name in ("store.db", "store.db-wal"):
        os.chown(folder / name, NOBODY, -1)
    with without_root():
        log.flush()
        ledger.check(log)
        assert account(queue) == {"delivered": 10, "dead": 0, "dropped": 0, "merged": 0, "lost": 0, "queued": 500}
        assert [number_of(entry.value) for entry in settle_all(queue)] == list(range(500))
        log.stop()


@pytest.mark.case(35)
def test_a_look_with_sqlite3_as_root_after_a_clean_end_does_no_harm(place):
    folder, ledger = killed_with_500(place)
    with without_root():
        open_log(folder).stop()
    connection = sqlite3.connect(folder / "store.db")
    assert connection.execute("SELECT count(*) FROM queue_log").fetchone() == (5,)
    connection.close()
    with without_root():
        log: Log = open_log(folder)
        queue = ledger.open(log)["web"]
        ledger.put(log, 10)
        log.flush()
        ledger.check(log)
        assert len(settle_all(queue)) == 510
        log.stop()


@pytest.mark.parametrize("made", [True, False], ids=["an empty database", "none yet"])
def test_a_first_start_that_was_interrupted_lost_nothing(tmp_path, caplog, made):
    Lock(tmp_path).release()
    if made:
        (tmp_path / "store.db").touch()
    log = open_log(tmp_path)
    assert caplog.messages == []
    assert not log.disk.recount
    abandon(log)


@pytest.mark.guarantee(1)
def test_a_store_that_may_not_be_looked_at_is_not_taken_for_an_empty_one(place, monkeypatch):
    """Its names can be read, and no more."""
    folder, ledger = killed_with_500(place)
    monkeypatch.setattr(Path, "exists", os.path.exists)  # as from Python 3.14 on
    folder.chmod(0o600)
    with without_root():
        log = open_log(folder)
        assert (log.disk.readable, bool(log.trouble)) == (False, True)
        ledger.open(log)
        ledger.put(log, 10)
        with pytest.raises(StoreUnusable):
            log.flush()
        folder.chmod(0o700)
        log.flush()
        queue = log.queues["web"]
        assert [number_of(entry.value) for entry in settle_all(queue)] == list(range(510))
        log.stop()


# --- another user's, whose daemon runs


OTHER = 23456  # has no other processes


@pytest.mark.guarantee(10)
def test_a_lock_that_can_only_be_read_tells_that_another_user_holds_the_store(place):
    """A second daemon would send all of it again, and be told to take the files away."""
    folder = place / "state"
    log = open_log(folder)
    folder.chmod(0o755)
    (folder / "lock").chmod(0o644)
    with without_root(), pytest.raises(StoreHeld) as held:
        open_log(folder)
    assert str(held.value) == f"{folder}: another edged (process {os.getpid()}) holds this store; stop it first"
    log.stop()
    with without_root():
        assert open_log(folder).trouble  # nobody does now


@pytest.mark.guarantee(10)
def test_a_store_on_a_disk_that_turned_read_only_is_still_held(small_disk):
    log = open_log(small_disk.store)
    small_disk.fail()
    with pytest.raises(StoreHeld, match=rf"another edged \(process {os.getpid()}\) holds"):
        open_log(small_disk.store)
    abandon(log)
    assert "is read-only" in open_log(small_disk.store).trouble


def closed(place: Path, to: str) -> Path:
    """Another user's store, as systemd's StateDirectoryMode or its UMask leaves it."""
    folder = place / "state"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "lock").chmod(0o600)
    for path in (folder, folder / "lock"):
        os.chown(path, OTHER, OTHER)
    folder.chmod(0o700 if to == "folder" else 0o755)
    return folder


@contextlib.contextmanager
def running(*command: str) -> Iterator[int]:
    """A process of the other user with this command line; its number."""
    words = [command[0], "-c", "read line; exit", *command[1:]]
    with subprocess.Popen(words, executable="/bin/sh", stdin=subprocess.PIPE, user=OTHER, cwd="/") as process:
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("what", ["folder", "lock"])
@pytest.mark.parametrize(
    "command", [["/opt/edged/bin/python", "/opt/edged/bin/edged", "run"], ["python3", "-m", "edged", "run"]]
)
def test_a_store_that_is_closed_to_us_is_held_where_its_owners_daemon_runs(place, what, command):
    folder = closed(place, what)
    with running(*command) as process, without_root(), pytest.raises(StoreHeld) as held:
        open_log(folder)
    assert str(held.value) == f"{folder}: another edged (process {process} of {OTHER}) holds this store; stop it first"


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("what", ["folder", "lock"])
@pytest.mark.parametrize(
    "command", [["/opt/edged/bin/python", "/opt/edged/bin/edged", "status"], ["sudo", "-u", "pi", "edged", "run"]]
)
def test_a_store_that_is_closed_to_us_and_nobody_uses_is_left_to_its_owner(place, what, command, caplog):
    folder = closed(place, what)
    with running(*command), without_root():
        log = open_log(folder)
        log.open_queue("web", ALL)
        log.put(readings("a.x"), 0)
        assert len(settle_all(log.queues["web"])) == 1
    message, nobody = caplog.messages[0], name_of(NOBODY)
    assert f"{folder} belongs to {OTHER} and cannot be written by {nobody}; run edged as {OTHER}, or" in message
    assert f"if {OTHER} does so no more: sudo chown -R {nobody}: {folder}" in message


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(1)
def test_where_somebody_else_begins_to_hold_the_store_it_stays_in_memory(place, caplog):
    """The folder was not ours to write, and its owner's daemon starts later."""
    folder = place / "state"
    folder.mkdir(mode=0o755)
    with without_root():
        log = open_log(folder)
        log.open_queue("web", ALL)
        log.put(readings("a.x"), 0)
    owner = open_log(folder)
    (folder / "lock").chmod(0o644)
    with without_root():
        for _ in range(2):
            with pytest.raises(StoreUnusable, match="another edged"):
                log.flush()
        assert "holds this store; stop it first" in log.trouble
        assert len(settle_all(log.queues["web"])) == 1
    assert len(caplog.messages) == 1
    owner.stop()
    os.chown(folder, NOBODY, -1)
    for path in folder.iterdir():
        os.chown(path, NOBODY, -1)
    with without_root():
        log.flush()
        assert log.trouble == ""
        log.stop()
