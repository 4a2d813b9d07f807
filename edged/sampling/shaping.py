"""What a raw value becomes before it is a reading.  Pure."""

from dataclasses import dataclass

from edged.reading import Value, is_real


@dataclass(frozen=True)
class Shaping:
    """Of one quantity: value * scale + offset, then the limits, then rounding.  Booleans and texts pass as they are."""

    scale: float = 1.0
    offset: float = 0.0
    low: float | None = None  # None: no limit
    high: float | None = None
    decimals: int | None = None  # None: as it comes

    def shape(self, raw: Value) -> Value | None:
        """The value; None where it is out of range or not finite.  Raises TypeError where it is no `Value` at all."""
        if isinstance(raw, (bool, str)):
            return raw
        if not isinstance(raw, (int, float)):  # a driver's bug: one such value would keep the store from being written
            raise TypeError(f"a {type(raw).__name__} is no reading")
        value = raw if (self.scale, self.offset) == (1.0, 0.0) else raw * self.scale + self.offset
        if not is_real(value):
            return None
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            return None
        return value if self.decimals is None else round(value, self.decimals)
