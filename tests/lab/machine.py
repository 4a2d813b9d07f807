"""The guest as all tests want it: this checkout's edged is installed, and what is slow to load has been loaded."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.guest import HOST, Disks, Guest, Saved, boot, make_data, make_job

TOKEN = "0123456789abcdef0123456789abcdef"
SERIES = {"greenhouse.temperature": 1, "greenhouse.pressure": 2, "greenhouse.humidity": 3}  # the objects they go to

# `building` is a port of the machine that runs the tests; `witness` is nobody, so that all is kept for it.
CONFIG = f"""
[daemon]
name = "lab"
flush_interval = "100ms"
[sensors.greenhouse]
driver = "bme280"
bus = "sim"
interval = "100ms"
[destinations.building]
platform = "bbdata"
url = "http://{HOST}"
timeout = "5s"
backoff = {{ first = "100ms", max = "1s" }}
[destinations.building.series]
{"".join(f'"{series}" = {{ object = {number}, token = "{TOKEN}" }}' + chr(10) for series, number in SERIES.items())}
[destinations.witness]
platform = "databoom"
url = "http://127.0.0.1:9/nobody"
token = "nobody-asks"
device = "witness"
series = {{ "*" = true }}
"""

_INSTALL = r"""
set -e
mkdir -p /opt/edged/bin /opt/lab /etc/edged /data /var/lib/edged
tar -xf /dev/vdb -C /opt/lab
cd /opt/lab
mv edged /usr/lib/python3/dist-packages/
mv edged.service /etc/systemd/system/
mv config.toml /etc/edged/
cat > /opt/edged/bin/edged <<'END'
#!/usr/bin/python3
import sys
from edged.cli import main
sys.exit(main())
END
chmod +x /opt/edged/bin/edged
ln -s /opt/edged/bin/edged /usr/bin/edged
echo 'u edged - edged /var/lib/edged' > /usr/lib/sysusers.d/edged.conf
systemd-sysusers
chown root:edged /etc/edged/config.toml
chmod 640 /etc/edged/config.toml
systemctl daemon-reload
modprobe dm-flakey
interface=$(ls /sys/class/net | grep -v lo)
ip link set lo up
ip link set "$interface" up
ip address replace 10.0.2.15/24 dev "$interface"
"""

# Programs that have been loaded, which takes seconds, and wait for a line.
_WAITING = ("writer", "daemon")


def settle_in(image: Path, folder: Path, checkout: Path) -> Saved:
    """Boots the guest, installs the checkout's edged in it as its service, and saves it.

    The programs of `inside` are in /opt/lab, which is the shell's folder.
    """
    config = folder / "config.toml"
    config.write_text(CONFIG)
    contents = [
        (checkout / "edged", "edged"),
        (checkout / "systemd" / "edged.service", "edged.service"),
        (checkout / "tests" / "lab" / "inside", "tests/lab/inside"),
        (config, "config.toml"),
    ]
    disks = Disks(image, make_job(folder / "job", contents), make_data(folder / "data"))
    with boot(disks, folder / "console") as guest:
        guest.check(f"({_INSTALL})", 120)
        guest.check("cd /opt/lab")
        for program in _WAITING:
            guest.check(f"mkfifo /run/{program}")
            guest.shell.send(f"setsid python3 -m tests.lab.inside.{program} <> /run/{program} 2>/dev/console &")
            guest.shell.expect(f'"ready":"{program}"', 60)
        return guest.save(folder / "saved")


@dataclass
class Machine:
    """The saved guest, to be restored any number of times."""

    saved: Saved
    folder: Path
    boots: int = 0

    @property
    def console(self) -> Path:
        """What the kernel of the last guest has said."""
        return self.folder / f"console{self.boots}"

    @contextmanager
    def restored(self, data: Path, forward: int | None = None) -> Iterator[Guest]:
        """A guest that knows what time it is, with this data disk; it ends by a power cut.

        No two of them have the boot id in common, as no two boots have.
        """
        self.console.unlink(missing_ok=True)
        self.boots += 1
        boot_id = f"00000000-0000-4000-8000-{self.boots:012}"
        with self.saved.restore(self.folder / "job", data, self.console, forward) as guest:
            guest.check(
                f"date -s @{time.time():.3f} >/dev/null && echo {boot_id} > /run/boot_id"
                " && mount --bind /run/boot_id /proc/sys/kernel/random/boot_id"
            )
            yield guest
