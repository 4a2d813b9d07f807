"""The sums of `edged check`, against arithmetic and against real runs."""

import dataclasses
import logging
import math
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edged.config.config import Config
from edged.config.reader import read
from edged.drivers import Quantity
from edged.drivers.bme280 import Bme280
from edged.platforms.datacake import Datacake
from edged.reading import Value
from edged.sampling.schedule import Cron, Every, Never
from edged.simulation.platforms import HttpStandIn, open_stand_in
from edged.simulation.platforms import Request as Arrived
from edged.sums import wire
from edged.sums.dry import DryRun, Plan
from edged.sums.figures import horizon, reads_per_day, work_out
from edged.sums.values import Walk, samples
from edged.transports.http import HttpTransport, Request
from edged.transports.mqtt import Message

TOKEN = "0123456789abcdef0123456789abcdef"
DEVICE = "be525e29-4398-4fc1-a928-dead7fdfe218"
SENSOR = '[sensors.s]\ndriver = "bme280"\nbus = "sim:s"\ninterval = "10s"\n'
OTHER = SENSOR.replace("sensors.s", "sensors.other").replace("sim:s", "sim:other")
DATACAKE = (
    f'[destinations.d]\nplatform = "datacake"\ntoken = "a-token"\ndevice = "{DEVICE}"\n'
    'series = { "*.temperature" = "TEMPERATURE" }\n'
)
FAR_S = 0.2  # the latency that is assumed of the internet


def load(folder: Path, text: str, daemon: str = "") -> Config:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(f'[daemon]\nname = "test"\nstate_dir = "{folder}/state"\n{daemon}\n{text}')
    config, problems, _ = read(path)
    assert config is not None, problems
    return config


# --- arithmetic


@pytest.mark.parametrize(
    ("schedule", "times"),
    [(Every(10), 8640), (Every(0.5), 172_800), (Cron("*/5 * * * *"), 288), (Cron("0 6 * * 1"), 1 / 7), (Never(), 0)],
)
def test_how_often_a_schedule_comes_a_day(schedule, times):
    assert reads_per_day(schedule) == pytest.approx(times, rel=0.02)


def test_a_run_is_as_long_as_its_budget_allows_and_in_whole_cycles():
    second, minute, week = (86_400.0, 3), (1440.0, 2), (1 / 7, 1)
    assert horizon([], 1000, 30.0) == 0
    assert horizon([(0.0, 3)], 1000, 1.0) == 0
    assert horizon([second], 60, 1.0) == pytest.approx(20)
    assert horizon([second, minute, week], 100_000, 1.0) == pytest.approx(120)
    assert horizon([minute], 100_000, 18_000) == pytest.approx(18_000)
    assert horizon([week], 50, 1.0) >= 50 * 7 * 86_400 * 0.99


def test_a_walk_keeps_the_form_of_its_sample():
    draw = random.Random(1)

    def values(sample: Value | None, **quantity: Any) -> list[Value]:
        walk = Walk(Quantity("q", **quantity), sample, draw)
        return [walk.next() for _ in range(50)]

    assert all(isinstance(value, int) and not isinstance(value, bool) for value in values(17))
    assert all(value == round(float(value), 2) for value in values(0.45))
    assert sum(len(repr(value)) > 12 for value in values(20.412818520795554)) > 40
    assert all(isinstance(value, bool) for value in values(None, kind="bool"))
    assert {type(value) for value in values(None, kind="text")} == {str}
    assert all(isinstance(value, float) and value <= 100 for value in values(99.99, unit="%", low=0, high=100))


# --- what goes over the wire


def test_a_request_s_size_is_what_a_server_gets():
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    got: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            data = b""
            while not data.endswith(b"}"):
                data += connection.recv(65536)
            got.append(data)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    request = Request(
        f"http://127.0.0.1:{port}/a/b?c=d", b'{"a": 1}', {"Content-Type": "application/json", "Authorization": "x y"}
    )
    transport = HttpTransport(5.0)
    transport.exchange(request)
    transport.close()
    thread.join()
    server.close()
    load = wire.exchange(request, None)
    assert load.sent == len(got[0])
    assert load.tls == 0
    secure = dataclasses.replace(request, url=request.url.replace("http:", "https:"))
    assert wire.exchange(secure, None).tls > 0


def test_a_message_s_size_is_that_of_mqtt():
    options = type("Options", (), {"tls": False})
    plain, confirmed, twice = (wire.exchange((Message("a/b", b"hello", qos),), options) for qos in (0, 1, 2))
    assert (plain.sent, plain.received) == (2 + 5 + 5, 0)
    assert (confirmed.sent, confirmed.received) == (2 + 7 + 5, 4)
    assert (twice.sent, twice.received) == (2 + 7 + 5 + 4, 8)
    assert wire.exchange((Message("a/b", b"x" * 200, 0),), options).sent == 3 + 5 + 200
    assert wire.exchange((Message("a/b", b"hello", 1),), None).tls > confirmed.tls == 0


def test_an_idle_connection_is_opened_anew_or_pinged():
    request = Request("https://example.org/", b"", {})
    assert wire.idle(request, None, 59.0) == wire.Load()
    assert wire.idle(request, None, 300.0).total > 5000
    assert wire.idle((Message("a", b"", 1),), None, 59.0) == wire.Load()
    assert 0 < wire.idle((Message("a", b"", 1),), None, 300.0).total < 2000


# --- figures


def test_nothing_comes_to_nothing(tmp_path):
    sums = work_out(load(tmp_path, ""))
    assert sums.to_json() == {
        "readings_per_day": 0,
        "requests_per_day": 0,
        "network_bytes_per_month": 0,
        "card_bytes_per_day": 0,
        "queue_lasts_s": {},
        "drain_s": {},
    }


def test_a_day_of_one_field_on_datacake(tmp_path):
    sums = work_out(load(tmp_path, SENSOR + DATACAKE))
    assert sums.readings_per_day == pytest.approx(3 * 8640)
    assert sums.requests_per_day == pytest.approx(8640, rel=0.02)
    assert sums.drain_s == {"d": pytest.approx(8640 * (1.1 + FAR_S), rel=0.02)}
    assert sums.grows_per_day == {}


def test_a_day_of_bulk(tmp_path):
    text = SENSOR.replace("10s", "1s") + (
        '[destinations.b]\nplatform = "bbdata"\n[destinations.b.series]\n'
        f'"s.temperature" = {{ object = 1, token = "{TOKEN}" }}\n'
        '[destinations.d]\nplatform = "databoom"\ntoken = "a-token"\ndevice = "x"\nseries = { "*" = true }\n'
    )
    sums = work_out(load(tmp_path, text))
    assert sums.drain_s == {
        "b": pytest.approx(86_400 / 100 * FAR_S, rel=0.05),
        "d": pytest.approx(3 * 86_400 / 200 * (1 + FAR_S), rel=0.05),
    }


def test_a_backlog_that_grows_is_told(tmp_path):
    sums = work_out(load(tmp_path, SENSOR.replace("10s", "1s") + DATACAKE))
    assert sums.drain_s["d"] == pytest.approx(86_400 * 1.3, rel=0.02)
    assert sums.grows_per_day == {"d": pytest.approx(86_400 * (1 - 1 / 1.3), rel=0.05)}
    assert sums.requests_per_day == pytest.approx(86_400 / 1.3, rel=0.05)


@pytest.mark.pain("A7")
def test_a_days_budget_makes_a_backlog_grow(tmp_path):
    sums = work_out(load(tmp_path, SENSOR + DATACAKE.replace("series", "daily_points = 7500\nseries")))
    assert sums.grows_per_day == {"d": pytest.approx(8640 - 7500, rel=0.02)}
    assert sums.requests_per_day == pytest.approx(7500, rel=0.02)
    assert sums.drain_s["d"] == pytest.approx(8640 / 7500 * 86_400, rel=0.02)


def test_a_backlog_that_is_thinned_does_not_grow(tmp_path):
    text = SENSOR.replace("10s", "1s") + DATACAKE.replace("series", 'backlog = "mean"\nseries')
    sums = work_out(load(tmp_path, text))
    assert sums.grows_per_day == {}
    assert sums.requests_per_day <= 86_400 / 1.1


@pytest.mark.parametrize(("every", "requests"), [("1s", 8640), ("5m", 288), ("1h", 24 * 4)])
def test_fuller_requests_are_fewer(tmp_path, every, requests):
    text = SENSOR + (
        f'[destinations.b]\nplatform = "bbdata"\nevery = "{every}"\n[destinations.b.series]\n'
        f'"s.temperature" = {{ object = 1, token = "{TOKEN}" }}\n'
    )
    assert work_out(load(tmp_path, text)).requests_per_day == pytest.approx(requests, rel=0.1)


def test_rare_readings_among_many_have_their_figures(tmp_path):
    text = SENSOR.replace("10s", "1s") + OTHER.replace("10s", "12h")
    sums = work_out(load(tmp_path, text + DATACAKE.replace("*.temp", "other.temp")))
    assert sums.readings_per_day == pytest.approx(3 * 86_400 + 3 * 2)
    assert sums.requests_per_day == pytest.approx(2, rel=0.1)
    assert sums.drain_s["d"] < 5
    assert 0 < sums.queue_lasts_s["d"] < math.inf


def test_a_latency_can_be_given(tmp_path):
    sums = work_out(load(tmp_path, SENSOR + DATACAKE), latency_s=2.0)
    assert sums.drain_s == {"d": pytest.approx(8640 * 3.1, rel=0.02)}


def test_what_is_disabled_does_not_count(tmp_path):
    off = DATACAKE.replace("*.temp", "s.temp").replace('platform = "', 'enabled = false\nplatform = "')
    sums = work_out(load(tmp_path, SENSOR + "enabled = false\n" + OTHER + off))
    assert sums.readings_per_day == pytest.approx(3 * 8640)
    assert (sums.requests_per_day, sums.queue_lasts_s) == (0, {})


def test_a_quantity_that_is_off_does_not_count(tmp_path):
    text = (
        SENSOR + "[sensors.s.quantities.pressure]\nenabled = false\n[sensors.s.quantities.humidity]\noffset = 1000.0\n"
    )
    assert work_out(load(tmp_path, text)).readings_per_day == pytest.approx(8640)


def test_quantities_that_the_config_names_stand_for_those_of_an_absent_device(tmp_path):
    text = '[sensors.x]\ndriver = "iio"\nname = "no-such-chip"\ninterval = "10s"\n'
    sums = work_out(load(tmp_path, text))
    assert sums.readings_per_day == pytest.approx(8640)
    assert [note.startswith("x: what it measures is not known here") for note in sums.notes] == [True]
    named = DATACAKE.replace('"*.temperature" = "TEMPERATURE"', '"x.temperature" = true, "x.humidity" = true')
    sums = work_out(load(tmp_path, text + named))
    assert sums.readings_per_day == pytest.approx(2 * 8640)
    assert sums.notes == ()


def test_a_secret_that_only_the_service_can_read_is_no_hindrance(tmp_path):
    hidden = DATACAKE.replace('"a-token"', '{ file = "/nonexistent/token" }')
    assert work_out(load(tmp_path, SENSOR + hidden)).requests_per_day == pytest.approx(8640, rel=0.02)


def test_a_bug_in_a_platform_is_no_bug_of_the_check(tmp_path, monkeypatch):
    def encode(self, items):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Datacake, "encode", encode)
    sums = work_out(load(tmp_path, SENSOR + DATACAKE))
    assert sums.requests_per_day == 0
    assert sums.readings_per_day == pytest.approx(3 * 8640)


def test_it_leaves_nothing_behind_and_says_nothing(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        work_out(load(tmp_path, SENSOR + DATACAKE))
    assert caplog.records == []
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml"}
    assert logging.root.manager.disable == logging.NOTSET


# --- the store


@pytest.mark.pain("A7")
@pytest.mark.parametrize("flush", [1, 60])
def test_a_queue_lasts_as_long_as_it_is_told(tmp_path, flush):
    text = SENSOR + DATACAKE.replace("series", 'max_size = "64KiB"\nseries')
    config = load(tmp_path, text, f"flush_interval = {flush}")
    lasts_s = work_out(config).queue_lasts_s["d"]
    sensors = [(sensor, samples([sensor])["s"]) for sensor in config.sensors.values()]
    run = DryRun(Plan(sensors, list(config.destinations.values()), flush), tmp_path / "run")
    run.run(lasts_s * 0.9, online=False)
    queue = run.lines["d"].queue
    assert queue.dropped == 0
    assert queue.queued == pytest.approx(lasts_s * 0.9 / 10, rel=0.01)
    run.run(lasts_s * 0.2, online=False)
    assert queue.dropped > 0
    run.close()


@pytest.mark.pain("A7")
def test_a_queue_lasts_no_longer_than_its_readings_are_kept(tmp_path):
    text = SENSOR + DATACAKE.replace("series", 'max_age = "2h"\nseries')
    assert work_out(load(tmp_path, text)).queue_lasts_s == {"d": 7200.0}


@pytest.mark.pain("A29")
def test_a_long_flush_interval_spares_the_card(tmp_path):
    often, rarely = (
        work_out(load(tmp_path, SENSOR.replace("10s", "1s") + DATACAKE, f"flush_interval = {flush}"))
        for flush in (1, 30)
    )
    assert often.card_bytes_per_day_offline is not None
    assert rarely.card_bytes_per_day_offline is not None
    assert often.card_bytes_per_day_offline > 8 * rarely.card_bytes_per_day_offline


@pytest.mark.guarantee(12)
@pytest.mark.pain("A29")
def test_what_a_driver_remembers_is_written_at_each_read(tmp_path, monkeypatch):
    config = load(tmp_path, SENSOR.replace("10s", "60s") + DATACAKE)
    forgetful = work_out(config).card_bytes_per_day
    monkeypatch.setattr(Bme280, "remembers", True)
    remembering = work_out(config).card_bytes_per_day
    assert forgetful is not None
    assert remembering is not None
    assert 1440 * 4096 < remembering - forgetful < 1440 * 40_000  # a page of SQLite's or a few


# --- real runs

SECONDS = 22.0
SETTLING_S = 3.0  # imports, and the first reads, which are off the grid


def online(folder: Path) -> tuple[Path, dict[str, HttpStandIn]]:
    """Eight sensors at 1 Hz and four slower ones, with three platforms that answer."""
    stand_ins = {name: open_stand_in(name).start() for name in ("databoom", "bbdata", "datacake")}
    lines = [f'[daemon]\nname = "online"\nstate_dir = "{folder}/online"\n']
    fast, slow = [f"fast{n}" for n in range(8)], [f"slow{n}" for n in range(4)]
    for name in fast + slow:
        interval = 1 if name in fast else 2
        lines.append(f'[sensors.{name}]\ndriver = "bme280"\nbus = "sim:{name}"\ninterval = {interval}')
    stand_ins["databoom"].admit({"token": "databoom-token", "device": "plant"}, [])
    stand_ins["bbdata"].admit({}, [{"object": n, "token": TOKEN, "type": "float"} for n in range(len(fast))])
    fields = [{"field": f"{name.upper()}_HUMIDITY", "type": "float"} for name in slow]
    stand_ins["datacake"].admit({"token": "datacake-token", "device": DEVICE}, fields)
    lines.append(
        f'[destinations.databoom]\nplatform = "databoom"\nurl = "{stand_ins["databoom"].url}"\n'
        'token = "databoom-token"\ndevice = "plant"\nevery = "5s"\nseries = { "fast*.temperature" = true }\n'
        f'[destinations.datacake]\nplatform = "datacake"\nurl = "{stand_ins["datacake"].url}"\n'
        f'token = "datacake-token"\ndevice = "{DEVICE}"\nseries = {{ "slow*.humidity" = true }}\n'
        f'[destinations.bbdata]\nplatform = "bbdata"\nurl = "{stand_ins["bbdata"].url}"\n[destinations.bbdata.series]'
    )
    lines += [
        f'"{name}.pressure" = {{ object = {n}, token = "{TOKEN}", type = "float" }}' for n, name in enumerate(fast)
    ]
    path = folder / "online.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines))
    return path, stand_ins


def offline(folder: Path) -> Path:
    """Ten sensors at 1 Hz and a destination that nobody answers."""
    lines = [f'[daemon]\nname = "offline"\nstate_dir = "{folder}/offline"\n']
    for n in range(10):
        lines.append(f'[sensors.s{n}]\ndriver = "bme280"\nbus = "sim:s{n}"\ninterval = 1')
    lines.append(
        '[destinations.d]\nplatform = "databoom"\nurl = "http://127.0.0.1:1/"\ntoken = "nobody-asks"\n'
        'device = "x"\nseries = { "*" = true }\n'
    )
    path = folder / "offline.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines))
    return path


def size(request: Arrived) -> int:
    """Bytes of a request as it arrived."""
    head = [f"{request.method} {request.path} HTTP/1.1", *(f"{key}: {value}" for key, value in request.headers.items())]
    return len("\r\n".join([*head, "", ""])) + len(request.body)


def written(process: subprocess.Popen[bytes]) -> int:
    lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


@dataclasses.dataclass
class Real:
    """What daemons did, scaled to a day."""

    requests: float
    http_bytes: float
    card_bytes: float


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two daemons side by side, with and without network, and their configs."""
    folder = tmp_path_factory.mktemp("sums")
    path, stand_ins = online(folder)
    other = offline(folder)
    command = [sys.executable, "-m", "edged", "run", "--config"]
    daemons = [subprocess.Popen([*command, str(each)], stderr=subprocess.DEVNULL) for each in (path, other)]
    try:
        time.sleep(SETTLING_S)
        before, began = written(daemons[1]), time.monotonic()
        time.sleep(SECONDS)
        ended = time.monotonic()
        daemons[1].terminate()
        while ") Z " not in Path(f"/proc/{daemons[1].pid}/stat").read_text():  # a zombie's count includes its end
            time.sleep(0.02)
        bytes_written, scale = written(daemons[1]) - before, 86_400 / (ended - began)
        arrived = [each for s in stand_ins.values() for each in s.requests if began <= each.arrived < ended]
        real = Real(len(arrived) * scale, sum(map(size, arrived)) * scale, bytes_written * scale)
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(20)
        for stand_in in stand_ins.values():
            stand_in.stop()
    return real, path, other


def config_of(path: Path) -> Config:
    config, problems, _ = read(path)
    assert config is not None, problems
    return config


def test_requests_are_those_of_a_real_run(runs):
    real, path, _ = runs
    sums = work_out(config_of(path))
    assert sums.requests_per_day == pytest.approx(real.requests, rel=0.1)
    assert sums.network_per_month.sent / 30 == pytest.approx(real.http_bytes, rel=0.1)


@pytest.mark.pain("A29")
def test_the_card_s_bytes_are_those_of_a_real_run(runs):
    real, _, path = runs
    assert work_out(config_of(path)).card_bytes_per_day_offline == pytest.approx(real.card_bytes, rel=0.1)
