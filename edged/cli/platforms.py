"""`edged platforms`: what destinations there are."""

import argparse
import inspect
import sys

from edged import platforms
from edged.cli import DONE, WRONG_COMMAND, show, table
from edged.cli._options import option_table, summary
from edged.config.config import DestinationOptions
from edged.config.values import choose


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of them, in detail")


def run(options: argparse.Namespace) -> int:
    """Lists all platforms, or describes one: what its declaration says."""
    if options.name is None:
        result = table("platform", "what it is")
        for name in platforms.names():
            result.add_row(name, summary(platforms.find(name)))
        show(result)
        return DONE
    platform = platforms.find(options.name)
    if platform is None:
        print(f"edged: {choose(options.name, platforms.names(), 'platform')}", file=sys.stderr)
        return WRONG_COMMAND
    show(
        f"{options.name}: {inspect.getdoc(platform)}",
        f"\n{inspect.getdoc(sys.modules[platform.__module__])}\n",
        option_table(platform.Options, DestinationOptions),
        "\nA series goes there with:\n",
        option_table(platform.Series),
        f'\n[destinations.NAME]\nplatform = "{options.name}"\n{platform.example}',
    )
    return DONE
