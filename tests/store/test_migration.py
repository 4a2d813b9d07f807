"""Stores of other versions: an older one is read as it was left, a newer one is set aside, never overwritten."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from edged.reading import Entry
from edged.sending.mapping import Mapping
from edged.store import desk, migration
from edged.store import files as files_module
from edged.store.files import APPLICATION, VERSION
from edged.store.position import Position
from edged.store.segment import Segment
from edged.store.tables import connect
from tests.store import ALL, BOOT, NOW_MS, abandon, cannot_write, files_of, only, open_log, readings, settle_all

# As version 0 made its tables.
SCHEMA = """
CREATE TABLE queue_log (_id INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT);
CREATE TABLE dict_state (key TEXT PRIMARY KEY, data BLOB);
CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, destination TEXT NOT NULL, series TEXT NOT NULL,
    time_ms INTEGER NOT NULL, value TEXT NOT NULL, reason TEXT NOT NULL, response TEXT NOT NULL,
    refused_at_ms INTEGER NOT NULL);
"""
SERIES = ("greenhouse.temperature", "greenhouse.humidity", "cellar.temperature")


def state(**other: Any) -> dict[str, Any]:
    """The state of a queue as version 0 kept it."""
    counters = {"queued": 0, "counted": 12, "delivered": 0, "dead": 0, "merged": 0}
    return {"head": 0, "behind": {}, "mapping": "+*"} | counters | other


def old_store(folder: Path, states: dict[str, Any], *, segments: bool = True) -> None:
    """A store of version 0: twelve readings in three segments, of which the first is not there any more."""
    connection = connect(folder)
    connection.executescript(SCHEMA)
    for first, last in ((5, 8), (9, 12)) if segments else ():
        entries = [Entry(seq, SERIES[seq % 3], NOW_MS + seq, seq) for seq in range(first, last + 1)]
        packed = Segment.dumps(Segment.of(entries, BOOT, 0))
        connection.execute("INSERT INTO queue_log VALUES (?, ?, ?)", (last, packed, 1.7e9))
    for name, kept in states.items():
        data = kept if isinstance(kept, bytes) else json.dumps(kept, separators=(",", ":")).encode()
        connection.execute("INSERT INTO dict_state VALUES (?, ?)", (name, data))
    letter = ("web", SERIES[1], NOW_MS + 4, "4", "HTTP 422", "no", NOW_MS + 100)
    connection.execute("INSERT INTO dead_letters VALUES (3, ?, ?, ?, ?, ?, ?, ?)", letter)
    connection.commit()
    connection.close()


def marks(folder: Path, name: str = "store.db") -> tuple[int, int]:
    connection = sqlite3.connect(folder / name)
    found = tuple(connection.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version"))
    connection.close()
    return found[0], found[1]


# --- an older one


@pytest.mark.guarantee(9)
@pytest.mark.pain("F10")
def test_a_store_of_the_first_version_is_read_as_it_was_left(tmp_path):
    web = state(
        head=9,
        behind={"cellar.temperature": 5},
        mapping="+* -greenhouse.humidity",
        queued=2 + 1 + 1,
        delivered=5,
        dead=1,
        merged=2,
    )
    old_store(tmp_path, {"destination:web": web, "destination:idle": state(head=12, delivered=12)})
    log = open_log(tmp_path)
    assert log.trouble == ""
    assert sorted(log.queues) == ["idle", "web"]
    before = log.queues["web"]
    assert before.position == Position(9, {"cellar.temperature": 5})
    mapping = Mapping((("*", "all"), ("greenhouse.humidity", None)))
    queue = log.open_queue("web", mapping.choice)
    assert (queue.queued, queue.delivered, queue.dead, queue.merged, queue.dropped, queue.lost) == (4, 5, 1, 2, 0, 0)
    # Of the cellar all behind 5, of the rest all behind 9; no humidity (1, 4, 7, 10).
    assert [entry.seq for entry in queue.pending()] == [8, 11, 12]
    abandon(log)


@pytest.mark.guarantee(9)
@pytest.mark.pain("F10")
def test_all_that_a_queue_of_the_first_version_was_owed_is_given_out_and_counted(tmp_path):
    old_store(tmp_path, {"destination:web": state(head=6, queued=6, delivered=6)})
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("new.x"), 0)
    assert [entry.seq for entry in settle_all(queue)] == [7, 8, 9, 10, 11, 12, 13]
    assert (queue.queued, queue.delivered) == (0, 13)
    log.flush()
    assert log.disk.last() == 0
    log.stop()
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    assert (queue.queued, queue.delivered, queue.take(10)) == (0, 13, [])
    abandon(log)


@pytest.mark.guarantee(9)
@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("+*", [("*", True)]),
        ("+a.b", [("a.b", True)]),
        ("+greenhouse.* -greenhouse.humidity", [("greenhouse.*", True), ("greenhouse.humidity", False)]),
        ("+* -self.* +self.queued_*", [("*", True), ("self.*", False), ("self.queued_*", True)]),
        ("+pump-1.flow -pump-2.*", [("pump-1.flow", True), ("pump-2.*", False)]),
        ("-a.b", [("a.b", False)]),
        ("", []),
    ],
)
def test_the_choice_of_series_is_read_from_its_text(tmp_path, text, rules):
    old_store(tmp_path, {"destination:web": state(mapping=text)})
    log = open_log(tmp_path)
    assert log.queues["web"].choice.rules == tuple(rules)
    abandon(log)


@pytest.mark.guarantee(9)
def test_dead_letters_of_the_first_version_can_be_listed_and_put_back(tmp_path):
    old_store(tmp_path, {"destination:web": state(head=12, dead=1)})
    log = open_log(tmp_path)
    (letter,) = log.dead_letters("web")
    assert letter == (3, "web", SERIES[1], NOW_MS + 4, "4", "HTTP 422", "no", NOW_MS + 100)
    queue = log.open_queue("web", ALL)
    assert desk.retry(log, "web") == 1
    assert [(entry.series, entry.time_ms, entry.value) for entry in settle_all(queue)] == [(SERIES[1], NOW_MS + 4, 4)]
    abandon(log)


@pytest.mark.guarantee(9)
def test_a_destination_of_the_first_version_that_left_the_config_can_be_adopted(tmp_path):
    old_store(tmp_path, {"destination:web": state(head=8, queued=4), "destination:new": state(head=10, queued=2)})
    log = open_log(tmp_path)
    log.close_queue(log.queues["web"], removed=True)
    queue = log.open_queue("new", ALL)
    desk.adopt(log, "web", "new")
    given = [entry.seq for entry in settle_all(queue)]
    assert given[-2:] == [11, 12]
    assert queue.delivered + queue.dropped == 6
    abandon(log)


@pytest.mark.guarantee(9)
def test_the_numbers_go_on_behind_those_of_the_first_version(tmp_path):
    old_store(tmp_path, {"destination:web": state(head=20, counted=20)}, segments=False)
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    assert [entry.seq for entry in queue.take(1)] == [21]
    abandon(log)


@pytest.mark.guarantee(9)
def test_what_the_log_takes_on_disk_is_known_roughly_of_old_segments_as_well(tmp_path):
    old_store(tmp_path, {"destination:web": state(head=4, queued=8)})
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    ((stored,),) = files_of(log).connection.execute("SELECT sum(length(data)) FROM queue_log").fetchall()
    assert sum(log.bytes_of(*needed) for needed in queue.needs()) == stored
    log.put(readings("a.x"), 0)
    log.flush()
    assert sum(log.bytes_of(*needed) for needed in queue.needs()) > stored
    abandon(log)


@pytest.mark.guarantee(9)
def test_it_is_migrated_once_and_marked(tmp_path, monkeypatch):
    old_store(tmp_path, {"destination:web": state(head=6, queued=6)})
    assert marks(tmp_path) == (0, 0)
    open_log(tmp_path).stop()
    assert marks(tmp_path) == (APPLICATION, VERSION)
    monkeypatch.setattr(files_module, "migrate", None)  # whoever calls it, fails
    log = open_log(tmp_path)
    assert log.open_queue("web", ALL).queued == 6
    abandon(log)


@pytest.mark.guarantee(9)
def test_a_migration_that_fails_leaves_the_old_store(tmp_path, monkeypatch):
    old_store(tmp_path, {"destination:web": state(head=6, queued=6)})
    before = dump(tmp_path)
    migrate = migration.migrate

    def fail(*arguments: Any) -> None:
        migrate(*arguments)
        cannot_write()

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "migrate", fail)
        log = open_log(tmp_path)
        assert "disk I/O error" in log.trouble
        abandon(log)
    assert dump(tmp_path) == before
    assert marks(tmp_path) == (0, 0)
    log = open_log(tmp_path)
    assert log.open_queue("web", ALL).queued == 6
    abandon(log)


def dump(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as connection:
        return list(connection.iterdump())


@pytest.mark.guarantee(9)
@pytest.mark.parametrize("missing", [["dead_letters"], ["dead_letters", "dict_state"]])
def test_tables_that_are_not_there_yet_are_no_obstacle(tmp_path, missing):
    """Version 0 made them one by one; the power may have failed between."""
    old_store(tmp_path, {"destination:web": state(head=12)}, segments=False)
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        for table in missing:
            connection.execute(f"DROP TABLE {table}")
        connection.commit()
    log = open_log(tmp_path)
    assert (log.trouble, [path.name for path in tmp_path.glob("damaged*")]) == ("", [])
    queue = log.open_queue("web", only("a.x"))
    log.put(readings("a.x"), 0)
    log.flush()
    assert [entry.series for entry in settle_all(queue)] == ["a.x"]
    log.stop()
    assert marks(tmp_path) == (APPLICATION, VERSION)


@pytest.mark.guarantee(9)
@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "damaged",
    [b"\xff", b"{", b"[]", b"7", b'"web"', b"null", b'{"head": 1}', json.dumps(state(mapping=7)).encode()],
)
def test_an_old_state_that_cannot_be_read_keeps_no_other_from_it(tmp_path, damaged, caplog):
    old_store(tmp_path, {"destination:a": damaged, "destination:web": state(head=6, queued=6)})
    log = open_log(tmp_path)
    assert [path.name for path in tmp_path.glob("damaged*")] == []
    assert "a: its place in the store cannot be read" in caplog.text
    assert len(settle_all(log.open_queue("web", ALL))) == 6
    assert len(settle_all(log.open_queue("a", ALL))) == 8
    abandon(log)


# --- a newer one


def newer_store(folder: Path, version: int = VERSION + 1) -> None:
    connection = connect(folder)
    connection.executescript(
        f"CREATE TABLE something (other); PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}"
    )
    connection.execute("INSERT INTO something VALUES ('of the future')")
    connection.commit()
    connection.close()


@pytest.mark.guarantee(9)
@pytest.mark.guarantee(10)
def test_a_newer_store_is_set_aside_and_never_overwritten(tmp_path, caplog):
    newer_store(tmp_path, 7)
    log = open_log(tmp_path)
    aside = tmp_path / "store-version-7.db"
    assert caplog.messages == [
        f"{tmp_path}/store.db is of a newer edged (version 7 of the store): it is kept as {aside},"
        " and a new one was begun; with the newer edged, move it back"
    ]
    assert log.trouble == ""
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    log.flush()
    assert len(settle_all(queue)) == 1
    log.stop()
    assert marks(tmp_path) == (APPLICATION, VERSION)
    assert marks(tmp_path, aside.name) == (APPLICATION, 7)
    connection = sqlite3.connect(aside)
    assert connection.execute("SELECT * FROM something").fetchall() == [("of the future",)]
    connection.close()


@pytest.mark.guarantee(9)
def test_a_second_newer_store_does_not_overwrite_the_first(tmp_path):
    for number in range(3):
        newer_store(tmp_path, 7)
        connection = sqlite3.connect(tmp_path / "store.db")
        connection.execute("UPDATE something SET other = ?", (number,))
        connection.commit()
        connection.close()
        open_log(tmp_path).stop()
        (tmp_path / "store.db").unlink()
    names = ["store-version-7.db", "store-version-7-2.db", "store-version-7-3.db"]
    kept = []
    for name in names:
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
            kept += connection.execute("SELECT other FROM something").fetchone()
    assert [int(number) for number in kept] == [0, 1, 2]


@pytest.mark.guarantee(9)
def test_what_a_newer_one_had_not_checkpointed_goes_with_it(tmp_path):
    """It died, and then the older version was installed."""
    newer_store(tmp_path, 7)
    connection = connect(tmp_path)
    connection.execute("INSERT INTO something VALUES ('of the last moment')")
    connection.commit()
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("store.db")}
    connection.close()
    assert "store.db-wal" in contents
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    open_log(tmp_path).stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "store-version-7.db")) as aside:
        assert ("of the last moment",) in aside.execute("SELECT * FROM something").fetchall()


# --- marks that make no sense


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("application", "version"),
    [(APPLICATION, 0), (APPLICATION, -1), (0, 1), (0, 9), (0x12345678, 1), (0x12345678, 0), (-1, 1)],
)
def test_a_mark_that_makes_no_sense_is_damage_and_what_is_whole_is_saved(tmp_path, application, version, caplog):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    queue.settle(queue.take(1)[0], reason="refused")
    log.stop()
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute(f"PRAGMA application_id = {application}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    log = open_log(tmp_path)
    assert "its version mark is" in caplog.text
    assert len(list(tmp_path.glob("damaged-*.db"))) == 1
    queue = log.open_queue("web", ALL)
    assert (queue.queued, queue.dead) == (1, 1)
    assert [entry.series for entry in settle_all(queue)] == ["b.x"]
    log.stop()
    assert marks(tmp_path) == (APPLICATION, VERSION)


def test_a_new_store_is_marked(tmp_path):
    open_log(tmp_path).stop()
    assert marks(tmp_path) == (APPLICATION, VERSION)
