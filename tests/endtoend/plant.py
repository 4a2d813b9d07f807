"""A plant of 25 simulated sensors and four destinations, and a witness that keeps every reading that was stored.

The witness is a fifth destination that nobody answers: what the store has taken stays in its queue, so that in the end
the log on disk says what was sampled.
"""

import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from edged.reading import Entry
from edged.simulation.platforms import StandIn, open_stand_in
from edged.store.log import Log
from tests.transports.broker import Broker

FAST = [f"fast{n}" for n in range(20)]  # 1 Hz: for all but Datacake
SLOW = [f"slow{n}" for n in range(5)]  # every 2 s: for Datacake
TOKEN = "0123456789abcdef0123456789abcdef"
DEVICE = "be525e29-4398-4fc1-a928-dead7fdfe218"
FLUSH_S = 0.5


@dataclass
class Plant:
    """The config, the stand-ins, and the daemon when it runs."""

    folder: Path
    broker: Broker
    stand_ins: dict[str, StandIn] = field(default_factory=dict)
    daemon: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        for name in ("databoom", "bbdata", "datacake"):
            self.stand_ins[name] = open_stand_in(name).start()
        numbers = {sensor: 100 + n for n, sensor in enumerate(FAST)}
        self.stand_ins["databoom"].admit({"token": "databoom-token", "device": "plant"}, [])
        objects = [{"object": number, "token": TOKEN, "type": "float"} for number in numbers.values()]
        self.stand_ins["bbdata"].admit({}, objects)
        fields = [{"field": f"{sensor.upper()}_TEMPERATURE", "type": "float"} for sensor in SLOW]
        self.stand_ins["datacake"].admit({"token": "datacake-token", "device": DEVICE}, fields)
        self.numbers = numbers

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def write_config(self, *, sampling: bool = True) -> Path:
        broker = self.broker
        lines = [f'[daemon]\nname = "plant"\nstate_dir = "{self.state_dir}"\nflush_interval = "{FLUSH_S}s"\n']
        for sensor in FAST + SLOW:
            interval = "1s" if sensor in FAST else "2s"
            lines.append(
                f'[sensors.{sensor}]\ndriver = "bme280"\nbus = "sim:{sensor}"\n'
                f'interval = "{interval}"\nenabled = {str(sampling).lower()}\n'
            )
        backoff = 'backoff = { first = "0.2s", max = "1s" }'
        lines.append(
            f'[destinations.databoom]\nplatform = "databoom"\nurl = "{self.stand_ins["databoom"].url}"\n'
            f'token = "databoom-token"\ndevice = "plant"\n{backoff}\nseries = {{ "fast*.temperature" = true }}\n'
        )
        lines.append(f'[destinations.bbdata]\nplatform = "bbdata"\nurl = "{self.stand_ins["bbdata"].url}"\n{backoff}\n')
        lines.append("[destinations.bbdata.series]")
        for sensor, number in self.numbers.items():
            lines.append(f'"{sensor}.pressure" = {{ object = {number}, token = "{TOKEN}", type = "float" }}')
        lines.append(
            f'[destinations.mqtt]\nplatform = "bbdata-mqtt"\nhost = "{broker.host}"\nport = {broker.port}\n'
            f'ca_file = "{broker.ca_file}"\nusername = "{broker.username}"\npassword = "{broker.password}"\n'
            f'client_id = "bbdata_plant"\ntimeout = "5s"\n{backoff}\n[destinations.mqtt.series]'
        )
        for sensor, number in self.numbers.items():
            lines.append(f'"{sensor}.humidity" = {{ object = {number}, token = "{TOKEN}" }}')
        lines.append(
            f'[destinations.datacake]\nplatform = "datacake"\nurl = "{self.stand_ins["datacake"].url}"\n'
            f'token = "datacake-token"\ndevice = "{DEVICE}"\n{backoff}\nseries = {{ "slow*.temperature" = true }}\n'
        )
        lines.append(
            '[destinations.witness]\nplatform = "databoom"\nurl = "http://127.0.0.1:1/v1/signals/push"\n'
            'token = "nobody-asks"\ndevice = "witness"\nseries = { "*" = true }\n'
        )
        path = self.folder / "config.toml"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines))
        return path

    def start(self, *, sampling: bool = True) -> None:
        command = [sys.executable, "-m", "edged", "run", "--config", str(self.write_config(sampling=sampling))]
        self.daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def kill(self) -> None:
        """kill -9; the stand-ins are told, since what was under way comes again."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.communicate()
        for stand_in in self.stand_ins.values():
            stand_in.forgive()

    def stop(self) -> tuple[int, float, str]:
        """SIGTERM; returns the exit status, the seconds until it ended, and the log."""
        assert self.daemon is not None
        started = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        _, stderr = self.daemon.communicate(timeout=20)
        return self.daemon.returncode, time.monotonic() - started, stderr

    def stored(self) -> dict[str, list[Entry]]:
        """All readings that the store has taken and committed, by series."""
        log = Log(self.state_dir, 60.0, "test")
        try:
            series: dict[str, list[Entry]] = defaultdict(list)
            seq = 0
            while (segment := log.after(seq)) is not None:
                for entry in segment.after(seq):
                    series[entry.series].append(entry)
                seq = segment.last
            return series
        finally:
            log.stop()

    def drain(self, patience_s: float = 60.0) -> None:
        """Runs the daemon without sensors until every destination has all that was stored."""
        due = self.due(self.stored())
        self.start(sampling=False)
        assert self.daemon is not None
        deadline = time.monotonic() + patience_s
        while (self.state_dir / "lock").read_text().split()[:1] != [str(self.daemon.pid)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while time.monotonic() < deadline:
            missing = {name: len(due[name].keys() - self.accepted(name).keys()) for name in due}
            if not any(missing.values()):
                break
            time.sleep(0.2)
        status, _, log = self.stop()
        assert status == 0, log
        assert not any(missing.values()), (missing, log)

    def due(self, stored: dict[str, list[Entry]]) -> dict[str, dict[tuple[str, int], float]]:
        """What each destination has to hold in the end: (identifier, time) -> value."""
        due: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
        for series, entries in stored.items():
            sensor, quantity = series.split(".")
            for entry in entries:
                assert isinstance(entry.value, float)
                if sensor in SLOW and quantity == "temperature":
                    due["datacake"][f"{DEVICE}/{sensor.upper()}_TEMPERATURE", entry.time_ms // 1000 * 1000] = (
                        entry.value
                    )
                elif sensor in FAST:
                    name = {"temperature": "databoom", "pressure": "bbdata", "humidity": "mqtt"}[quantity]
                    target = f"{sensor}_temperature" if name == "databoom" else str(self.numbers[sensor])
                    due[name][target, entry.time_ms] = entry.value
        return due

    def accepted(self, name: str) -> dict[tuple[str, int], float]:
        """What a destination holds: (identifier, time) -> value."""
        if name == "mqtt":
            return {(str(m["objectId"]), m["time_ms"]): float(m["value"]) for m in self.broker.measures()}
        accepted, _ = self.stand_ins[name].snapshot()
        return {(each.target, each.time_ms): float(each.value) for each in accepted}

    def close(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.communicate()
        for stand_in in self.stand_ins.values():
            stand_in.stop()
