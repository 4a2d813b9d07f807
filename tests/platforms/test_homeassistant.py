"""What Home Assistant is told of a series, so that it shows up there by itself."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import NoAnswer
from edged.outcome import Delivered
from edged.platforms import Item
from edged.platforms._homeassistant import Node, description, device_class, spelled
from edged.platforms.mqtt import Mqtt, Options, Will
from edged.reading import Entry
from edged.transports.mqtt import MqttTransport, Presence
from tests.transports.fake_broker import Conduct, FakeBroker

NODE = Node("edged_1234", "greenhouse-pi", None)


def item(value=21.37, series="greenhouse.temperature", unit="°C", number=1) -> Item:
    return Item(Entry(number, series, 1_709_647_650_250, value), Mqtt.usual_target(series), unit)


def told(*arguments: Any, node: Node = NODE, place: Any = (), **keywords: Any) -> tuple[str, dict[str, Any]]:
    """Topic and content of the description."""
    topic, payload = description(node, item(*arguments, **keywords), "edged/pi/x", place)
    return topic, json.loads(payload)


def platform(**options) -> Mqtt:
    usual = {"host": "h", "client_id": "edged_1234", "topic": "edged/pi/{sensor}/{quantity}", "device": "greenhouse-pi"}
    return Mqtt(Options(**usual | {"discovery": "homeassistant"} | options))


def test_a_number():
    assert told() == (
        "homeassistant/sensor/edged_1234/greenhouse-temperature/config",
        {
            "name": "greenhouse temperature",
            "unique_id": "edged_1234 greenhouse.temperature",
            "state_topic": "edged/pi/x",
            "unit_of_measurement": "°C",
            "device_class": "temperature",
            "state_class": "measurement",
            "device": {"identifiers": ["edged_1234"], "name": "greenhouse-pi"},
        },
    )


def test_a_boolean_is_a_binary_sensor():
    topic, config = told(True, "door.state", "")
    assert topic == "homeassistant/binary_sensor/edged_1234/door-state/config"
    assert (config["payload_on"], config["payload_off"]) == ("true", "false")
    assert not {"state_class", "unit_of_measurement", "device_class", "value_template"} & config.keys()


def test_a_text_has_no_unit_and_no_class():
    topic, config = told("open", "door.position", "")
    assert topic.startswith("homeassistant/sensor/")
    assert not {"state_class", "unit_of_measurement", "device_class"} & config.keys()


def test_what_counts_up_is_a_total():
    assert told(5, "meter.count", "")[1]["state_class"] == "total_increasing"
    energy = told(5.5, "meter.energy", "kWh")[1]
    assert (energy["state_class"], energy["device_class"]) == ("total_increasing", "energy")


def test_being_there_goes_with_it():
    presence = Presence("edged/pi/status", "up", "down")
    config = told(node=Node("edged_1234", "pi", presence))[1]
    assert config["availability_topic"] == "edged/pi/status"
    assert (config["payload_available"], config["payload_not_available"]) == ("up", "down")


@pytest.mark.parametrize(
    ("value", "place", "template"),
    [
        (1, ("value",), '{{ value_json["value"] }}'),
        (1, ("a", 0, 'ü"'), '{{ value_json["a"][0]["ü\\""] }}'),
        (True, ("value",), '{{ value_json["value"] | string | lower }}'),
        ("x", ("value",), '{{ value_json["value"] }}'),
    ],
)
def test_in_json_the_value_has_its_place(value, place, template):
    assert told(value, place=place)[1]["value_template"] == template


@pytest.mark.parametrize(
    ("payload", "template"),
    [
        ("{value}", None),
        ('{"v": {value}}', '{{ value_json["v"] }}'),
        ('{"l": [0, {"v": "{value}"}]}', '{{ value_json["l"][1]["v"] }}'),
        ('{"{quantity}": {value}}', '{{ value_json["temperature"] }}'),
    ],
)
def test_readings_and_description_fit_together(payload, template):
    config, reading = platform(payload=payload).encode([item()])
    described = json.loads(config.payload)
    assert described["state_topic"] == reading.topic
    assert described.get("value_template") == template
    if template:
        place = json.loads("[" + template.removeprefix("{{ value_json[").removesuffix("] }}").replace("][", ",") + "]")
        found = json.loads(reading.payload)
        for step in place:
            found = found[step]
        assert float(found) == 21.37


@pytest.mark.case(28)
@pytest.mark.parametrize(
    ("unit", "sent"),
    [
        ("\u03bcg/m\u00b3", b"\xc2\xb5g/m\xc2\xb3"),
        ("\u00b5g/m\u00b3", b"\xc2\xb5g/m\xc2\xb3"),
        ("\u2103", b"\xc2\xb0C"),
        ("\u00b0C", b"\xc2\xb0C"),
        ("\u2109", b"\xc2\xb0F"),
        ("%RH", b"%"),
    ],
)
def test_units_are_spelled_as_home_assistant_does(monkeypatch, unit, sent):
    monkeypatch.setenv("LANG", "C")
    _, payload = description(NODE, item(unit=unit, series="air.pm25"), "t", ())
    assert b'"unit_of_measurement":"' + sent + b'"' in payload
    assert spelled(unit).encode() == sent


@pytest.mark.case(28)
def test_a_unit_that_looks_alike_has_its_class():
    assert told(series="air.pm25", unit="\u03bcg/m\u00b3")[1]["device_class"] == "pm25"
    assert told(series="air.t", unit="\u2103")[1]["device_class"] == "temperature"


@pytest.mark.parametrize(
    ("quantity", "unit", "kind"),
    [
        ("temperature", "°C", "temperature"),
        ("dew_point", "°C", "temperature"),
        ("humidity", "%", "humidity"),
        ("disk_used", "%", ""),
        ("battery", "%", "battery"),
        ("pressure", "hPa", "atmospheric_pressure"),
        ("sea_level_pressure", "hPa", "atmospheric_pressure"),
        ("vpd", "kPa", "pressure"),
        ("absolute_humidity", "g/m³", ""),
        ("co2", "ppm", "carbon_dioxide"),
        ("co", "ppm", "carbon_monoxide"),
        ("tvoc", "ppb", ""),
        ("pm2_5", "µg/m³", "pm25"),
        ("pm10", "µg/m³", "pm10"),
        ("pm4", "µg/m³", ""),
        ("wind_speed", "m/s", "wind_speed"),
        ("speed", "m/s", "speed"),
        ("rain", "mm", "precipitation"),
        ("distance", "mm", "distance"),
        ("wifi_signal", "dBm", "signal_strength"),
        ("uptime", "s", "duration"),
        ("load_1m", "", ""),
    ],
)
def test_device_classes(quantity, unit, kind):
    assert device_class(quantity, unit) == kind


@pytest.mark.case(26)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.b", "a-b.b"),
        ("a_b.c", "a.b_c"),
        ("a.b.c", "a_b.c"),
        ("Küche.t", "Köche.t"),
        ("a+.t", "a#.t"),
        ("a/b.t", "a_b.t"),
    ],
)
def test_two_series_have_two_ids(one, other):
    assert told(series=one)[0] != told(series=other)[0]
    assert told(series=one)[1]["unique_id"] != told(series=other)[1]["unique_id"]


@pytest.mark.case(26)
@given(sensor=st.text(), quantity=st.text(), identity=st.text(min_size=1))
def test_ids_have_allowed_characters_only(sensor, quantity, identity):
    topic, payload = description(Node(identity, "n", None), item(series=f"{sensor}.{quantity}"), "t", ())
    assert re.fullmatch(r"homeassistant/sensor/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config", topic)
    json.loads(payload)


def test_a_series_is_described_before_its_first_reading_and_once_a_connection():
    chosen = platform(will=Will(topic="edged/pi/status"), qos=1)
    a, b = item(1, "s.a", number=1), item(2, "s.b", number=2)
    with FakeBroker(conduct=lambda number: Conduct(at_publish="reset" if number == 1 else "")) as fake:
        broker = fake.where(presence=chosen._presence)
        transport = MqttTransport(broker, 5.0)
        transport.exchange(chosen.encode([a, a]))
        transport.exchange(chosen.encode([a, b, a]))
        transport.close()
        with pytest.raises(NoAnswer):
            transport.exchange(chosen.encode([b]))
        assert chosen.judge(transport.exchange(chosen.encode([b])), [b]) == [Delivered()]
        transport.close()
    names = [
        [
            topic.split("/")[-2] if "homeassistant" in topic else topic.split("/")[-1]
            for topic, *_ in connection.published
        ]
        for connection in fake.connections
    ]
    assert names[0] == ["status", "s-a", "a", "a", "s-b", "a", "b", "a", "status"]
    assert names[1] == ["status"]
    assert names[2] == ["status", "s-b", "b", "status"]
    retained = {topic: retain for topic, _, _, retain in fake.connections[0].published}
    assert [topic for topic, retain in retained.items() if not retain] == ["edged/pi/s/a", "edged/pi/s/b"]


def test_a_series_whose_values_change_their_kind_is_described_anew():
    chosen = platform()
    descriptions = [chosen.encode([item(value)])[0] for value in (1.5, 2, "x", True, 1.5)]
    assert [message.topic.split("/")[1] for message in descriptions] == ["sensor"] * 3 + ["binary_sensor", "sensor"]
    assert descriptions[0] == descriptions[1] == descriptions[4] != descriptions[2]
