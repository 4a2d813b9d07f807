"""What a daemon says of itself, where time matters."""

import pytest

from edged import clock, overview
from edged.config.reader import require
from edged.daemon import Daemon, make_sampler
from edged.errors import EdgedError
from edged.sampling.once import read_once
from tests.cli import SENSORS, config

CRON = SENSORS.replace('interval = "1s"\n[sensors.board]', 'cron = "0 * * * *"\n[sensors.board]')


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """One whose sensors have been read a single time."""
    running = []

    def start(text):
        daemon = Daemon(require(config(tmp_path, text))[0])
        daemon.start(sampling=False)
        running.append(daemon)
        sensors = [sensor for sensor in daemon.config.sensors.values() if sensor.enabled]
        samplers = {sensor.name: make_sampler(sensor, lambda readings, offset_ms: None) for sensor in sensors}
        read_once(samplers.items())
        monkeypatch.setattr(Daemon, "samplers", samplers)
        return daemon

    yield start
    for daemon in running:
        daemon.stop()


def let_pass(monkeypatch, daemon: Daemon, seconds: float) -> None:
    """So long after the first sensor's samples."""
    then_ms = next(iter(daemon.samplers["greenhouse"].samples.values())).boot_ms
    monkeypatch.setattr(clock, "boot_ms", lambda: then_ms + round(seconds * 1000))


def stale(daemon: Daemon) -> dict[str, bool]:
    return {name: sensor["stale"] for name, sensor in overview.status(daemon)["sensors"].items()}


@pytest.mark.pain("D8")
@pytest.mark.parametrize(
    ("text", "fresh_s", "stale_s"),
    [
        (SENSORS, 9, 12),  # 10 s at least
        (SENSORS.replace('"1s"', '"20s"'), 55, 62),
        (SENSORS.replace('"1s"', '"1s"\nstale_after = "5m"'), 295, 302),
        (CRON.replace("[sensors.board]", "[sensors.board]\nenabled = false"), 3 * 3600 - 5, 3 * 3600 + 2),
    ],
    ids=["1 s", "20 s", "as the config says", "cron"],
)
def test_a_sensor_that_is_silent_for_long_is_stale(daemon, monkeypatch, text, fresh_s, stale_s):
    running = daemon(text)
    let_pass(monkeypatch, running, fresh_s)
    assert not any(stale(running).values())
    let_pass(monkeypatch, running, stale_s)
    assert all(stale(running).values())
    greenhouse = overview.status(running)["sensors"]["greenhouse"]
    assert not greenhouse["ok"]
    assert greenhouse["error"].startswith(f"temperature: no good sample for {stale_s} s, ")
    assert all(quantity["stale"] for quantity in greenhouse["quantities"].values())
    # Values that are old are not taken for new ones.
    assert overview.last(running, [])["greenhouse"]["error"] == greenhouse["error"]


def test_which_sensors(daemon):
    running = daemon(SENSORS)
    assert list(overview.last(running, None)) == ["greenhouse", "board"]
    assert list(overview.last(running, ["board"])) == ["board"]
    unknown: tuple[object, ...] = ("zebra", None, [])
    for name in unknown:
        with pytest.raises(EdgedError, match="has no sensor"):
            overview.last(running, [name])
