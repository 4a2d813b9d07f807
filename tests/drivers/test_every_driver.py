"""What holds for every driver there is: a new one is tested before it has a test of its own."""

import dataclasses
import inspect
import math
import sys
import tomllib
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import drivers
from edged.drivers import Driver
from edged.drivers._i2c import I2cDriver, Sim
from edged.errors import SensorError
from edged.options import declarations
from edged.reading import Values
from edged.simulation import bus as buses
from edged.simulation import chips
from edged.simulation.bus import SimulatedBus
from edged.simulation.chips import ChipModel
from edged.simulation.faults import FaultSchedule

COMMON = {"driver", "interval", "cron", "enabled", "timeout", "stale_after", "quantities"}
FROM_THE_DEVICE = {"iio", "hwmon", "exec", "circuitpython"}


def found(name: str) -> type[Driver]:
    driver = drivers.find(name)
    assert driver is not None
    return driver


ALL = [pytest.param(found(name), id=name) for name in drivers.names()]
I2C = [pytest.param(found(name), id=name) for name in drivers.names() if issubclass(found(name), I2cDriver)]


def options(driver: type[Driver], **given: Any) -> Any:
    """Its example's, with these in place of them."""
    fields = {option.name: field for field, option in declarations(driver.Options).items()}
    return driver.Options(**{fields[key]: value for key, value in (tomllib.loads(driver.example) | given).items()})


class Talker(ChipModel):
    """A chip that takes everything and answers with bytes out of a hat."""

    def __init__(self, draw) -> None:
        self._draw = draw

    def write(self, data: bytes, now: float) -> bool:
        return True

    def read(self, count: int, now: float) -> bytes:
        drawn: bytes = self._draw(count)
        return drawn

    def power_on(self, now: float) -> None:
        pass


def outcome(driver: Driver) -> Values | SensorError:
    """What a read gives; time stands still."""
    try:
        read = driver.read()
        while True:
            assert 0 < next(read) <= driver.timeout_s
    except StopIteration as end:
        values: Values = end.value
        return values
    except SensorError as error:
        return error


def assert_sound(driver: type[Driver], result: Values | SensorError) -> None:
    if isinstance(result, SensorError):
        assert "0x" in str(result)  # says at which address
        return
    assert result
    assert set(result) <= {quantity.name for quantity in driver.quantities}
    assert all(isinstance(value, float) and math.isfinite(value) for value in result.values())


@pytest.mark.parametrize("driver", ALL)
def test_it_says_what_it_is_for_and_its_source(driver):
    assert driver.__doc__
    assert driver.__doc__ != Driver.__doc__
    assert "Source" in (inspect.getdoc(sys.modules[driver.__module__]) or "")


@pytest.mark.parametrize("driver", ALL)
@pytest.mark.pain("D3")
def test_quantities_have_unit_and_limits(driver, request):
    name = request.node.callspec.id
    if not driver.quantities:
        assert name in FROM_THE_DEVICE
    names = [quantity.name for quantity in driver.quantities]
    assert len(set(names)) == len(names)
    for quantity in driver.quantities:
        assert driver.quantity(quantity.name) == quantity
        assert quantity.kind in ("number", "bool", "text")
        if issubclass(driver, I2cDriver):
            assert quantity.unit
            assert quantity.low is not None
            assert quantity.high is not None
        if quantity.low is not None and quantity.high is not None:
            assert quantity.low < quantity.high


@pytest.mark.parametrize("driver", ALL)
def test_every_option_is_declared_with_help_and_collides_with_no_common_key(driver):
    declared = declarations(driver.Options)
    assert len(declared) == len(dataclasses.fields(driver.Options))
    for option in declared.values():
        assert option.help
        assert option.name not in COMMON


@pytest.mark.parametrize("driver", ALL)
def test_the_example_is_a_config_that_passes(driver):
    keys = set(tomllib.loads(driver.example))
    declared = declarations(driver.Options).values()
    assert keys <= {option.name for option in declared}
    assert {option.name for option in declared if option.required} <= keys
    assert list(driver.check(options(driver))) == []
    driver(options(driver), timeout_s=5).close()  # no I/O before the first read


@pytest.mark.parametrize("driver", ALL)
def test_lane_and_claims_can_be_told_without_hardware(driver):
    hash(driver.lane(options(driver)))
    for key, what in driver.claims(options(driver)):
        assert key in {option.name for option in declarations(driver.Options).values()}
        assert what


@pytest.mark.parametrize("driver", I2C)
def test_addresses(driver):
    assert driver.addresses
    assert all(0x08 <= address <= 0x77 for address in driver.addresses)
    assert get_type_hints(driver.Options)["bus"] == int | str


@pytest.mark.parametrize("driver", I2C)
def test_the_chip_is_simulated_at_each_of_its_addresses(driver, request, monkeypatch):
    time = [1000.0]
    bus = SimulatedBus("", now=lambda: time[0])
    monkeypatch.setattr(buses, "_buses", {"": bus})
    assert request.node.callspec.id in chips.names()
    for address in driver.addresses:
        sensor = driver(options(driver, bus="sim", address=address), timeout_s=5)
        time[0] += 1
        read = sensor.read()
        try:
            while True:
                time[0] += next(read)
        except StopIteration as end:
            assert_sound(driver, end.value)
            for name, value in end.value.items():
                assert driver.quantity(name).low <= value <= driver.quantity(name).high


@pytest.mark.parametrize("driver", I2C)
@pytest.mark.guarantee(11)
@given(data=st.data())
def test_any_reply_is_a_sensor_error_or_finite_numbers(driver, data):
    """Bytes out of a hat, or a true chip with some of its replies so."""
    bus = SimulatedBus("", now=lambda: 1000.0)
    sensor = driver(options(driver, bus="sim:hat"), timeout_s=5)
    buses.reset()
    buses._buses["hat"] = bus
    bus.plug(driver.addresses[0], Talker(lambda count: data.draw(st.binary(min_size=count, max_size=count))))
    for _ in range(2):
        assert_sound(driver, outcome(sensor))
    buses.reset()


@pytest.mark.parametrize("driver", I2C)
@pytest.mark.guarantee(11)
@given(seed=st.integers(0, 2**32), some=st.binary(min_size=1, max_size=40), at=st.integers(0, 30))
def test_any_bytes_amid_true_ones(driver, request, seed, some, at):
    time = [1000.0]
    name = request.node.callspec.id
    true = chips.model(name, driver.addresses[0], str(seed))
    replies = 0

    class Amid(Talker):
        """The true chip, but for its replies from the `at`th on, two of which are of other bytes."""

        def write(self, data: bytes, now: float) -> bool:
            return true.write(data, now)

        def read(self, count: int, now: float) -> bytes:
            nonlocal replies
            replies += 1
            reply = true.read(count, now)
            return (some * count)[:count] if replies in (at, at + 1) else reply

        def power_on(self, now: float) -> None:
            true.power_on(now)

    bus = SimulatedBus("", now=lambda: time[0])
    buses.reset()
    buses._buses["hat"] = bus
    bus.plug(driver.addresses[0], Amid(None))
    time[0] += 1
    sensor = driver(options(driver, bus="sim:hat"), timeout_s=5)
    read = sensor.read()
    try:
        while True:
            time[0] += next(read)
    except StopIteration as end:
        assert_sound(driver, end.value)
    except SensorError as error:
        assert_sound(driver, error)
    buses.reset()


@pytest.mark.parametrize("driver", I2C)
@pytest.mark.parametrize("fault", ["nack", "hang", "flap", "unplugged"])
def test_a_fault_of_the_simulated_chip_is_a_sensor_error(driver, fault, monkeypatch):
    bus = SimulatedBus("", now=lambda: 1000.0, sleep=lambda seconds: None)
    monkeypatch.setattr(buses, "_buses", {"": bus})
    sim = Sim(fault=fault, every=10.0, for_s=10.0)
    results = [outcome(driver(options(driver, bus="sim", sim=sim), timeout_s=5)) for _ in range(2)]
    assert any(isinstance(result, SensorError) for result in results)


# Options of I2C drivers, by the BME280.

BME280 = found("bme280")


@pytest.mark.case(17)
def test_a_decimal_address_is_offered_as_the_hexadecimal_one():
    ((key, message),) = BME280.check(options(BME280, address=76))
    assert key == "address"
    assert message == "76 is 0x4c, which is no address of a bme280; allowed: 0x76, 0x77; did you mean 0x76?"
    ((_, message),) = BME280.check(options(BME280, address=10))
    assert "0x0a" in message
    assert "did you mean" not in message


@pytest.mark.case(17)
def test_ten_for_a_chip_that_is_at_hexadecimal_10_only():
    class Veml7700(I2cDriver):
        addresses = (0x10,)

    ((_, message),) = Veml7700.check(options(Veml7700, address=10))
    assert "10 is 0x0a" in message
    assert "did you mean 0x10?" in message


@pytest.mark.case(17)
@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("0x76", "write address = 0x76, without quotes"),
        ("76", "write address = 0x76, without quotes"),
        ("0x77", "write address = 0x77, without quotes"),
        ("0x4c", "write one of 0x76, 0x77, without quotes"),
        ("I2C1", "write one of 0x76, 0x77, without quotes"),
        (76.0, ""),
    ],
)
def test_an_address_in_quotes(value, advice):
    assert BME280.advice("address", value) == advice
    assert BME280.advice("bus", value) == ""


@pytest.mark.parametrize("bus", [0, 1, 22, "sim", "sim:attic"])
def test_buses(bus):
    assert list(BME280.check(options(BME280, bus=bus))) == []


@pytest.mark.parametrize(
    ("bus", "advice"),
    [("1", "bus = 1?"), ("/dev/i2c-3", "bus = 3?"), ("sim:", '"sim:NAME"'), ("SIM", '"sim"'), ("", "")],
)
def test_what_is_no_bus(bus, advice):
    ((key, message),) = BME280.check(options(BME280, bus=bus))
    assert key == "bus"
    assert advice in message


def test_a_driver_without_a_simulated_chip_says_so():
    class Nowhere(I2cDriver):
        addresses = (0x10,)

    ((key, message),) = Nowhere.check(options(Nowhere, bus="sim"))
    assert key == "bus"
    assert "no simulated test-every-driver; there are: bme280" in message


def test_sim_is_for_simulated_chips():
    assert [key for key, _ in BME280.check(options(BME280, bus=1, sim=Sim(fault="nack")))] == ["sim"]
    assert list(BME280.check(options(BME280, bus="sim", sim=Sim(fault="nack")))) == []


@pytest.mark.parametrize(("every", "for_s"), [(60, 10), (10, 10), (10, 10.5), (0.1, 60)])
def test_a_fault_must_fit_into_its_time(every, for_s):
    problems = list(BME280.check(options(BME280, bus="sim", sim=Sim(fault="nack", every=every, for_s=for_s))))
    assert [key for key, _ in problems] == (["sim.for"] if for_s > every else [])
    if problems:
        with pytest.raises(ValueError, match="does not fit"):
            FaultSchedule("nack", every, for_s)
    else:
        FaultSchedule("nack", every, for_s)


def test_lane_and_claims_of_a_bus():
    assert BME280.lane(options(BME280, bus=3)) == BME280.lane(options(BME280, bus=3, address=0x77)) == ("i2c", 3)
    assert list(BME280.claims(BME280.Options())) == [("address", "I2C bus 1, address 0x76")]
    assert list(BME280.claims(BME280.Options(bus="sim:a", address=0x77))) == [
        ("address", "I2C bus sim:a, address 0x77")
    ]


@pytest.mark.pain("E9")
def test_absent_on_a_real_bus_only():
    assert "/dev/i2c-99" in BME280.absent(options(BME280, bus=99))
    assert BME280.absent(options(BME280, bus="sim")) == ""
