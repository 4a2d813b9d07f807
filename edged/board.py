"""Which board this is: what tells it from all others, and one boot of it from another."""

import hashlib
import platform
from pathlib import Path


def boot_id() -> str:
    """The kernel's random name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def serial(state_dir: Path) -> str:
    """The board's serial number; where it has none, a hash of machine-id and state directory.

    Never from the card alone: cloned cards share their machine-id.  Stable, since random client ids break ACLs.
    """
    for path in (Path("/proc/device-tree/serial-number"), Path("/sys/firmware/devicetree/base/serial-number")):
        try:
            if number := path.read_text().strip("\0\n "):
                return number
        except (OSError, UnicodeDecodeError):
            continue
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = platform.node()
    return hashlib.sha256(f"{machine} {state_dir}".encode()).hexdigest()[:16]
