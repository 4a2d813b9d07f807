"""`edged emulate`: a strict stand-in of a platform on this machine, to try a config against."""

import argparse
import sys
import threading

from edged.cli import DONE, WRONG_COMMAND, fail
from edged.cli._identifiers import admit, made_up
from edged.cli._signals import stops
from edged.config.config import Destination
from edged.config.document import dotted
from edged.config.reader import find, require
from edged.reading import iso
from edged.secret import redact
from edged.simulation import platforms as stand_ins
from edged.simulation.platforms import StandIn

_LOOK_S = 0.5


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("platform", metavar="PLATFORM", help=", ".join(stand_ins.names()))
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: any free one")


def run(options: argparse.Namespace) -> int:
    """Serves until interrupted, and prints what was accepted, what was refused, and what broke the platform's rules."""
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
        tables = []
        sensors, destinations = (config.sensors, config.destinations) if config else ({}, {})
        for destination in destinations.values():
            if destination.kind == options.platform:
                admit(stand_in, destination, sensors.values())
                tables.append(_table(destination, stand_in))
        print(f"# {options.platform} on {stand_in.url}; paste this into a config:", flush=True)
        print("\n".join(tables) or stand_in.example(), flush=True)
        refused = _watch(stand_in, stopping)
    accepted, violations = stand_in.snapshot()
    print(f"accepted {len(accepted)}, refused {refused}, violations {len(violations)}", flush=True)
    return DONE


def _table(destination: Destination, stand_in: StandIn) -> str:
    """What to change in a destination's table so that it leads here; secrets that can be read stay where they are."""
    path = ("destinations", destination.name)
    own, series = made_up(destination)
    address = [f"{line}  # in place of its own" for line in stand_in.address.splitlines()]
    lines = [f"[{dotted(path)}]", *address, *own]
    if series:
        lines += [f"[{dotted((*path, 'series'))}]", *series]
    return "\n".join((*lines, ""))


def _watch(stand_in: StandIn, stopping: threading.Event) -> int:
    """Prints what happens until it is to stop; returns how much was refused."""
    accepted_before, refused, violations_before = 0, 0, 0
    over = False
    while not over:
        over = stopping.wait(_LOOK_S)
        accepted, violations = stand_in.snapshot()
        for reading in accepted[accepted_before:]:
            print(f"accepted {reading.target} {iso(reading.time_ms)} {reading.value!r}", flush=True)
        while stand_in.refusals:
            refused += 1
            print(redact(f"refused {stand_in.refusals.popleft()}"), flush=True)
        for violation in violations[violations_before:]:
            rule = f"statement {violation.statement}" if violation.statement else "the protocol"
            print(redact(f"violation of {rule}: {violation.text}"), flush=True)
        accepted_before, violations_before = len(accepted), len(violations)
    return refused
