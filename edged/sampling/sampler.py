"""One sensor's way from its driver to the store: read, shape, put."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from edged.drivers import Driver, EventDriver, Read
from edged.errors import CorruptReply, SensorError
from edged.reading import Reading, Value, Values
from edged.sampling.health import Health
from edged.sampling.memory import Memory
from edged.sampling.schedule import Schedule
from edged.sampling.shaping import Shaping

log = logging.getLogger(__name__)

Put = Callable[[list[Reading], int], None]  # readings of one moment, and the clock's time minus the time since boot


class Sample(NamedTuple):
    """A good value, and when it was measured by both clocks."""

    value: Value
    time_ms: int
    boot_ms: int


class Sampler:
    """One configured sensor, as its lane runs it: `begin` a read, let it go on with `resume` until it is over.

    All of it is called by the lane's thread; events come from a thread of the driver's.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Driver],
        schedule: Schedule,
        timeout_s: float,
        shaping: Callable[[str], Shaping | None],
        put: Put,
        clocks: Callable[[], tuple[int, int]],
        memory: Memory | None = None,
    ) -> None:
        """`make` makes the driver, anew after each failure; `shaping` of a quantity, None: it is not wanted.

        `clocks` gives the clock's time and the time since boot, both in ms.  With a `memory`, which is what a driver
        that remembers needs, readings are put through that.
        """
        self.name = name
        self.schedule = schedule
        self.timeout_s = timeout_s
        self.health = Health(name)
        self.last: dict[str, Reading] = {}  # by quantity: of the last read and the events since; empty after a failure
        self.samples: dict[str, Sample] = {}  # by quantity: the last good one, however long ago
        self.since_ms = clocks()[1]
        self.missed = 0  # times on the schedule at which it could not be read
        self._make = make
        self._shaping = shaping
        self._put = put
        self._clocks = clocks
        self._memory = memory
        self._driver: Driver | None = None
        self._read: Read | None = None
        self._moment = (0, 0)
        self._began = 0.0
        self._listening = False
        self._again = False  # the read under way is the second try
        self._taking = threading.Lock()  # from looking at the clock until put, so that a series is in order
        self._event_bug = False  # taking the last event failed
        self._given_up = False  # nothing that still comes of it is taken

    def begin(self, now: float) -> float | None:
        """Begins a read; returns the seconds until it can go on, None where it is over."""
        self._began = now
        self._again = False
        return self._try(now)

    def _try(self, now: float) -> float | None:
        self._moment = self._clocks()
        return self.resume(now)

    def resume(self, now: float) -> float | None:
        """Lets the read go on; returns the seconds until it can go on again, None where it is over."""
        try:
            if now - self._began > self.timeout_s:
                raise SensorError(f"no complete reading within {self.timeout_s:g} s")
            if self._driver is None:
                self._driver = self._made()
            if self._read is None:
                self._read = self._driver.read()
            try:
                return next(self._read)
            except StopIteration as stop:
                values: Values = stop.value
            self._done(values)
            return None
        except SensorError as error:
            return self._failed(error, now)
        except Exception as error:
            if not self.health.failures:
                log.exception("%s: a bug in its driver; please report it", self.name)
            return self._failed(SensorError(f"a bug in its driver: {type(error).__name__}"), now)

    def _made(self) -> Driver:
        if self._memory is None:
            return self._make()
        remembered = self._memory.recall()
        driver = self._make()
        driver.memory = remembered
        return driver

    def _done(self, values: Values) -> None:
        self._read = None
        with self._taking:
            # An event during the read is in the store already: what follows it has a later time.
            moment = self._clocks() if isinstance(self._driver, EventDriver) else self._moment
            self.take(values, *moment, whole=True)
        if isinstance(self._driver, EventDriver) and not self._listening:
            self._listening = self._driver.listen(self._event)
        if not self._given_up:
            self.health.good()

    def _event(self, values: Values) -> None:
        """Takes the values of an event; in the driver's thread, which must not end by a bug of ours."""
        try:
            with self._taking:
                self.take(values, *self._clocks())
            self._event_bug = False
        except Exception:
            if not self._event_bug:
                log.exception("%s: a bug in taking an event; please report it", self.name)
            self._event_bug = True

    def take(self, values: Values, time_ms: int, boot_ms: int, *, whole: bool = False) -> None:
        """Shapes the values of one moment and puts what is left of them into the store.

        `whole`: they are all that the sensor has, and not those that an event changed.
        Raises TypeError where one of them is of a type that no reading has: then none of them is put.
        """
        readings = {}
        for quantity, raw in values.items():
            shaping = self._shaping(quantity)
            if shaping is None:
                continue
            value: Value | None = shaping.shape(raw)
            self.health.in_range(quantity, raw, value is not None)
            if value is not None:
                readings[quantity] = Reading(f"{self.name}.{quantity}", time_ms, value)
        if self._given_up:
            return
        self.last = readings if whole else self.last | readings
        self.samples.update({quantity: Sample(it.value, time_ms, boot_ms) for quantity, it in readings.items()})
        self._store(list(readings.values()), time_ms - boot_ms)

    def _store(self, readings: list[Reading], offset_ms: int) -> None:
        if self._memory is None:
            if readings:
                self._put(readings, offset_ms)
        elif self._driver is not None:  # else it is closed, and what it says now would not be remembered
            self._memory.put(readings, offset_ms, self._driver.memory)

    def _failed(self, error: SensorError, now: float) -> float | None:
        """Ends the read; a reply that came damaged is worth a second try at once."""
        self.close()
        if isinstance(error, CorruptReply) and not self._again and now - self._began < self.timeout_s / 2:
            self._again = True
            return self._try(now)
        if not self._given_up:
            self.last = {}
            self.health.failed(error)
        return None

    def give_up(self, error: str) -> None:
        """For a thread that waits for a read in vain: it failed, and nothing that still comes of it is taken."""
        with self._taking:
            self._given_up = True
            self.last = {}
            self._driver = None  # left to the thread that hangs in it
        self.health.failed(error)

    def retire(self) -> None:
        """Another sampler takes its place: what its driver remembers is put, and nothing that still comes is taken."""
        with self._taking:
            self._keep()
            self._given_up = True

    def _keep(self) -> None:
        """Puts what a driver remembers that is at its end."""
        if not self._given_up:
            try:
                self._store([], 0)
            except (TypeError, ValueError) as error:
                log.error("%s: a bug in its driver: what it remembers cannot be kept: %s", self.name, error)

    def stale(self, after_s: float, boot_ms: int) -> dict[str, float]:
        """The quantities without a good sample for longer than `after_s`, and for how many s; "": all there are."""
        samples = dict(self.samples)  # at once, since the lane goes on
        since = {quantity: sample.boot_ms for quantity, sample in samples.items()} or {"": self.since_ms}
        silent = {quantity: (boot_ms - then) / 1000 for quantity, then in since.items()}
        return {quantity: silence for quantity, silence in silent.items() if silence > after_s}

    def close(self) -> None:
        """Lets go of the device; the next read opens it again."""
        self._read, self._listening = None, False
        driver = self._driver
        if driver is not None:
            try:
                driver.close()
            except (SensorError, OSError) as error:
                log.debug("%s: closing: %s", self.name, error)
            except Exception:
                if not self.health.failures:
                    log.exception("%s: a bug in closing its driver; please report it", self.name)
            with self._taking:
                if self._driver is driver:  # else it was given up in the meantime
                    self._keep()
                    self._driver = None
