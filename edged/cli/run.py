"""`edged run`: the daemon."""

import argparse
import faulthandler
import logging
import os
import signal
import sqlite3
from pathlib import Path

from edged.cli import DONE, FAILED, fail
from edged.cli._signals import catch
from edged.config.config import Config
from edged.config.reader import find, read, require
from edged.daemon import Daemon
from edged.monitoring.log import set_up

log = logging.getLogger(__name__)

ONCE_S = 30.0  # the longest that `run --once` waits for destinations


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--once", action="store_true", help="read every sensor once, deliver, print the fate of each reading; then end"
    )


def run(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT; SIGHUP reads the config again."""
    path = find(options.config)
    config, problems = require(path)
    set_up(config.daemon.log_level)
    for problem in problems:
        log.warning("%s", problem)
    try:
        if options.once:
            from edged.cli.once import run_once  # its output needs what the daemon does not

            return run_once(config, ONCE_S)
        return _run(config, path)
    except (OSError, sqlite3.Error) as error:
        return fail(f"the store in {config.state_dir} cannot be opened: {error}; see state_dir in {path}")


def _run(config: Config, path: Path) -> int:
    faulthandler.enable()  # a hang that the watchdog ends then names itself
    signals = catch(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    daemon = Daemon(config)
    daemon.start()
    while os.read(signals, 1)[0] == signal.SIGHUP:
        new, problems, _ = read(path)
        for problem in problems:
            log.log(logging.ERROR if problem.severity == "error" else logging.WARNING, "%s", problem)
        if new is None:
            log.error("the config is wrong; the old one stays")
        elif (new.state_dir, new.daemon) != (config.state_dir, config.daemon):
            log.error("[daemon] has changed: restart edged for that; the old config stays")
        else:
            daemon.reload(new)
    try:
        daemon.stop()
    except sqlite3.Error as error:
        log.error("the last readings could not be written: %s", error)
        return FAILED
    return DONE
