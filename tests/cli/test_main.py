"""The command line itself: help, exit statuses, and what becomes of errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edged import __version__, cli
from edged.cli import main
from edged.errors import EdgedError
from edged.reading import Reading
from edged.series import Choice
from edged.store.log import Log
from tests.cli import COMMANDS, SENSORS, clean_environment, config, databoom, edged

INSTALLED = Path(sys.executable).with_name("edged")


def leave(*arguments: str) -> int:
    """The status of a command that argparse ends."""
    with pytest.raises(SystemExit) as exit:
        main(list(arguments))
    assert isinstance(exit.value.code, int)
    return exit.value.code


def test_version(capsys):
    assert leave("--version") == 0
    assert capsys.readouterr().out == f"edged {__version__}\n"


def test_help_names_all_commands(capsys):
    assert leave("--help") == 0
    text = capsys.readouterr().out
    assert tuple(cli.COMMANDS) == COMMANDS
    for name, help in cli.COMMANDS.items():
        assert name in text
        assert help.split()[0] in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(capsys, command):
    assert leave(command, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: edged {command} ")
    assert "--config FILE" in text  # every command takes it


@pytest.mark.parametrize(
    "arguments", [[], ["zebra"], ["run", "--zebra"], ["check", "zebra"], ["emulate"], ["demo", "--seconds", "soon"]]
)
def test_a_wrong_command_line(capsys, arguments):
    assert leave(*arguments) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "edged" in stderr.splitlines()[-1]
    assert "error: " in stderr.splitlines()[-1]


def test_the_config_of_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGED_CONFIG", str(config(tmp_path)))
    assert main(["check"]) == 0
    assert "\ntest: 2 sensors, 0 destinations" in capsys.readouterr().out


def test_an_error_is_a_line(monkeypatch, tmp_path, capsys):
    def fail(options):
        raise EdgedError("it did not work")

    monkeypatch.setattr("edged.cli.check.run", fail)
    assert main(["check"]) == 1
    assert capsys.readouterr() == ("", "edged: it did not work\n")


def test_an_interrupted_command_says_nothing(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("edged.cli.check.run", interrupt)
    assert main(["check"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["drivers"], ["drivers", "bme280"], ["check", "--json"], ["read", "--json"]])
def test_a_pipe_that_nobody_reads(tmp_path, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "edged", *arguments, "--config", str(config(tmp_path))]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [["queue"], ["queue", "databoom", "export"], ["check", "--sums"], ["read", "--json"], ["drivers"]]
)
@pytest.mark.parametrize(("stdout", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_output_that_cannot_be_written(tmp_path, arguments, stdout, why, unbuffered):
    path = config(tmp_path, SENSORS + databoom())
    log = Log(tmp_path / "state", 60.0, "boot")
    log.open_queue("databoom", Choice((("*", True),)))
    log.put([Reading("board.load_1m", 1_700_000_000_000 + number, 0.5) for number in range(1000)], 0)
    log.stop()
    command = ["sh", "-c", f'exec "$@" {stdout}', "sh", sys.executable, "-m", "edged", *arguments, "--config", path]
    env = clean_environment() | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=env, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, f"edged: the output could not be written: {why}\n")


def test_what_prints_nothing_needs_no_output(tmp_path):
    """And its files do not get the numbers of the closed streams."""
    look = "import os, sys; from edged import cli; cli._main = lambda given: os.open(os.devnull, 0) < 3"
    look += "; sys.exit(cli.main([]))"
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-c", look]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0


def test_another_error_is_not_the_outputs(monkeypatch, tmp_path):
    def fail(options):
        raise FileNotFoundError(2, "No such file or directory", "device")

    monkeypatch.setattr("edged.cli.check.run", fail)
    with pytest.raises(FileNotFoundError):
        main(["check"])


def test_the_installed_command_in_another_directory(tmp_path):
    path = config(tmp_path)
    for arguments in (["--version"], ["drivers"], ["read", "--json", "--config", path.name]):
        command = [str(INSTALLED), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=clean_environment(), timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout


def test_as_a_module():
    assert edged("--version").stdout == f"edged {__version__}\n"
