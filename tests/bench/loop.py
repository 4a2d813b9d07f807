"""What a bare Python script does that the daemon is compared with: `python -m tests.bench.loop PORT SENSORS FILE`.

Once a second: measure each sensor, append each reading to the file, sync it, post all in batches to the same server.
"""

import http.client
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.constant import measure
from tests.bench.plant import PATH, TOKEN

BATCH = 100  # as many as the daemon sends in one request


def main(port: int, sensors: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    file = Path(path).open("a")  # noqa: SIM115  # until it is killed
    due = time.time()
    while True:
        batch = []
        for number in range(sensors):
            reading = {
                "objectId": number,
                "token": TOKEN,
                "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds"),
                "value": repr(measure(21.5)),
            }
            file.write(json.dumps(reading) + "\n")
            batch.append(reading)
        file.flush()
        os.fdatasync(file.fileno())
        for start in range(0, sensors, BATCH):
            post(connection, json.dumps(batch[start : start + BATCH]).encode())
        due = (due + 1.0) // 1.0  # as the daemon: at once, then on the grid
        time.sleep(max(0.0, due - time.time()))


def post(connection: http.client.HTTPConnection, body: bytes) -> None:
    """One request on a connection that stays open."""
    connection.request("POST", PATH, body, {"Content-Type": "application/json"})
    connection.getresponse().read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
