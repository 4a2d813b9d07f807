"""Ends what takes too long: one thread for all exchanges of the process, since one for each cost more than they do."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Deadlines:
    """Its thread begins with the first exchange, and wakes when one is overdue, not when one begins."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way: dict[object, tuple[float, Callable[[], None]]] = {}  # until when (monotonic, s), what then
        self._wakes = math.inf  # when the thread does so by itself
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, limit_s: float, cut: Callable[[], None]) -> Iterator[None]:
        """Calls `cut`, which must not block, if the block takes longer; never once the block has been left.

        Raises OSError where the system has no thread left for it; the next exchange tries again.
        """
        exchange, due = object(), time.monotonic() + limit_s
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise OSError(f"no thread for its deadline: {error}") from None
                self._thread = thread
            self._under_way[exchange] = (due, cut)
            if due < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._under_way.pop(exchange, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for exchange in [exchange for exchange, (due, _) in self._under_way.items() if due <= now]:
                    self._under_way.pop(exchange)[1]()
                self._wakes = min((due for due, _ in self._under_way.values()), default=math.inf)
                self._changed.wait(None if math.isinf(self._wakes) else self._wakes - now)


deadlines = Deadlines()
