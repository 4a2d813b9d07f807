"""The daemon's log: readable lines on stderr, which systemd hands to the journal."""

import logging
import os
import sys
import time

from edged.secret import redact

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Line(logging.Formatter):
    """`2024-03-05T14:07:30.250Z warning databoom: cannot deliver: ...`; whatever it holds, no secret."""

    def __init__(self, journal: bool) -> None:
        # The journal has a time and a priority of its own, and reads the priority from `<4>` in front of a line.
        super().__init__("%(message)s" if journal else "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s")
        self.datefmt = "%Y-%m-%dT%H:%M:%S"
        self.converter = time.gmtime
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = redact(super().format(record))
        if not self._journal:
            return text
        return "\n".join(f"<{_PRIORITY.get(record.levelno, 5)}>{line}" for line in text.splitlines())


def is_journal() -> bool:
    """Whether stderr is the journal; the variable alone may be inherited."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def set_up(level: str) -> None:
    """Logs from `level` ("debug", ..., "error") on; other packages from warning on."""
    for number, name in ((10, "debug"), (20, "info"), (30, "warning"), (40, "error"), (50, "critical")):
        logging.addLevelName(number, name)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(is_journal()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edged").setLevel(level.upper())
