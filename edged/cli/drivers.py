"""`edged drivers`: what sensors there are."""

import argparse
import inspect
import sys
from typing import Any

from edged import drivers
from edged.cli import DONE, WRONG_COMMAND, show, table
from edged.cli._options import option_table, summary
from edged.config.config import SensorOptions
from edged.config.values import choose


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of them, in detail")


def run(options: argparse.Namespace) -> int:
    """Lists all drivers, or describes one: what its declaration says."""
    if options.name is None:
        result = table("driver", "for")
        for name in drivers.names():
            result.add_row(name, summary(drivers.find(name)))
        show(result)
        return DONE
    driver = drivers.find(options.name)
    if driver is None:
        print(f"edged: {choose(options.name, drivers.names(), 'driver')}", file=sys.stderr)
        return WRONG_COMMAND
    quantities = table("quantity", "unit", "limits")
    for quantity in driver.quantities:
        quantities.add_row(
            quantity.name, quantity.unit if quantity.kind == "number" else quantity.kind, _limits(quantity)
        )
    if not driver.quantities:
        quantities.add_row("the device's own", "", "")
    show(
        f"{options.name}: {inspect.getdoc(driver)}",
        f"\n{inspect.getdoc(sys.modules[driver.__module__])}\n",
        quantities,
        "",
        option_table(driver.Options, SensorOptions),
        f'\n[sensors.NAME]\ndriver = "{options.name}"\ninterval = "10s"\n{driver.example}',
    )
    return DONE


def _limits(quantity: Any) -> str:
    if quantity.low is None and quantity.high is None:
        return ""
    low, high = ("" if limit is None else f"{limit:g}" for limit in (quantity.low, quantity.high))
    return f"{low} to {high}".strip()
