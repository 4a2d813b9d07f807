"""`edged run --once`: one round, and what became of each reading of it."""

import threading
from dataclasses import replace

from edged.cli import DONE, FAILED, show, shown, table
from edged.cli._signals import stops
from edged.config.config import Config
from edged.daemon import Daemon
from edged.outcome import Delivered, Outcome
from edged.reading import Entry, Reading
from edged.secret import redact


def run_once(config: Config, patience_s: float) -> int:
    """Reads every sensor once and delivers; 0 only if all was delivered within `patience_s`."""
    readings: list[Reading] = []
    fates: dict[tuple[str, str, int], str] = {}
    lock = threading.Lock()

    def on_reading(reading: Reading) -> None:
        with lock:
            readings.append(reading)

    def on_outcome(destination: str, entry: Entry, outcome: Outcome) -> None:
        fate = "delivered" if isinstance(outcome, Delivered) else f"refused: {redact(getattr(outcome, 'reason', ''))}"
        with lock:
            fates[destination, entry.series, entry.time_ms] = fate

    daemon = Daemon(_at_once(config), on_reading, on_outcome)
    daemon.start(sampling=False)
    errors = daemon.sample_once()
    stopping = threading.Event()
    stops(stopping)  # then the time is up, and the result is shown all the same
    daemon.drain(patience_s, stopping)
    waiting = {
        name: f"queued: {sender.status.last_error or sender.status.state}" for name, sender in daemon.senders.items()
    }
    parked = {name: dict(sender.status.parked) for name, sender in daemon.senders.items()}
    daemon.stop()

    result = table("series", "value", "destination", "fate")
    all_delivered = not errors
    for reading in readings:
        for name, destination in config.destinations.items():
            if name not in waiting or destination.mapping.target(reading.series) is None:
                continue
            reason = parked[name].get(reading.series)
            fate = fates.get((name, reading.series, reading.time_ms)) or (
                f"parked: {reason}" if reason else waiting[name]
            )
            all_delivered = all_delivered and fate == "delivered"
            result.add_row(reading.series, shown(reading.value), name, fate)
    for sensor, error in errors.items():
        result.add_row(sensor, "", "", f"no reading: {error}")
    show(result)
    return DONE if all_delivered else FAILED


def _at_once(config: Config) -> Config:
    """The same, but nothing waits for a fuller request."""
    destinations = {
        name: replace(destination, common=replace(destination.common, every=0.0))
        for name, destination in config.destinations.items()
    }
    return replace(config, destinations=destinations)
