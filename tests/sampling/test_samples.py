"""What a sensor gave last, and for how long it has given nothing."""

from edged.drivers import Driver
from edged.errors import CorruptReply, NoReply
from edged.reading import Values
from edged.sampling.sampler import Sample
from tests.sampling.test_lane import START, Bench


def driver_of(results: list[Values | Exception]) -> type[Driver]:
    """Gives these one after another, then the last one for ever."""

    class Scripted(Driver):
        def read(self):
            yield 0.1
            result = results.pop(0) if len(results) > 1 else results[0]
            if isinstance(result, Exception):
                raise result
            return result

    return Scripted


def test_the_last_read_and_the_last_good_sample():
    bench = Bench()
    sampler = bench.sensor("a", driver_of([{"x": 1.0, "y": 2.0}, {"x": 3.0}, NoReply("gone"), {"x": 4.0}]))
    assert (sampler.last, sampler.samples) == ({}, {})
    bench.run(until=0.5)
    assert {quantity: reading.value for quantity, reading in sampler.last.items()} == {"x": 1.0, "y": 2.0}
    bench.run(until=1.05)  # the next read is under way
    assert {quantity: reading.value for quantity, reading in sampler.last.items()} == {"x": 1.0, "y": 2.0}
    bench.run(until=1.5)
    assert {quantity: reading.value for quantity, reading in sampler.last.items()} == {"x": 3.0}
    start_ms = round(START * 1000)
    kept = {"x": Sample(3.0, start_ms + 1000, 1000), "y": Sample(2.0, start_ms, 0)}
    assert sampler.samples == kept
    bench.run(until=2.5)
    assert (sampler.last, sampler.samples) == ({}, kept)
    bench.run(until=3.5)
    assert {quantity: reading.value for quantity, reading in sampler.last.items()} == {"x": 4.0}


def test_a_damaged_reply_that_is_asked_for_again_loses_nothing():
    bench = Bench()
    sampler = bench.sensor("a", driver_of([{"x": 1.0}, CorruptReply("noise"), {"x": 2.0}]))
    bench.run(until=1.15)
    assert sampler.last["x"].value == 1.0
    bench.run(until=1.5)
    assert sampler.last["x"].value == 2.0


def test_a_value_that_is_out_of_range_is_no_good_sample():
    bench = Bench()
    sampler = bench.sensor("a", driver_of([{"x": 1.0}, {"x": float("nan")}]))
    bench.run(until=3.5)
    assert (sampler.last, sampler.samples["x"].boot_ms, sampler.health.error) == ({}, 0, "")


def test_stale_is_what_was_not_seen_for_long():
    bench = Bench()
    bench.time.now = 100.0
    sampler = bench.sensor("a", driver_of([{"x": 1.0, "y": 1.0}, {"x": 2.0}, NoReply("gone")]))
    assert sampler.stale(10.0, 109_000) == {}
    assert sampler.stale(10.0, 111_000) == {"": 11.0}  # never read
    bench.run(until=101.5)
    assert sampler.stale(10.0, 110_000) == {}
    assert sampler.stale(10.0, 110_500) == {"y": 10.5}
    assert sampler.stale(10.0, 120_000) == {"x": 19.0, "y": 20.0}
