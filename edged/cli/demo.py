"""`edged demo`: the whole way on this machine: its own sensors and simulated chips, the store, strict stand-ins."""

import argparse
import json
import secrets
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edged.cli import DONE, FAILED, show, shown, table
from edged.cli._identifiers import admit
from edged.cli._signals import stops
from edged.config.reader import require
from edged.daemon import Daemon
from edged.monitoring.log import set_up
from edged.reading import Reading, iso
from edged.simulation.platforms import StandIn, open_stand_in

DRAIN_S = 60.0  # the longest that the end waits for what is queued

_STAND_INS = ("databoom", "bbdata", "bbdata-mqtt", "datacake")

_CONFIG = """\
[daemon]
name = "demo"
state_dir = "{folder}/state"

[sensors.host]
driver = "host"
interval = "2s"

[sensors.greenhouse]
driver = "bme280"
bus = "sim"
interval = "1s"

[sensors.cellar]
driver = "bme280"
bus = "sim:cellar"
interval = "2s"
quantities.temperature = {{ offset = -0.4, round = 2 }}

[destinations.databoom]
platform = "databoom"
{databoom}
token = "{token}"
device = "demo-device"
series = {{ "greenhouse.*" = true, "cellar.temperature" = "cellar_temp", "host.*" = true }}

[destinations.bbdata]
platform = "bbdata"
{bbdata}
[destinations.bbdata.series]
"greenhouse.temperature" = {{ object = 4711, token = "{token}" }}
"greenhouse.humidity" = {{ object = 4712, token = "{token}" }}
"cellar.pressure" = {{ object = 4713, token = "{token}" }}
"host.uptime" = {{ object = 4714, token = "{token}", type = "int" }}

[destinations.bbdata-mqtt]
platform = "bbdata-mqtt"
{bbdata-mqtt}
client_id = "bbdata_demo"
username = "demo"
password = "{token}"
topic = "demo"
qos = 1
[destinations.bbdata-mqtt.series]
"greenhouse.pressure" = {{ object = 4715, token = "{token}", type = "float" }}
"cellar.temperature" = {{ object = 4716, token = "{token}", type = "float" }}
"host.load_1m" = {{ object = 4717, token = "{token}", comment = "of the last minute" }}

[destinations.datacake]
platform = "datacake"
{datacake}
token = "{token}"
device = "be525e29-4398-4fc1-a928-dead7fdfe218"
series = {{ "cellar.*" = true, "host.load_1m" = "LOAD", "host.memory_used" = true }}
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--seconds", type=float, metavar="N", help="end by itself after so long; default: at Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the summary alone, as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs, then prints what was sampled, stored, sent and refused; 0 where all figures add up."""
    stopping = threading.Event()
    stops(stopping)
    set_up("error")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edged-demo-"))
        stand_ins: dict[str, StandIn] = {name: stack.enter_context(open_stand_in(name)) for name in _STAND_INS}
        path = Path(folder) / "config.toml"
        path.touch(mode=0o600)
        addresses = {name: stand_in.address for name, stand_in in stand_ins.items()}
        path.write_text(_CONFIG.format(folder=folder, token=secrets.token_hex(16), **addresses))
        config, _ = require(path)
        for name, stand_in in stand_ins.items():
            admit(stand_in, config.destinations[name], config.sensors.values())
        recent: deque[Reading] = deque(maxlen=8)
        daemon = Daemon(config, on_reading=recent.append)
        daemon.start()
        _watch(daemon, stand_ins, recent, stopping, options)
        daemon.stop_sampling()
        stopping.clear()
        daemon.drain(DRAIN_S, stopping)
        daemon.stop()
        summary = _summary(daemon, stand_ins)
    if options.json:
        print(json.dumps(summary))
    else:
        show(*_lines(summary))
    return DONE if _adds_up(summary) else FAILED


def _watch(
    daemon: Daemon,
    stand_ins: dict[str, StandIn],
    recent: deque[Reading],
    stopping: threading.Event,
    options: argparse.Namespace,
) -> None:
    """Shows what goes on, on a terminal as a picture that moves, else a line every few seconds."""
    until = time.monotonic() + options.seconds if options.seconds is not None else float("inf")

    def over(pause: float) -> bool:
        return stopping.wait(max(0.0, min(pause, until - time.monotonic()))) or time.monotonic() >= until

    if options.json:
        while not over(3600.0):
            pass
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not console.is_terminal:
        while not over(2.0):
            figures = (
                f"{name} queued {sender.queue.queued} sent {sender.queue.delivered} refused {sender.queue.dead}"
                for name, sender in daemon.senders.items()
            )
            last = f"{recent[-1].series} = {shown(recent[-1].value)}" if recent else "no reading yet"
            print(f"sampled {daemon.sampled}; {'; '.join(figures)}; {last}", flush=True)
        return
    with Live(console=console, refresh_per_second=4, get_renderable=lambda: _picture(daemon, stand_ins, recent)):
        while not over(0.25):
            pass


def _picture(daemon: Daemon, stand_ins: dict[str, StandIn], recent: deque[Reading]) -> Any:
    from rich.console import Group

    readings = table("time", "series", "value")
    for reading in list(recent):
        readings.add_row(iso(reading.time_ms), reading.series, shown(reading.value))
    return Group(readings, "", _destinations(_summary(daemon, stand_ins)))


def _summary(daemon: Daemon, stand_ins: dict[str, StandIn]) -> dict[str, Any]:
    destinations = {}
    for name, sender in daemon.senders.items():
        accepted, violations = stand_ins[name].snapshot()
        destinations[name] = {
            "queued": sender.queue.queued,
            "delivered": sender.queue.delivered,
            "dead": sender.queue.dead,
            "merged": sender.queue.merged,
            "accepted": len(accepted),
            "violations": len(violations),
        }
    return {"sampled": daemon.sampled, "stored": daemon.store.stored, "dropped": 0, "destinations": destinations}


def _adds_up(summary: dict[str, Any]) -> bool:
    """Whether all that was sampled was stored, and all that was due at a destination was accepted there."""
    return summary["sampled"] == summary["stored"] and all(
        (each["queued"], each["dead"], each["violations"]) == (0, 0, 0) and each["accepted"] == each["delivered"]
        for each in summary["destinations"].values()
    )


def _destinations(summary: dict[str, Any]) -> Any:
    result = table("destination", "queued", "sent", "refused", "accepted there", "violations")
    for name, each in summary["destinations"].items():
        figures = (each[key] for key in ("queued", "delivered", "dead", "accepted", "violations"))
        result.add_row(name, *map(str, figures))
    return result


def _lines(summary: dict[str, Any]) -> tuple[Any, ...]:
    first = f"\nsampled {summary['sampled']}, stored {summary['stored']}, dropped {summary['dropped']}\n"
    verdict = "all figures add up" if _adds_up(summary) else "the figures do not add up: please report it"
    return first, _destinations(summary), f"\n{verdict}"
