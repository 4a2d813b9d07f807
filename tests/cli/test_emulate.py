import contextlib
import json
import signal
import socket
import subprocess
import tomllib

import pytest
import requests
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edged.cli import main
from edged.simulation import platforms as stand_ins
from tests.cli import SENSORS, config, databoom, start, until


def pasted(command: subprocess.Popen[str]) -> str:
    """What a new stand-in prints before it is of use: a comment, a table, and an empty line."""
    lines = [until(command.stdout, "")]
    while lines[-1] != "\n":
        lines.append(until(command.stdout, ""))
    return "".join(lines)


def ended(command: subprocess.Popen[str]) -> list[str]:
    """Ends it, and returns the lines that it still printed."""
    command.send_signal(signal.SIGTERM)
    stdout, stderr = command.communicate(timeout=10)
    assert command.returncode == 0
    assert stderr == ""
    return stdout.splitlines()


@pytest.mark.parametrize("platform", stand_ins.names())
def test_its_table_can_be_pasted(tmp_path, platform):
    command = start("emulate", platform, cwd=tmp_path)
    text = pasted(command)
    assert ended(command) == ["accepted 0, refused 0, violations 0"]
    assert text.startswith(f"# {platform} on ")
    assert tomllib.loads(text)["destinations"][platform]["platform"] == platform
    assert main(["check", "--config", str(config(tmp_path, SENSORS + text))]) == 0


def test_it_says_what_it_accepts_refuses_and_what_breaks_a_rule(tmp_path):
    command = start("emulate", "databoom", cwd=tmp_path)
    table = tomllib.loads(pasted(command))["destinations"]["databoom"]
    point = {"date": "2024-03-05T14:07:30.250+0000", "value": 21.37}
    body = {"device": table["device"], "signals": {"room_temp": {"history": [point]}}}
    for token, document in ((table["token"], body), ("wrong", body), (table["token"], {})):
        requests.post(table["url"], json=document, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    lines = ended(command)
    assert lines[-1] == "accepted 1, refused 2, violations 1"
    assert sorted(lines[:-1]) == [
        "accepted room_temp 2024-03-05T14:07:30.250Z 21.37",
        'refused 400 POST /v1/signals/push: {"message": "device must be a non-empty string"}',
        'refused 401 POST /v1/signals/push: {"message": "unauthorized"}',
        "violation of statement 12: device must be a non-empty string",
    ]


def test_so_does_the_one_over_mqtt(tmp_path):
    command = start("emulate", "bbdata-mqtt", cwd=tmp_path)
    table = tomllib.loads(pasted(command))["destinations"]["bbdata-mqtt"]
    client = Client(CallbackAPIVersion.VERSION2, table["client_id"])
    client.username_pw_set(table["username"], table["password"])
    client.tls_set(table["ca_file"])
    client.connect(table["host"], table["port"])
    client.loop_start()
    object_, token = (table["series"]["greenhouse.temperature"][key] for key in ("object", "token"))
    measure = {"objectId": object_, "token": token, "timestamp": "2024-03-05T14:07:30.250", "value": "21.5"}
    for others in ({"comment": "", "owner": None}, {"comment": ""}, {"comment": "", "owner": None, "objectId": 9}):
        client.publish("topic", json.dumps({**measure, **others}), 1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    lines = ended(command)
    assert lines[-1] == "accepted 1, refused 2, violations 1"
    assert "accepted 4711 2024-03-05T14:07:30.250Z 21.5" in lines
    assert "refused error queue: objectId 9: the pair (objectId, token) does not exist" in lines
    assert any(line.startswith("violation of statement 52: ") for line in lines)


def test_a_breach_of_the_protocol(tmp_path):
    command = start("emulate", "mqtt", cwd=tmp_path)
    table = tomllib.loads(pasted(command))["destinations"]["mqtt"]
    with socket.create_connection((table["host"], table["port"])) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    lines = ended(command)
    assert any(line.startswith("violation of the protocol: ") for line in lines)


def test_no_stand_in(capsys):
    assert main(["emulate", "zebra"]) == 2
    assert capsys.readouterr() == ("", f"edged: no stand-in for zebra; there are: {', '.join(stand_ins.names())}\n")


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


CONFIGURED = """
[destinations.building]
platform = "bbdata"
url = "https://bbdata.example.org"
[destinations.building.series]
"greenhouse.temperature" = { object = 7, token = { env = "EDGED_NO_SUCH" }, type = "float" }
"greenhouse.humidity" = { object = 8, token = { env = "EDGED_SUCH" } }
"board.*" = false
"""


def test_a_config_s_own_identifiers(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGED_SUCH", "f" * 32)
    path = config(tmp_path, SENSORS + CONFIGURED)
    command = start("emulate", "bbdata", "--config", path, cwd=tmp_path)
    text = pasted(command)
    table = tomllib.loads(text)["destinations"]["building"]
    made_up = {"object": 7, "token": "0123456789abcdef0123456789abcdef", "type": "float"}
    assert table == {"url": table["url"], "series": {"greenhouse.temperature": made_up}}
    assert "# in place of its own: environment variable EDGED_NO_SUCH is not set\n" in text
    assert "f" * 32 not in text
    for object_, token in ((7, made_up["token"]), (8, "f" * 32), (9, "f" * 32)):
        measure = {"objectId": object_, "token": token, "timestamp": "2024-03-05T14:07:30.250", "value": "1"}
        requests.post(f"{table['url']}/input/measures", json=measure, timeout=10)
    assert ended(command)[-1] == "accepted 2, refused 1, violations 0"


def test_a_token_that_cannot_be_read_is_made_up(tmp_path):
    text = SENSORS + databoom(name="Büro").replace('"a-token-for-Büro"', '{ env = "EDGED_NO_SUCH" }')
    text = text.replace("[destinations.Büro]", '[destinations."Büro"]')
    command = start("emulate", "databoom", "--config", config(tmp_path, text), cwd=tmp_path)
    text = pasted(command)
    table = tomllib.loads(text)["destinations"]["Büro"]
    assert table == {"url": table["url"], "token": "0123456789abcdef0123456789abcdef"}
    headers = {"Authorization": f"Bearer {table['token']}"}
    assert requests.post(table["url"], json={}, headers=headers, timeout=10).status_code == 400
    assert ended(command)[-1] == "accepted 0, refused 1, violations 1"


def test_a_broker_s_table(tmp_path):
    text = """
[destinations.broker]
platform = "bbdata-mqtt"
client_id = "bbdata_test"
username = "u"
password = { env = "EDGED_NO_SUCH" }
[destinations.broker.series]
"greenhouse.temperature" = { object = 7, token = "ffffffffffffffffffffffffffffffff" }
"""
    command = start("emulate", "bbdata-mqtt", "--config", config(tmp_path, SENSORS + text), cwd=tmp_path)
    table = tomllib.loads(pasted(command))["destinations"]["broker"]
    assert table.keys() == {"host", "port", "ca_file", "password"}
    client = Client(CallbackAPIVersion.VERSION2, "bbdata_test")
    client.username_pw_set("u", table["password"])
    client.tls_set(table["ca_file"])
    client.connect(table["host"], table["port"])
    client.loop_start()
    measure = {"objectId": 7, "token": "f" * 32, "timestamp": "2024-03-05T14:07:30.250", "value": "21.5"}
    client.publish("t", json.dumps({**measure, "comment": "", "owner": None}), 1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    assert ended(command)[-1] == "accepted 1, refused 0, violations 0"


def test_no_secret_is_printed(tmp_path):
    path = config(tmp_path, SENSORS + databoom())
    command = start("emulate", "databoom", "--config", path, cwd=tmp_path)
    url = tomllib.loads(pasted(command))["destinations"]["databoom"]["url"]
    requests.post(f"{url}/a-token-for-databoom?key=a-token-for-databoom", timeout=10)
    lines = ended(command)
    assert 'refused 404 POST /v1/signals/push/***: {"message": "not found"}' in lines
    assert "a-token-for-databoom" not in "".join(lines)
