"""Templates that each reading fills."""

import json

import pytest

from edged.platforms import Item
from edged.platforms._template import fill
from edged.reading import Entry, Value

TIME_MS = 1_709_647_650_250


def item(value: Value = 21.37, series: str = "greenhouse.temperature", unit: str = "°C") -> Item:
    return Item(Entry(1, series, TIME_MS, value), None, unit)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{sensor}/{quantity}", "greenhouse/temperature"),
        ("{value} {unit} at {time}", "21.37 °C at 2024-03-05T14:07:30.250Z"),
        ("{value}{value}", "21.3721.37"),
        ("nothing", "nothing"),
        ("", ""),
        ('{"v": {value}, "o": {}, "l": [{ "x": 1 }]}', '{"v": 21.37, "o": {}, "l": [{ "x": 1 }]}'),
        ("{{value}}", "{21.37}"),
        ("{name} {foo} { value } {value", "{name} {foo} { value } {value"),
    ],
)
def test_what_is_filled_in_and_what_stays(template, text):
    assert fill(template, item()) == text


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (3, "3"), (3.0, "3.0"), (1e-7, "1e-07"), ("ü ✓", "ü ✓")]
)
def test_values(value, text):
    assert fill("{value}", item(value)) == text


def test_a_sensors_name_may_hold_dots():
    assert fill("{sensor}|{quantity}", item(series="hall.north.temp1")) == "hall.north|temp1"


def test_what_a_reading_holds_is_not_filled_again():
    assert fill("{value}/{unit}", item("{unit} {time}", unit="{value}")) == "{unit} {time}/{value}"


def test_each_part_is_quoted_and_nothing_else():
    assert fill("<{sensor}> <{value}>", item("a<b"), lambda part: part.replace("<", "&lt;")) == "<greenhouse> <a&lt;b>"


def test_a_json_template_with_a_text_of_any_kind():
    text = 'say "hi"\n{value} \\ ü'
    filled = fill('{"s": "{sensor}", "v": "{value}"}', item(text), lambda part: json.dumps(part)[1:-1])
    assert json.loads(filled) == {"s": "greenhouse", "v": text}
