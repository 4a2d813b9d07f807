import json

import pytest

from edged.cli import main
from tests.cli import SENSORS, config, databoom

KEYS = {"severity", "file", "line", "column", "key", "message"}


def test_what_it_would_do(tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom(series="greenhouse.*"))
    assert main(["check", "--config", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"test: 2 sensors, 1 destinations; store: {tmp_path}/state\n")
    assert "temperature, pressure, humidity" in text
    assert "greenhouse.temperature, greenhouse.pressure, greenhouse.humidity" in text
    assert not (tmp_path / "state").exists()


def test_a_right_config_as_json(tmp_path, capsys):
    assert main(["check", "--json", "--config", str(config(tmp_path, SENSORS + databoom()))]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_problems_as_json(tmp_path, capsys):
    path = config(tmp_path, SENSORS.replace("bus", "buss") + databoom().replace("0abc", "{zebra}"))
    assert main(["check", "--json", "--config", str(path)]) == 78
    stdout, stderr = capsys.readouterr()
    problems = json.loads(stdout)
    assert stderr == ""
    assert [set(problem) for problem in problems] == [KEYS, KEYS]
    assert problems[0] == {
        "severity": "error",
        "file": str(path),
        "line": 7,
        "column": 1,
        "key": "sensors.greenhouse.buss",
        "message": 'unknown key; did you mean "bus"?',
    }


def test_a_missing_file_as_json(tmp_path, capsys):
    assert main(["check", "--json", "--config", str(tmp_path / "none.toml")]) == 78
    (problem,) = json.loads(capsys.readouterr().out)
    assert (problem["severity"], problem["line"], problem["key"]) == ("error", 1, "")


def test_errors_for_people(tmp_path, capsys):
    path = config(tmp_path, SENSORS.replace("bus", "buss"))
    assert main(["check", "--config", str(path)]) == 78
    assert capsys.readouterr().out == f'{path}:7:1: sensors.greenhouse.buss: unknown key; did you mean "bus"?\n'


@pytest.mark.parametrize("as_json", [False, True])
def test_absent_hardware_and_unreadable_secrets_are_warnings(tmp_path, capsys, as_json):
    text = '[sensors.chip]\ndriver = "bme280"\nbus = 250\ninterval = 1\n'
    text += '[sensors.off]\ndriver = "bme280"\nbus = 251\ninterval = 1\nenabled = false\n'
    text += databoom().replace('"a-token-for-databoom"', '{ env = "EDGED_NO_SUCH" }')
    path = config(tmp_path, text)
    assert main(["check", "--config", str(path), *(["--json"] if as_json else [])]) == 0
    stdout = capsys.readouterr().out
    if as_json:
        chip, token = json.loads(stdout)
        assert (chip["severity"], chip["key"]) == ("warning", "sensors.chip")
        assert (token["severity"], token["key"]) == ("warning", "destinations.databoom.token")
        assert token["message"] == "environment variable EDGED_NO_SUCH is not set"
    else:
        chip, token = stdout.splitlines()[:2]
        assert chip.startswith(f"{path}:6:10: sensors.chip: warning: /dev/i2c-250: it does not exist")
        assert ": destinations.databoom.token: warning: environment variable EDGED_NO_SUCH is not set" in token


def test_a_secret_that_only_the_service_can_read_in_a_series(tmp_path, capsys):
    text = SENSORS + '[destinations.b]\nplatform = "bbdata"\n[destinations.b.series]\n'
    text += '"greenhouse.humidity" = { object = 1, token = { file = "/nonexistent/token" } }\n'
    assert main(["check", "--json", "--config", str(config(tmp_path, text))]) == 0
    (problem,) = json.loads(capsys.readouterr().out)
    assert problem["key"] == 'destinations.b.series."greenhouse.humidity".token'


def test_no_row_is_broken_into_lines(tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom())
    assert main(["check", "--config", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("databoom ")


def test_what_does_nothing_is_said(tmp_path, capsys):
    path = config(tmp_path, "[destinations.d]\nplatform = 'databoom'\ntoken = { env = 'PATH' }\ndevice = 'x'\n")
    assert main(["check", "--config", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{path}:1:1: warning: there are no sensors" in lines
    assert any("destinations.d: warning: it has no series, so nothing goes there" in line for line in lines)


def test_a_series_without_quotes_is_told_so(tmp_path, capsys):
    destination = "[destinations.d]\nplatform = 'databoom'\ntoken = { env = 'PATH' }\ndevice = 'x'\n"
    path = config(tmp_path, SENSORS + destination + "[destinations.d.series]\nboard.uptime = 'up'\n")
    assert main(["check", "--config", str(path)]) == 78
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith('destinations.d.series.board: put the series in quotes: "board.uptime" = ...')


def test_a_token_that_would_go_in_the_clear_is_warned_of(tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom("http://databoom.example.org/push"))
    assert main(["check", "--config", str(path)]) == 0
    assert "destinations.databoom.url: warning: without TLS" in capsys.readouterr().out
