"""Asks the running daemon how it is, ten times a second, and says what it answers; until the power is cut."""

import contextlib
import json
import socket
import time
from typing import Any

from tests.lab.inside.line import say


def ask() -> Any:
    """What the daemon answers to `status`.  Raises OSError, ValueError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect("/var/lib/edged/control.sock")
        with connection.makefile("rwb") as line:
            line.readline()  # its greeting
            line.write(b'{"do": "status"}\n')
            line.flush()
            return json.loads(line.readline())["done"]


while True:
    with contextlib.suppress(OSError, ValueError):
        status = ask()
        say(
            times={
                f"{sensor}.{quantity}": sample["time"]
                for sensor, of in status["sensors"].items()
                for quantity, sample in of["quantities"].items()
            },
            # Asked for after the times: what was stored by then is in the commit after the next one at the latest.
            commits=status["store"]["commits"],
            queued={name: of["queued"] for name, of in status["destinations"].items()},
            trouble=status["store"]["trouble"],
        )
    time.sleep(0.1)
