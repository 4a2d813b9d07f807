"""`edged emulate`: a strict stand-in of a platform on this machine, to try a config against."""

import argparse
import sys
import threading

from edged.cli import DONE, WRONG_COMMAND, fail
from edged.cli._identifiers import admit
from edged.cli._signals import stops
from edged.config.config import Config
from edged.config.document import dotted
from edged.config.reader import find, require
from edged.reading import iso
from edged.simulation import platforms as stand_ins
from edged.simulation.platforms import StandIn

_LOOK_S = 0.5


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("platform", metavar="PLATFORM", help=", ".join(stand_ins.names()))
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: any free one")


def run(options: argparse.Namespace) -> int:
    """Serves until interrupted, and prints what was accepted and what broke the platform's rules."""
    if options.platform not in stand_ins.names():
        print(f"edged: no stand-in for {options.platform}; there are: {', '.join(stand_ins.names())}", file=sys.stderr)
        return WRONG_COMMAND
    path = find(options.config)
    config = require(path)[0] if options.config or path.exists() else None
    try:
        stand_in = stand_ins.open_stand_in(options.platform, options.port)
    except (OSError, OverflowError) as error:
        return fail(f"port {options.port} cannot be used: {error}")
    stopping = threading.Event()
    stops(stopping)
    with stand_in:
        if config is not None:
            for destination in config.destinations.values():
                if destination.kind == options.platform:
                    admit(stand_in, destination, config)
        print(f"{options.platform} on {stand_in.url}; paste this into a config:\n", flush=True)
        print(_tables(config, stand_in) or stand_in.example(), flush=True)
        _watch(stand_in, stopping)
    accepted, violations = stand_in.snapshot()
    print(f"accepted {len(accepted)}, violations {len(violations)}", flush=True)
    return DONE


def _tables(config: Config | None, stand_in: StandIn) -> str:
    """The tables of the config's own destinations, with what leads them here; their secrets stay where they are."""
    names = [d.name for d in config.destinations.values() if d.kind == stand_in.platform] if config else []
    tables = (f'[{dotted(("destinations", name))}]\nurl = "{stand_in.url}"  # in place of its own\n' for name in names)
    return "\n".join(tables)


def _watch(stand_in: StandIn, stopping: threading.Event) -> None:
    accepted_before, violations_before = 0, 0
    over = False
    while not over:
        over = stopping.wait(_LOOK_S)
        accepted, violations = stand_in.snapshot()
        for reading in accepted[accepted_before:]:
            print(f"accepted {reading.target} {iso(reading.time_ms)} {reading.value!r}", flush=True)
        for violation in violations[violations_before:]:
            print(f"violation of statement {violation.statement}: {violation.text}", flush=True)
        accepted_before, violations_before = len(accepted), len(violations)
