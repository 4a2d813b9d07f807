"""What makes Home Assistant show a series by itself: a retained message that describes it.

Source: Home Assistant, "MQTT discovery", "MQTT sensor", "MQTT binary sensor", "Sensor device classes".
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edged.platforms import Item
from edged.platforms._json import dumps
from edged.transports.broker import Presence

PREFIX = "homeassistant"  # what Home Assistant listens to unless it is told otherwise

# How units are written there: micro sign, not Greek mu (U+03BC); degree and C, not one character (U+2103, U+2109).
_SPELLINGS = {"\u03bc": "\u00b5", "\u2103": "\u00b0C", "\u2109": "\u00b0F", "%RH": "%"}

# Device classes by unit, where the quantity's name does not say more; a unit that a class does not know is refused.
_BY_UNIT = {
    **dict.fromkeys(("°C", "°F", "K"), "temperature"),
    **dict.fromkeys(("hPa", "Pa", "kPa", "mbar", "bar"), "pressure"),
    **dict.fromkeys(("V", "mV"), "voltage"),
    **dict.fromkeys(("A", "mA"), "current"),
    **dict.fromkeys(("W", "kW"), "power"),
    **dict.fromkeys(("Wh", "kWh"), "energy"),
    **dict.fromkeys(("Hz", "kHz", "MHz", "GHz"), "frequency"),
    **dict.fromkeys(("ms", "s", "min", "h", "d"), "duration"),
    **dict.fromkeys(("m/s", "km/h"), "speed"),
    **dict.fromkeys(("mm", "cm", "m", "km"), "distance"),
    **dict.fromkeys(("g", "kg"), "weight"),
    **dict.fromkeys(("L/min", "m³/h"), "volume_flow_rate"),
    "lx": "illuminance",
    "dBm": "signal_strength",
    "mm/h": "precipitation_intensity",
    "W/m²": "irradiance",
}
_BY_NAME = (  # words of a quantity's name, its units, the device class
    ("humidity", ("%",), "humidity"),
    ("battery", ("%",), "battery"),
    ("moisture", ("%",), "moisture"),
    ("pressure", ("hPa", "mbar"), "atmospheric_pressure"),
    ("wind", ("m/s", "km/h"), "wind_speed"),
    ("rain", ("mm",), "precipitation"),
    ("co2", ("ppm",), "carbon_dioxide"),
    ("co", ("ppm",), "carbon_monoxide"),
    ("pm1", ("µg/m³",), "pm1"),
    ("pm1_0", ("µg/m³",), "pm1"),
    ("pm25", ("µg/m³",), "pm25"),
    ("pm2_5", ("µg/m³",), "pm25"),
    ("pm10", ("µg/m³",), "pm10"),
)
_COUNTED = ("Wh", "kWh")  # units of what only grows


@dataclass(frozen=True)
class Node:
    """This board, as Home Assistant's device."""

    identity: str  # that no other board has
    name: str
    presence: Presence | None


def description(node: Node, item: Item, state_topic: str, place: Sequence[str | int]) -> tuple[str, bytes]:
    """Topic and payload of the message that describes the item's series.

    `place` is where its value stands in what is published on `state_topic`: keys and indexes; empty: it is all.
    """
    sensor, _, quantity = item.entry.series.rpartition(".")
    is_binary = isinstance(item.entry.value, bool)
    config: dict[str, Any] = {
        "name": f"{sensor} {quantity}",
        "unique_id": f"{node.identity} {item.entry.series}",
        "state_topic": state_topic,
    }
    if is_binary:
        config |= {"payload_on": "true", "payload_off": "false"}
    elif not isinstance(item.entry.value, str):
        config |= _of_a_number(quantity, spelled(item.unit))
    if place:
        value = "value_json" + "".join(f"[{json.dumps(step, ensure_ascii=False)}]" for step in place)
        # A boolean of JSON would come out as Python's True.
        config["value_template"] = f"{{{{ {value} | string | lower }}}}" if is_binary else f"{{{{ {value} }}}}"
    if presence := node.presence:
        config |= {
            "availability_topic": presence.topic,
            "payload_available": presence.online,
            "payload_not_available": presence.offline,
        }
    config["device"] = {"identifiers": [node.identity], "name": node.name}
    component = "binary_sensor" if is_binary else "sensor"
    topic = "/".join((PREFIX, component, _node_id(node.identity), _object_id(sensor, quantity), "config"))
    return topic, dumps(config)


def spelled(unit: str) -> str:
    """The unit as Home Assistant writes it."""
    for ours, theirs in _SPELLINGS.items():
        unit = unit.replace(ours, theirs)
    return unit


def device_class(quantity: str, unit: str) -> str:
    """What kind of quantity it is; empty: none that Home Assistant knows."""
    words = {quantity, *quantity.split("_")}
    named = (kind for word, units, kind in _BY_NAME if word in words and unit in units)
    return next(named, _BY_UNIT.get(unit, ""))


def _of_a_number(quantity: str, unit: str) -> dict[str, str]:
    grows = quantity == "count" or unit in _COUNTED
    described = {
        "unit_of_measurement": unit,
        "device_class": device_class(quantity, unit),
        "state_class": "total_increasing" if grows else "measurement",
    }
    return {key: value for key, value in described.items() if value}


def _object_id(sensor: str, quantity: str) -> str:
    """`sensor-quantity`; where not all characters are allowed, a hash of both makes up for those that are lost."""
    cleaned = "-".join(re.sub(r"[^a-zA-Z0-9_]", "_", part) for part in (sensor, quantity))
    return cleaned if cleaned == f"{sensor}-{quantity}" else f"{cleaned}-{_hash(f'{sensor}.{quantity}')}"


def _node_id(identity: str) -> str:
    cleaned = re.sub(r"[^a-zA-Z0-9_-]", "_", identity)
    return cleaned if cleaned == identity else f"{cleaned}-{_hash(identity)}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
