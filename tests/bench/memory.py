"""Resident memory of the running daemon, over TLS."""

import subprocess
import sys
import time
from pathlib import Path

from tests.bench import plant
from tests.bench.measure import resident_mb
from tests.bench.plant import Daemon, Server
from tests.bench.table import Row
from tests.transports.certificates import Authority

SENSORS = 100
INTERVAL_S = 5  # Databoom takes 20 signals a request and a request a second
_IMPORTS = "import requests, persistqueue; print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"


def measure(quick: bool) -> list[Row]:
    """With three destinations that all answer, after some rounds of readings."""
    with plant.folder() as folder:
        authority = Authority(folder / "authority")
        certificate = authority.server("localhost")
        files = certificate.certificate, certificate.key
        with (
            Server(folder, "bbdata", *files) as bbdata,
            Server(folder, "databoom", *files) as databoom,
            Server(folder, "datacake", *files) as datacake,
            Daemon(folder, _config(bbdata, databoom, datacake, authority.ca_file)) as daemon,
        ):
            for server in (bbdata, databoom, datacake):
                server.until(SENSORS)
            time.sleep(INTERVAL_S * (1 if quick else 4))
            resident = resident_mb(daemon.pid)
    return [Row("memory", resident, imports_mb(), "MB, the imports alone", "BBData, Databoom and Datacake over TLS")]


def _config(bbdata: Server, databoom: Server, datacake: Server, ca_file: Path) -> str:
    keys = f'ca_file = "{ca_file}"\n'
    return "".join(
        (
            plant.head(),
            plant.sensors(SENSORS, f"{INTERVAL_S}s"),
            plant.bbdata(bbdata.url, SENSORS, keys),
            plant.databoom(databoom.url, keys),
            plant.datacake(datacake.url, keys),
        )
    )


def imports_mb() -> float:
    """What Python with requests and persist-queue takes before it does anything."""
    done = subprocess.run([sys.executable, "-c", _IMPORTS], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024
