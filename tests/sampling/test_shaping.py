"""What a raw value becomes."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.sampling.shaping import Shaping


@pytest.mark.parametrize(
    ("shaping", "raw", "value"),
    [
        (Shaping(), 21.37, 21.37),
        (Shaping(), 4, 4),
        (Shaping(offset=-0.4), 21.0, 20.6),
        (Shaping(scale=0.1, offset=5), 250, 30.0),
        (Shaping(decimals=2), 21.375, 21.38),
        (Shaping(decimals=0), 21.6, 22.0),
        (Shaping(decimals=-2), 1234, 1200),
        (Shaping(low=-40, high=85), -40.0, -40.0),
        (Shaping(low=-40, high=85), 85.0, 85.0),
        (Shaping(low=-40, high=85), 85.1, None),
        (Shaping(low=-40, high=85), -127.0, None),
        (Shaping(scale=2, high=50), 26.0, None),
        (Shaping(offset=1, high=2, decimals=0), True, True),
        (Shaping(scale=3), "open", "open"),
    ],
)
def test_shaping(shaping, raw, value):
    assert shaping.shape(raw) == pytest.approx(value) if isinstance(value, float) else shaping.shape(raw) == value
    assert type(shaping.shape(raw)) is type(value)


@pytest.mark.guarantee(11)
@pytest.mark.pain("B8")
@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
def test_no_nan_and_no_infinity_is_ever_a_reading(raw):
    assert Shaping().shape(raw) is None


@pytest.mark.parametrize("raw", [Decimal("21.5"), b"21.5", None, [21.5], 1j])
def test_what_is_no_value_at_all_is_a_bug(raw):
    for shaping in (Shaping(), Shaping(scale=2, low=0, decimals=1)):
        with pytest.raises(TypeError, match=f"a {type(raw).__name__} is no reading"):
            shaping.shape(raw)


@pytest.mark.guarantee(11)
@given(st.floats(), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_whatever_comes_out_is_finite(raw, scale, offset):
    value = Shaping(scale=scale, offset=offset).shape(raw)
    assert value is None or (isinstance(value, float) and math.isfinite(value))
