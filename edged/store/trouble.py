"""Why nothing can be written: said when it begins and when it is over, and not on every try.

Said to a daemon, which goes on without the disk.  A command that has nothing to lose turns this module's log off.
"""

import logging
from pathlib import Path

from edged.store.place import explain

log = logging.getLogger(__name__)


class Trouble:
    """Of one store."""

    def __init__(self, folder: Path) -> None:
        self.why = ""  # and what to do; empty: it can be written, as far as is known
        self._folder = folder
        self._said = False

    def met(self, error: Exception, again_s: float) -> None:
        """Something keeps the store from being written; that is tried again in so long."""
        self.why = explain(self._folder, error)
        if not self._said:
            log.error(
                "the store cannot be written: %s.  Readings are kept in memory and sent from there;"
                " tried again every %g s",
                self.why,
                again_s,
            )
        self._said = True

    def over(self) -> None:
        """It has been written."""
        self.why = ""
        if self._said:
            log.error("the store can be written again")
        self._said = False
