"""What goes on in the background: a flush where one is due, and once a look through the whole log."""

import logging
import threading
from collections.abc import Callable

from edged.errors import StoreUnusable

log = logging.getLogger(__name__)

_LEAST = 0.01  # of the interval between two flushes, whatever is due: half of what `writer` keeps in hand


class Background:
    """Two threads, from `start` to `stop`."""

    def __init__(
        self,
        interval_s: float,
        due_s: Callable[[], float],
        flush: Callable[[], None],
        check: Callable[[Callable[[], bool]], None],
    ) -> None:
        """`flush` is called when it is due, and at least every `interval_s`.

        `check` is given a function that leaves the disk to others for a moment, and returns True when to end.
        """
        self.soon = threading.Event()  # flush before the interval is over
        self._interval_s = interval_s
        self._due_s = due_s
        self._flush = flush
        self._check = check
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._flush_regularly, name="flush", daemon=True),
            threading.Thread(target=self._check_once, name="check", daemon=True),
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends what is under way, and waits for it."""
        self._stopping.set()
        self.soon.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _flush_regularly(self) -> None:
        bug, pause_s = "", self._interval_s
        while not self._stopping.is_set():
            self.soon.wait(pause_s)
            self.soon.clear()
            pause_s = self._interval_s
            try:
                self._flush()
                pause_s = min(self._interval_s, max(_LEAST * self._interval_s, self._due_s()))
            except StoreUnusable:
                self._stopping.wait(0.1)  # the disk has said what is wrong; it is tried again
            except Exception as error:  # whatever it is: the thread goes on
                if bug != repr(error):
                    log.exception("a bug interrupts the writing of the store; please report it")
                bug = repr(error)
                self._stopping.wait(1.0)

    def _check_once(self) -> None:
        self._check(lambda: self._stopping.wait(0.001))
        self.soon.set()
