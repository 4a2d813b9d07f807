"""Whether a sensor gives readings, and what is said of it: once when it is lost, once when it is back."""

import logging

from edged.errors import SensorError

log = logging.getLogger(__name__)


class Health:
    """Of one sensor."""

    def __init__(self, sensor: str) -> None:
        self.sensor = sensor
        self.failures = 0  # in a row
        self.error = ""
        self.rejected = 0  # values that were out of range
        self._out_of_range: set[str] = set()

    def failed(self, error: SensorError | str) -> None:
        """A read gave nothing."""
        self.failures += 1
        if not self.failures > 1:
            log.warning("%s: lost: %s", self.sensor, error, extra={"sensor": self.sensor})
        self.error = str(error)

    def good(self) -> None:
        """A read gave values."""
        if self.failures:
            log.warning("%s: back after %d failed reads", self.sensor, self.failures, extra={"sensor": self.sensor})
        self.failures, self.error = 0, ""

    def in_range(self, quantity: str, value: object, good: bool) -> None:
        """A value is within its limits, or is not and so is no reading."""
        if not good:
            self.rejected += 1
            if quantity not in self._out_of_range:
                log.warning(
                    "%s.%s: %s is out of range and not sent; see min and max, or check the sensor",
                    self.sensor,
                    quantity,
                    value,
                    extra={"sensor": self.sensor},
                )
            self._out_of_range.add(quantity)
        elif quantity in self._out_of_range:
            log.warning("%s.%s: in range again", self.sensor, quantity, extra={"sensor": self.sensor})
            self._out_of_range.discard(quantity)
