"""No secret gets out, wherever in the config it stands, whatever goes wrong, and however much is logged."""

import json
import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from edged import secret
from edged.cli import main
from edged.cli import run as run_command
from edged.config.reader import require
from edged.daemon import Daemon
from edged.monitoring.log import set_up

CANARY = re.compile(r"canary[-a-z0-9]*")  # what all secrets here begin with, so that a part of one is found as well

CONFIG = """\
[daemon]
name = "test"
state_dir = "{folder}/state"
log_level = "debug"

[sensors.host]
driver = "host"
interval = "1s"

[destinations.plain]
platform = "databoom"
url = "{url}/400"
token = "canary-plain-e2fc714c4727ee93"
device = "d"
{backoff}
series = {{ "host.uptime" = true }}

[destinations.parked]
platform = "databoom"
url = "{url}/401"
token = {{ env = "EDGED_TEST_TOKEN" }}
device = "d"
{backoff}
series = {{ "host.uptime" = true }}

[destinations.failing]
platform = "datacake"
url = "{url}/500"
token = {{ file = "{folder}/token" }}
device = "d"
min_write_interval = 0
{backoff}
series = {{ "host.uptime" = true }}

[destinations.page]
platform = "databoom"
url = "{url}/html"
token = {{ credential = "token" }}
device = "d"
{backoff}
series = {{ "host.uptime" = true }}

[destinations.building]
platform = "bbdata"
url = "{url}/bbdata"
{backoff}
[destinations.building.series]
"host.uptime" = {{ object = 1, token = "canary-object-a3c65c2974270fd0ab" }}
"host.load_1m" = {{ object = 2, token = {{ env = "EDGED_TEST_TOKEN" }} }}

[destinations.mqtt]
platform = "bbdata-mqtt"
host = "127.0.0.1"
port = 1
client_id = "bbdata_test"
password = "canary-password-9f61408e3afb633e"
{backoff}
[destinations.mqtt.series]
"host.uptime" = {{ object = 1, token = "canary-mqtt-1679091c5a880faf" }}
"""
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture
def logging_as_before():
    root, ours = logging.getLogger(), logging.getLogger("edged")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


@pytest.fixture
def write(tmp_path, monkeypatch, logging_as_before):
    """Writes the config, and its secrets to where they are looked for."""
    monkeypatch.setenv("EDGED_TEST_TOKEN", "canary-env-8f14e45fceea167a0a1b2")
    (tmp_path / "token").write_text("canary-file-c9f0f895fb98ab91\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("canary-credential-45c48cce2e2d7fbd\n")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(secret, "CREDENTIALS", tmp_path / "credentials")
    monkeypatch.setattr(run_command, "ONCE_S", 1.0)

    def write(url: str):
        path = tmp_path / "config.toml"
        backoff = 'backoff = { first = "50ms", max = "50ms" }'
        path.write_text(CONFIG.format(folder=tmp_path, url=url, backoff=backoff))
        return path

    return write


class _Echo(BaseHTTPRequestHandler):
    """Answers with all that it was sent, secrets included; the path says how."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        kind = self.path.split("/")[1]
        echo = f"{self.headers['Authorization']} {body}"
        if kind == "bbdata":
            reply = '{"exception": "ForbiddenException", "details": "' + echo.replace('"', "'") + '"}'
        elif kind == "400":
            reply = json.dumps({"message": echo})
        else:
            reply = f"<html><title>{echo}</title></html>" if kind == "html" else echo
        data = reply.encode()
        self.send_response({"400": 400, "401": 401, "500": 500, "html": 502, "bbdata": 403}[kind], "Not that token")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Token", self.headers["Authorization"] or "none")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    """The URL of a server that echoes secrets."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def leaks(text: str) -> list[str]:
    """The secrets in a text, also those that a table broke into lines."""
    return CANARY.findall(text) + CANARY.findall("".join(text.split()))


@pytest.mark.pain("F15")
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["check"], 0),
        (["check", "--json"], 0),
        (["read"], 0),
        (["read", "--json"], 0),
        (["run", "--once"], 1),
    ],
    ids=["check", "check --json", "read", "read --json", "run --once"],
)
def test_commands_with_unreachable_destinations(write, capsys, command, status):
    assert main([*command, "--config", str(write(UNREACHABLE))]) == status
    stdout, stderr = capsys.readouterr()
    assert leaks(stdout + stderr) == []
    assert "Traceback" not in stderr


@pytest.mark.pain("F15")
def test_one_round_against_a_server_that_echoes_secrets(write, echo, capsys):
    assert main(["run", "--once", "--config", str(write(echo))]) == 1
    stdout, stderr = capsys.readouterr()
    for word in ("HTTP 400", "HTTP 401", "HTTP 500", "HTTP 403", "***"):
        assert word in stdout, word  # the answers are told ...
    assert leaks(stdout + stderr) == []  # ... without what they held


@pytest.mark.pain("F15")
def test_what_the_daemon_keeps_of_such_answers(write, echo, tmp_path, capsys):
    config, problems = require(write(echo))
    set_up("debug")
    daemon = Daemon(config)
    daemon.start(sampling=False)
    daemon.sample_once()
    daemon.drain(4.0)
    statuses = {name: sender.status for name, sender in daemon.senders.items()}
    letters = {name: daemon.store.dead_letters(name) for name in daemon.senders}
    daemon.stop()
    assert letters["plain"]
    assert {status.state for status in statuses.values()} >= {"parked", "backing-off"}
    assert statuses["parked"].last_error
    kept = f"{statuses!r} {letters!r} {config!r} {[str(problem) for problem in problems]!r}"
    assert leaks(kept) == []
    on_disk = b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert leaks(on_disk.decode("latin-1")) == []
    stdout, stderr = capsys.readouterr()
    assert leaks(stdout + stderr) == []


def test_no_representation_shows_a_secret(write):
    config, _ = require(write(UNREACHABLE))
    for destination in config.destinations.values():
        for value in vars(destination.options).values():
            if isinstance(value, secret.Secret):
                value.reveal()
    assert leaks(f"{config!r} {config} {config.destinations['plain'].options}") == []
    assert "canary" not in str(vars(config.destinations["plain"].options))


def test_an_exceptions_text_and_traceback_are_blacked_out(logging_as_before, capsys):
    token = secret.plain("canary-in-an-exception").reveal()
    set_up("debug")
    try:
        raise ValueError(f"cannot send {token}")
    except ValueError:
        logging.getLogger("edged.test").exception("failed with %s", token)
    logging.getLogger("urllib3").warning("Bearer %s", token)
    stderr = capsys.readouterr().err
    assert "Traceback" in stderr
    assert "***" in stderr
    assert leaks(stderr) == []


@pytest.mark.parametrize(
    "token", ["canary/a+b/c==", 'canary"quoted"', "canary\\back", "canary-é-1", "canary\nsecond-line"]
)
def test_a_secret_as_others_quote_it(token):
    secret.plain(token).reveal()
    for text in (token, json.dumps(token), json.dumps(token).replace("/", r"\/"), repr(token), quote(token, safe="")):
        assert "canary" not in secret.redact(f"refused: {text}")


@pytest.mark.pain("F14")
@pytest.mark.parametrize("url", ["https://user:canary-1@example.org", "//canary-1@x", "https://x:canary-1", "canary-1"])
def test_a_refused_url_is_not_shown(tmp_path, capsys, url):
    path = tmp_path / "config.toml"
    path.write_text(f'[destinations.d]\nplatform = "databoom"\ndevice = "d"\nurl = "{url}"\ntoken = "canary-2"\n')
    assert main(["run", "--config", str(path)]) == 78
    assert leaks("".join(capsys.readouterr())) == []
