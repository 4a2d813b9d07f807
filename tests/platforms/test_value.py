"""Values as a mapped series wants them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.platforms._value import as_type, text


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (21.37, None, 21.37),
        (True, None, True),
        ("on", None, "on"),
        (21, "float", 21.0),
        (True, "float", 1.0),
        ("21.5", "float", 21.5),
        ("warm", "float", "warm"),
        ("nan", "float", "nan"),
        ("inf", "float", "inf"),
        ("1_000", "float", "1_000"),
        ("٣", "int", "٣"),
        (" 2.5\n", "float", 2.5),
        ("+.5e1", "float", 5.0),
        ("5.", "int", 5),
        (10**400, "float", 10**400),
        (21.5, "int", 22),
        (-0.4, "int", 0),
        (2**53 + 1, "int", 2**53 + 1),
        (True, "int", 1),
        ("5.0", "int", 5),
        ("inf", "int", "inf"),
        ("1e400", "int", "1e400"),
        (True, "bool", True),
        (0.0, "bool", False),
        (2, "bool", True),
        ("0", "bool", False),
        ("open", "bool", "open"),
        (True, "string", "true"),
        (21.0, "string", "21.0"),
        (21, "string", "21"),
        ("x", "string", "x"),
    ],
)
def test_conversions(value, wanted, expected):
    got = as_type(value, wanted)
    assert (type(got), got) == (type(expected), expected)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.text(),
    wanted=st.sampled_from([None, "float", "int", "bool", "string"]),
)
def test_any_value_has_a_form_that_json_can_carry(value, wanted):
    got = as_type(value, wanted)
    assert not isinstance(got, float) or math.isfinite(got)
    assert isinstance(text(got), str)
