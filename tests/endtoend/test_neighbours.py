"""Dead and slow destinations beside a healthy one, in the real daemon: what each of them notices of the others."""

import contextlib
import socket
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edged.simulation.platforms import Fault, HttpStandIn, open_stand_in
from tests.endtoend.running import Running, until

SENSORS = 3
INTERVAL_MS = 500
EVERY_MS = 1000  # the default
NAMES = ("refuses", "hangs", "slow", "healthy")


class Scene:
    """The stand-ins: two that are dead at first, each in its own way, one that is slow, one that is well."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.stand_ins: dict[str, HttpStandIn] = {}
        for name in ("refuses", "slow", "healthy"):
            self.stand_ins[name] = open_stand_in("databoom").start()
        self.stand_ins["refuses"].stop()
        self.stand_ins["slow"].fail(*[Fault(status=0, store=True, delay_s=1.5)] * 500)
        self._silence = socket.create_server(("127.0.0.1", 0))  # the kernel accepts, and nobody says a word
        self.ports = {name: each.port for name, each in self.stand_ins.items()}
        self.ports["hangs"] = self._silence.getsockname()[1]

    def revive(self) -> None:
        """The dead ones come back, as strict as the others."""
        self.stand_ins["refuses"].start()
        self._silence.close()
        self.stand_ins["hangs"] = open_stand_in("databoom", port=self.ports["hangs"]).start()

    def close(self) -> None:
        self._silence.close()
        for each in self.stand_ins.values():
            each.stop()

    def config(self, *, sampling: bool = True, slow: str = "") -> str:
        """`slow`: more keys of the slow destination."""
        lines = [f'[daemon]\nstate_dir = "{self.state_dir}"\nflush_interval = "300ms"']
        for number in range(SENSORS):
            lines.append(
                f'[sensors.s{number}]\ndriver = "bme280"\nbus = "sim:{number}"\n'
                f'interval = "{INTERVAL_MS}ms"\nenabled = {str(sampling).lower()}'
            )
        healthy = self.stand_ins["healthy"]
        token, device = healthy.made_up_token, healthy.made_up_device  # type: ignore[attr-defined]
        for name in NAMES:
            lines.append(
                f'[destinations.{name}]\nplatform = "databoom"\n'
                f'url = "http://127.0.0.1:{self.ports[name]}{healthy.path}"\n'
                f'token = "{token}"\ndevice = "{device}"\ntimeout = "{3 if name == "slow" else 1}s"\n'
                'backoff = { first = "100ms", max = "500ms" }\nseries = { "*" = true }'
            )
            if name == "slow":
                lines.append(slow)
            if name == "hangs":
                lines.append('min_request_interval = "100ms"')
        return "\n".join(lines)

    def accepted(self, name: str) -> list[tuple[str, int]]:
        """(target, time) in the order of arrival."""
        return [(each.target, each.time_ms) for each in self.stand_ins[name].snapshot()[0]]

    def connections(self, name: str) -> set[int]:
        """The client's ports of the connections that are open to the destination."""
        found = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, here, there, state, *_ = line.split()
            if int(there.split(":")[1], 16) == self.ports[name] and state == "01":  # established
                found.add(int(here.split(":")[1], 16))
        return found


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    with contextlib.closing(Scene(tmp_path / "state")) as made:
        yield made


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(3)
@pytest.mark.guarantee(4)
@pytest.mark.pain("B4")
@pytest.mark.pain("B5")
@pytest.mark.pain("F3")
@pytest.mark.pain("G10")
def test_a_healthy_destination_notices_nothing_of_the_others_and_those_get_all_in_the_end(scene, run):
    daemon: Running = run(scene.config())
    healthy = scene.stand_ins["healthy"]
    until(lambda: len(healthy.snapshot()[0]) >= 90, tell=lambda: daemon.log)
    connections = scene.connections("healthy")
    daemon.reload(scene.config(slow="batch_size = 50"))  # only the slow one is another one
    until(lambda: len(healthy.snapshot()[0]) >= 180, tell=lambda: daemon.log)
    connections |= scene.connections("healthy")
    daemon.reload(scene.config(slow="batch_size = 50", sampling=False))
    until(lambda: daemon.status()["healthy"]["queued"] == 0)
    connections |= scene.connections("healthy")
    assert len(connections) == 1, "it has kept its connection all the time"

    all_of_it = scene.accepted("healthy")
    status = daemon.status()
    assert status["healthy"]["delivered"] == len(all_of_it)
    for name in ("refuses", "hangs"):
        assert (status[name]["queued"], status[name]["delivered"]) == (len(all_of_it), 0), name
    assert status["slow"]["queued"] + status["slow"]["delivered"] == len(all_of_it)
    check_rounds(healthy)

    scene.revive()
    until(
        lambda: all(len(scene.accepted(name)) >= len(all_of_it) for name in NAMES),
        tell=lambda: ({name: len(scene.accepted(name)) for name in NAMES}, daemon.status(), daemon.log),
    )
    until(lambda: not any(each["queued"] for each in daemon.status().values()))
    status = daemon.status()
    assert daemon.stop()[0] == 0, daemon.log
    for name in NAMES:
        arrived = scene.accepted(name)
        assert sorted(arrived) == sorted(all_of_it), name
        assert in_order(arrived), name
        assert scene.stand_ins[name].snapshot()[1] == [], name
        assert (status[name]["dead"], status[name]["dropped"], status[name]["lost"]) == (0, 0, 0), name
    for name in ("refuses", "hangs"):
        assert scene.stand_ins[name].resends == 0, f"{name}: each reading came once"


def check_rounds(stand_in: HttpStandIn) -> None:
    """Each reading is in the first round behind its measurement, so no request holds more than a round's."""
    times = [[stamp for _, stamp in moments(stand_in, request)] for request in stand_in.requests]
    late = sum(max(held) - min(held) > EVERY_MS + 2 * INTERVAL_MS for held in times)
    assert late <= len(times) / 10, times  # a machine that stands still for a moment is nobody's fault
    for earlier, later in pairwise(times):
        assert max(earlier) <= min(later) + INTERVAL_MS, "what was measured later went first"


def moments(stand_in: HttpStandIn, request: Any) -> list[tuple[str, int]]:
    """(signal, time) of a request's readings."""
    by_target = defaultdict(list)
    for (target, stamp), _ in stand_in.readings(request):
        by_target[target].append(stamp)
    return [(target, milliseconds(stamp)) for target, stamps in by_target.items() for stamp in stamps]


def milliseconds(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


def in_order(arrived: list[tuple[str, int]]) -> bool:
    """Whether each target's readings came in the order of their time."""
    by_target: dict[str, list[int]] = defaultdict(list)
    for target, time_ms in arrived:
        by_target[target].append(time_ms)
    return all(times == sorted(times) for times in by_target.values())
