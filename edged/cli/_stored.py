"""The store's queues as the commands reach them: through the daemon that runs, else by the store's files."""

import contextlib
import logging
import math
import os
import pwd
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged import board
from edged.cli._running import NotRunning, call
from edged.config.config import Config
from edged.errors import EdgedError, StoreHeld, StoreUnusable

if TYPE_CHECKING:
    from edged.store.log import Log

_LOOKS = {"queues", "queue-list", "queue-count"}  # what a store that cannot be written is good for

OnProgress = Callable[[int, int], None]


def answers(config: Config, request: dict[str, Any], on_progress: OnProgress) -> Generator[Any, None, Any]:
    """The items of the answer to a request of `edged.monitoring.queues`; returns its last value.  Raises EdgedError."""
    try:
        running = call(config.state_dir, request, on_progress)
    except NotRunning as why:
        return (yield from _from_files(config, request, on_progress, why))
    return (yield from running)


def _from_files(
    config: Config, request: dict[str, Any], on_progress: OnProgress, why: NotRunning
) -> Generator[Any, None, Any]:
    from edged.monitoring.queues import unknown  # with all of the store, which a running daemon has loaded

    if not _there(config.state_dir):
        name = request.get("destination")
        if name is not None and name not in config.destinations:
            raise unknown(name, config.destinations)
        if request["do"] != "queues":
            return 0
        print(f"edged: there is no store at {config.state_dir} yet", file=sys.stderr)
        return {}
    with _opened(config, why) as log:
        return (yield from _answers(log, config, request, on_progress))


@contextlib.contextmanager
def _opened(config: Config, why: NotRunning) -> Iterator["Log"]:
    """The store, as nobody else uses it."""
    from edged.store import trouble
    from edged.store.log import Log

    told = logging.getLogger(trouble.__name__)
    # Who only looks is not concerned by a store that cannot be written; who would write it is told by the answer.
    told.disabled = True
    try:
        # Nothing goes but what is named: to keep the bounds is for the daemon, which knows those of each.
        log = Log(
            config.state_dir, config.daemon.flush_interval, board.boot_id(), keep_removed_s=math.inf, bounded=False
        )
        try:
            yield log
        finally:
            with contextlib.suppress(*([StoreUnusable] if log.trouble else [])):
                log.stop()
    except StoreHeld as error:
        raise EdgedError(f"{error}; it does not answer: {why}") from None
    finally:
        told.disabled = False


def _answers(log: "Log", config: Config, request: dict[str, Any], on_progress: OnProgress) -> Generator[Any, None, Any]:
    from edged.monitoring.queues import actions

    if log.trouble and not (request["do"] in _LOOKS and log.disk.readable):
        raise EdgedError(log.trouble)
    for name, destination in config.destinations.items():
        log.keep_queue(name, destination.mapping.choice, destination.bounds)
    if request["do"] == "queue-adopt":
        _know(log, config, request["destination"], request["new"])
    answer = actions(log)[request["do"]](request)
    if not isinstance(answer, Generator):
        return answer
    while True:
        try:
            each = next(answer)
        except StopIteration as stop:
            return stop.value
        if "item" in each:
            yield each["item"]
        else:
            on_progress(*each["progress"])


def _know(log: "Log", config: Config, old: str, new: str) -> None:
    """Tells the store what a daemon would have told it, had one run since: who left the config, and who is new."""
    if old in log.queues:
        log.close_queue(log.queues[old], removed=True)
    if new not in log.queues:
        destination = config.destinations[new]
        log.close_queue(log.open_queue(new, destination.mapping.choice, destination.bounds), removed=False)


def _there(folder: Path) -> bool:
    """Whether there is a store.  Raises EdgedError where it is not for this user."""
    from edged.store.tables import FILE

    try:
        files = [file for file in folder.iterdir() if file.name in (FILE, f"{FILE}-wal", "lock")]
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY  # which no other user could write either
        needed = os.R_OK if read_only else os.R_OK | os.W_OK
        usable = all(os.access(path, needed, effective_ids=True) for path in (folder, *files))
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise EdgedError(f"{folder} is no folder; see state_dir in the config") from None
    except OSError:
        usable = False
    if not usable:
        raise EdgedError(f"{folder} is not for this user: {_advice(folder)}")
    return any(file.name == FILE for file in files)


def _advice(folder: Path) -> str:
    """Whom to be."""
    try:
        user = folder.stat().st_uid
    except OSError:
        return "sudo edged queue ..."
    try:
        return f"sudo -u {pwd.getpwuid(user).pw_name} edged queue ..."
    except KeyError:
        return f"sudo -u '#{user}' edged queue ..."
