"""How close a Datacake drain comes to one write per `min_write_interval`, and that it never goes beyond."""

from itertools import pairwise

from tests.bench import fill, plant
from tests.bench.plant import Daemon, Request, Server
from tests.bench.table import Row

FIELDS = 10
INTERVAL_S = 1.1  # the default


def measure(quick: bool) -> list[Row]:
    """A backlog of old readings, from the first answer on: so the daemon's start is left out."""
    writes = 8 if quick else 40
    with plant.folder() as folder, Server(folder, "datacake") as server:
        fill.run(folder, _config("http://127.0.0.1:1"), FIELDS, FIELDS * writes)
        with Daemon(folder, _config(server.url)):
            server.until(FIELDS * writes, patience_s=30 + 2 * INTERVAL_S * writes)
        requests = server.report()
    gaps = {f"S{field}_LEVEL": _gaps(requests, f"S{field}_LEVEL") for field in range(FIELDS)}
    shares = [INTERVAL_S * len(each) / sum(each) for each in gaps.values()]
    narrowest = min(gap for each in gaps.values() for gap in each)
    detail = f"{FIELDS} fields, {writes} writes each; the narrowest gap between two is {narrowest:.4f} s"
    broken = narrowest < INTERVAL_S
    return [Row("datacake", min(shares), 1.0, "the limit", detail, broken=broken)]


def _config(url: str) -> str:
    destination = plant.datacake(url, 'backoff = { first = "0.1s", max = "0.2s" }\n')
    return plant.head() + plant.sensors(FIELDS, keys="enabled = false") + destination


def _gaps(requests: list[Request], field: str) -> list[float]:
    """Seconds from each write of a field to its next one, both from their completion."""
    return [
        later.answered - earlier.answered
        for earlier, later in pairwise(request for request in requests if field in request.held)
    ]
