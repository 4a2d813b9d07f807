"""The daemon starts whatever is missing, and ends in time whatever hangs."""

import time

import pytest

from edged.series import Choice
from edged.simulation.platforms import Fault, open_stand_in
from edged.store.log import Log
from tests.endtoend.running import TOKEN, until


@pytest.mark.guarantee(6)
@pytest.mark.guarantee(10)
@pytest.mark.pain("A15")
@pytest.mark.pain("E10")
@pytest.mark.pain("F1")
@pytest.mark.pain("F2")
@pytest.mark.pain("F3")
def test_starts_with_every_destination_dead_and_delivers_all_when_they_come(tmp_path, run):
    stand_in = open_stand_in("bbdata")
    stand_in.admit({}, [{"object": 1, "token": TOKEN, "type": "float"}])
    stand_in.stop()
    config = f"""
    [daemon]
    state_dir = "{tmp_path}/a/new/state"
    flush_interval = "200ms"
    [sensors.greenhouse]
    driver = "bme280"
    bus = "sim"
    interval = "500ms"
    [sensors.pulled_out]
    driver = "bme280"
    bus = 77
    interval = "1s"
    [sensors.gone]
    driver = "w1"
    id = "28-000000000000"
    interval = "1s"
    [destinations.dead]
    platform = "bbdata"
    url = "{stand_in.url}"
    backoff = {{ first = "100ms", max = "500ms" }}
    series = {{ "greenhouse.temperature" = {{ object = 1, token = "{TOKEN}" }} }}
    [destinations.nameless]
    platform = "databoom"
    url = "https://databoom.invalid/v1/signals/push"
    token = {{ file = "{tmp_path}/token-that-is-not-there" }}
    device = "x"
    series = {{ "*" = true }}
    [destinations.brokerless]
    platform = "bbdata-mqtt"
    host = "broker.invalid"
    series = {{ "greenhouse.humidity" = {{ object = 2, token = "{TOKEN}" }} }}
    """
    daemon = run(config)
    state = tmp_path / "a" / "new" / "state"
    until(lambda: (state / "store.db").exists())
    time.sleep(2.0)
    assert daemon.process.poll() is None
    stand_in.start()
    until(lambda: len(stand_in.snapshot()[0]) >= 6)
    status, took, log = daemon.stop()
    assert status == 0, log
    assert took < 5.0
    assert "pulled_out: lost: " in log
    assert "gone: lost: " in log
    assert "nameless: parked: " in log
    times = [reading.time_ms for reading in stand_in.snapshot()[0]]
    assert times == sorted(times)
    assert stand_in.snapshot()[1] == []
    stand_in.stop()


@pytest.mark.guarantee(2)
@pytest.mark.pain("B9")
def test_sigterm_ends_it_in_time_with_an_empty_memory_while_everything_hangs(tmp_path, run):
    stand_in = open_stand_in("bbdata").start()
    stand_in.admit({}, [{"object": 1, "token": TOKEN, "type": "float"}])
    stand_in.fail(*[Fault(delay_s=60) for _ in range(10)])
    config = f"""
    [daemon]
    state_dir = "{tmp_path}/state"
    flush_interval = "1h"
    [sensors.greenhouse]
    driver = "bme280"
    bus = "sim"
    interval = "200ms"
    [sensors.hung]
    driver = "bme280"
    bus = "sim:hung"
    interval = "1s"
    timeout = "1m"
    sim = {{ fault = "hang", every = "1h", for = "1h" }}
    [destinations.slow]
    platform = "bbdata"
    url = "{stand_in.url}"
    series = {{ "greenhouse.temperature" = {{ object = 1, token = "{TOKEN}" }} }}
    """
    daemon = run(config)
    until(lambda: stand_in.requests)
    time.sleep(1.0)
    status, took, log = daemon.stop()
    assert status == 0, log
    assert took < 5.0
    stand_in.stop()
    store = Log(tmp_path / "state", 60.0, "test")
    queue = store.open_queue("slow", Choice((("greenhouse.temperature", True),)))
    assert len(queue.take(100)) == queue.queued >= 5
    store.stop()


def test_a_second_daemon_on_the_same_store_is_refused_in_one_line(tmp_path, run):
    config = f"""
    [daemon]
    state_dir = "{tmp_path}/state"
    [sensors.host]
    driver = "host"
    interval = "1s"
    """
    first = run(config)
    until(lambda: (tmp_path / "state" / "store.db").exists())
    second = run(config)
    assert second.process.wait(timeout=20) == 1
    assert len(second.log.splitlines()) == 1
    assert "holds this store" in second.log
    assert first.stop()[0] == 0


def test_a_pattern_of_a_device_that_comes_later_is_delivered(tmp_path, run):
    """`*` with nothing mapped elsewhere: one reading of each of the host's quantities arrives."""
    stand_in = open_stand_in("databoom").start()
    config = f"""
    [daemon]
    state_dir = "{tmp_path}/state"
    [sensors.host]
    driver = "host"
    interval = "1h"
    {stand_in.example()}
    """
    daemon = run(config)
    until(lambda: "host_uptime" in {reading.target for reading in stand_in.snapshot()[0]})
    assert daemon.stop()[0] == 0
    assert stand_in.snapshot()[1] == []
    stand_in.stop()
