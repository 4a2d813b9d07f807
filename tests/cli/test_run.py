"""The daemon as systemd runs it, and one round of it."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edged import daemon as daemon_module
from edged.cli import main
from edged.cli import run as run_command
from edged.config.config import Sensor
from edged.config.reader import require
from edged.daemon import Daemon
from edged.reading import Reading
from edged.sampling.sampler import Sampler
from edged.simulation.platforms import open_stand_in
from edged.store.queue import Queue
from tests.cli import SENSORS, config, databoom, edged, start, until

BOARD = '[sensors.board]\ndriver = "host"\ninterval = "1s"\n'


@pytest.fixture
def daemon():
    """Starts daemons and waits until they run; ends those that are left."""
    running = []

    def run(path, says=r"test: \d+ sensors, \d+ destinations"):
        process = start("run", "--config", path, cwd=path.parent)
        running.append(process)
        if says:
            until(process.stderr, says)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """Ends a daemon and returns its log; it has to end in time, with status 0."""
    began = time.monotonic()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - began < 5.5
    assert process.returncode == 0, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    return stderr


# --- start and stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told(daemon, tmp_path, number):
    log = stop(daemon(config(tmp_path, SENSORS + databoom())), number)
    assert "stopped; " in log


def test_it_ends_in_time_though_a_platform_hangs(daemon, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        running = daemon(config(tmp_path, SENSORS + databoom(url)))
        connection, _ = server.accept()  # a request is under way, which nobody answers
        with connection:
            stop(running)


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(1)
@pytest.mark.parametrize("sent", [False, True])
def test_it_ends_well_though_its_store_cannot_be_written_and_says_what_is_lost(daemon, tmp_path, monkeypatch, sent):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "state").write_text("a file, where a folder should be")
    destinations = "" if sent else databoom() + databoom(name="other", series="board.load_1m")
    path = config(tmp_path, BOARD + destinations)
    running = daemon(path)
    while not sent:
        status = json.loads(edged("status", "--json", "--config", path).stdout)
        if all(destination["queued"] for destination in status["destinations"].values()):
            break
    said = stop(running).splitlines()[-1]
    lost = "no reading is" if sent else "[0-9]+ readings? for databoom, [0-9]+ readings? for other are"
    why = re.escape(f"({tmp_path}/state: [Errno 17] File exists: ")
    again = "what was delivered in that time may be sent again"
    assert re.search(f" error the store could not be written: {lost} lost; {again} {why}", said)


_EARLY = """\
import importlib, os, signal, sys
from edged import cli
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever this process has inherited
def load(name):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        pass
importlib.import_module = load
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("command", "statuses"), [("run", {0}), ("check", {-signal.SIGHUP, -signal.SIGTERM})])
def test_it_ends_when_it_is_told_before_it_has_begun(command, statuses):
    """While it still imports what it needs; then a reload has nothing to do."""
    told = subprocess.run([sys.executable, "-c", _EARLY, command], timeout=30, capture_output=True, check=False)
    assert told.returncode in statuses
    assert told.stderr == b""


@pytest.mark.guarantee(10)
def test_a_store_that_another_daemon_holds(daemon, tmp_path):
    path = config(tmp_path, BOARD)
    running = daemon(path)
    for arguments in ([], ["--once"]):
        second = edged("run", *arguments, "--config", path)
        assert second.returncode == 1
        assert second.stdout == ""
        (line,) = second.stderr.splitlines()
        assert str(tmp_path / "state") in line
    stop(running)


@pytest.mark.guarantee(10)
def test_what_is_absent_keeps_it_from_nothing(daemon, tmp_path):
    """No sensor is there, no secret can be read, no platform answers."""
    text = '[sensors.absent]\ndriver = "bme280"\nbus = 250\ninterval = 1\n' + BOARD
    text += databoom().replace('"a-token-for-databoom"', '{ credential = "none" }') + databoom(name="other")
    running = daemon(config(tmp_path, text), says="")
    found = {"absent": False, "databoom": False, "other": False}
    while not all(found.values()):
        line = until(running.stderr, "absent: lost|cannot deliver|databoom: parked")
        found[line.split()[2].rstrip(":")] = True
    stop(running)


def test_warnings_of_the_config_are_logged(daemon, tmp_path):
    path = config(tmp_path, BOARD + databoom())
    path.chmod(0o644)
    running = daemon(path, says=f" warning {path}:.*: a secret in a file that all users may read")
    until(running.stderr, "1 sensors, 1 destinations")
    stop(running)


_MANY = """\
import os, signal, threading, time
from edged.cli._signals import catch
reader = catch(signal.SIGHUP, signal.SIGTERM)
def send():
    for number in range(3000):
        answered.clear()
        until = time.perf_counter() + number % 50 / 1e6
        while time.perf_counter() < until:
            pass
        os.kill(os.getpid(), signal.SIGHUP)
        if not answered.wait(5):
            os._exit(1)
    os.kill(os.getpid(), signal.SIGTERM)
answered = threading.Event()
threading.Thread(target=send).start()
while os.read(reader, 1)[0] == signal.SIGHUP:
    answered.set()
"""


def test_no_signal_is_lost_whenever_it_comes():
    """A handler that fills a queue loses about one in a hundred of these until the next signal."""
    done = subprocess.run([sys.executable, "-c", _MANY], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- SIGHUP


def test_a_reload_goes_over_to_the_new_config(daemon, tmp_path):
    running = daemon(config(tmp_path, BOARD + databoom()))
    config(tmp_path, SENSORS + databoom(name="a") + databoom(name="b"))
    running.send_signal(signal.SIGHUP)
    assert "reloaded: 2 sensors, 2 destinations" in until(running.stderr, "reloaded")
    stop(running)


@pytest.mark.parametrize("level", ["debug", "error"])
def test_a_wrong_config_changes_nothing_and_is_told(daemon, tmp_path, level):
    path = config(tmp_path, BOARD, f'log_level = "{level}"')
    running = daemon(path, says="")  # nothing, at level error
    while not (tmp_path / "state").exists():  # from then on it takes signals
        time.sleep(0.01)
    config(tmp_path, BOARD.replace("interval", "cron") + "adress = 1\n", f'log_level = "{level}"')
    running.send_signal(signal.SIGHUP)
    assert "sensors.board.cron: no cron expression" in until(running.stderr, f"error {path}")
    assert "sensors.board.adress: unknown key" in until(running.stderr, f"error {path}")
    assert "the config is wrong; the old one stays" in until(running.stderr, "the old one stays")
    stop(running)


@pytest.mark.case(16)
@pytest.mark.parametrize("content", [b"\xff\xfe" + BOARD.encode("utf-16-le"), b"\0" * 512], ids=["UTF-16", "NUL"])
def test_a_file_saved_by_the_wrong_editor_changes_nothing(daemon, tmp_path, content):
    path = config(tmp_path, BOARD)
    running = daemon(path)
    path.write_bytes(content)
    running.send_signal(signal.SIGHUP)
    assert f" error {path}:1:1: " in until(running.stderr, "config.toml")
    until(running.stderr, "the old one stays")
    stop(running)


def test_a_reload_does_not_move_the_store(daemon, tmp_path):
    running = daemon(config(tmp_path, BOARD))
    config(tmp_path, SENSORS, 'flush_interval = "5s"')
    running.send_signal(signal.SIGHUP)
    assert "restart edged for that" in until(running.stderr, "flush_interval has changed")
    stop(running)


def test_a_reload_of_a_config_that_a_power_cut_has_emptied_changes_nothing(daemon, tmp_path):
    path = config(tmp_path, BOARD)
    running = daemon(path)
    Path(path).write_text("")
    running.send_signal(signal.SIGHUP)
    assert "the old one stays" in until(running.stderr, "the config is empty")
    stop(running)


def test_a_reload_finds_a_rotated_secret(tmp_path):
    token = tmp_path / "token"
    token.write_text("the-old-token")
    from_file = databoom(name="a").replace('"a-token-for-a"', f'{{ file = "{token}" }}')
    text = SENSORS + from_file + databoom(name="b")
    path = config(tmp_path, text)
    daemon = Daemon(require(path)[0])
    daemon.start(sampling=False)
    try:
        before = daemon.senders
        for sender in before.values():
            assert [secret.reveal() for secret in sender.secrets()]
        daemon.reload(require(path)[0])
        assert daemon.senders["a"] is before["a"]
        token.write_text("the-new-token")
        daemon.reload(require(path)[0])
        assert daemon.senders["b"] is before["b"]
        assert [secret.reveal() for secret in daemon.senders["a"].secrets()] == ["the-new-token"]
    finally:
        daemon.stop()


def test_a_reload_of_many_that_hang_is_as_quick_as_of_one(tmp_path):
    """Four destinations, each in an exchange that never ends, go together."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as connections:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        names = "abcd"
        text = SENSORS + "".join(databoom(url, name) for name in names)
        daemon = Daemon(require(config(tmp_path, text))[0])
        daemon.start(sampling=False)
        assert not daemon.sample_once()
        server.settimeout(20)
        for _ in names:
            connections.enter_context(server.accept()[0])
        started = time.monotonic()
        daemon.reload(require(config(tmp_path, SENSORS))[0])
        daemon.stop()
        assert time.monotonic() - started < 8.0
        assert not daemon.senders


def test_a_reload_starts_and_stops_only_what_changed(tmp_path):
    before = SENSORS + databoom(name="a") + databoom(name="b", series="board.*") + databoom(name="c")
    after = SENSORS.replace('interval = "1s"', 'interval = "2s"', 1)
    after += databoom(name="a") + databoom(name="b", series="greenhouse.*") + databoom(name="d")
    daemon = Daemon(require(config(tmp_path, before))[0])
    daemon.start()
    try:
        old_sensors, old_destinations = daemon.samplers, daemon.senders
        daemon.reload(require(config(tmp_path, after))[0])
        sensors, destinations = daemon.samplers, daemon.senders
        assert sensors["board"] is old_sensors["board"]
        assert sensors["greenhouse"] is not old_sensors["greenhouse"]
        assert set(destinations) == {"a", "b", "d"}
        assert destinations["a"] is old_destinations["a"]
        assert destinations["b"] is not old_destinations["b"]
        same = daemon.samplers
        daemon.reload(require(config(tmp_path, after))[0])
        assert daemon.samplers == same
    finally:
        daemon.stop()


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(1)
def test_a_reload_while_the_store_can_neither_be_written_nor_read_starts_all_that_it_stopped(tmp_path):
    daemon = Daemon(require(config(tmp_path, SENSORS + databoom(name="a") + databoom(name="b")))[0])
    daemon.start(sampling=False)
    try:
        for value in range(20):  # more than what was written last and is still in memory
            daemon.store.put([Reading("board.load_1m", 1_700_000_000_000 + value, float(value))], 0)
            daemon.store.flush()
        disk = daemon.store.disk
        with disk.lock:
            disk.close(clean=False)
            disk._trouble.why, disk._next_try = "unplugged", math.inf
        after = SENSORS.replace('interval = "1s"', 'interval = "2s"') + databoom(name="a", series="board.load_*")
        daemon.reload(require(config(tmp_path, after + databoom(name="b")))[0])
        assert (set(daemon.samplers), set(daemon.senders)) == ({"greenhouse", "board"}, {"a", "b"})
        daemon.stop_sampling()
        disk._next_try = 0.0
        daemon.store.flush()
        queue = daemon.store.queues["a"]
        assert (queue.open, queue.lost, queue.queued) == (True, 0, sum(1 for _ in queue.pending()))
        assert queue.queued >= 20
    finally:
        daemon.stop()


@pytest.mark.guarantee(10)
def test_a_part_that_cannot_be_started_stops_no_other_and_is_tried_again(tmp_path, monkeypatch, caplog):
    text = SENSORS + databoom(name="a") + databoom(name="b")
    daemon = Daemon(require(config(tmp_path, text))[0])
    open_queue, make_sampler = daemon.store.open_queue, daemon_module.make_sampler

    def open_but_a(name: str, *others: Any) -> Queue:
        if name == "a":
            raise RuntimeError("can't start new thread")
        return open_queue(name, *others)

    def make_but_greenhouse(sensor: Sensor, *others: Any) -> Sampler:
        if sensor.name == "greenhouse":
            raise RuntimeError("can't start new thread")
        return make_sampler(sensor, *others)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(daemon.store, "open_queue", open_but_a)
            patch.setattr(daemon_module, "make_sampler", make_but_greenhouse)
            daemon.start()
        assert (set(daemon.samplers), set(daemon.senders)) == ({"board"}, {"b"})
        assert [message for message in caplog.messages if "could not be started" in message] == [
            "a could not be started; a reload tries it again",
            "greenhouse could not be started; a reload tries it again",
        ]
        daemon.reload(require(config(tmp_path, text))[0])
        assert (set(daemon.samplers), set(daemon.senders)) == ({"greenhouse", "board"}, {"a", "b"})
    finally:
        daemon.stop()


# --- once


def test_one_round_against_a_stand_in(tmp_path):
    emulate = start("emulate", "databoom", cwd=tmp_path)
    (url,) = re.findall("http[^; ]+", until(emulate.stdout, "databoom on "))
    destination = databoom(url).replace("a-token-for-databoom", "made-up-databoom-token")
    once = edged("run", "--once", "--config", config(tmp_path, SENSORS + destination))
    emulate.send_signal(signal.SIGTERM)
    stdout, _ = emulate.communicate(timeout=10)
    assert once.returncode == 0, once
    title, *rows = once.stdout.splitlines()
    assert title.split() == ["series", "value", "destination", "fate"]
    assert {row.split()[0] for row in rows} >= {"greenhouse.temperature", "greenhouse.humidity", "board.uptime"}
    assert {row.split()[-1] for row in rows} == {"delivered"}
    assert re.search(f"^accepted {len(rows)}, .*violations 0$", stdout, re.MULTILINE)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(run_command, "ONCE_S", 0.3)


def test_one_round_that_nobody_answers(tmp_path, capsys, impatient):
    assert main(["run", "--once", "--config", str(config(tmp_path, BOARD + databoom()))]) == 1
    _, *rows = capsys.readouterr().out.splitlines()
    assert rows
    assert all(" queued: " in row for row in rows)


def test_what_one_round_leaves_is_sent_by_the_next(tmp_path, capsys, impatient, monkeypatch):
    with open_stand_in("databoom") as stand_in:
        stand_in.admit({"token": "a-token-for-databoom", "device": "0abc12def3"}, [])
        path = config(tmp_path, BOARD + databoom(stand_in.url))
        stand_in.stop()
        assert main(["run", "--once", "--config", str(path)]) == 1
        left = len(capsys.readouterr().out.splitlines()) - 1
        stand_in.start()
        monkeypatch.setattr(run_command, "ONCE_S", 30.0)
        assert main(["run", "--once", "--config", str(path)]) == 0
        now = len(capsys.readouterr().out.splitlines()) - 1
        accepted, violations = stand_in.snapshot()
    assert len(accepted) == left + now
    assert list(violations) == []


def test_one_round_with_a_sensor_that_gives_nothing(tmp_path, capsys, impatient):
    text = '[sensors.absent]\ndriver = "bme280"\nbus = 250\ninterval = 1\n'
    assert main(["run", "--once", "--config", str(config(tmp_path, text))]) == 1
    (row,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("absent ")]
    assert "no reading: " in row
    assert "/dev/i2c-250" in row


# --- the journal


@pytest.mark.pain("F5")
def test_lines_carry_their_priority_in_the_journal(tmp_path):
    """As systemd connects it: stderr is the socket that $JOURNAL_STREAM names."""
    path = config(tmp_path, BOARD)
    journal, stderr = socket.socketpair()
    with journal, stderr, journal.makefile() as lines:
        stat = os.fstat(stderr.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "edged", "run", "--config", str(path)],
            stderr=stderr.fileno(),
            env=os.environ | {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"},
        )
        stderr.close()
        assert lines.readline() == "<6>test: 1 sensors, 0 destinations\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
