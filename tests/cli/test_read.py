# mypy: disable-error-code="attr-defined,no-untyped-call"
import json
import re
import signal

import pytest

from edged.cli import main
from edged.errors import NoReply
from tests.cli import SENSORS, config, databoom, start, until

ABSENT = '[sensors.absent]\ndriver = "bme280"\nbus = 250\ninterval = "1s"\n'


def test_values_and_units_as_json(tmp_path, capsys):
    assert main(["read", "--json", "--config", str(config(tmp_path))]) == 0
    sensors = json.loads(capsys.readouterr().out)
    assert list(sensors) == ["greenhouse", "board"]
    for sensor in sensors.values():
        assert set(sensor) == {"time", "quantities", "error"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sensor["time"])
        assert sensor["error"] is None
        for quantity in sensor["quantities"].values():
            assert set(quantity) == {"value", "unit"}
    greenhouse = sensors["greenhouse"]["quantities"]
    assert {name: quantity["unit"] for name, quantity in greenhouse.items()} == {
        "temperature": "°C",
        "pressure": "hPa",
        "humidity": "%RH",
    }
    assert isinstance(greenhouse["temperature"]["value"], float)


def test_values_for_people(tmp_path, capsys):
    assert main(["read", "greenhouse", "--config", str(config(tmp_path))]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split() == ["sensor", "quantity", "value", "unit"]
    assert [row.split()[:2] for row in rows] == [["greenhouse", q] for q in ("temperature", "pressure", "humidity")]


def test_shaping_applies(tmp_path, capsys):
    shaping = '[sensors.board]\ndriver = "host"\ninterval = 1\n[sensors.board.quantities]\n'
    shaping += "uptime = { scale = 1e-9, offset = 7, round = 0 }\nload_1m = { enabled = false }\n"
    assert main(["read", "--json", "--config", str(config(tmp_path, shaping))]) == 0
    quantities = json.loads(capsys.readouterr().out)["board"]["quantities"]
    assert quantities["uptime"] == {"value": 7.0, "unit": "s"}
    assert "load_1m" not in quantities


def test_a_sensor_that_gives_nothing(tmp_path, capsys):
    path = config(tmp_path, SENSORS + ABSENT)
    assert main(["read", "--json", "--config", str(path)]) == 1
    sensors = json.loads(capsys.readouterr().out)
    assert sensors["absent"] == {"time": None, "quantities": {}, "error": sensors["absent"]["error"]}
    assert "/dev/i2c-250" in sensors["absent"]["error"]
    assert sensors["greenhouse"]["error"] is None
    assert main(["read", "absent", "--config", str(path)]) == 1
    stdout, stderr = capsys.readouterr()
    assert "no reading: " in stdout
    assert stderr == ""
    assert main(["read", "greenhouse", "--config", str(path)]) == 0


def test_an_unknown_sensor(tmp_path, capsys):
    assert main(["read", "zebra", "--config", str(config(tmp_path))]) == 2
    assert capsys.readouterr() == ("", "edged: there is no sensor zebra; there are: greenhouse, board\n")


def test_it_needs_no_secret_and_no_store(tmp_path, capsys):
    text = SENSORS + databoom().replace('"a-token-for-databoom"', '{ credential = "none" }')
    assert main(["read", "--config", str(config(tmp_path, text))]) == 0
    assert not (tmp_path / "state").exists()


def test_again_and_again(tmp_path, capsys, monkeypatch):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    board = '[sensors.board]\ndriver = "host"\ninterval = 1\n'
    monkeypatch.setattr("time.sleep", sleep)
    assert main(["read", "--watch", "--json", "--config", str(config(tmp_path, board))]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "uptime" in json.loads(line)["board"]["quantities"]


def test_again_and_again_a_lost_sensor_has_no_values(tmp_path, capsys, monkeypatch):
    pauses = []

    def lost(self):
        raise NoReply("gone")

    def sleep(seconds):
        pauses.append(seconds)
        monkeypatch.setattr("edged.drivers.host.Host.read", lost)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    board = '[sensors.board]\ndriver = "host"\ninterval = 1\n'
    monkeypatch.setattr("time.sleep", sleep)
    assert main(["read", "--watch", "--json", "--config", str(config(tmp_path, board))]) == 130
    first, second = (json.loads(line)["board"] for line in capsys.readouterr().out.splitlines())
    assert first["quantities"]
    assert second == {"time": None, "quantities": {}, "error": "gone"}


@pytest.mark.parametrize("as_json", [False, True])
def test_no_sensor_at_all(tmp_path, capsys, as_json):
    assert main(["read", "--config", str(config(tmp_path, "")), *(["--json"] if as_json else [])]) == 0
    if as_json:
        assert json.loads(capsys.readouterr().out) == {}


# --- beside a running daemon


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """A daemon that runs on a config with these sensors; from then on the command may touch no device itself."""
    running = []

    def run(text):
        path = config(tmp_path, text)
        process = start("run", "--config", path, cwd=tmp_path)
        running.append(process)
        until(process.stderr, r"test: \d+ sensors")

        def never(*arguments):
            raise AssertionError("the device is in the daemon's hands")

        monkeypatch.setattr("edged.cli.read.make_sampler", never)
        return path

    run.processes = running
    yield run
    for process in running:
        process.kill()
        process.communicate()


def read_until(path, capsys, condition):
    """What the command prints once it is as expected; the time limit of the test ends the wait."""
    while True:
        code = main(["read", "--json", "--config", str(path)])
        stdout, stderr = capsys.readouterr()
        assert stderr == ""
        if condition(sensors := json.loads(stdout)):
            return code, sensors


def test_the_running_daemon_is_asked(daemon, capsys):
    path = daemon(SENSORS + databoom().replace('"a-token-for-databoom"', '{ credential = "none" }'))
    code, sensors = read_until(path, capsys, lambda sensors: not any(each["error"] for each in sensors.values()))
    assert code == 0
    assert list(sensors) == ["greenhouse", "board"]
    greenhouse = sensors["greenhouse"]
    assert greenhouse.keys() == {"time", "quantities", "error"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", greenhouse["time"])
    assert {name: quantity["unit"] for name, quantity in greenhouse["quantities"].items()} == {
        "temperature": "°C",
        "pressure": "hPa",
        "humidity": "%RH",
    }
    assert main(["read", "greenhouse", "--config", str(path)]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split() == ["sensor", "quantity", "value", "unit"]
    assert [row.split()[:2] for row in rows] == [["greenhouse", q] for q in ("temperature", "pressure", "humidity")]


def test_a_sensor_that_fails_the_daemon(daemon, capsys):
    path = daemon(SENSORS + ABSENT)
    code, sensors = read_until(path, capsys, lambda sensors: "/dev/i2c-250" in (sensors["absent"]["error"] or ""))
    assert code == 1
    assert (sensors["absent"]["time"], sensors["absent"]["quantities"]) == (None, {})
    assert main(["read", "absent", "--config", str(path)]) == 1
    stdout, stderr = capsys.readouterr()
    assert "no reading: " in stdout
    assert stderr == ""


def test_what_the_daemon_does_not_read(daemon, tmp_path, capsys):
    """A sensor that came into the config since, and one that is disabled."""
    path = daemon(SENSORS.replace('driver = "host"', 'driver = "host"\nenabled = false'))
    _, sensors = read_until(path, capsys, lambda sensors: True)
    assert list(sensors) == ["greenhouse"]
    assert main(["read", "board", "--config", str(path)]) == 1
    assert capsys.readouterr() == ("", "edged: the running daemon does not read board, which is disabled\n")
    config(tmp_path, SENSORS + ABSENT)
    assert main(["read", "absent", "--config", str(path)]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr == "edged: the running daemon has no sensor absent; reload it after a change of the config\n"


def test_the_daemon_again_and_again_until_it_ends(daemon, capsys, monkeypatch):
    path = daemon(SENSORS)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            daemon.processes[0].send_signal(signal.SIGTERM)
            daemon.processes[0].communicate(timeout=20)

    monkeypatch.setattr("edged.cli.read.time.sleep", sleep)
    assert main(["read", "--watch", "--json", "--config", str(path)]) == 1
    stdout, stderr = capsys.readouterr()
    assert len(stdout.splitlines()) == 3
    assert stderr.startswith("edged: no daemon is running")
