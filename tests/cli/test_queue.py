"""`edged queue`: on a store at rest and through a running daemon, with real files."""

import contextlib
import csv
import io
import json
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest

from edged.cli import main
from edged.cli.queue import progress_bar
from edged.errors import EdgedError
from edged.monitoring.control import Server
from edged.monitoring.queues import actions
from edged.reading import Reading, Value
from edged.series import Choice
from edged.store.log import Log
from edged.store.queue import Bounds
from tests.cli import config, databoom, edged, start, until
from tests.conftest import without_root

ALL = Choice((("*", True),))
T = 1_700_000_000_000  # 2023-11-14T22:13:20Z
BOARD = '[sensors.board]\ndriver = "host"\ninterval = "1h"\n'
VALUES: tuple[Value, ...] = (
    True,
    False,
    1,
    1.0,
    "1",
    "true",
    "",
    "=SUM(A1)",
    'a "b", c',
    "two\nlines",
    1e-7,
    -40,
    2**53 + 1,
)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Log]:
    log = Log(folder / "state", 60.0, "boot")
    try:
        yield log
    finally:
        log.stop()


def fill(folder: Path, readings: Iterable[Reading], *names: str, dead: int = 0, removed: Collection[str] = ()) -> None:
    """A store with the readings in the queues of these destinations, the first of them refused."""
    with opened(folder) as log:
        queues = [log.open_queue(name, ALL) for name in names]
        log.put(readings, 0)
        for queue in queues:
            for entry in queue.take(dead) if dead else ():
                queue.settle(entry, reason="400: no such signal", response="{}")
            log.close_queue(queue, removed=queue.name in removed)


def readings(number: int, series: str = "board.load_1m", at: int = T) -> list[Reading]:
    return [Reading(series, at + 1000 * index, index + 0.5) for index in range(number)]


@pytest.fixture
def path(tmp_path):
    """A config of two destinations, one of them disabled; the third one's queue, `old`, has none."""
    board = '[sensors.board]\ndriver = "host"\ninterval = "1h"\n'
    return config(
        tmp_path, board + databoom() + databoom(name="other").replace("\nseries", "\nenabled = false\nseries")
    )


@pytest.fixture
def queue(path, capsys):
    """Runs the command; returns its status, stdout and stderr."""

    def queue(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["queue", "--config", str(path), *arguments])
        stdout, stderr = capsys.readouterr()
        return status, str(stdout), str(stderr)

    return queue


@pytest.fixture
def done(queue):
    """Runs the command, which must do; returns its stdout."""

    def done(*arguments: str) -> str:
        status, stdout, stderr = queue(*arguments)
        assert (status, stderr) == (0, "")
        return str(stdout)

    return done


# --- a line a destination


def test_a_line_a_destination(tmp_path, done):
    fill(tmp_path, readings(3), "databoom", "old", dead=1, removed={"old"})
    title, *lines = done().splitlines()
    assert title.split() == ["destination", "state", "queued", "oldest", "dead", "dropped", "lost"]
    second = "2023-11-14T22:13:21.000Z"
    assert [line.split() for line in lines] == [
        ["databoom", "enabled", "2", second, "1", "0", "0"],
        ["other", "disabled", "0", "0", "0", "0"],
        ["old", "removed", "2", second, "1", "0", "0"],
    ]
    (line,) = done("old").splitlines()[1:]
    assert line.split()[:3] == ["old", "removed", "2"]


def test_a_line_a_destination_as_json(tmp_path, done):
    fill(tmp_path, readings(3), "databoom", "old", dead=1, removed={"old"})
    queues = json.loads(done("--json"))
    assert list(queues) == ["databoom", "other", "old"]
    numbers = {"delivered": 0, "dead": 1, "dropped": 0, "merged": 0, "lost": 0}
    assert queues["old"] == {"state": "removed", "queued": 2, "oldest": "2023-11-14T22:13:21.000Z"} | numbers
    assert list(json.loads(done("other", "--json"))) == ["other"]


def test_without_a_store_nothing_is_queued_and_nothing_is_made(tmp_path, queue, done):
    status, stdout, stderr = queue("--json")
    assert (status, json.loads(stdout)["databoom"]["queued"]) == (0, 0)
    assert stderr == f"edged: there is no store at {tmp_path}/state yet\n"
    assert json.loads(done("databoom", "list", "--json")) == []
    assert done("databoom", "export", "--format", "csv") == "series,time,value\n"
    assert done("databoom", "drop", "--yes") == "0 queued readings of databoom dropped\n"
    assert queue("zebra", "list")[0] == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["zebra"],
        ["zebra", "list"],
        ["zebra", "export"],
        ["zebra", "retry"],
        ["zebra", "drop", "--yes"],
        ["zebra", "drop"],
        ["zebra", "adopt", "databoom"],
    ],
)
def test_an_unknown_destination(tmp_path, queue, arguments):
    fill(tmp_path, readings(1), "databoom", "old", removed={"old"})
    assert queue(*arguments) == (1, "", "edged: there is no destination zebra; there are: databoom, other, old\n")


# --- list and export


def test_list_as_json(tmp_path, done):
    values = [Reading("door.state", T + number, value) for number, value in enumerate(VALUES)]
    fill(tmp_path, values, "databoom")
    rows = json.loads(done("databoom", "list", "--json"))
    assert rows[0] == {"series": "door.state", "time": "2023-11-14T22:13:20.000Z", "value": True}
    assert rows[12]["time"] == "2023-11-14T22:13:20.012Z"
    assert [repr(row["value"]) for row in rows] == [repr(value) for value in VALUES]  # true, 1, 1.0 and "1" apart
    assert json.loads(done("databoom", "list", "--limit", "2", "--json")) == rows[:2]
    assert json.loads(done("other", "list", "--json")) == []


def test_list_for_people(tmp_path, done):
    fill(tmp_path, [Reading("door.state", T, value) for value in ("1", 1, True, 21.123456789, "\x1b[2J")], "databoom")
    title, *lines = done("databoom", "list").splitlines()
    assert title.split() == ["series", "time", "value"]
    assert [line.split()[2] for line in lines] == ['"1"', "1", "true", "21.12346", '"\\u001b[2J"']
    assert {line.index("2023") for line in lines} == {title.index("time")}
    assert len(done("databoom", "list", "--limit", "3").splitlines()) == 4


def test_dead_letters(tmp_path, done):
    fill(tmp_path, readings(3), "databoom", dead=2)
    rows = json.loads(done("databoom", "list", "--dead", "--json"))
    assert [row["value"] for row in rows] == [0.5, 1.5]
    assert set(rows[0]) == {"series", "time", "value", "reason", "refused_at"}
    assert rows[0]["reason"] == "400: no such signal"
    assert rows[0]["refused_at"].endswith("Z")
    assert json.loads(done("databoom", "--dead", "list", "--json")) == rows
    assert json.loads(done("databoom", "--dead", "--json")) == rows  # which else could be meant
    assert [json.loads(line) for line in done("databoom", "export", "--dead").splitlines()] == rows
    title, line, _ = done("databoom", "export", "--dead", "--format", "csv").splitlines()
    assert title == "series,time,value,reason,refused_at"
    assert line == f"board.load_1m,2023-11-14T22:13:20.000Z,0.5,400: no such signal,{rows[0]['refused_at']}"
    assert "400: no such signal" in done("databoom", "list", "--dead").splitlines()[1]


def test_export_as_lines_of_json(tmp_path, done):
    values = [Reading("door.state", T + number, value) for number, value in enumerate(VALUES)]
    fill(tmp_path, values, "databoom")
    rows = json.loads(done("databoom", "list", "--json"))
    assert [json.loads(line) for line in done("databoom", "export").splitlines()] == rows
    assert done("databoom", "export", "--format", "jsonl") == done("databoom", "export")


def test_export_as_csv(tmp_path, done):
    values = [Reading('a "b", c.state', T, value) for value in VALUES]
    fill(tmp_path, values, "databoom")
    text = done("databoom", "export", "--format", "csv")
    title, *rows = csv.reader(io.StringIO(text))
    assert title == ["series", "time", "value"]
    assert {row[0] for row in rows} == {'a "b", c.state'}
    written = [value if isinstance(value, str) else json.dumps(value) for value in VALUES]
    assert [row[2] for row in rows] == written  # also what a spreadsheet would take for a formula
    lines = text.split("\n")
    assert [line.rpartition(",")[2] for line in lines[1:7]] == ["true", "false", "1", "1.0", '"1"', '"true"']


@pytest.mark.case(40)
def test_after_2038(tmp_path, done):
    """The C library of 32-bit boards ends at 2^31 s."""
    fill(tmp_path, [Reading("board.load_1m", 2_147_483_648_000, 0.5)], "databoom", "old", dead=1, removed={"old"})
    fill(tmp_path, [Reading("board.load_1m", 2_147_483_648_000, 0.5)], "databoom")
    row = {"series": "board.load_1m", "time": "2038-01-19T03:14:08.000Z", "value": 0.5}
    assert json.loads(done("databoom", "list", "--json")) == [row]
    assert json.loads(done("databoom", "list", "--dead", "--json"))[0].items() >= row.items()
    assert done("databoom", "export", "--format", "csv").splitlines()[1] == "board.load_1m,2038-01-19T03:14:08.000Z,0.5"
    assert json.loads(done("--json"))["databoom"]["oldest"] == "2038-01-19T03:14:08.000Z"
    assert done("databoom", "drop", "--before", "2038-01-19", "--yes") == "0 queued readings of databoom dropped\n"
    assert done("databoom", "drop", "--before", "2100-01-01", "--yes") == "1 queued reading of databoom dropped\n"
    assert done("old", "drop", "--dead", "--before", "2100-01-01", "--yes") == "1 dead letter of old dropped\n"


_PEAK = """\
import re, sys
from edged.cli import main
from edged.cli.queue import progress_bar
assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


@pytest.mark.guarantee(8)
@pytest.mark.parametrize("action", [["export"], ["export", "--format", "csv"], ["list", "--json"], ["list"]])
def test_memory_stays_flat_however_much_is_printed(tmp_path, path, action):
    def peak(number: int) -> int:
        fill(tmp_path, readings(number), "databoom")
        command = [sys.executable, "-c", _PEAK, "queue", "databoom", *action, "--config", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert len(printed.stdout.splitlines()) >= number
        return int(printed.stderr)  # KiB

    assert peak(60_000) - peak(2000) < 5000


def test_who_reads_no_further(tmp_path, path):
    fill(tmp_path, readings(50_000), "databoom")
    command = [sys.executable, "-m", "edged", "queue", "databoom", "export", "--config", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert json.loads(export.stdout.readline())["value"] == 0.5
        export.stdout.close()
        assert export.stderr.read() == ""
    assert export.returncode == 1
    assert json.loads(edged("queue", "--json", "--config", path).stdout)["databoom"]["queued"] == 50_000


# --- retry, drop, adopt


def test_retry(tmp_path, done):
    fill(tmp_path, readings(3), "databoom", dead=2)
    assert done("databoom", "retry") == "2 dead letters of databoom are queued again\n"
    assert json.loads(done("databoom", "list", "--dead", "--json")) == []
    assert [row["value"] for row in json.loads(done("databoom", "list", "--json"))] == [0.5, 1.5, 2.5]
    queue = json.loads(done("--json"))["databoom"]
    assert (queue["queued"], queue["dead"]) == (3, 0)
    assert done("databoom", "retry") == "0 dead letters of databoom are queued again\n"


def test_drop_wants_a_yes(tmp_path, queue, done):
    fill(tmp_path, readings(5), "databoom", dead=2)
    before = done("--json")
    assert queue("databoom", "drop") == (
        2,
        "",
        "edged: this would drop 3 queued readings of databoom, for good; add --yes to do it\n",
    )
    status, _, stderr = queue("databoom", "drop", "--before", "2023-11-14T22:13:23Z")
    assert (status, "would drop 1 queued reading of databoom," in stderr) == (2, True)
    status, _, stderr = queue("databoom", "drop", "--dead", "--series", "board.load_1m")
    assert (status, "would drop 2 dead letters" in stderr) == (2, True)
    assert done("--json") == before


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ([], []),
        (["--series", "a.x"], ["b.x 0.5", "b.x 1.5", "b.x 2.5"]),
        (["--series", "a.*"], ["b.x 0.5", "b.x 1.5", "b.x 2.5"]),
        (["--series", "*x", "--before", "2023-11-14T22:13:22Z"], ["a.x 2.5", "b.x 2.5"]),
        (["--series", "c.x"], ["a.x 0.5", "a.x 1.5", "a.x 2.5", "b.x 0.5", "b.x 1.5", "b.x 2.5"]),
        (["--before", "2023-11-14T22:13:21Z"], ["a.x 1.5", "a.x 2.5", "b.x 1.5", "b.x 2.5"]),
        (["--before", "2023-11-14 22:13:21"], ["a.x 1.5", "a.x 2.5", "b.x 1.5", "b.x 2.5"]),
        (["--before", "2023-11-14T23:13:21+01:00"], ["a.x 1.5", "a.x 2.5", "b.x 1.5", "b.x 2.5"]),
        (["--before", "2023-11-14T22:13:22", "--series", "b.x"], ["a.x 0.5", "a.x 1.5", "a.x 2.5", "b.x 2.5"]),
        (["--before", "2023-11-15"], []),
        (["--before", "20231114"], ["a.x 0.5", "a.x 1.5", "a.x 2.5", "b.x 0.5", "b.x 1.5", "b.x 2.5"]),
    ],
)
@pytest.mark.parametrize("dead", [False, True])
def test_drop(tmp_path, queue, done, arguments, left, dead):
    fill(tmp_path, [*readings(3, "a.x"), *readings(3, "b.x")], "databoom", dead=6 if dead else 0)
    arguments = [*arguments, *(["--dead"] if dead else [])]
    number, what = 6 - len(left), "dead letters" if dead else "queued readings"
    assert f"would drop {number} {what}" in queue("databoom", "drop", *arguments)[2]
    assert done("databoom", "drop", *arguments, "--yes") == f"{number} {what} of databoom dropped\n"
    listed = json.loads(done("databoom", "list", "--json", *(["--dead"] if dead else [])))
    assert sorted(f"{row['series']} {row['value']}" for row in listed) == left
    state = json.loads(done("--json"))["databoom"]
    assert (state["dead" if dead else "queued"], state["dropped"]) == (len(left), number)


def test_adopt(tmp_path, queue, done):
    fill(tmp_path, readings(3), "old", dead=1, removed={"old"})
    assert queue("old", "adopt", "zebra") == (
        1,
        "",
        "edged: there is no destination zebra in the config; there are: databoom, other\n",
    )
    assert done("old", "adopt", "databoom") == "2 readings of old are queued for databoom\n"
    assert [row["value"] for row in json.loads(done("databoom", "list", "--json"))] == [1.5, 2.5]


def test_what_is_in_use_is_not_adopted(tmp_path, queue):
    fill(tmp_path, readings(3), "databoom", "other")
    status, stdout, stderr = queue("databoom", "adopt", "other")
    assert (status, stdout) == (1, "")
    assert stderr.startswith("edged: databoom is in the config")
    assert stderr.count("\n") == 1


def test_adopt_before_a_daemon_has_seen_the_new_config(tmp_path, done):
    fill(tmp_path, readings(3), "old")
    assert done("old", "adopt", "databoom") == "3 readings of old are queued for databoom\n"


def test_adopt_drops_only_when_told_what_is_not_taken(tmp_path, path, queue, done):
    path.write_text(path.read_text().replace('"*" = true', '"board.*" = true'))
    fill(tmp_path, [*readings(3), *readings(2, "attic.x")], "old", removed={"old"})
    before = json.loads(done("--json"))
    assert queue("old", "adopt", "databoom") == (
        2,
        "",
        "edged: this would drop 2 queued readings of old, for good: databoom does not take attic.x (2); add the series"
        " to its mapping and reload, or add --yes to do it all the same\n",
    )
    assert json.loads(done("--json")) == before
    assert len(json.loads(done("old", "list", "--json"))) == 5
    assert done("old", "adopt", "databoom", "--yes") == (
        "3 readings of old are queued for databoom\n2 are dropped: databoom does not take their series\n"
    )
    assert json.loads(done("--json"))["databoom"]["dropped"] == 2


def test_adopt_before_the_running_daemon_has_read_the_config(tmp_path, path, queue):
    path.write_text(path.read_text().replace("enabled = false\n", ""))
    fill(tmp_path, readings(3), "old", removed={"old"})
    with start("run", "--config", path) as daemon:
        try:
            until(daemon.stderr, "destinations")
            path.write_text(path.read_text().replace("[destinations.databoom]", "[destinations.new]"))
            assert queue("old", "adopt", "new") == (
                1,
                "",
                "edged: the running daemon does not know new yet: systemctl reload edged (with new enabled)\n",
            )
            path.write_text(path.read_text() + databoom(name="late"))
            assert queue("databoom", "adopt", "other") == (
                1,
                "",
                "edged: the running daemon does not know yet that databoom is removed: systemctl reload edged\n",
            )
            daemon.send_signal(signal.SIGHUP)
            until(daemon.stderr, "reloaded")
            assert queue("old", "adopt", "new") == (0, "3 readings of old are queued for new\n", "")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=20)


def test_adopt_by_a_daemon_that_is_older(tmp_path, queue):
    """It knows nothing of asking."""
    (tmp_path / "state").mkdir()
    server = Server(tmp_path / "state", {"queue-adopt": lambda request: {"moved": 1, "dropped": 3}})
    server.start()
    try:
        assert queue("old", "adopt", "databoom") == (
            1,
            "",
            "edged: the running daemon is older than this command, and did not ask: 1 reading of old is queued for"
            " databoom, 3 dropped; restart it\n",
        )
    finally:
        server.stop()


def test_adopt_names_a_few_of_many_series(tmp_path, path, queue):
    path.write_text(path.read_text().replace('"*" = true', '"board.*" = true'))
    others = [Reading(f"attic.{letter}", T, 0.5) for letter in "abcdefg"]
    fill(tmp_path, [*readings(1), *others], "old", removed={"old"})
    status, _, stderr = queue("old", "adopt", "databoom")
    assert (status, stderr.count("\n")) == (2, 1)
    assert "attic.a (1), attic.b (1), attic.c (1), attic.d (1), attic.e (1) and 2 more; add" in stderr


def test_adopt_tells_what_the_new_one_has_had_itself(tmp_path, done):
    with opened(tmp_path) as log:
        old = log.open_queue("old", ALL)
        log.put(readings(1), 0)
        log.open_queue("databoom", ALL)
        log.put(readings(2), 0)
        log.close_queue(old, removed=True)
    assert done("old", "adopt", "databoom") == (
        "1 reading of old is queued for databoom\n2 are dropped: databoom has had them itself\n"
    )


def test_nothing_is_dropped_but_what_is_named(tmp_path, path, done):
    """To keep the bounds is for the daemon."""
    bounds = '[queue]\nmax_age = "1s"\nkeep_removed = 0\nmax_dead_letters = 0\nmax_size = "64KiB"\n'
    path.write_text(bounds + path.read_text())
    fill(tmp_path, readings(5), "databoom", "old", dead=2, removed={"old"})
    assert done("databoom", "drop", "--dead", "--before", "2023-11-14T22:13:21Z", "--yes").startswith("1 ")
    queues = json.loads(done("--json"))
    assert [queues[name]["queued"] for name in ("databoom", "old")] == [3, 3]
    assert [queues[name]["dead"] for name in ("databoom", "old")] == [1, 2]


@pytest.mark.pain("A29")
def test_a_mere_look_writes_nothing_and_leaves_the_bounds_as_they_are(tmp_path, done):
    bounds = Bounds(max_size=1 << 20, max_age_s=86400.0, max_dead_letters=1)
    with opened(tmp_path) as log:
        for name in ("databoom", "old"):
            log.open_queue(name, ALL, bounds)
        log.put(readings(5), 0)
        log.flush()
        for queue in log.queues.values():
            queue.settle(queue.take(1)[0], reason="refused")
            log.close_queue(queue, removed=queue.name == "old")
    before = (tmp_path / "state" / "store.db").read_bytes()
    for arguments in ((), ("databoom", "list"), ("old", "export", "--dead")):
        done(*arguments)
    assert (tmp_path / "state" / "store.db").read_bytes() == before
    done("databoom", "drop", "--dead", "--yes")
    with opened(tmp_path) as log:
        assert [queue.bounds for queue in log.queues.values()] == [bounds, bounds]


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("lost", ["'destination:databoom'", "'destination:databoom', 'destination:old'"])
def test_what_a_damaged_store_still_has_is_there_after_a_look(tmp_path, queue, lost):
    fill(tmp_path, readings(5), "databoom", "other", "old", dead=2, removed={"old"})
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "store.db")) as connection:
        connection.execute(f"UPDATE dict_state SET data = x'00' WHERE key IN ({lost})")
        connection.commit()
    for _ in range(2):
        status, stdout, _ = queue("--json")
        shown = json.loads(stdout)
        assert (status, shown["databoom"]["queued"], shown["databoom"]["dead"]) == (0, 3, 2)
        assert (shown["old"]["queued"], shown["old"]["dead"]) == (3, 2)
    with opened(tmp_path) as log:
        databoom = log.open_queue("databoom", ALL)
        assert (databoom.queued, databoom.dead, databoom.lost) == (3, 2, 0)
        assert len(list(databoom.pending())) == 3


@pytest.mark.guarantee(1)
def test_a_look_into_a_damaged_store_keeps_what_is_there_for_those_of_the_config(tmp_path, path, queue):
    """Though nothing tells any more that they were ever known: neither their states, nor the names of all states."""
    fill(tmp_path, readings(500), "databoom", "other", dead=2)
    file = tmp_path / "state" / "store.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM dict_state WHERE key IN ('names', 'destination:databoom', 'destination:other')")
        connection.commit()
    data = bytearray(file.read_bytes())
    data[:16] = bytes(16)  # so that it has to be salvaged
    file.write_bytes(data)
    _, stdout, _ = queue("--json")
    assert {name: each["queued"] for name, each in json.loads(stdout).items()} == {"databoom": 498, "other": 498}
    with opened(tmp_path) as log:
        databoom = log.open_queue("databoom", ALL)
        assert (databoom.queued, databoom.dead, databoom.lost) == (498, 2, 0)
        assert len(list(databoom.pending())) == 498


# --- long work


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_shows_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("edged.cli.queue._LONG_S", 0)
    with progress_bar("dropping", wanted=True) as on_progress:
        while "dropping" not in terminal.getvalue():
            on_progress(1, 2)


@pytest.mark.parametrize("arguments", [["--json"], ["databoom", "list", "--json"], ["databoom", "export"]])
def test_a_short_time_shows_none(tmp_path, done, monkeypatch, arguments):
    fill(tmp_path, readings(2), "databoom")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    done(*arguments)
    assert terminal.getvalue() == ""


# --- wrong command lines


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["databoom", "list", "--yes"], "--yes: not with list"),
        (["databoom", "drop", "--limit", "3", "--format", "csv"], "--format, --limit: not with drop"),
        (["--yes"], "--yes: not without an action"),
        (["databoom", "retry", "--series", "a.x"], "--series: not with retry"),
        (["databoom", "retry", "--dead"], "--dead: not with retry"),
        (["databoom", "list", "other"], "other: not with list"),
        (["list"], "whose queue? edged queue DESTINATION list"),
        (["list", "--limit", "3"], "whose queue? edged queue DESTINATION list"),
        (["--dead"], "whose queue?"),
        (["old", "adopt"], "edged queue OLD adopt NEW"),
    ],
)
def test_what_does_not_go_together(queue, arguments, says):
    status, stdout, stderr = queue(*arguments)
    assert (status, stdout) == (2, "")
    assert says in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["databoom", "zap"], "invalid choice: 'zap'"),
        (["databoom", "list", "--limit", "0"], "a number from 1 on is expected"),
        (["databoom", "list", "--limit", "many"], "a number from 1 on is expected"),
        (["databoom", "export", "--format", "xml"], "invalid choice: 'xml'"),
        (["databoom", "drop", "--before", "yesterday"], "a time is expected: "),
        (["databoom", "drop", "--before", "1700000000.5"], "a time is expected: "),
    ],
)
def test_no_such_thing(path, capsys, arguments, says):
    with pytest.raises(SystemExit) as exit:
        main(["queue", *arguments, "--config", str(path)])
    assert exit.value.code == 2
    assert says in capsys.readouterr().err


# --- who may, and what is needed


def test_it_needs_no_secret(tmp_path, path, done):
    path.write_text(path.read_text().replace('"a-token-for-databoom"', '{ credential = "none" }'))
    fill(tmp_path, readings(2), "databoom")
    assert len(done("databoom", "list").splitlines()) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's store")
@pytest.mark.parametrize(("uid", "whom"), [(2, pwd.getpwuid(2).pw_name), (54321, "'#54321'")])
@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_another_users_store(queue, uid, whom, mode):
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        path = config(folder, BOARD + databoom())
        path.chmod(0o644)
        fill(folder, readings(1), "databoom")
        (folder / "state").chmod(mode)
        os.chown(folder / "state", uid, uid)
        with without_root():
            status, stdout, stderr = queue("databoom", "list", "--config", str(path))
    assert (status, stdout) == (1, "")
    assert stderr == f"edged: {folder}/state is not for this user: sudo -u {whom} edged queue ...\n"


@pytest.fixture
def read_only(tmp_path):
    """Three readings, one of them refused, on a file system that is read-only."""
    fill(tmp_path, readings(3), "databoom", dead=1)
    folder = str(tmp_path / "state")
    for options in (["--bind", folder], ["-o", "remount,bind,ro"]):
        if subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode:
            pytest.skip("nothing can be mounted here")
    yield
    subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.case(38)
def test_a_read_only_file_system(tmp_path, read_only, queue):
    def look(*arguments: str) -> str:
        status, stdout, stderr = queue(*arguments)
        assert (status, stderr) == (0, "")  # that the daemon could not write is not what was asked
        return str(stdout)

    shown = json.loads(look("--json"))["databoom"]
    assert (shown["queued"], shown["dead"]) == (2, 1)
    assert [row["value"] for row in json.loads(look("databoom", "list", "--json"))] == [1.5, 2.5]
    assert len(look("databoom", "export", "--dead").splitlines()) == 1
    assert "would drop 2 queued readings" in queue("databoom", "drop")[2]
    for arguments in (["drop", "--yes"], ["drop", "--dead", "--yes"], ["retry"]):
        status, stdout, stderr = queue("databoom", *arguments)
        assert (status, stdout) == (1, "")
        assert stderr.startswith(f"edged: the file system of {tmp_path}/state is read-only: ")
        assert stderr.count("\n") == 1
    assert json.loads(look("--json"))["databoom"] == shown


def test_a_file_in_the_place_of_the_store(tmp_path, queue):
    (tmp_path / "state").touch()
    for arguments in ([], ["databoom", "drop", "--yes"]):
        assert queue(*arguments) == (1, "", f"edged: {tmp_path}/state is no folder; see state_dir in the config\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
def test_root_leaves_no_files_of_its_own(tmp_path, done):
    fill(tmp_path, readings(3), "databoom", dead=1)
    for file in (tmp_path / "state", *(tmp_path / "state").iterdir()):
        os.chown(file, 2, 2)
    done("databoom", "retry")
    done("databoom", "drop", "--series", "board.load_1m", "--yes")
    assert {file.stat().st_uid for file in (tmp_path / "state").iterdir()} == {2}


def test_a_store_that_another_holds_without_an_answer(tmp_path, queue):
    fill(tmp_path, readings(1), "databoom")
    with opened(tmp_path):
        status, stdout, stderr = queue("databoom", "list")
    assert (status, stdout) == (1, "")
    assert "holds this store" in stderr
    assert stderr.count("\n") == 1


# --- a running daemon


def test_through_a_running_daemon(tmp_path, path):
    """What it has in memory only, too; the store's files are its own all the time."""
    path.write_text(path.read_text().replace("[daemon]", '[daemon]\nflush_interval = "1h"'))
    fill(tmp_path, readings(3, "earlier.value"), "old", dead=1, removed={"old"})
    fill(tmp_path, readings(3, "old.value"), "databoom", dead=1)

    def ask(*arguments: str) -> str:
        asked = edged("queue", *arguments, "--config", path)
        assert (asked.returncode, asked.stderr) == (0, "")
        return asked.stdout

    with start("run", "--config", path) as daemon:
        try:
            until(daemon.stderr, "destinations")
            rows = json.loads(ask("databoom", "list", "--json"))
            assert rows[:2] == [
                {"series": "old.value", "time": "2023-11-14T22:13:21.000Z", "value": 1.5},
                {"series": "old.value", "time": "2023-11-14T22:13:22.000Z", "value": 2.5},
            ]
            assert [row["value"] for row in json.loads(ask("databoom", "list", "--dead", "--json"))] == [0.5]
            assert ask("databoom", "retry") == "1 dead letter of databoom is queued again\n"
            lines = ask("databoom", "export", "--format", "csv").splitlines()
            assert lines[1] == "old.value,2023-11-14T22:13:20.000Z,0.5"
            assert (
                ask("databoom", "drop", "--series", "old.value", "--yes") == "3 queued readings of databoom dropped\n"
            )
            assert ask("old", "adopt", "databoom") == "2 readings of old are queued for databoom\n"
            queues = json.loads(ask("--json"))
            assert queues["databoom"]["dropped"] == 3
            assert queues["databoom"]["dead"] == 1  # that of the old one
            assert "old" not in queues
            wrong = edged("queue", "zebra", "list", "--config", path)
            assert (wrong.returncode, wrong.stdout) == (1, "")
            assert wrong.stderr == "edged: there is no destination zebra; there are: databoom, other\n"
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=20)
    assert daemon.returncode == 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"do": "queue-list"}, "the request lacks destination"),
        ({"do": "queue-list", "destination": 5}, "in the request destination is no str"),
        ({"do": "queue-list", "destination": "databoom", "limit": "5"}, "in the request limit is no int"),
        ({"do": "queue-list", "destination": "databoom", "limit": True}, "in the request limit is no int"),
        ({"do": "queue-drop", "destination": "databoom", "before_ms": 1.5}, "in the request before_ms is no int"),
        ({"do": "queue-adopt", "destination": "databoom"}, "the request lacks new"),
        ({"do": "queue-list", "destination": "zebra", "configured": "a"}, "in the request configured is no list"),
    ],
)
def test_a_request_that_no_command_makes(tmp_path, asked, says):
    fill(tmp_path, readings(1), "databoom")
    with opened(tmp_path) as log:
        action = actions(log)[asked["do"]]
        with pytest.raises(EdgedError, match=says):
            list(action(asked))
