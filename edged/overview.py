"""How a running daemon is doing, as JSON: what it answers to `edged status` and `edged read`."""

import contextlib
from collections.abc import Mapping
from typing import Any

from edged import __version__, clock
from edged.config.config import Sensor
from edged.daemon import Daemon
from edged.errors import EdgedError, StoreUnusable
from edged.monitoring.control import Action
from edged.reading import iso
from edged.sampling.sampler import Sampler
from edged.secret import redact
from edged.sending.sender import Sender

JSON = dict[str, Any]


def actions(daemon: Daemon) -> Mapping[str, Action]:
    """What the control socket answers about the daemon."""
    return {"status": lambda request: status(daemon), "read": lambda request: last(daemon, request.get("sensors"))}


def status(daemon: Daemon) -> JSON:
    """All of it, in the shape of `edged status --json`."""
    samplers, senders, sensors = daemon.samplers, daemon.senders, daemon.config.sensors
    synchronised = clock.synchronised()
    return {
        "version": __version__,
        "name": daemon.config.daemon.name,
        "uptime_s": round(clock.monotonic() - daemon.started, 3),
        "clock": {"synchronised": synchronised is not False, "source": "kernel" if synchronised else None},
        "sensors": {
            name: _sensor(sensor, samplers[name], clock.boot_ms())
            for name, sensor in sensors.items()
            if name in samplers
        },
        "destinations": {name: _destination(sender, clock.now_ms()) for name, sender in senders.items()},
        "store": {
            "bytes": daemon.store.bytes,
            "commits": daemon.store.commits,
            "trouble": redact(daemon.store.trouble) or None,
        },
    }


def last(daemon: Daemon, names: Any) -> JSON:
    """What the sensors gave last, in the shape of `edged read --json`; `names`: which, None or empty: all that run.

    Raises EdgedError where there is no such sensor, or it is disabled.
    """
    samplers, sensors, boot_ms = daemon.samplers, daemon.config.sensors, clock.boot_ms()
    result = {}
    for name in names if names and isinstance(names, list) else samplers:
        if not isinstance(name, str) or name not in sensors:
            raise EdgedError(f"the running daemon has no sensor {name}; reload it after a change of the config")
        sensor, sampler = sensors[name], samplers.get(name)
        if sampler is None:
            raise EdgedError(f"the running daemon does not read {name}, which is disabled")
        stale = _stale(sensor, sampler, boot_ms)
        result[name] = last_read(sensor, sampler, _error(sampler, stale) or _unread(sampler))
    return result


def _sensor(sensor: Sensor, sampler: Sampler, boot_ms: int) -> JSON:
    stale = _stale(sensor, sampler, boot_ms)
    error = _error(sampler, stale)
    return {
        "ok": not error,
        "stale": bool(stale),
        "error": error or None,
        "quantities": {
            quantity: {
                "value": sample.value,
                "unit": sensor.driver.quantity(quantity).unit,
                "time": iso(sample.time_ms),
                "age_s": (boot_ms - sample.boot_ms) / 1000,
                "stale": quantity in stale,
            }
            for quantity, sample in dict(sampler.samples).items()  # at once, since its lane goes on
        },
    }


def _stale(sensor: Sensor, sampler: Sampler, boot_ms: int) -> dict[str, float]:
    return sampler.stale(sensor.stale_after, boot_ms) if sensor.stale_after is not None else {}


def _error(sampler: Sampler, stale: Mapping[str, float]) -> str:
    """Why it gives nothing, as its driver or, where that hangs or is silent, as the time says it; or nothing."""
    late = [f"{quantity}: no good sample for {silence:.0f} s".lstrip(": ") for quantity, silence in stale.items()]
    return redact(sampler.health.error) or ", ".join(late)


def _unread(sampler: Sampler) -> str:
    return "" if sampler.samples else "it has given nothing yet"


def last_read(sensor: Sensor, sampler: Sampler, error: str) -> JSON:
    """What a sensor gave at its last read, as `edged read` has it."""
    readings = sampler.last
    return {
        "time": iso(max(reading.time_ms for reading in readings.values())) if readings else None,
        "quantities": {
            quantity: {"value": reading.value, "unit": sensor.driver.quantity(quantity).unit}
            for quantity, reading in readings.items()
        },
        "error": error or None,
    }


def _destination(sender: Sender, now_ms: int) -> JSON:
    queue, state = sender.queue, sender.status
    oldest_ms = None
    with contextlib.suppress(StoreUnusable):  # as the store's trouble says
        oldest_ms = queue.oldest_ms()
    return {
        "state": state.state,
        "until": None if (until_ms := state.until_ms) is None else iso(until_ms),
        "queued": queue.queued,
        "oldest": None if oldest_ms is None else iso(oldest_ms),
        "delivered": queue.delivered,
        "dead": queue.dead,
        "dropped": queue.dropped,
        "merged": queue.merged,
        "lost": queue.lost,
        "parked": dict(state.parked),
        "waits_for": state.waits_for or None,
        "last_error": state.last_error or None,
        "last_error_time": None if state.last_error_ms is None else iso(state.last_error_ms),
        "last_delivery": None if state.last_delivery_ms is None else iso(state.last_delivery_ms),
        "rate": round(state.rate.per_second(now_ms), 3),
    }
