"""The command line: one module a command.  This one finds the command and turns errors into a line and a status."""

import argparse
import importlib
import os
import sys
from typing import Any

from edged import __version__
from edged.errors import ConfigError, EdgedError

COMMANDS = {
    "run": "the daemon, in the foreground",
    "check": "look the config over and say what it would do",
    "read": "read the configured sensors once and print their values",
    "status": "how the running daemon is doing: sensors, destinations, store",
    "queue": "what the destinations have not got yet, or have refused: list, export, retry, drop, adopt",
    "drivers": "the kinds of sensors there are, or one in detail",
    "platforms": "the kinds of destinations there are, or one in detail",
    "demo": "the whole way on this machine, without hardware and without an account",
    "emulate": "a strict local stand-in of a platform, to try a config against",
}

DONE, FAILED, WRONG_COMMAND, WRONG_CONFIG = 0, 1, 2, 78

_PIPE_WIDTH = 10_000  # characters: no cell is folded, so that each row is a line


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0 done, 1 it did not work, 2 wrong command line, 78 wrong config."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return 130


def _main(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="edged", description="Reads sensors and delivers every reading.")
    parser.add_argument("--version", action="version", version=f"edged {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    given = sys.argv[1:] if arguments is None else arguments
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        if name in given:  # the others' modules need not be loaded
            module = importlib.import_module(f"edged.cli.{name}")
            command.add_argument("--config", metavar="FILE", help="default: $EDGED_CONFIG, else /etc/edged/config.toml")
            module.declare(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(given)
    try:
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a pipe that nobody reads any more is an error of ours
        return status
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return WRONG_CONFIG
    except EdgedError as error:
        return fail(str(error))
    except BrokenPipeError:  # `edged read | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def fail(message: str) -> int:
    """Says in one line why it did not work."""
    print(f"edged: {message}", file=sys.stderr)
    return FAILED


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
