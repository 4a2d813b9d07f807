import json
import re

import pytest

from edged.cli import main
from edged.cli._sums import size, span
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
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("") + 1].startswith("sensor ")
    assert sum(line.startswith("databoom ") for line in lines) == 1


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


SUMS = {
    "readings_per_day",
    "requests_per_day",
    "network_bytes_per_month",
    "card_bytes_per_day",
    "queue_lasts_s",
    "drain_s",
}


@pytest.mark.pain("A7")
@pytest.mark.pain("A29")
def test_the_sums_for_people(tmp_path, capsys):
    path = config(tmp_path, SENSORS.partition("[sensors.board]")[0] + databoom())
    assert main(["check", "--sums", "--config", str(path)]) == 0
    day, card, queue = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"259,200 readings and [0-9,]+ requests a day, [0-9.]+ GB over the network a month", day)
    assert re.fullmatch(r"writes [0-9.]+ [kM]B a day to the card, [0-9.]+ [MG]B without network", card)
    lasts = r"databoom: the queue lasts [0-9.]+ days without network \(max_size 256 MiB\)"
    assert re.fullmatch(lasts + r"; a day's backlog is drained in [0-9.]+ min", queue)
    assert not (tmp_path / "state").exists()


def test_the_sums_come_with_the_rest(tmp_path, capsys):
    assert main(["check", "--config", str(config(tmp_path, SENSORS + databoom()))]) == 0
    text = capsys.readouterr().out
    assert text.index("sensor ") < text.index("requests a day") < text.index("the queue lasts")


def test_the_sums_as_json(tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom() + databoom(name="other", series="greenhouse.*"))
    assert main(["check", "--sums", "--json", "--config", str(path)]) == 0
    sums = json.loads(capsys.readouterr().out)
    assert set(sums) == SUMS
    assert sums["queue_lasts_s"].keys() == sums["drain_s"].keys() == {"databoom", "other"}
    assert all(sums[key] > 0 for key in SUMS - {"queue_lasts_s", "drain_s"})


def test_a_wrong_config_has_no_sums(tmp_path, capsys):
    path = config(tmp_path, SENSORS.replace("bus", "buss"))
    assert main(["check", "--sums", "--json", "--config", str(path)]) == 78
    (problem,) = json.loads(capsys.readouterr().out)
    assert set(problem) == KEYS


@pytest.mark.parametrize("options", [[], ["--json"], ["--sums"]])
def test_a_machine_without_room_for_the_sums_still_checks(tmp_path, capsys, monkeypatch, options):
    def full(config):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edged.cli.check.work_out", full)
    path = config(tmp_path, SENSORS + databoom())
    assert main(["check", *options, "--config", str(path)]) == 0
    assert "cannot be worked out: [Errno 28] No space left on device" in capsys.readouterr().err
    assert main(["check", "--sums", "--json", "--config", str(path)]) == 1
    assert capsys.readouterr().out == ""


def test_a_backlog_that_would_grow_is_a_warning(tmp_path, capsys):
    text = SENSORS + (
        '[destinations.d]\nplatform = "datacake"\ntoken = "a-token"\ndevice = "be525e29"\n'
        'series = { "greenhouse.temperature" = "T" }\n'
    )
    assert main(["check", "--json", "--config", str(config(tmp_path, text))]) == 0
    (problem,) = json.loads(capsys.readouterr().out)
    assert (problem["severity"], problem["key"], problem["line"]) == ("warning", "destinations.d", 12)
    assert re.search(r"the backlog grows by [0-9,]+ a day", problem["message"])


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12 bytes"), (999.0, "999 bytes"), (4.24e6, "4.2 MB"), (5e9, "5 GB"), (123e9, "123 GB")]
)
def test_a_size_for_people(number, text):
    assert size(number) == text
    assert size(None) == "an unknown number of bytes"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (17, "17 s"), (9504, "2.6 h"), (41 * 86_400, "41 days"), (300, "5 min")]
)
def test_a_time_for_people(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("keys", "key", "says"),
    [
        ('platform = "datacake"\ntoken = "a-token"\ndevice = "be525e29"\nevery = "5m"\n', "every", "requests no fewer"),
        ('platform = "mqtt"\nhost = "localhost"\nretain = true\ndrain = "live-first"\n', "drain", "old values"),
    ],
)
def test_what_does_not_do_what_it_is_for_is_a_warning(tmp_path, capsys, keys, key, says):
    text = SENSORS + f'[destinations.d]\n{keys}series = {{ "board.load_1m" = true }}\n'
    assert main(["check", "--json", "--config", str(config(tmp_path, text))]) == 0
    found = {problem["key"]: problem for problem in json.loads(capsys.readouterr().out)}
    problem = found[f"destinations.d.{key}"]
    assert problem["severity"] == "warning"
    assert says in problem["message"]


def test_a_backlog_that_would_grow_is_never_drained(tmp_path, capsys):
    text = SENSORS + (
        '[destinations.d]\nplatform = "datacake"\ntoken = "a-token"\ndevice = "be525e29"\ndaily_points = 100\n'
        'series = { "greenhouse.temperature" = "T" }\n'
    )
    assert main(["check", "--config", str(config(tmp_path, text))]) == 0
    out = capsys.readouterr().out
    assert "faster than daily_points lets them go: the backlog grows by" in out
    assert 'a longer interval or backlog = "mean" helps' in out
    assert "; a backlog is never drained" in out
