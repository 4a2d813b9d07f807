"""Reads the log wherever it is: at its tail in memory, and before that on disk."""

import threading
from collections import deque

from edged.store.disk import Disk
from edged.store.segment import Segment
from edged.store.tables import footprint
from edged.store.tail import Ranges, Tail

_RECENT = 8  # segments kept unpacked, for senders that are close behind the tail


class Reader:
    """May be called by any thread; but for `lock`, nothing may be held that is taken after the disk's lock."""

    def __init__(self, lock: threading.RLock, tail: Tail, disk: Disk) -> None:
        """`lock` guards the tail."""
        self.written = 0  # the last sequence number on disk, or about to be
        self.recent: deque[Segment] = deque(maxlen=_RECENT)
        self._lock = lock
        self._tail = tail
        self._disk = disk

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`, from the tail or from the disk.  Raises StoreUnusable."""
        return self._after(seq, withheld=False)

    def ready(self, seq: int) -> Segment | None:
        """The same, of what may be sent."""
        return self._after(seq, withheld=True)

    def _after(self, seq: int, *, withheld: bool) -> Segment | None:
        with self._lock:
            if (begins := self._tail.begins()) is not None and seq >= begins - 1:
                return self._tail.after(seq, self._upto(withheld))
        with self._disk.lock:  # a flush moves the tail to the disk under this lock, so nothing is missed between
            if seq < self.written:
                recent = next((segment for segment in self.recent if segment.first <= seq + 1 <= segment.last), None)
                if recent is not None:
                    return recent
                if (segment := self._disk.after(seq)) is not None:
                    self.recent.append(segment)
                    return segment
            with self._lock:
                return self._tail.after(seq, self._upto(withheld))

    def _upto(self, withheld: bool) -> int:
        return self._tail.sendable if withheld else self._tail.last

    def key_after(self, seq: int) -> int | None:
        """The last sequence number of the segment that holds the first reading behind `seq`.  Raises StoreUnusable."""
        if seq < self.written and (key := self._disk.key_after(seq)) is not None:
            return key
        with self._lock:
            return next((segment.last for segment in self._tail.waiting if segment.last > seq), None)

    def bytes_of(self, after: int, upto: int) -> int:
        """What a range of the log takes, or will take, on disk."""
        there = self._disk.bytes_of(after, upto)
        with self._lock:
            waiting = [s for s in self._tail.waiting if after < s.last and s.first <= upto]
        return there + sum(footprint(segment.size) for segment in waiting)

    def bytes_of_all(self, ranges: Ranges) -> int:
        """What ranges of the log take together, or will take, on disk."""
        return sum(self.bytes_of(*each) for each in ranges)

    def in_memory(self) -> int:
        """The sequence number behind which readings are in memory only."""
        with self._lock:
            begins = self._tail.begins()
            return self._tail.last if begins is None else begins - 1
