"""32-bit floats as Java reads and prints them, which is how BBData echoes them.

Source: the documentation of Float.valueOf and Float.toString.  The printed digits are those of the JDKs before 19,
which are not always the fewest (123456789 becomes 1.23456792E8): integers are printed exactly, save for digits beyond
the float's precision, and fractions digit by digit until no other float is as near.
"""

import math
import re
import struct

_FORM = re.compile(
    r"([+-]?)(?:(NaN)|(Infinity)"
    r"|((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFdD]?"
    r"|(0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?\d+)[fFdD]?)",
    re.ASCII,
)
_BLANKS = "".join(map(chr, range(0x21)))  # what String.trim removes
_SIGNIFICANT_BITS = 24


def parse(text: str) -> float | None:
    """The float nearest to a text in Java's form (by way of the nearest double); None where it has another form."""
    match = _FORM.fullmatch(text.strip(_BLANKS))
    if match is None:
        return None
    sign, nan, infinity, decimal, hexadecimal = match.groups()
    if nan:
        return math.nan
    if infinity:
        size = math.inf
    elif decimal:
        size = _to_float32(float(decimal))
    else:
        size = _to_float32(_from_hex(hexadecimal))
    return -size if sign == "-" else size


def to_text(value: float) -> str:
    """What Float.toString gives for a value that is a 32-bit float."""
    if math.isnan(value):
        return "NaN"
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if math.isinf(value):
        return f"{sign}Infinity"
    if value == 0:
        return f"{sign}0.0"
    digits, point = _digits(abs(value))
    if 0 < point < 8:
        return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"
    if -3 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{point - 1}"


def _to_float32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf


def _from_hex(text: str) -> float:
    try:
        return float.fromhex(text)
    except OverflowError:
        return math.inf


def _digits(value: float) -> tuple[str, int]:
    """The digits d1d2... and the place p of the point, for 0.d1d2... * 10**p."""
    if value.is_integer() and value < 2.0**63:
        digits, dropped = _integer_digits(int(value))
        places = dropped
    else:
        digits, exponent = _fraction_digits(value)
        places = exponent + 1 - len(digits)
    return digits.rstrip("0"), len(digits) + places


def _integer_digits(value: int) -> tuple[str, int]:
    """The digits, and how many were dropped behind them, since below the last bit they mean nothing."""
    spare_bits = value.bit_length() - 1 - _SIGNIFICANT_BITS - 1
    dropped = int(spare_bits * math.log10(2)) if spare_bits > 1 else 0
    unit = int(10**dropped)
    return str((value + unit // 2) // unit), dropped


def _fraction_digits(value: float) -> tuple[str, int]:
    """The digits, and the power of ten of the first: numerator / denominator with half a last bit as tolerance."""
    mantissa, exponent = _mantissa(value)
    # Scaled by 4, so that the tolerance is an integer also where it is a quarter: below a power of two.
    numerator, denominator, tolerance = 4 * mantissa, 4, 1 if mantissa & (mantissa - 1) == 0 else 2
    if exponent >= 0:
        numerator, tolerance = numerator << exponent, tolerance << exponent
    else:
        denominator <<= -exponent
    power = math.floor(math.log10(value))
    while numerator * 10 ** max(0, -power) < denominator * 10 ** max(0, power):  # the logarithm was rounded up
        power -= 1
    numerator, tolerance = numerator * 10 ** max(0, -power), tolerance * 10 ** max(0, -power)
    denominator *= 10 ** max(0, power)
    digits: list[int] = []
    low = high = False
    while not low and not high:
        digit, rest = divmod(numerator, denominator)
        digits.append(digit)
        numerator, tolerance = 10 * rest, 10 * tolerance
        low, high = numerator < tolerance, numerator + tolerance > 10 * denominator
        if len(digits) == 1 and not -3 <= power < 8:
            low = high = False  # the form with an exponent has two digits at least
    if high and (not low or 2 * numerator > 10 * denominator or (2 * numerator == 10 * denominator and digits[-1] % 2)):
        return str(int("".join(map(str, digits))) + 1), power + (all(digit == 9 for digit in digits))
    return "".join(map(str, digits)), power


def _mantissa(value: float) -> tuple[int, int]:
    """The integers m and e with value = m * 2**e, of a float's precision."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    exponent, fraction = bits >> 23, bits & 0x7FFFFF
    return (fraction | 0x800000, exponent - 150) if exponent else (fraction, -149)
