"""32-bit floats as Java prints them: probed values, and the constants that Java's own documentation shows."""

import math

import pytest

from edged.simulation.platforms import _java_float


@pytest.mark.statement(32)
@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("10", "10.0"),
        ("123456789", "1.23456792E8"),
        ("1234567.89", "1234567.9"),
        ("1e-7", "1.0E-7"),
        ("1e40", "Infinity"),
        ("-1e40", "-Infinity"),
        ("1e-50", "0.0"),
        ("1f", "1.0"),
        ("0x1p3", "8.0"),
        (" 21.37 ", "21.37"),
        ("-0", "-0.0"),
        ("NaN", "NaN"),
        ("3.4028235e+38f", "3.4028235E38"),  # Float.MAX_VALUE
        ("1.17549435E-38f", "1.17549435E-38"),  # Float.MIN_NORMAL
        ("1.4e-45f", "1.4E-45"),  # Float.MIN_VALUE
        ("0.001", "0.001"),
        ("0.0001", "1.0E-4"),
        ("9999999", "9999999.0"),
        ("10000000", "1.0E7"),
        (".5", "0.5"),
        ("5.", "5.0"),
    ],
)
def test_reading_and_printing(text, printed):
    value = _java_float.parse(text)
    assert value is not None
    assert _java_float.to_text(value) == printed


@pytest.mark.statement(32)
@pytest.mark.parametrize("text", ["true", "1.2.3", "", " ", "nan", "inf", "1,5", "1_0", "0x10", "NaNf", "٣", "1e"])
def test_other_forms(text):
    assert _java_float.parse(text) is None


def test_what_is_printed_is_read_back():
    for exponent in range(-149, 128):
        value = _java_float.parse(repr(math.ldexp(1.2345, exponent)))
        assert value is not None
        assert _java_float.parse(_java_float.to_text(value)) == value
