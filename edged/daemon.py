"""The daemon: the only module that knows all parts.  It builds them from a config, starts, reloads and stops them."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edged import board, clock
from edged.config.config import Config, Destination, Sensor
from edged.drivers import Driver
from edged.errors import StoreUnusable
from edged.outcome import Outcome
from edged.platforms import Wire
from edged.reading import Entry, Reading
from edged.sampling.lane import Lane
from edged.sampling.memory import Memory
from edged.sampling.once import read_once
from edged.sampling.sampler import Sampler
from edged.sampling.schedule import Cron, Every, Never, Schedule
from edged.sampling.shaping import Shaping
from edged.sending.choosing import Manner
from edged.sending.quota import Quota
from edged.sending.rounds import phase_of
from edged.sending.sender import Sender, stop_all
from edged.store.log import Log

log = logging.getLogger(__name__)

# A stop takes 5 s at most: for lanes, for requests under way, and 1 s for abandoning those.
_LANE_S = 1.0
_REQUEST_S = 2.5


@dataclass(frozen=True)
class _SensorPart:
    """A running sensor."""

    sensor: Sensor
    lane: Hashable
    sampler: Sampler


@dataclass(frozen=True)
class _DestinationPart:
    """A running destination."""

    destination: Destination
    sender: Sender


class Daemon:
    """Sampling, store and senders of one config.  Each sensor and each destination starts and stops as a unit."""

    def __init__(
        self,
        config: Config,
        on_reading: Callable[[Reading], None] = lambda reading: None,
        on_outcome: Callable[[str, Entry, Outcome], None] = lambda destination, entry, outcome: None,
    ) -> None:
        """Opens the store.  `on_reading` and `on_outcome` let a command watch.  Raises StoreHeld."""
        self.config = config
        self.started = clock.monotonic()  # s
        self.sampled = 0  # readings that left shaping
        self._on_reading = on_reading
        self._on_outcome = on_outcome
        self._lanes: dict[Hashable, Lane] = {}
        self._sensors: dict[str, _SensorPart] = {}
        self._destinations: dict[str, _DestinationPart] = {}
        self.store = Log(
            config.state_dir, config.daemon.flush_interval, board.boot_id(), keep_removed_s=config.keep_removed
        )

    @property
    def senders(self) -> dict[str, Sender]:
        """The running destinations' senders, by name."""
        return {name: part.sender for name, part in list(self._destinations.items())}

    @property
    def samplers(self) -> dict[str, Sampler]:
        """The running sensors' samplers, by name."""
        return {name: part.sampler for name, part in list(self._sensors.items())}

    # --- life

    def start(self, *, sampling: bool = True) -> None:
        """Starts all parts; none of them can keep another from it."""
        self._start_destinations()
        self.store.start()
        if sampling:
            self._start_sensors()
        log.info(
            "%s: %d sensors, %d destinations",
            self.config.daemon.name,
            sum(sensor.enabled for sensor in self.config.sensors.values()),
            len(self._destinations),
        )

    def reload(self, config: Config) -> None:
        """Goes over to another config; what is the same in both goes on undisturbed."""
        self._stop_sensors([name for name, part in self._sensors.items() if config.sensors.get(name) != part.sensor])
        self._stop_destinations([part for part in self._destinations.values() if _differs(part, config)], config)
        self.config = config
        self._start_destinations()
        self._start_sensors()
        log.info("reloaded: %d sensors, %d destinations", len(self._sensors), len(self._destinations))

    def sample_once(self) -> dict[str, str]:
        """Reads every sensor a single time; returns why of those that gave no reading."""
        sensors = [sensor for sensor in self.config.sensors.values() if sensor.enabled]
        samplers = [(lane_of(sensor), make_sampler(sensor, self._put, self._memory(sensor))) for sensor in sensors]
        read_once(samplers)
        for _, sampler in samplers:
            sampler.close()
        return {sampler.name: sampler.health.error for _, sampler in samplers if sampler.health.error}

    def stop_sampling(self) -> None:
        """Stops all sensors, which at once lets go of devices; one that hangs is left behind."""
        self._stop_sensors(list(self._sensors))

    def stop(self) -> None:
        """Stops sampling, then the senders, then flushes: within 5 s, whatever hangs."""
        self.stop_sampling()
        with contextlib.suppress(StoreUnusable):  # said when it is known what that costs
            self.store.flush()  # first of all: whatever hangs behind this, nothing is lost
        stop_all(self.senders.values(), _REQUEST_S)
        with contextlib.suppress(StoreUnusable):
            self.store.stop()
        log.info("stopped; %d readings queued", sum(part.sender.queue.queued for part in self._destinations.values()))

    def drain(self, timeout_s: float, stopping: threading.Event | None = None) -> bool:
        """Waits until all queues are empty, or wait for a person; False where they are not in time."""
        deadline = time.monotonic() + timeout_s
        while any(sender.queue.queued and not sender.is_parked for sender in self.senders.values()):
            if time.monotonic() >= deadline or (stopping and stopping.is_set()):
                return False
            time.sleep(0.02)
        return True

    # --- sensors

    def _start_sensors(self) -> None:
        for sensor in self.config.sensors.values():
            with _alone(sensor.name):
                self._start_sensor(sensor)

    def _start_sensor(self, sensor: Sensor) -> None:
        if not sensor.enabled or sensor.name in self._sensors:
            return
        key = lane_of(sensor)
        sampler = make_sampler(sensor, self._put, self._memory(sensor))
        if key not in self._lanes:
            lane = self._lanes[key] = Lane(str(key), clock.monotonic, time.time)
            lane.start()
        self._lanes[key].add(sampler)
        self._sensors[sensor.name] = _SensorPart(sensor, key, sampler)

    def _stop_sensors(self, names: list[str]) -> None:
        """Stops sensors together, and the lanes that no other one needs."""
        parts = [self._sensors.pop(name) for name in names]
        gone = [self._lanes[part.lane].remove(part.sampler) for part in parts]
        needed = {part.lane for part in self._sensors.values()}
        lanes = [self._lanes.pop(key) for key in list(self._lanes) if key not in needed]
        for lane in lanes:
            lane.request_stop()
        deadline = time.monotonic() + _LANE_S
        for lane in lanes:
            lane.stop(max(0.0, deadline - time.monotonic()))
        for part, closed in zip(parts, gone, strict=True):
            closed.wait(max(0.0, deadline - time.monotonic()))  # what it remembers may change as it is closed
            part.sampler.retire()  # should it hang: its successor begins with what is remembered now

    def _memory(self, sensor: Sensor) -> Memory | None:
        """What the sensor's driver remembers."""
        return Memory(memory_of(sensor), self.store.recall, self._put) if sensor.driver.remembers else None

    def _put(self, readings: list[Reading], offset_ms: int, memory: Mapping[str, Any] | None = None) -> None:
        with self.store.lock:  # lanes and event threads meet here
            self.sampled += len(readings)
            self.store.put(readings, offset_ms, memory)
        for reading in readings:
            self._on_reading(reading)

    # --- destinations

    def _start_destinations(self) -> None:
        for destination in self.config.destinations.values():
            with _alone(destination.name):
                self._start_destination(destination)
        self._close_queues()

    def _start_destination(self, destination: Destination) -> None:
        name = destination.name
        if not destination.common.enabled or name in self._destinations:
            return
        mapping, platform = destination.mapping, destination.platform(destination.options)
        queue = self.store.open_queue(name, mapping.choice, destination.bounds)
        sender = Sender(
            queue,
            platform,
            mapping,
            Wire(destination.timeout, destination.common.ca_file, destination.common.proxy or ""),
            Manner(
                destination.common.backoff,
                destination.common.batch_size,
                destination.common.every,
                phase_of(board.serial(self.config.state_dir), name),
                destination.common.drain == "live-first",
            ),
            Quota.kept_in(self.store, name, platform.limits.points_a_day),
            self._unit,
            on_outcome=lambda entry, outcome: self._on_outcome(name, entry, outcome),
        )
        sender.start()
        self._destinations[name] = _DestinationPart(destination, sender)

    def _unit(self, series: str) -> str:
        """The unit of a series, as its driver declares it."""
        name, _, quantity = series.rpartition(".")
        sensor = self.config.sensors.get(name)
        return sensor.driver.quantity(quantity).unit if sensor else ""

    def _close_queues(self) -> None:
        """Ends the queues of destinations that are disabled or have left the config; what they lack is kept."""
        for destination in self.config.destinations.values():
            if not destination.common.enabled:
                with _alone(destination.name):
                    self.store.keep_queue(destination.name, destination.mapping.choice, destination.bounds)
        for name, queue in self.store.queues.items():
            configured = self.config.destinations.get(name)
            used, removed = configured is not None and configured.common.enabled, configured is None
            if not used and (queue.open or queue.removed != removed):
                self.store.close_queue(queue, removed=removed)

    def _stop_destinations(self, parts: list[_DestinationPart], following: Config) -> None:
        """Stops destinations together."""
        stop_all([part.sender for part in parts], _REQUEST_S)
        for part in parts:
            name = part.destination.name
            del self._destinations[name]
            stays = following.destinations.get(name)
            if stays is None or not stays.common.enabled:  # else its next start takes over, and misses nothing between
                log.info("%s is no more; %d readings are kept for it", name, part.sender.queue.queued)


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """What keeps one part from starting keeps no other from it."""
    try:
        yield
    except Exception:  # whatever it is
        log.exception("%s could not be started; a reload tries it again", name)


def _differs(part: _DestinationPart, config: Config) -> bool:
    """Whether a running destination has to be started anew: it is another one, its secrets are, or it is parked."""
    status = part.sender.status
    changed = [secret.refresh() for secret in part.sender.secrets()]
    same = config.destinations.get(part.destination.name) == part.destination
    return not same or any(changed) or bool(status.parked) or status.state == "parked"


def lane_of(sensor: Sensor) -> Hashable:
    """The lane in which the sensor takes turns with those that share its bus."""
    shared = sensor.driver.lane(sensor.options)
    return shared if shared is not None else ("own", sensor.name)


def memory_of(sensor: Sensor) -> str:
    """The owner of what its driver remembers: another driver under the sensor's name has a memory of its own."""
    return f"sensor:{sensor.name}:{sensor.kind}"


def make_sampler(sensor: Sensor, put: Callable[[list[Reading], int], None], memory: Memory | None = None) -> Sampler:
    """A sensor's sampler; nothing is read yet.  Without a `memory` its driver has never been here."""
    shapings: dict[str, Shaping | None] = {}

    def shaping(quantity: str) -> Shaping | None:
        if quantity not in shapings:
            shapings[quantity] = shaping_of(sensor, quantity)
        return shapings[quantity]

    def make() -> Driver:
        return sensor.driver(sensor.options, sensor.timeout)

    def clocks() -> tuple[int, int]:
        return clock.now_ms(), clock.boot_ms()

    return Sampler(sensor.name, make, schedule_of(sensor), sensor.timeout, shaping, put, clocks, memory)


def schedule_of(sensor: Sensor) -> Schedule:
    """When the sensor is read."""
    if sensor.cron is not None:
        return Cron(sensor.cron)
    return Every(sensor.interval) if sensor.interval is not None else Never()


def shaping_of(sensor: Sensor, quantity: str) -> Shaping | None:
    """What becomes of the quantity's values; None: it is not wanted.  Limits are the driver's unless given."""
    declared, options = sensor.driver.quantity(quantity), sensor.shaping.get(quantity)
    if options is None:
        return Shaping(low=declared.low, high=declared.high)
    if not options.enabled:
        return None
    low = declared.low if options.min is None else options.min
    high = declared.high if options.max is None else options.max
    return Shaping(options.scale, options.offset, low, high, options.round)
