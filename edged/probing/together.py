"""All destinations' probes at once."""

import threading
import traceback
from collections.abc import Sequence

from edged.config.config import Config, Destination
from edged.probing import Finding
from edged.probing.probe import Probe
from edged.probing.trials import Sample, sampled
from edged.secret import redact


class Running(threading.Thread):
    """A destination's probe in a thread of its own."""

    def __init__(self, destination: Destination, series: dict[str, Sample], *, aside: bool) -> None:
        super().__init__(name=f"probe {destination.name}", daemon=True)
        self.destination = destination
        self._probe = Probe(destination, series, aside=aside)
        self._found: list[Finding] = []

    def run(self) -> None:
        """All its steps; a bug in one, which may be another package's, ends no other destination's."""
        try:
            for finding in self._probe.findings():
                self._found.append(finding)
        except Exception as error:  # noqa: BLE001  # whatever it is
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} in {where.filename}, line {where.lineno}: {error}"
            self._found.append(Finding("probe", False, f"a bug, please report it: {what}"))

    def findings(self) -> list[Finding]:
        """What was found, once all is; without any secret."""
        self.join()
        return [finding._replace(message=redact(finding.message)) for finding in self._found]


def start(config: Config, destinations: Sequence[Destination], *, aside: bool) -> list[Running]:
    """Starts the probes of destinations; `aside`: a daemon may be connected under their client ids."""
    series = sampled(config)
    probes = [Running(destination, series, aside=aside) for destination in destinations]
    for probe in probes:
        probe.start()
    return probes
