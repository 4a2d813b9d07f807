"""A single read of each sensor: it ends, whatever hangs."""

import threading
import time

import pytest

from edged.drivers import Driver
from edged.reading import Reading
from edged.sampling import once
from edged.sampling.once import read_once
from edged.sampling.sampler import Sampler
from edged.sampling.schedule import Never
from edged.sampling.shaping import Shaping


class Good(Driver):
    def read(self):
        yield 0.01
        return {"x": 1.0}


class Blocking(Driver):
    """Ignores its timeout until the test is over."""

    def read(self):
        self.options.wait()
        yield from ()
        return {"x": 2.0}


@pytest.mark.guarantee(5)
def test_a_sensor_that_hangs_is_given_up_and_what_it_still_gives_is_not_taken(monkeypatch):
    monkeypatch.setattr(once, "_MORE_S", 0.1)
    release, put = threading.Event(), []

    def sampler(name: str, driver: type[Driver]) -> Sampler:
        def take(readings: list[Reading], offset_ms: int) -> None:
            put.extend(readings)

        return Sampler(name, lambda: driver(release, 0.2), Never(), 0.2, lambda _: Shaping(), take, lambda: (0, 0))

    hung, behind, good = sampler("hung", Blocking), sampler("behind", Good), sampler("good", Good)
    began = time.monotonic()
    assert read_once([("bus", hung), ("bus", behind), ("own", good)]) == {hung, behind}
    assert time.monotonic() - began < 2
    threads = [thread for thread in threading.enumerate() if thread.name == "read"]
    assert [thread.daemon for thread in threads] == [True]
    for each in (hung, behind):
        assert each.health.error == "no complete reading within 0.5 s"
    assert (good.health.error, good.last["x"].value) == ("", 1.0)
    for each in (hung, behind, good):
        each.close()
    release.set()
    for thread in threads:
        thread.join(5)
    assert [reading.series for reading in put] == ["good.x"]
    assert hung.last == {}
    assert hung.health.error == "no complete reading within 0.5 s"
