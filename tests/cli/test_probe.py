"""`edged probe`, against strict stand-ins, a real broker, and servers that are not there or not right."""

import json
import time
from functools import partial

import pytest

from edged.cli import main
from edged.platforms.databoom import Databoom
from edged.simulation.platforms import open_stand_in
from tests.cli import SENSORS, config, databoom, start
from tests.test_probing import Door, proxy, relay, silence
from tests.transports.broker import Broker, free_port, wait_until
from tests.transports.certificates import Authority

PATIENCE_S = 10.0
OBJECTS = {  # of the stand-in's made-up ones, the units of float
    "greenhouse.temperature": 4711,
    "greenhouse.humidity": 4715,
    "board.load_1m": 4714,
}


def bbdata(stand_in, url: str | None = None, keys: str = "", wrong: tuple[str, ...] = ()) -> str:
    """A destination with three series, each to an object of its own; some with another's token."""
    lines = []
    for series, number in OBJECTS.items():
        token = "f" * 32 if series in wrong else stand_in.objects[number].token
        kind = "string" if number == 4714 else "float"
        lines.append(f'"{series}" = {{ object = {number}, token = "{token}", type = "{kind}" }}\n')
    table = f'[destinations.building]\nplatform = "bbdata"\nurl = "{url or stand_in.url}"\n{keys}\n'
    return table + "[destinations.building.series]\n" + "".join(lines)


@pytest.fixture
def probed(tmp_path, capsys):
    """Runs `edged probe --json` on destinations; gives the status and what was found, (destination, step) -> list."""

    def run(destinations: str, *names: str, sensors: str = SENSORS):
        path = config(tmp_path, sensors + destinations)
        status = main(["probe", "--json", "--config", str(path), *names])
        stdout, stderr = capsys.readouterr()
        assert stderr == ""
        found: dict[tuple[str, str], list[tuple[bool | None, str]]] = {}
        for each in json.loads(stdout):
            assert each.keys() == {"destination", "step", "ok", "message"}
            found.setdefault((each["destination"], each["step"]), []).append((each["ok"], each["message"]))
        assert not (tmp_path / "state").exists()  # no store is opened, let alone made
        return status, found

    return run


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("probe") / "an authority")


# --- what BBData can check


@pytest.mark.statement(42)
@pytest.mark.parametrize("api", ["input", "objects"])
def test_what_is_right_is_told_of_each_series_and_nothing_is_stored(probed, api):
    with open_stand_in("bbdata") as there:
        status, found = probed(bbdata(there, keys=f'api = "{api}"'))
        accepted, violations = there.snapshot()
    assert status == 0
    assert found["building", "credentials"] == [
        (True, f"{series}: accepted, and not stored")
        for series in ("greenhouse.temperature", "greenhouse.humidity", "board.load_1m")
    ]
    assert found["building", "clock"] == [(True, "agrees with the server's, within 2 s")]
    assert {(step, ok) for (_, step), findings in found.items() for ok, _ in findings} == {
        ("secrets", True),
        ("dns", True),
        ("tcp", True),
        ("tls", None),
        ("http", True),
        ("clock", True),
        ("credentials", True),
    }
    assert (accepted, violations) == ([], [])


@pytest.mark.parametrize("generation", ["v2", "legacy"])
@pytest.mark.parametrize(
    "wrong", [("greenhouse.humidity",), ("greenhouse.temperature", "board.load_1m"), tuple(OBJECTS)]
)
def test_wrong_tokens_are_named(probed, generation, wrong):
    with open_stand_in("bbdata", generation=generation) as there:
        status, found = probed(bbdata(there, wrong=wrong))
        accepted, violations = there.snapshot()
    assert status == 1
    said = {message.partition(":")[0]: (ok, message) for ok, message in found["building", "credentials"]}
    assert said.keys() == OBJECTS.keys()
    for series, (ok, message) in said.items():
        assert ok is (series not in wrong)
        assert (f"objectId {OBJECTS[series]}" in message) is (series in wrong)
    assert (accepted, violations) == ([], [])


def test_a_disabled_object_and_a_type_that_is_not_the_units(probed):
    with open_stand_in("bbdata") as there:
        there.disabled.add(4715)
        text = (
            bbdata(there)
            .replace("4714, token", "4713, token")
            .replace(there.objects[4714].token, there.objects[4713].token)
        )
        status, found = probed(text)
        assert there.snapshot() == ([], [])
    right, disabled, mistyped = found["building", "credentials"]
    assert status == 1
    assert right == (True, "greenhouse.temperature: accepted, and not stored")
    assert disabled[0] is mistyped[0] is False
    assert "objectId 4715 is disabled" in disabled[1]
    assert "does not match the unit (bool)" in mistyped[1]


def test_what_this_side_knows_is_told_without_asking(probed):
    with open_stand_in("bbdata") as there:
        status, found = probed(bbdata(there).replace(there.objects[4715].token, "too-short"))
        asked = [request.body for request in there.requests if request.method == "POST"]
    assert status == 1
    (message,) = [message for ok, message in found["building", "credentials"] if not ok]
    assert message.startswith("greenhouse.humidity: token: has 9 characters")
    assert len(asked) == 1
    assert b"4715" not in asked[0]


@pytest.mark.pain("C7")
@pytest.mark.parametrize(("skew_s", "where"), [(3600, "behind"), (-3600, "ahead of")])
def test_a_wrong_clock_is_told_and_hides_nothing_else(probed, skew_s, where):
    with open_stand_in("bbdata", now_ms=lambda: time.time_ns() // 1_000_000 + skew_s * 1000) as there:
        status, found = probed(bbdata(there))
        assert there.snapshot() == ([], [])
    assert status == 1
    ((ok, message),) = found["building", "clock"]
    assert ok is False
    assert message.startswith("this machine's clock is ")
    assert f" {where} the server's: timedatectl " in message
    assert {ok for ok, _ in found["building", "credentials"]} == {True}


# --- what others cannot


@pytest.mark.pain("F14")
@pytest.mark.parametrize(
    ("platform", "begins"),
    [
        ("databoom", "POST {url}\nAuthorization: Bearer ***\nContent-Type: application/json\n\n{{\n"),
        ("datacake", "POST {url}/v1/devices/{device}/record/?batch=true\nAuthorization: Token ***\nContent-Type"),
    ],
)
def test_what_cannot_be_checked_is_shown_instead(probed, platform, begins):
    with open_stand_in(platform) as there:
        status, found = probed(there.example())
        accepted, violations = there.snapshot()
        (asked,) = there.requests
    assert status == 0
    assert found[platform, "credentials"] == [
        (None, "not checked, since the platform has no way to check them without storing something")
    ]
    ((ok, message),) = found[platform, "request"]
    assert ok is None
    begins = begins.format(url=there.url, device=there.made_up_device)
    assert message.startswith(f"identifiers are not checked; it would send\n{begins}")
    assert "emperature" in message.lower()
    assert there.made_up_token not in str(found)
    assert (accepted, violations) == ([], [])
    assert (asked.method, asked.path, asked.body) == ("GET", "/", b"")  # and without credentials
    assert "Authorization" not in asked.headers


def test_a_collector_of_any_kind(probed):
    with open_stand_in("databoom") as there:  # whatever answers
        text = (
            f'[destinations.any]\nplatform = "http"\nurl = "{there.url}"\n'
            'headers = { X-Key = "hidden-one" }\nseries = { "greenhouse.*" = true }\n'
        )
        status, found = probed(text)
        assert len(there.requests) == 1
    assert status == 0
    ((_, message),) = found["any", "request"]
    assert message.splitlines()[1] == f"POST {there.url}"
    assert "X-Key: ***" in message.splitlines()
    assert message.count('"series":"greenhouse.') == 3
    assert "hidden-one" not in str(found)


# --- the way


def test_nobody_is_there(probed):
    port = free_port()
    status, found = probed(databoom(f"http://127.0.0.1:{port}/x"))
    assert status == 1
    refused = f"127.0.0.1 port {port}: it refuses connections; check the port, and whether the server runs"
    assert found["databoom", "tcp"] == [(False, refused)]
    assert found["databoom", "credentials"] == [(None, "not checked, since it cannot be reached")]
    assert ("databoom", "http") not in found
    assert ("databoom", "request") in found


def test_a_name_that_there_is_not(probed):
    status, found = probed(databoom("https://no-such-host.invalid/x"))
    assert status == 1
    ((ok, message),) = found["databoom", "dns"]
    assert ok is False
    assert message.startswith("no-such-host.invalid: ")
    assert ("databoom", "tcp") not in found


@pytest.mark.pain("B9")
def test_a_server_that_says_nothing_holds_up_nothing(probed):
    with Door(silence) as door, open_stand_in("bbdata") as there:
        text = databoom(f"http://127.0.0.1:{door.port}/x").replace("backoff", 'timeout = "300ms"\nbackoff')
        status, found = probed(text + bbdata(there))
    assert status == 1
    assert found["databoom", "http"] == [(False, f"http://127.0.0.1:{door.port}/: no complete answer within 0.3 s")]
    assert {ok for ok, _ in found["building", "credentials"]} == {True}


def test_tls_that_is_right(probed, authority):
    with open_stand_in("bbdata") as there, Door(partial(relay, port=there.port), authority.server("right")) as door:
        url = f"https://localhost:{door.port}"
        status, found = probed(bbdata(there, url, f'ca_file = "{authority.ca_file}"'))
    assert status == 0
    ((ok, message),) = found["building", "tls"]
    assert ok is True
    assert message.startswith("warning: the certificate is valid until ")  # for 2 days
    assert "issued by an authority" in message
    assert [ok for ok, _ in found["building", "credentials"]] == [True] * 3


@pytest.mark.parametrize(
    ("host", "days", "trusted", "said"),
    [
        ("DNS:other.example", 2, True, "for another host than localhost"),
        ("DNS:localhost", -1, True, "has expired"),
        ("DNS:localhost", 2, False, "from a CA that is not trusted here"),
    ],
)
def test_tls_that_is_not_sends_no_credentials(probed, authority, host, days, trusted, said):
    heard: list[bytes] = []

    def listen(connection):
        while part := connection.recv(65536):
            heard.append(part)

    with open_stand_in("bbdata") as there, Door(listen, authority.server("wrong", host=host, days=days)) as door:
        keys = f'ca_file = "{authority.ca_file}"' if trusted else ""
        status, found = probed(bbdata(there, f"https://localhost:{door.port}", keys))
    assert status == 1
    ((ok, message),) = found["building", "tls"]
    assert ok is False
    assert message.startswith("not verified: the certificate ")
    assert said in message
    assert found["building", "credentials"] == [(None, "not checked, since it cannot be reached")]
    assert heard == []


def test_through_a_proxy(probed, authority):
    certificate = authority.server("far", host="DNS:far.example")
    with (
        open_stand_in("bbdata") as there,
        Door(partial(relay, port=there.port), certificate) as far,
        Door(proxy) as between,
    ):
        keys = f'ca_file = "{authority.ca_file}"\nproxy = "http://127.0.0.1:{between.port}"'
        status, found = probed(bbdata(there, f"https://far.example:{far.port}", keys))
    assert status == 0, found
    assert found["building", "dns"] == [
        (True, "127.0.0.1: an address itself; it is the proxy, to which it is left to find far.example")
    ]
    assert f"port {between.port}: connected" in found["building", "tcp"][0][1]
    assert found["building", "tls"][0][0] is True
    assert [ok for ok, _ in found["building", "credentials"]] == [True] * 3


# --- secrets


def test_a_secret_that_is_not_there(probed):
    with open_stand_in("databoom") as there:
        text = there.example().replace(f'"{there.made_up_token}"', '{ env = "EDGED_NO_SUCH" }')
        status, found = probed(text)
        assert len(there.requests) == 1
    assert status == 1
    assert found["databoom", "secrets"] == [(False, "environment variable EDGED_NO_SUCH is not set")]
    assert found["databoom", "http"][0][0] is True
    assert found["databoom", "credentials"] == [(None, "not checked, since not all secrets can be read")]


def test_a_token_that_is_not_there_hides_no_other_series(probed):
    with open_stand_in("bbdata") as there:
        text = bbdata(there).replace(f'"{there.objects[4715].token}"', '{ file = "/nonexistent/token" }')
        status, found = probed(text)
    assert status == 1
    ((ok, message),) = found["building", "secrets"]
    assert (ok, message) == (False, "file /nonexistent/token cannot be read: No such file or directory")
    said = dict(found["building", "credentials"])
    assert list(said) == [True]
    assert len(found["building", "credentials"]) == 2


@pytest.mark.pain("F15")
@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_is_shown_even_where_an_answer_holds_it(tmp_path, capsys, as_json):
    with open_stand_in("bbdata", generation="legacy") as there, open_stand_in("databoom") as other:
        secrets = {known.token for known in there.objects.values()} | {other.made_up_token, "f" * 32}
        path = config(tmp_path, SENSORS + bbdata(there, wrong=("board.load_1m",)) + other.example())
        assert main(["probe", *(["--json"] if as_json else []), "--config", str(path)]) == 1
    printed = "".join(capsys.readouterr())
    assert "building" in printed
    assert not [secret for secret in secrets if secret in printed]


# --- the command


def test_for_people(tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom("http://no-such-host.invalid/x"))
    assert main(["probe", "--config", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["databoom (databoom)", "  ok    secrets     readable: a plain string"]
    assert lines[2].startswith("  WRONG dns         no-such-host.invalid: ")
    assert lines[3] == "  -     credentials not checked, since it cannot be reached"
    assert lines[4] == "  -     request     identifiers are not checked; it would send"
    assert lines[5] == "        POST http://no-such-host.invalid/x"


def test_only_what_is_named_else_all_that_is_enabled_in_the_configs_order(probed):
    text = databoom(name="b") + databoom(name="a") + databoom(name="off") + "\n"
    text = text.replace("[destinations.off]\n", "[destinations.off]\nenabled = false\n")
    order = [name for name, _ in probed(text)[1]]
    assert list(dict.fromkeys(order)) == ["b", "a"]
    order = [name for name, _ in probed(text, "off", "b")[1]]
    assert list(dict.fromkeys(order)) == ["b", "off"]


def test_an_unknown_destination(tmp_path, capsys):
    path = config(tmp_path, SENSORS + databoom())
    assert main(["probe", "databoom", "zebra", "--config", str(path)]) == 2
    assert capsys.readouterr() == ("", "edged: there is no destination zebra; there are: databoom\n")


def test_no_destination(tmp_path, capsys):
    assert main(["probe", "--json", "--config", str(config(tmp_path))]) == 0
    assert capsys.readouterr() == ("[]\n", "edged: there is no enabled destination to probe\n")


def test_no_series(probed):
    with open_stand_in("bbdata") as there:
        status, found = probed(f'[destinations.building]\nplatform = "bbdata"\nurl = "{there.url}"\n')
    assert status == 0
    assert found["building", "credentials"] == [(None, "not checked, since no series goes there")]
    assert ("building", "request") not in found


def test_a_bug_is_one_destinations_alone(probed, monkeypatch):
    def encode(self, items):
        raise RuntimeError(f"what is {items[0].target}?")

    monkeypatch.setattr(Databoom, "encode", encode)
    with open_stand_in("bbdata") as there:
        status, found = probed(databoom() + bbdata(there))
    assert status == 1
    ((ok, message),) = found["databoom", "probe"]
    assert ok is False
    assert message.startswith("a bug, please report it: RuntimeError in ")
    assert {ok for ok, _ in found["building", "credentials"]} == {True}


# --- MQTT


@pytest.fixture(scope="module")
def broker(tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("broker")
    made = Broker(folder, authority.ca_file, authority.server("broker"))
    made.start()
    yield made
    made.close()


def mqtt(broker, keys: str = "", password: str = "") -> str:
    return (
        f'[destinations.hall]\nplatform = "bbdata-mqtt"\nhost = "localhost"\nport = {broker.port}\n'
        f'client_id = "bbdata_hall"\nusername = "{broker.username}"\npassword = "{password or broker.password}"\n'
        f'ca_file = "{broker.ca_file}"\n{keys}\n'
        'series = { "greenhouse.humidity" = { object = 1, token = "0123456789abcdef0123456789abcdef" } }\n'
    )


def test_a_login_at_a_broker(probed, broker):
    status, found = probed(mqtt(broker))
    assert status == 0
    assert found["hall", "tls"][0][0] is True
    assert found["hall", "clock"] == [(None, "not compared, since only HTTP tells the time")]
    assert found["hall", "credentials"] == [(True, "logged in as client bbdata_hall")]
    ((ok, message),) = found["hall", "request"]
    assert ok is None
    assert message.startswith("identifiers are not checked; it would send\nPUBLISH bbdata_topic (QoS 1)\n{\n")
    assert '"token": "***"' in message
    assert broker.messages() == []


@pytest.mark.parametrize("retain", ["true", "false"])
def test_nobody_hears_of_a_probe(probed, broker, retain):
    """No last will, no greeting, no discovery."""
    text = mqtt(broker, f'retain = {retain}\nwill = {{ topic = "there" }}\ndiscovery = "homeassistant"')
    text = text.replace("bbdata-mqtt", "mqtt").replace(
        '{ object = 1, token = "0123456789abcdef0123456789abcdef" }', '"hall/humidity"'
    )
    status, found = probed(text)
    assert status == 0
    assert found["hall", "credentials"] == [(True, "logged in as client bbdata_hall")]
    ((_, message),) = found["hall", "request"]
    assert f"PUBLISH hall/humidity (QoS 1{', retained' if retain == 'true' else ''})" in message
    assert "PUBLISH homeassistant/" in message
    assert probed(text)[0] == 0  # whatever the first one left behind would have come by now
    assert broker.messages() == []
    assert "Will message specified" not in broker.log()


def test_a_broker_without_tls(probed):
    with open_stand_in("mqtt") as there:
        status, found = probed(there.example().replace('"*" = true', '"board.load_1m" = "hall/load"'))
        assert there.snapshot() == ([], [])
        assert there.retained == {}
    assert status == 0
    assert found["mqtt", "tls"] == [(None, "none, but it stays on this machine")]
    assert found["mqtt", "credentials"][0][0] is True


def test_a_broker_is_reached_without_the_proxy(probed, broker):
    status, found = probed(mqtt(broker, 'proxy = "http://127.0.0.1:1"'))
    assert status == 0
    assert found["hall", "proxy"] == [(None, "not used, since only HTTP goes through it")]
    assert found["hall", "tcp"][0][0] is True


def test_a_login_that_is_refused(probed, broker):
    status, found = probed(mqtt(broker, password="another-made-up-one"))
    assert status == 1
    ((ok, message),) = found["hall", "credentials"]
    assert ok is False
    assert "the broker refused the connection" in message
    assert "another-made-up-one" not in str(found)


@pytest.mark.pain("G1")
def test_a_running_daemon_keeps_its_session(tmp_path, capsys, authority):
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker", authority.ca_file, authority.server("kept"))
    broker.start()
    path = config(tmp_path, SENSORS + mqtt(broker))
    daemon = start("run", "--config", path)
    try:
        broker.wait_for(1)
        assert main(["probe", "--json", "--config", str(path)]) == 0
        found = json.loads(capsys.readouterr().out)
        (login,) = [each for each in found if each["step"] == "credentials"]
        assert login["message"] == "logged in as client bbdata_hall-probe"
        wait_until(lambda: "bbdata_hall-probe" in broker.log(), "the broker to write it down")
        assert "already connected" not in broker.log()
        before = len(broker.messages())
        broker.wait_for(before + 1)  # it goes on
        assert broker.log().count("as bbdata_hall (") == 1
    finally:
        daemon.terminate()
        daemon.communicate(timeout=PATIENCE_S)
        broker.close()
