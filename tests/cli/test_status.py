"""`edged status` beside a daemon that runs, and its words for one that is in trouble."""

import json
import re
import signal
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edged import __version__
from edged.cli import main
from edged.cli.status import duration
from edged.monitoring.control import Server
from edged.simulation.platforms import open_stand_in
from tests.cli import SENSORS, config, databoom, edged, start, until

ABSENT = '[sensors.absent]\ndriver = "bme280"\nbus = 250\ninterval = "1s"\n'
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
TOKEN = "a-token-for-databoom"


@pytest.fixture
def daemon():
    """Starts daemons and waits until they run; ends those that are left."""
    running = []

    def run(path, says=r"test: \d+ sensors, \d+ destinations"):
        process = start("run", "--config", path, cwd=path.parent)
        running.append(process)
        until(process.stderr, says)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def ask(path, capsys, *options: str) -> tuple[int, str]:
    """The command in this process: its status, and what it prints."""
    code = main(["status", *options, "--config", str(path)])
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    return code, stdout


def ask_until(path, capsys, condition) -> Any:
    """The daemon's status, once it is as expected; the time limit of the test ends the wait."""
    while True:
        code, text = ask(path, capsys, "--json")
        assert code == 0
        if condition(status := json.loads(text)):
            return status


# --- a real daemon


def test_all_is_well(daemon, tmp_path, capsys):
    with open_stand_in("databoom") as stand_in:
        stand_in.admit({"token": TOKEN, "device": "0abc12def3"}, [])
        path = config(tmp_path, SENSORS + databoom(stand_in.url))
        running = daemon(path)
        status = ask_until(
            path,
            capsys,
            lambda status: (
                status["destinations"]["databoom"]["delivered"]
                and all(sensor["quantities"] for sensor in status["sensors"].values())
            ),
        )
        assert status.keys() == {"version", "name", "uptime_s", "clock", "sensors", "destinations", "store"}
        assert (status["version"], status["name"]) == (__version__, "test")
        assert 0 < status["uptime_s"] < 100
        assert isinstance(status["clock"]["synchronised"], bool)
        assert status["clock"]["source"] in ("kernel", None)
        assert list(status["sensors"]) == ["greenhouse", "board"]
        for sensor in status["sensors"].values():
            assert (sensor["ok"], sensor["stale"], sensor["error"]) == (True, False, None)
            for quantity in sensor["quantities"].values():
                assert quantity.keys() >= {"value", "unit", "time"}
                assert re.fullmatch(TIME, quantity["time"])
        assert status["sensors"]["greenhouse"]["quantities"]["temperature"]["unit"] == "°C"
        destination = status["destinations"]["databoom"]
        assert destination.keys() >= {
            *("state", "until", "queued", "oldest", "delivered", "dead", "dropped", "merged", "lost", "parked"),
            *("last_error", "last_delivery"),
        }
        assert destination["state"] in ("ok", "waiting")
        assert (destination["parked"], destination["last_error"]) == ({}, None)
        assert re.fullmatch(TIME, destination["last_delivery"])
        assert status["store"]["bytes"] > 0
        assert status["store"]["trouble"] is None
        assert isinstance(status["store"]["commits"], int)

        code, text = ask(path, capsys, "--check")
        assert (code, text) == (0, "ok: 2 sensors, 1 destination\n")

        code, text = ask(path, capsys)
        assert code == 0
        head, store, *rows = text.splitlines()
        assert head.startswith(f"test: edged {__version__}, up ")
        assert store.startswith("store: ")
        assert any(re.match(r"ok +greenhouse +temperature +[-\d.]+ +°C +[\d.]+ s", row) for row in rows)
        assert any(re.match(r"(ok|waiting) +databoom +\d", row) for row in rows)

        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)
    assert not list((tmp_path / "state").glob("*.sock"))


@pytest.mark.guarantee(10)
def test_all_is_wrong(daemon, tmp_path, capsys):
    """A sensor is absent, a platform is away, a secret cannot be read."""
    text = ABSENT + databoom(name="away")
    text += databoom(name="closed").replace('"a-token-for-closed"', '{ credential = "none" }')
    path = config(tmp_path, SENSORS + text)
    daemon(path)
    status = ask_until(
        path,
        capsys,
        lambda status: (
            status["sensors"]["absent"]["error"]
            and status["destinations"]["away"]["state"] == "backing-off"
            and status["destinations"]["closed"]["state"] == "parked"
        ),
    )
    absent = status["sensors"]["absent"]
    away, closed = status["destinations"].values()
    assert (absent["ok"], absent["stale"], absent["quantities"]) == (False, False, {})
    assert "/dev/i2c-250" in absent["error"]
    assert away["queued"] > 0
    assert re.fullmatch(TIME, away["oldest"])
    assert (away["delivered"], away["last_delivery"]) == (0, None)
    assert away["last_error"]
    assert "credential none" in closed["last_error"]

    code, text = ask(path, capsys, "--check")
    assert code == 1
    (line,) = text.splitlines()
    assert line.startswith("parked: closed (credential none ")
    code, text = ask(path, capsys)
    assert code == 0
    assert re.search(r"^failing +absent +nothing read yet", text, re.MULTILINE)
    assert re.search(r"^absent: .*/dev/i2c-250", text, re.MULTILINE)
    assert re.search(r"^backing-off +away +in [\d.]+ s +\d+ ", text, re.MULTILINE)
    assert re.search(r"^away: .*refused", text, re.MULTILINE)
    assert re.search(r"^parked +closed +in (59|60) min ", text, re.MULTILINE)
    assert re.search(r"^closed: credential none ", text, re.MULTILINE)
    for destination in (away, closed):
        assert re.fullmatch(TIME, destination["until"])


def test_no_daemon(tmp_path):
    path = config(tmp_path)
    for option in ([], ["--json"], ["--check"]):
        done = edged("status", *option, "--config", path)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"edged: no daemon is running for {tmp_path}/state: looked at /run/edged/control.sock (")
        assert f"{tmp_path}/state/control.sock (No such file or directory)" in line


def test_a_daemon_that_was_killed(daemon, tmp_path):
    path = config(tmp_path)
    first = daemon(path)
    first.kill()
    first.communicate()
    done = edged("status", "--config", path)
    assert done.returncode == 1
    assert "no daemon is running" in done.stderr
    daemon(path)
    assert edged("status", "--check", "--config", path).returncode == 0


@pytest.mark.guarantee(10)
def test_a_daemon_whose_socket_has_no_place(daemon, tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    path = config(folder)
    running = daemon(path, says="warning no control socket")
    until(running.stderr, "test: 2 sensors")
    done = edged("status", "--config", path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0


@pytest.mark.guarantee(10)
def test_a_store_that_cannot_be_used(daemon, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "state").write_text("a file, where a folder should be")
    path = config(tmp_path, SENSORS + databoom())
    daemon(path)
    status = ask_until(path, capsys, lambda status: status["destinations"]["databoom"]["queued"])
    assert f"{tmp_path}/state" in status["store"]["trouble"]
    assert status["store"]["trouble"] in ask(path, capsys)[1]
    code, line = ask(path, capsys, "--check")
    assert code == 1
    assert line.startswith(f"store: {tmp_path}/state")
    assert len(line.splitlines()) == 1


def test_it_follows_a_reload(daemon, tmp_path, capsys):
    path = config(tmp_path, ABSENT + databoom(name="a"))
    running = daemon(path)
    config(tmp_path, SENSORS + databoom(name="b"))
    running.send_signal(signal.SIGHUP)
    until(running.stderr, "reloaded")
    status = json.loads(ask(path, capsys, "--json")[1])
    assert (list(status["sensors"]), list(status["destinations"])) == (["greenhouse", "board"], ["b"])


def test_it_needs_no_secret_and_shows_none(daemon, tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom(f"http://127.0.0.1:1/{TOKEN}"))
    daemon(path)
    status = ask_until(path, capsys, lambda status: status["destinations"]["databoom"]["last_error"])
    assert TOKEN not in json.dumps(status)
    text = path.read_text().replace(f'"{TOKEN}"', '{ credential = "none" }')
    path.write_text(text)
    assert ask(path, capsys, "--json")[0] == 0


# --- what it makes of an answer

WELL: dict[str, Any] = {
    "version": "1.2",
    "name": "cellar",
    "uptime_s": 93784.2,
    "clock": {"synchronised": True, "source": "kernel"},
    "sensors": {
        "a": {
            "ok": True,
            "stale": False,
            "error": None,
            "quantities": {
                "x": {
                    "value": 1.23456789,
                    "unit": "K",
                    "time": "2024-03-05T14:07:30.250Z",
                    "age_s": 75,
                    "stale": False,
                },
                "y": {"value": True, "unit": "", "time": "2024-03-05T14:07:30.250Z", "age_s": 7500, "stale": False},
            },
        },
        "b": {"ok": True, "stale": False, "error": None, "quantities": {}},
    },
    "destinations": {
        "d": {
            "state": "ok",
            "queued": 3,
            "oldest": "2024-03-05T14:07:30.250Z",
            "delivered": 1000,
            "dead": 1,
            "dropped": 2,
            "merged": 4,
            "lost": 5,
            "parked": {},
            "last_error": None,
            "last_delivery": None,
            "rate": 2.5,
            "until": None,
        }
    },
    "store": {"bytes": 1_250_000, "commits": 12, "trouble": None},
}


@pytest.fixture
def answers(tmp_path):
    """A control socket that says what the test wants; the config of its daemon."""
    (tmp_path / "state").mkdir()
    status = deepcopy(WELL)
    server = Server(tmp_path / "state", {"status": lambda request: status})
    server.start()
    yield config(tmp_path), status
    server.stop()


@pytest.mark.pain("D8")
@pytest.mark.pain("G9")
def test_the_tables(answers, capsys):
    path, _ = answers
    code, text = ask(path, capsys)
    assert code == 0
    head, store, _, title, *sensors, _, columns, destination, dead = text.splitlines()
    assert head == "cellar: edged 1.2, up 26 h, clock synchronised (kernel)"
    assert store == "store: 1.2 MB, 12 commits"
    assert title.split() == ["state", "sensor", "quantity", "value", "unit", "age"]
    assert [row.split() for row in sensors] == [
        ["ok", "a", "x", "1.234568", "K", "75", "s"],
        ["ok", "a", "y", "True", "2", "h"],
        ["ok", "b", "nothing", "read", "yet"],
    ]
    assert columns.split() == [
        *("state", "destination", "next", "try", "queued", "oldest", "delivered", "per", "min"),
        *("dead", "dropped", "merged", "lost", "last", "delivery"),
    ]
    cells = destination.split()
    assert cells[:3] == ["ok", "d", "3"]
    assert cells[-6:] == ["1000", "150", "1", "2", "4", "5"]
    assert dead == "d: 1 reading refused for good: edged queue d list --dead"


def test_what_there_is_none_of_takes_no_room(answers, capsys):
    path, status = answers
    status["destinations"]["d"] |= dict.fromkeys(("dead", "dropped", "merged", "lost"), 0)
    status["destinations"]["e"] = status["destinations"]["d"] | {"dropped": 7}
    *_, columns, d, e = ask(path, capsys)[1].splitlines()
    assert columns.split()[7:] == ["per", "min", "dropped", "last", "delivery"]
    assert (d.split()[-1], e.split()[-1]) == ("0", "7")


@pytest.mark.pain("G9")
@pytest.mark.parametrize(
    ("state", "reason"), [("backing-off", "429 Too Many"), ("parked", "401"), ("waiting", "last error, once: 500")]
)
def test_why_a_destination_does_not_get_on_and_until_when(answers, capsys, state, reason):
    path, status = answers
    until = datetime.now(UTC) + timedelta(seconds=3600)
    last_error = reason.removeprefix("last error, once: ")
    status["destinations"]["d"] |= {"state": state, "until": until.isoformat(), "last_error": last_error, "dead": 0}
    *_, destination, remark = ask(path, capsys)[1].splitlines()
    assert re.match(rf"{state} +d +in 59 min +3 ", destination)
    assert remark == f"d: {reason}"


def test_a_daemon_that_does_not_tell_until_when(answers, capsys):
    """An older one."""
    path, status = answers
    del status["destinations"]["d"]["until"]
    assert re.search("^ok +d +3 ", ask(path, capsys)[1], re.MULTILINE)


def test_the_tables_of_trouble(answers, capsys):
    path, status = answers
    status["clock"] = {"synchronised": False, "source": None}
    status["store"]["trouble"] = "the card is full"
    status["sensors"]["a"] |= {"ok": False, "stale": True, "error": "gone [/dev]"}
    status["sensors"]["a"]["quantities"]["y"]["stale"] = True
    parked = {"a.x": "no such object", "b.x": "no such object", "a.y": "no such field"}
    status["destinations"]["d"] |= {"parked": parked, "last_error": "no such object", "dead": 0}
    code, text = ask(path, capsys)
    assert code == 0
    assert "clock not synchronised" in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[2] == "THE STORE CANNOT BE WRITTEN, what is new is in memory only: the card is full"
    assert re.search(r"^failing +a +x ", text, re.MULTILINE)
    assert re.search(r"^stale +a +y .* 2 h *$", text, re.MULTILINE)
    assert "a: gone [/dev]" in lines
    assert lines[-2:] == ["d: a.x, b.x are parked: no such object", "d: a.y is parked: no such field"]


@pytest.mark.pain("D8")
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: s["sensors"]["a"]["quantities"]["y"].update(stale=True), "stale: a.y"),
        (lambda s: s["sensors"]["b"].update(stale=True), "stale: b"),
        (lambda s: s["destinations"]["d"].update(state="parked", last_error="401"), "parked: d (401)"),
        (lambda s: s["destinations"]["d"].update(parked={"a.x": "404"}), "parked: d, a.x (404)"),
        (lambda s: s["store"].update(trouble="the card is full"), "store: the card is full"),
    ],
)
def test_what_a_monitor_is_told(answers, capsys, change, line):
    path, status = answers
    assert ask(path, capsys, "--check") == (0, "ok: 2 sensors, 1 destination\n")
    change(status)
    assert ask(path, capsys, "--check") == (1, f"{line}\n")
    code, text = ask(path, capsys, "--check", "--json")
    assert (code, json.loads(text)) == (1, status)
    assert ask(path, capsys, "--json")[0] == 0


@pytest.mark.parametrize("state", ["backing-off", "waiting"])
def test_what_passes_by_itself_is_no_alarm(answers, capsys, state):
    path, status = answers
    status["destinations"]["d"].update(state=state)
    status["sensors"]["a"] |= {"ok": False, "error": "gone for a moment"}
    assert ask(path, capsys, "--check")[0] == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_again_and_again_over_a_restart(tmp_path, capsys, monkeypatch, as_json):
    (tmp_path / "state").mkdir()
    path = config(tmp_path)
    servers: list[Server] = []

    def sleep(seconds: float) -> None:
        if servers:
            servers.pop().stop()
            raise KeyboardInterrupt
        servers.append(Server(tmp_path / "state", {"status": lambda request: WELL}))
        servers[0].start()

    monkeypatch.setattr("edged.cli.status.time.sleep", sleep)
    assert main(["status", "--watch", *(["--json"] if as_json else []), "--config", str(path)]) == 130
    stdout, stderr = capsys.readouterr()
    assert stderr.startswith("edged: no daemon is running")
    assert len(stderr.splitlines()) == 1
    if as_json:
        assert json.loads(stdout) == WELL
    else:
        assert stdout.startswith("cellar: ")


def test_a_daemon_of_another_version(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    server = Server(tmp_path / "state", {})
    server.start()
    assert main(["status", "--config", str(config(tmp_path))]) == 1
    server.stop()
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith(f"edged: the running daemon, edged {__version__}, does not know 'status'; ")
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (1.26, "1.3 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (200_000, "2 d"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
