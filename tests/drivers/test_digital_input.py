import pytest

from edged.buses import gpio
from edged.drivers.digital_input import DigitalInput, Options
from edged.errors import CorruptReply, NoReply
from edged.reading import Values
from tests.drivers import finish


@pytest.fixture(autouse=True)
def pins(monkeypatch):
    """gpiozero's pins in memory."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    monkeypatch.setattr(Device, "pin_factory", factory)
    yield factory
    factory.reset()


def sensor(timeout_s: float = 5, **options) -> DigitalInput:
    return DigitalInput(Options(**({"pin": 17} | options)), timeout_s)


def drive(pins, high: bool, pin: int = 17) -> None:
    (pins.pin(pin).drive_high if high else pins.pin(pin).drive_low)()


@pytest.mark.parametrize("active", ["high", "low"])
@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_state(pins, pull, active):
    driver = sensor(pull=pull, active=active)
    finish(driver.read())
    for high in (True, False, True):
        drive(pins, high)
        assert finish(driver.read()) == {"state": high == (active == "high")}
    driver.close()


def test_an_open_line_is_at_rest_by_default():
    driver = sensor()
    assert finish(driver.read()) == {"state": False}
    driver.close()


@pytest.mark.parametrize("active", ["high", "low"])
@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_each_change_is_reported_until_closed(pins, pull, active):
    driver = sensor(pull=pull, active=active, events=True)
    seen: list[Values] = []
    assert driver.listen(seen.append)
    start = finish(driver.read())["state"]
    for high in (pull != "up", pull == "up", pull != "up"):
        drive(pins, high)
        assert finish(driver.read()) == seen[-1]
    driver.close()
    drive(pins, pull == "up")
    assert [each["state"] for each in seen] == [not start, start, not start]


def test_no_events_unless_asked_for(pins):
    driver = sensor()
    assert not driver.listen(lambda values: pytest.fail("an event"))
    drive(pins, True)
    driver.close()


def test_debounce_waits_for_a_level_that_lasts(pins):
    driver = sensor(debounce=0.02)
    drive(pins, False)
    read = driver.read()
    assert next(read) == 0.02
    drive(pins, True)
    assert next(read) == 0.02
    with pytest.raises(StopIteration) as end:
        next(read)
    assert end.value.value == {"state": True}
    driver.close()


@pytest.mark.guarantee(11)
def test_a_line_that_does_not_come_to_rest_gives_nothing(pins):
    driver = sensor(timeout_s=0.5, debounce=0.1)
    read = driver.read()
    for high in (True, False, True, False, True):
        assert next(read) == 0.1
        drive(pins, high)
    with pytest.raises(CorruptReply, match="GPIO line 17 does not come to rest"):
        next(read)
    driver.close()


@pytest.mark.case(14)
def test_a_line_that_this_process_has_already(pins):
    first, second = sensor(), sensor()
    finish(first.read())
    with pytest.raises(NoReply, match=r"GPIO line 17: .*in use"):
        finish(second.read())
    first.close()
    assert finish(second.read()) == {"state": False}
    second.close()


def test_a_line_with_a_resistor(pins):
    driver = sensor(pin=2, pull="up", active="low")
    assert finish(driver.read()) == {"state": False}
    driver.close()
    assert [key for key, _ in DigitalInput.check(Options(pin=2))] == ["pull"]
    assert list(DigitalInput.check(Options(pin=2, pull="up"))) == []


def test_close_before_the_first_read():
    sensor().close()


def test_claims():
    assert list(DigitalInput.claims(Options(pin=17))) == [("pin", "GPIO pin 17")]
    assert list(DigitalInput.claims(Options(pin=17, chip="gpio-sim"))) == [("pin", "GPIO pin 17 of GPIO chip gpio-sim")]


def test_absent_is_what_the_bus_says(monkeypatch):
    assert DigitalInput.absent(Options(pin=17)) == ""
    monkeypatch.setattr(gpio, "absent", lambda pin, chip: f"{pin} {chip}")
    assert DigitalInput.absent(Options(pin=17, chip=2)) == "17 2"
