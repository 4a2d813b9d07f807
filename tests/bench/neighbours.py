"""What a healthy destination notices of neighbours that are dead or slow: nothing, if it is as it should be."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from statistics import quantiles

from tests.bench import plant
from tests.bench.measure import Pairs
from tests.bench.plant import TOKEN, Daemon, Server
from tests.bench.table import Row

SENSORS = 5
SECONDS = 6.0
SLOW_S = 2.0  # that the slow one takes for an answer
BACKOFF = 'backoff = { first = "0.1s", max = "0.5s" }\n'


def measure(quick: bool) -> list[Row]:
    """From a measurement until its arrival, with such neighbours against alone."""
    pairs = Pairs.measured(1 if quick else 5, partial(_latency, alone=False), partial(_latency, alone=True))
    detail = f"90th percentile, {pairs.detail('ms', 1000)}; two neighbours dead (one refuses, one hangs), one slow"
    return [Row("neighbours", pairs.ratio, pairs.baseline, "s, alone", detail)]


def _latency(*, alone: bool) -> float:
    """Seconds from measurement to arrival, of nine in ten."""
    offset = time.time() - time.monotonic()
    with plant.folder() as folder, Server(folder, "bbdata-times") as server, _hanging() as hangs, _slow() as slow:
        config = plant.head("100ms") + plant.sensors(SENSORS, "100ms", bus="one")
        if not alone:
            for name, port in (("refuses", 1), ("hangs", hangs), ("slow", slow)):
                keys = f'timeout = "3s"\nevery = "100ms"\n{BACKOFF}'
                config += _databoom(name, port, keys)
        config += plant.bbdata(server.url, SENSORS, "every = 0\n")  # at once: a round's phase is another one each time
        with Daemon(folder, config):
            server.until(1)
            time.sleep(1.0)  # imports of the others
            server.report()
            time.sleep(SECONDS)
            latencies = [
                request.received + offset - stamp / 1000 for request in server.report() for stamp in request.held
            ]
    return float(quantiles(latencies, n=10)[-1])


def _databoom(name: str, port: int, keys: str) -> str:
    """A destination that takes all series."""
    where = f'url = "http://127.0.0.1:{port}/"\ntoken = "{TOKEN}"\ndevice = "d"\nmin_request_interval = 0\n'
    return f'[destinations.{name}]\nplatform = "databoom"\n{where}{keys}series = {{ "*" = true }}\n'


@contextlib.contextmanager
def _hanging() -> Iterator[int]:
    """The port of a server that accepts, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def _slow() -> Iterator[int]:
    """The port of a server that takes its time."""
    answer = b'{"message":"ALL_INFO_PROCESSED"}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, contextlib.suppress(OSError):
                    while connection.recv(1 << 20):
                        time.sleep(SLOW_S)
                        connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
