"""The config as the daemon uses it, and the keys that every daemon, sensor and destination has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edged.drivers import Driver
from edged.options import Bytes, Seconds, Url, option
from edged.platforms import Platform
from edged.sending.backoff import Backoff
from edged.sending.mapping import Mapping
from edged.store.queue import Bounds

WhenFull = Literal["drop-oldest", "drop-newest"]
SMALLEST = 64 * 1024  # bytes: less would hold hardly more than what is on its way


@dataclass(frozen=True)
class DaemonOptions:
    name: str = option("", help="this daemon's name; the host name by default")
    state_dir: Path | None = option(None, help="where the store is; /var/lib/edged for /etc/edged/config.toml")
    flush_interval: Seconds = option(1.0, help="the longest that a reading may be in memory only", above=0)
    log_level: Literal["debug", "info", "warning", "error"] = option("info", help="what is logged")


@dataclass(frozen=True)
class QueueOptions:
    """What bounds each destination's queue, unless its own table says otherwise."""

    max_size: Bytes = option(Bounds.max_size, help="bytes on disk of one destination's queue", minimum=SMALLEST)
    max_age: Seconds | None = option(Bounds.max_age_s, help="older readings are dropped; kept by default", above=0)
    when_full: WhenFull = option(Bounds.when_full, help="which readings go when the queue is full")
    max_dead_letters: int = option(Bounds.max_dead_letters, help="of these the oldest go first", minimum=0)
    keep_removed: Seconds = option(7 * 86400.0, help="how long a removed destination's queue is kept", minimum=0)

    def bounds(self, own: "DestinationOptions") -> Bounds:
        """The bounds of a destination: by its own keys, else by these."""
        return Bounds(
            max_size=self.max_size if own.max_size is None else own.max_size,
            max_age_s=self.max_age if own.max_age is None else own.max_age,
            when_full=own.when_full or self.when_full,
            max_dead_letters=self.max_dead_letters if own.max_dead_letters is None else own.max_dead_letters,
        )


@dataclass(frozen=True)
class QuantityOptions:
    scale: float = option(1.0, help="value * scale + offset")
    offset: float = option(0.0, help="value * scale + offset")
    min: float | None = option(None, help="less is no reading; the driver's physical limit by default")
    max: float | None = option(None, help="more is no reading; the driver's physical limit by default")
    round: int | None = option(None, help="decimals", minimum=-9, maximum=15)
    enabled: bool = option(True, help="false: the quantity is not read into the store")


@dataclass(frozen=True)
class SensorOptions:
    """What every sensor understands, beside its driver's own keys."""

    driver: str = option(help="what device it is; `edged drivers` lists them")
    enabled: bool = option(True, help="false: it is not read")
    interval: Seconds | None = option(None, help="how often it is read, on a grid of UTC", minimum=0.01)
    cron: str | None = option(None, help="when it is read, in the system's time zone; instead of interval")
    timeout: Seconds = option(5.0, help="the longest that one read may take", above=0)
    stale_after: Seconds | None = option(
        None, help="so long without a sample is stale; 3 intervals, 10 s at least", above=0
    )
    quantities: dict[str, QuantityOptions] = option(None, help="shaping, by quantity")


@dataclass(frozen=True)
class DestinationOptions:
    """What every destination understands, beside its platform's own keys."""

    platform: str = option(help="what kind of target it is; `edged platforms` lists them")
    enabled: bool = option(True, help="false: it queues nothing")
    batch_size: int | None = option(None, help="readings in one request, within the platform's limit", minimum=1)
    timeout: Seconds | None = option(None, help="for a whole exchange; 30 s, BBData 60 s", above=0)
    backoff: Backoff = option(Backoff(), help="the wait after failures")
    every: Seconds = option(
        1.0, help="send at most so often, sooner at batch_size; at a phase of this board's own", minimum=0
    )
    drain: Literal["oldest-first", "live-first"] = option(
        "oldest-first", help='"live-first" sends what is new at once, and a backlog in the gaps'
    )
    max_size: Bytes | None = option(None, help="bytes on disk of its queue; [queue]'s by default", minimum=SMALLEST)
    max_age: Seconds | None = option(None, help="older readings are dropped; [queue]'s by default", above=0)
    when_full: WhenFull | None = option(None, help="which readings go when the queue is full; [queue]'s by default")
    max_dead_letters: int | None = option(None, help="of these the oldest go first; [queue]'s by default", minimum=0)
    ca_file: Path | None = option(None, help="trust this CA instead of the system's")
    proxy: Url | None = option(None, help="send through this HTTP proxy")
    series: dict[str, Any] = option(None, help="which series go there, and under which name")


@dataclass(frozen=True)
class Sensor:
    """One configured device."""

    name: str
    kind: str  # the driver's name
    driver: type[Driver]
    options: Any
    interval: float | None  # s
    cron: str | None
    timeout: float  # s
    enabled: bool
    stale_after: float | None  # s without a good sample; None: never stale
    shaping: dict[str, QuantityOptions]

    def series(self, quantity: str) -> str:
        """The name of a quantity's series."""
        return f"{self.name}.{quantity}"


@dataclass(frozen=True)
class Destination:
    """One configured upload target."""

    name: str
    kind: str  # the platform's name
    platform: type[Platform]
    options: Any
    common: DestinationOptions
    mapping: Mapping
    bounds: Bounds

    @property
    def timeout(self) -> float:
        """Seconds for a whole exchange."""
        return self.common.timeout or self.platform.timeout_s


@dataclass(frozen=True)
class Config:
    """All of it, valid."""

    daemon: DaemonOptions
    state_dir: Path
    keep_removed: float  # s
    sensors: dict[str, Sensor]
    destinations: dict[str, Destination]
