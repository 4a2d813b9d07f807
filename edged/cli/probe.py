"""`edged probe`: whether each destination can be reached, and takes what the config has for it; nothing is stored."""

import argparse
import json
import logging
import sys
from pathlib import Path

from edged.cli import DONE, FAILED, WRONG_COMMAND, fail
from edged.cli._running import NotRunning, ask
from edged.config.reader import find, require
from edged.errors import EdgedError
from edged.probing import Finding
from edged.probing.together import start

_MARKS = {True: "ok", False: "WRONG", None: "-"}


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("destinations", nargs="*", metavar="DESTINATION", help="which; all that are enabled by default")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Probes the destinations side by side and prints what was found in the config's order; 1 where that is wrong."""
    config, _ = require(find(options.config))
    for name in options.destinations:
        if name not in config.destinations:
            there = ", ".join(config.destinations) or "none"
            print(f"edged: there is no destination {name}; there are: {there}", file=sys.stderr)
            return WRONG_COMMAND
    logging.getLogger("edged").setLevel(logging.CRITICAL)  # what is wrong stands in the result
    chosen = [
        destination
        for name, destination in config.destinations.items()
        if (name in options.destinations if options.destinations else destination.common.enabled)
    ]
    if not chosen:
        fail("there is no enabled destination to probe")
    found = []
    for probe in start(config, chosen, aside=_may_run(config.state_dir)):
        findings = probe.findings()
        found += [{"destination": probe.destination.name, **finding._asdict()} for finding in findings]
        if not options.json:
            print(f"{probe.destination.name} ({probe.destination.kind})", *map(_line, findings), sep="\n", flush=True)
    if options.json:
        print(json.dumps(found))
    return FAILED if any(each["ok"] is False for each in found) else DONE


def _line(finding: Finding) -> str:
    """A step's line; what has more lines goes on below it."""
    message = finding.message.replace("\n", "\n" + 8 * " ")
    return f"  {_MARKS[finding.ok]:6}{finding.step:12}{message}"


def _may_run(state_dir: Path) -> bool:
    """Whether a daemon may be running, which nothing here may disturb."""
    try:
        ask(state_dir, {"do": "status"})
    except NotRunning as why:
        return why.denied
    except EdgedError:
        return True
    return True
