"""What is wrong with a config whose values are each right: what its parts mean to one another."""

import difflib
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path as File
from typing import Any
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError

from edged.config.config import Config, Destination, Sensor
from edged.config.document import Document, Problem, dotted
from edged.config.positions import Path
from edged.config.quantities import size_text
from edged.drivers import EventDriver
from edged.secret import SHORTEST
from edged.sending.mapping import Usual
from edged.series import matches


def cross_check(config: Config, document: Document) -> list[Problem]:
    """All that is wrong between the parts of a config, and what is worth a warning."""
    return [
        Problem(document.place(path, key=key), dotted(path), message, "warning" if warning else "error")
        for path, message, key, warning in _findings(config, document)
    ]


_Finding = tuple[Path, str, bool, bool]  # path, message, at the key (else at the value), only a warning


def _error(path: Path, message: str, *, key: bool = False) -> _Finding:
    return path, message, key, False


def _warning(path: Path, message: str, *, key: bool = False) -> _Finding:
    return path, message, key, True


def _findings(config: Config, document: Document) -> Iterator[_Finding]:
    for sensor in config.sensors.values():
        yield from _schedule(sensor, document.values["sensors"][sensor.name])
        yield from _quantities(sensor)
    yield from _claims([sensor for sensor in config.sensors.values() if sensor.enabled and sensor.options], document)
    unknown = [name for name in document.values.get("sensors", ()) if name not in config.sensors]
    for destination in config.destinations.values():
        yield from _series(destination, config.sensors, unknown)
        yield from _destination(destination, document)
        if destination.options is None:
            continue  # what is wrong with them has been said
        yield from _places(destination, config.sensors)
        for key, message in destination.platform.caution(destination.options):
            yield _warning(("destinations", destination.name, key), message)
    yield from _identities([d for d in config.destinations.values() if d.common.enabled], document)
    yield from _levels(config)
    yield from _room(config, document)
    yield from _open_secrets(document)


def _schedule(sensor: Sensor, table: dict[str, Any]) -> Iterator[_Finding]:
    path = ("sensors", sensor.name)
    if {"interval", "cron"} <= table.keys():
        yield _error((*path, "cron"), "interval and cron exclude each other; leave one out", key=True)
    events = issubclass(sensor.driver, EventDriver) and getattr(sensor.options, "events", True)
    if not {"interval", "cron"} & table.keys() and not events:
        yield _error(path, 'interval is missing; for example interval = "10s"', key=True)
    if sensor.cron is not None:
        try:
            CronSim(sensor.cron, datetime(2024, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            yield _error((*path, "cron"), f'no cron expression ({error}); for example "*/5 * * * *"')


def _quantities(sensor: Sensor) -> Iterator[_Finding]:
    known = [quantity.name for quantity in sensor.driver.quantities]
    for name, shaping in sensor.shaping.items():
        path = ("sensors", sensor.name, "quantities", name)
        if known and name not in known:
            yield _error(path, f"it has no such quantity{_near(name, known)}", key=True)
            continue
        quantity = sensor.driver.quantity(name)
        low = quantity.low if shaping.min is None else shaping.min
        high = quantity.high if shaping.max is None else shaping.max
        if shaping.scale == 0:
            yield _error((*path, "scale"), "0 makes every value the same")
        if low is not None and high is not None and high < low:
            key = "min" if shaping.max is None else "max"
            yield _error((*path, key), f"max ({high:g}) is below min ({low:g})")


def _claims(sensors: Iterable[Sensor], document: Document) -> Iterator[_Finding]:
    """Addresses and pins that two sensors want."""
    owners: dict[str, Sensor] = {}
    for sensor in sensors:
        for key, what in sensor.driver.claims(sensor.options):
            first = owners.setdefault(what, sensor)
            if first is not sensor:
                place = document.place(("sensors", first.name, key))
                yield _error(
                    ("sensors", sensor.name, key),
                    f"{what} is used by sensors.{first.name} too ({place}); one sensor has all quantities of a device",
                )


def _series(destination: Destination, sensors: dict[str, Sensor], unknown: list[str]) -> Iterator[_Finding]:
    """Series that match nothing: an error, or a warning where a device tells its quantities itself.

    Those of sensors whose own table is wrong (`unknown`) are not spoken of: what is wrong has been said.
    """
    known = sorted(_known(sensors))
    for pattern, _ in destination.mapping.rules:
        if any(matches(pattern, series) for series in known) or any(_may_match(pattern, name) for name in unknown):
            continue
        path = ("destinations", destination.name, "series", pattern)
        if any(not sensor.driver.quantities and _may_match(pattern, sensor.name) for sensor in sensors.values()):
            if "*" not in pattern:
                yield _warning(path, "its sensor's quantities come from the device: `edged read` shows them", key=True)
        else:
            yield _error(path, f"it matches no series{_near(pattern, known)}", key=True)


def _identities(destinations: Iterable[Destination], document: Document) -> Iterator[_Finding]:
    """Two clients of one id at one broker, which ends the session of one as soon as it lets in the other."""
    owners: dict[object, str] = {}
    for destination in destinations:
        identity = getattr(destination.options, "identity", None)
        if not identity or not destination.options.client_id:
            continue
        first = owners.setdefault(identity, destination.name)
        if first != destination.name:
            place = document.place(("destinations", first, "client_id"))
            yield _error(
                ("destinations", destination.name, "client_id"),
                f"{destination.options.client_id[:40]!r} is that of {dotted(('destinations', first))} too ({place}), "
                "and the broker would end the session of one for the other; give each a client_id of its own",
            )


def _levels(config: Config) -> Iterator[_Finding]:
    """A daemon's name that makes several levels of a topic."""
    name = config.daemon.name
    options = [d.options for d in config.destinations.values()]
    targets = [target for d in config.destinations.values() for _, target in d.mapping.rules]
    places = [*options, *targets, *(getattr(each, "will", None) for each in options)]
    if "/" in name and any(name in getattr(place, "topic", "") for place in places):
        levels = name.count("/") + 1
        yield _warning(("daemon", "name"), f'{{name}} makes {levels} levels of a topic, since "/" parts them')


def _destination(destination: Destination, document: Document) -> Iterator[_Finding]:
    """What is worth a warning whatever the platform, and a first wait that is longer than the longest."""
    path = ("destinations", destination.name)
    url = urlsplit(getattr(destination.options, "url", ""))
    if url.scheme == "http" and not (url.hostname == "localhost" or (url.hostname or "").startswith("127.")):
        yield _warning((*path, "url"), "without TLS all may read what is sent there, credentials too; https:// is safe")
    files = {key: getattr(destination.options, key, None) for key in ("cert_file", "key_file")}
    if url.scheme == "http" or getattr(destination.options, "tls", True) is False:
        if destination.common.ca_file:
            yield _warning((*path, "ca_file"), "it is not used: without TLS there is no certificate to check")
    else:
        for key, file in {"ca_file": destination.common.ca_file, **files}.items():
            if file and not file.exists():
                yield _warning((*path, key), f"{file} does not exist")
    if (*path, "device") in document.spots and getattr(destination.options, "discovery", True) is None:
        yield _warning((*path, "device"), "it is not used: only discovery tells it to others", key=True)
    first, longest = destination.common.backoff.first, destination.common.backoff.max
    if first > longest and (*path, "backoff", "first") in document.spots:
        yield _error((*path, "backoff", "first"), f"first ({first:g} s) is above max ({longest:g} s)")
    if destination.common.proxy and not destination.platform.takes_proxy:
        yield _warning((*path, "proxy"), "this platform connects directly, without it", key=True)
    for pattern, target in destination.mapping.rules:
        if "*" in pattern and target is not None and not isinstance(target, Usual):
            yield _warning((*path, "series", pattern), "all series that it matches share this one target", key=True)


def _room(config: Config, document: Document) -> Iterator[_Finding]:
    """Queues that may grow larger than their disk has room for; told once of what several have from [queue]."""
    try:
        folder = next(folder for folder in (config.state_dir, *config.state_dir.parents) if folder.is_dir())
        room = shutil.disk_usage(folder).free
        if folder == config.state_dir:  # what the store has already is its own
            room += sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return  # not for this user to see
    told = set()
    for destination in config.destinations.values():
        own: Path = ("destinations", destination.name, "max_size")
        path = own if own in document.spots else ("queue", "max_size")
        if destination.common.enabled and destination.bounds.max_size > room and path not in told:
            told.add(path)
            yield _warning(
                path,
                f"{size_text(destination.bounds.max_size)}, but the disk of {config.state_dir} has room for "
                f"{size_text(room)}; when that is full, readings are lost, whatever when_full says: set a smaller size",
            )


def _known(sensors: dict[str, Sensor]) -> list[str]:
    return [sensor.series(quantity.name) for sensor in sensors.values() for quantity in sensor.driver.quantities]


def _may_match(pattern: str, sensor: str) -> bool:
    """Whether the pattern could name a quantity of the sensor."""
    start, star, _ = pattern.partition("*")
    prefix = f"{sensor}."
    return start.startswith(prefix) or (bool(star) and prefix.startswith(start))


def _places(destination: Destination, sensors: dict[str, Sensor]) -> Iterator[_Finding]:
    """Two series on one target; told once for a pattern that takes several there.  A last will takes one too."""
    owners: dict[object, str] = {}
    will: Any = getattr(destination.options, "will", None)
    told: set[str] = set()
    for series in _known(sensors):
        target = destination.mapping.target(series)
        if target is None:
            continue
        for message in destination.platform.caution_series(series):
            if message not in told:
                told.add(message)
                yield _warning(("sensors", series.rpartition(".")[0]), message, key=True)
        place = destination.platform.place(destination.options, target)
        if will and getattr(place, "topic", None) == will.topic:
            yield _warning(
                ("destinations", destination.name, "will", "topic"),
                f"{series} goes there too, and who reads it gets {will.online!r} for a value; use another topic",
            )
            will = None  # it is told once
        first = owners.setdefault(place, series)
        pattern = destination.mapping.rule(series)
        if first != series and pattern not in told:
            told.add(pattern)
            yield _error(
                ("destinations", destination.name, "series", pattern),
                f"{series} goes to the same target as {first}; {_apart(destination, pattern)}",
            )


def _apart(destination: Destination, pattern: str) -> str:
    """What to do so that a rule's series have targets of their own."""
    topic = getattr(destination.options, "topic", "")
    missing = [word for word in ("{sensor}", "{quantity}") if word not in topic]
    if topic and missing and isinstance(dict(destination.mapping.rules)[pattern], Usual):
        return f"put {' and '.join(missing)} into topic"
    return "each series needs one of its own"


def _open_secrets(document: Document) -> Iterator[_Finding]:
    """Secrets that stand in a file which others may read, and those that are too short to be kept out of texts."""
    for path in sorted(document.spots):
        is_secret = path[-1] in ("token", "password") or path[-2:-1] == ("headers",)
        value = _value(document.values, path)
        if not is_secret or not isinstance(value, str) or not (text := value.strip("\r\n")):
            continue
        if len(path) == 3 and len(text) < SHORTEST:  # those of series have lengths of their own
            yield _warning(path, "so short a secret is not blacked out where a server echoes it; use a longer one")
        file = document.place(path).file
        try:
            mode = File(file).stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IROTH:
            yield _warning(
                path, f"a secret in a file that all users may read; chmod o-r {file}, or use {{ credential = ... }}"
            )


def _value(values: Any, path: Path) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(re.sub(r"\*", "", name), known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(known) or 'none'}"
