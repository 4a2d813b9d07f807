"""The store's queues as the commands reach them: through the daemon that runs, else by the store's files."""

import math
import os
import pwd
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged import board
from edged.cli._running import NotRunning, call
from edged.config.config import Config
from edged.errors import EdgedError, StoreHeld
from edged.store.queue import Bounds

if TYPE_CHECKING:
    from edged.store.log import Log

# Nothing goes but what is named: to keep the bounds is for the daemon, which knows those of each.
_UNBOUNDED = Bounds(max_size=sys.maxsize, max_dead_letters=sys.maxsize)

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
    from edged.monitoring.queues import actions, unknown  # with all of the store, which a running daemon has loaded
    from edged.store.log import Log

    if not _there(config.state_dir):
        name = request.get("destination")
        if name is not None and name not in config.destinations:
            raise unknown(name, config.destinations)
        return {} if request["do"] == "queues" else 0
    try:
        log = Log(config.state_dir, config.daemon.flush_interval, board.boot_id(), keep_removed_s=math.inf)
    except StoreHeld as error:
        raise EdgedError(f"{error}; it does not answer: {why}") from None
    try:
        if log.trouble:
            raise EdgedError(log.trouble)
        for queue in log.queues.values():
            queue.bounds = _UNBOUNDED
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
    finally:
        log.stop()


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
        usable = all(os.access(path, os.R_OK | os.W_OK, effective_ids=True) for path in (folder, *files))
    except FileNotFoundError:
        return False
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
