"""The command line: one module a command.  This one finds the command and turns errors into a line and a status."""

import argparse
import contextlib
import errno
import importlib
import os
import sys
from typing import Any

from edged import __version__
from edged.cli._signals import leave_at_once
from edged.errors import ConfigError, EdgedError

COMMANDS = {
    "run": "the daemon, in the foreground",
    "check": "look the config over and say what it would do",
    "read": "read the configured sensors once and print their values",
    "probe": "whether destinations can be reached, and take these credentials; nothing is stored there",
    "status": "how the running daemon is doing: sensors, destinations, store",
    "queue": "what the destinations have not got yet, or have refused: list, export, retry, drop, adopt",
    "drivers": "the kinds of sensors there are, or one in detail",
    "platforms": "the kinds of destinations there are, or one in detail",
    "demo": "the whole way on this machine, without hardware and without an account",
    "emulate": "a strict local stand-in of a platform, to try a config against",
}

DONE, FAILED, WRONG_COMMAND, WRONG_CONFIG = 0, 1, 2, 78

# What errors there are in writing to a file, a pipe, or a terminal.
_UNWRITABLE = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
_PIPE_WIDTH = 10_000  # characters: no cell is folded, so that each row is a line


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0 done, 1 it did not work, 2 wrong command line, 78 wrong config."""
    _stand_in()
    try:
        try:
            return _main(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()  # here, where what cannot be written is an error of ours
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        with contextlib.suppress(ValueError):  # no descriptor: not a process of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left, at the exit
        if error.errno == errno.EPIPE:  # `edged read | head`
            return FAILED
        return fail(f"the output could not be written: {error.strerror}")


def _stand_in() -> None:
    """Something in the place of standard streams that are closed: no file of ours may get their numbers."""
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115, PTH123  # so that to write is an error
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123


def _main(given: list[str]) -> int:
    if given[:1] == ["run"]:
        leave_at_once()  # what it imports takes a second on a small board
    parser = argparse.ArgumentParser(prog="edged", description="Reads sensors and delivers every reading.")
    parser.add_argument("--version", action="version", version=f"edged {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        if name in given:  # the others' modules need not be loaded
            module = importlib.import_module(f"edged.cli.{name}")
            command.add_argument("--config", metavar="FILE", help="default: $EDGED_CONFIG, else /etc/edged/config.toml")
            module.declare(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(given)
    try:
        return int(options.run(options))
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return WRONG_CONFIG
    except EdgedError as error:
        return fail(str(error))


def fail(message: str) -> int:
    """Says in one line why it did not work."""
    print(f"edged: {message}", file=sys.stderr)
    return FAILED


def counted(number: int, what: str) -> str:
    """A number of things, for people."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shown(value: Any) -> str:
    """A value for people: seven digits are more than any sensor has."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def table(*columns: str) -> Any:
    """A plain table for a terminal."""
    from rich.table import Table  # 50 ms that the daemon need not spend

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(*what: Any) -> None:
    """Prints tables and texts; as wide as the terminal, or for a pipe as wide as needed."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    for each in what:
        console.print(each)
