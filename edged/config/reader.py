"""Reads a config from its files: all of it or, with every error said at once, nothing."""

import os
import platform as host
from pathlib import Path as File
from typing import Any

from edged import board, drivers, platforms
from edged.config import staleness
from edged.config.checks import cross_check
from edged.config.config import (
    Config,
    DaemonOptions,
    Destination,
    DestinationOptions,
    QuantityOptions,
    QueueOptions,
    Sensor,
    SensorOptions,
)
from edged.config.document import Document, Problem, dotted, load
from edged.config.positions import Path
from edged.config.values import MISSING, Reader, choose, shown, unknown
from edged.errors import ConfigError
from edged.options import declarations
from edged.platforms import Platform
from edged.sending.mapping import Mapping, Usual

DEFAULT = File("/etc/edged/config.toml")
TABLES = ("daemon", "queue", "sensors", "destinations")


def find(given: str | None) -> File:
    """Which config file is meant: `--config`, $EDGED_CONFIG, the system's."""
    return File(given or os.environ.get("EDGED_CONFIG") or DEFAULT)


def read(path: File) -> tuple[Config | None, list[Problem], Document]:
    """Reads a config; None where there is an error among the problems, which are in the order of the files' lines."""
    build = _Build(load(path))
    config = build.config(path)
    if build.document.complete:  # else much would seem to be missing, only since it stands in a file that is damaged
        build.problems += cross_check(config, build.document)
    order = {str(file): number for number, file in enumerate(build.document.files)}
    build.problems.sort(key=lambda p: (order.get(p.place.file, len(order)), p.place.line, p.place.column))
    usable = all(problem.severity == "warning" for problem in build.problems)
    return (config if usable else None), build.problems, build.document


def require(path: File) -> tuple[Config, list[Problem]]:
    """The config and its warnings.  Raises ConfigError."""
    config, problems, _ = read(path)
    if config is None:
        raise ConfigError([str(problem) for problem in problems if problem.severity == "error"])
    return config, problems


class _Build:
    """A config in the making; what is wrong is noted, and the rest is built all the same, so that it is checked too."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = list(document.problems)
        self.reader = Reader({})
        self.queue = QueueOptions()
        self._plugins: dict[tuple[str, str], Any] = {}  # found: to look for one in other packages takes its time

    def error(self, path: Path, message: str, *, key: bool = False) -> None:
        self.problems.append(Problem(self.document.place(path, key=key), dotted(path), message))

    def warning(self, path: Path, message: str) -> None:
        self.problems.append(Problem(self.document.place(path), dotted(path), message, "warning"))

    def config(self, path: File) -> Config:
        values = self.document.values
        for table in values:
            if table not in TABLES:
                self.error((table,), unknown(table, list(TABLES)), key=True)
        self.reader = Reader({"name": "", "serial": ""})
        daemon = self._options(DaemonOptions, values.get("daemon", {}), ("daemon",)) or DaemonOptions()
        self.queue = self._options(QueueOptions, values.get("queue", {}), ("queue",)) or QueueOptions()
        name = daemon.name or host.node() or "edged"
        state_dir = (daemon.state_dir or _state_dir(path)).absolute()
        self.reader = Reader({"name": name, "serial": board.serial(state_dir)})
        sensors = {n: self._sensor(n, table) for n, table in self._tables("sensors").items()}
        destinations = {n: self._destination(n, table) for n, table in self._tables("destinations").items()}
        return Config(
            DaemonOptions(name=name, flush_interval=daemon.flush_interval, log_level=daemon.log_level),
            state_dir,
            self.queue.keep_removed,
            {n: sensor for n, sensor in sensors.items() if sensor},
            {n: destination for n, destination in destinations.items() if destination},
        )

    def _tables(self, kind: str) -> dict[str, dict[str, Any]]:
        """The tables `[sensors.NAME]` or `[destinations.NAME]`, those whose name will do."""
        tables = self.document.values.get(kind, {})
        if not isinstance(tables, dict):
            self.error((kind,), f"a table is expected, not {shown(tables)}; write [{kind}.NAME]")
            return {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                self.error((kind, name), f"a table is expected, not {shown(table)}; write [{dotted((kind, name))}]")
            elif not name or "*" in name or not name.isprintable():
                self.error((kind, name), "a name is not empty and holds no * and no control characters", key=True)
        return {name: table for name, table in tables.items() if isinstance(table, dict)}

    def _options(self, kind: type, table: Any, path: Path, advise: Any = None) -> Any:
        """Options from a table; every error is noted at its place, and then there are none."""
        options, errors = self.reader.options(kind, table)
        for below, message in errors:
            if message.startswith(MISSING) and not self.document.complete:
                continue  # it may stand in the file that could not be read
            where = path + below
            advice = advise(*below, _at(table, below)) if advise and len(below) == 1 else ""
            self.error(where, message + (f"; {advice}" if advice else ""), key=message.startswith("unknown key"))
        return options

    def _common(self, kind: type, table: dict[str, Any], path: Path) -> Any:
        """The common options; those with an error as if they were not there, so that the others are checked."""
        if (options := self._options(kind, table, path)) is None:
            _, errors = self.reader.options(kind, table)
            wrong = {below[0] for below, _ in errors if below}
            options, _ = self.reader.options(kind, {key: value for key, value in table.items() if key not in wrong})
        return options

    def _sensor(self, name: str, table: dict[str, Any]) -> Sensor | None:
        path = ("sensors", name)
        driver = self._plugin(drivers, table, path, "driver")
        if driver is None:
            return None
        common_table, own_table = _parts(table, SensorOptions)
        quantities = common_table.pop("quantities", {})
        common = self._common(SensorOptions, common_table, path)
        own = self._own(driver, own_table, path, SensorOptions)
        for key, message in driver.check(own) if own is not None else ():
            self.error((*path, *key.split(".")), message)
        shaping = self._quantities(quantities, (*path, "quantities"))
        freshness = common.stale_after, common.interval, common.cron
        if message := staleness.caution(*freshness):
            self.warning((*path, "stale_after"), message)
        return Sensor(
            name,
            table["driver"],
            driver,
            own,
            common.interval,
            common.cron,
            common.timeout,
            common.enabled,
            staleness.stale_after(*freshness),
            shaping,
        )

    def _quantities(self, tables: Any, path: Path) -> dict[str, QuantityOptions]:
        if not isinstance(tables, dict):
            self.error(path, f"a table is expected, not {shown(tables)}")
            return {}
        shaping = {name: self._options(QuantityOptions, table, (*path, name)) for name, table in tables.items()}
        return {name: options or QuantityOptions() for name, options in shaping.items()}

    def _own(self, plugin: Any, table: dict[str, Any], path: Path, common: type) -> Any:
        """The driver's or platform's own options; an unknown key is compared with the common ones too."""
        known = [d.name for kind in (plugin.Options, common) for d in declarations(kind).values()]
        general = [declared.name for declared in declarations(QueueOptions).values()]
        for key in [key for key in table if key not in known]:
            message = "it belongs to [queue], for all destinations" if key in general else unknown(key, known)
            self.error((*path, key), message, key=True)
        table = {key: value for key, value in table.items() if key in known}
        return self._options(plugin.Options, table, path, getattr(plugin, "advice", None))

    def _plugin(self, kind: Any, table: dict[str, Any], path: Path, key: str) -> Any:
        """The driver or the platform that a table names."""
        if key not in table:
            if self.document.complete:
                self.error(path, f"{key} is missing; `edged {key}s` lists what there is", key=True)
            return None
        name = table[key]
        if isinstance(name, str) and (found := self._plugins.get((kind.__name__, name))) is not None:
            return found
        try:
            found = kind.find(name) if isinstance(name, str) else None
        except Exception as error:  # noqa: BLE001  # of another package, which may fail in any way
            self.error((*path, key), f"{name} cannot be loaded: {type(error).__name__}: {error}")
            return None
        if found is None:
            what = (
                choose(name, kind.names(), key) if isinstance(name, str) else f"a string is expected, not {shown(name)}"
            )
            self.error((*path, key), what)
        else:
            self._plugins[kind.__name__, name] = found
        return found

    def _destination(self, name: str, table: dict[str, Any]) -> Destination | None:
        path = ("destinations", name)
        platform = self._plugin(platforms, table, path, "platform")
        if platform is None:
            return None
        common_table, own_table = _parts(table, DestinationOptions)
        entries = common_table.pop("series", {})
        common = self._common(DestinationOptions, common_table, path)
        own = self._own(platform, own_table, path, DestinationOptions)
        for key, message in platform.check(own) if own is not None else ():
            self.error((*path, key), message)
        mapping = self._mapping(platform, entries, (*path, "series"))
        return Destination(name, table["platform"], platform, own, common, mapping, self.queue.bounds(common))

    def _mapping(self, platform: type[Platform], entries: Any, path: Path) -> Mapping:
        if not isinstance(entries, dict):
            self.error(path, f"a table is expected, not {shown(entries)}")
            return Mapping(())
        keys = {declared.name for declared in declarations(platform.Series).values()}
        rules = []
        for pattern, entry in entries.items():
            if isinstance(entry, dict) and entry and "." not in pattern and not keys & entry.keys():
                series = f'"{pattern}.{next(iter(entry))}"'  # a dot outside of quotes begins a table
                self.error((*path, pattern), f"put the series in quotes: {series} = ...", key=True)
            else:
                rules.append((pattern, self._target(platform, entry, (*path, pattern))))
        return Mapping(tuple(rules))

    def _target(self, platform: type[Platform], entry: Any, path: Path) -> Any:
        """Where an entry of a `series` table points: a target, None (`false`), or one made of the series (`true`)."""
        if entry is False:
            return None
        if entry is True:
            if platform.usual(path[-1]) is None:
                self.error(path, f"{platform.__name__} has no usual name for a series; give {_example(platform)}")
                return None
            return Usual(platform.usual_target)
        if isinstance(entry, str) and platform.short:
            entry = {platform.short: entry}
        if not isinstance(entry, dict):
            short = "a name, " if platform.short else ""
            self.error(path, f"{short}{_example(platform)}, true or false is expected, not {shown(entry)}")
            return None
        target = self._options(platform.Series, entry, path)
        for key, message in platform.check_target(target) if target is not None else ():
            self.error((*path, key), message)
        for key, message in platform.caution_target(target) if target is not None else ():
            self.warning((*path, key), message)
        return target


def _example(platform: type[Platform]) -> str:
    keys = [declared.name for declared in declarations(platform.Series).values() if declared.required]
    return "{ " + ", ".join(f"{key} = ..." for key in keys) + " }"


def _parts(table: dict[str, Any], common: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table's keys that are common ones, and all others: the driver's or platform's own, and unknown ones."""
    names = {declared.name for declared in declarations(common).values()}
    return {k: v for k, v in table.items() if k in names}, {k: v for k, v in table.items() if k not in names}


def _at(table: Any, path: Path) -> Any:
    for part in path:
        table = table.get(part) if isinstance(table, dict) else None
    return table


def _state_dir(path: File) -> File:
    """Where the store is if the config does not say."""
    if path.absolute() == DEFAULT:
        return File("/var/lib/edged")
    if given := os.environ.get("STATE_DIRECTORY"):
        return File(given.split(":")[0])
    return File(os.environ.get("XDG_STATE_HOME") or File.home() / ".local" / "state") / "edged"
