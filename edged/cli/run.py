"""`edged run`: the daemon."""

import argparse
import faulthandler
import logging
import os
import signal
from pathlib import Path

from edged import overview
from edged.cli import DONE, counted
from edged.cli._signals import catch
from edged.config.config import Config
from edged.config.reader import find, read, require
from edged.daemon import Daemon
from edged.monitoring import queues
from edged.monitoring.control import Server
from edged.monitoring.log import set_up
from edged.store.log import Log

log = logging.getLogger(__name__)

ONCE_S = 30.0  # the longest that `run --once` waits for destinations


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--once", action="store_true", help="read every sensor once, deliver, print the fate of each reading; then end"
    )


def run(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT; SIGHUP reads the config again."""
    if options.once:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is delivered: that is no success
    path = find(options.config)
    config, problems = require(path)
    set_up(config.daemon.log_level)
    for problem in problems:
        log.warning("%s", problem.line)
    if not config.sensors and not config.destinations:
        log.warning("%s has no sensors and no destinations: there is nothing to do", path)
    if options.once:
        from edged.cli.once import run_once  # its output needs what the daemon does not

        return run_once(config, ONCE_S)
    return _run(config, path)


def _run(config: Config, path: Path) -> int:
    faulthandler.enable()  # a crash of the interpreter then shows where every thread was
    signals = catch(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    daemon = Daemon(config)
    control = Server(config.state_dir, {**overview.actions(daemon), **queues.actions(daemon.store)})
    control.start()
    daemon.start()
    while os.read(signals, 1)[0] == signal.SIGHUP:
        new, problems, _ = read(path)
        for problem in problems:
            log.log(logging.ERROR if problem.severity == "error" else logging.WARNING, "%s", problem.line)
        if new is None:
            log.error("the config is wrong; the old one stays")
        elif not new.sensors and not new.destinations and (config.sensors or config.destinations):
            log.error("the config is empty, as after a power cut while it was written; the old one stays")
        else:
            _reload(daemon, new)
    control.stop()
    daemon.stop()
    if daemon.store.trouble:
        log.error("%s", _lost(daemon.store))
    return DONE  # it was told to end, and has


def _lost(store: Log) -> str:
    """What a store that cannot be written takes with it."""
    lacking = store.registry.lacking(behind=store.reader.in_memory())
    readings = ", ".join(f"{counted(number, 'reading')} for {name}" for name, number in lacking.items())
    are = "is" if sum(lacking.values()) < 2 else "are"
    return (
        f"the store could not be written: {readings or 'no reading'} {are} lost; what was delivered in that time may be"
        f" sent again ({store.trouble})"
    )


def _reload(daemon: Daemon, new: Config) -> None:
    old = daemon.config
    for key in ("name", "flush_interval"):
        if getattr(new.daemon, key) != getattr(old.daemon, key):
            log.error("[daemon] %s has changed: restart edged for that; the rest is taken", key)
    if new.state_dir != old.state_dir:
        log.error("[daemon] state_dir has changed: restart edged for that; the rest is taken")
    set_up(new.daemon.log_level)
    try:
        daemon.reload(new)
    except Exception:  # what runs already goes on
        log.exception("a bug in the reload; please report it, and restart edged")
