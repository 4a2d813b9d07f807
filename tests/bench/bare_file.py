"""The append-only file that the store is compared with: the same encoding, one fdatasync a flush, and no way back."""

import os
import threading
from pathlib import Path

from edged.reading import Entry, Reading
from edged.store.segment import READINGS, Segment


class BareFile:
    """Readings go into a list; a flush encodes them, appends them to the file and syncs it."""

    def __init__(self, folder: Path, flush_interval: float = 0.0) -> None:
        """With a `flush_interval` in s, a thread flushes so often, or once the list is as long as the store's gets."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "readings", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._entries: list[Entry] = []
        self._count = 0
        self._lock = threading.Lock()
        self._full = threading.Event()
        if flush_interval:
            threading.Thread(target=self._flush_regularly, args=(flush_interval,), daemon=True).start()

    def put(self, reading: Reading) -> None:
        """Takes a reading."""
        with self._lock:
            self._count += 1
            self._entries.append(Entry(self._count, *reading))
            if len(self._entries) > 5 * READINGS:
                self._full.set()

    def flush(self) -> None:
        """Makes safe what has come."""
        with self._lock:
            entries, self._entries = self._entries, []
        for start in range(0, len(entries), READINGS):
            os.write(self._file, Segment.dumps(Segment.of(entries[start : start + READINGS], "bench", 0)))
        os.fdatasync(self._file)

    def _flush_regularly(self, flush_interval: float) -> None:
        while True:
            self._full.wait(flush_interval)
            self._full.clear()
            self.flush()
