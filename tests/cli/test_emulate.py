import signal
import socket
import tomllib

import pytest
import requests

from edged.cli import main
from edged.simulation import platforms as stand_ins
from tests.cli import SENSORS, config, databoom, start, until


@pytest.mark.parametrize("platform", stand_ins.names())
def test_its_table_can_be_pasted(tmp_path, platform, capsys):
    command = start("emulate", platform, cwd=tmp_path)
    until(command.stdout, f"{platform} on http://127.0.0.1:")
    lines = [until(command.stdout, "")]
    while lines[-1] != "\n" or len(lines) == 1:
        lines.append(until(command.stdout, ""))
    command.send_signal(signal.SIGTERM)
    stdout, stderr = command.communicate(timeout=10)
    assert command.returncode == 0
    assert stdout.splitlines()[-1] == "accepted 0, violations 0"
    assert stderr == ""
    pasted = "".join(lines)
    assert tomllib.loads(pasted)["destinations"][platform]["platform"] == platform
    assert main(["check", "--config", str(config(tmp_path, SENSORS + pasted))]) == 0


def test_it_says_what_it_accepts_and_what_breaks_a_rule(tmp_path):
    command = start("emulate", "databoom", cwd=tmp_path)
    url = until(command.stdout, "databoom on ").split()[2].rstrip(";")
    requests.post(url, data="no JSON", headers={"Content-Type": "application/json"}, timeout=10)
    assert "violation of statement " in until(command.stdout, "^violation")
    command.send_signal(signal.SIGINT)
    stdout, _ = command.communicate(timeout=10)
    assert command.returncode == 0
    assert "accepted 0, violations " in stdout.splitlines()[-1]


def test_no_stand_in(capsys):
    assert main(["emulate", "zebra"]) == 2
    assert capsys.readouterr() == ("", "edged: no stand-in for zebra; there are: bbdata, databoom, datacake\n")


def test_a_port_in_use(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert main(["emulate", "databoom", "--port", port, "--config", str(config(tmp_path))]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith(f"edged: port {port} cannot be used: ")


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_no_port(tmp_path, capsys, port):
    assert main(["emulate", "databoom", f"--port={port}", "--config", str(config(tmp_path))]) == 1
    assert capsys.readouterr().err.startswith(f"edged: port {port} cannot be used: ")


def test_a_secret_that_cannot_be_read(tmp_path, capsys):
    text = SENSORS + databoom().replace('"a-token-for-databoom"', '{ env = "EDGED_NO_SUCH" }')
    assert main(["emulate", "databoom", "--config", str(config(tmp_path, text))]) == 1
    assert capsys.readouterr().err == "edged: environment variable EDGED_NO_SUCH is not set\n"
