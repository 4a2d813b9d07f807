"""The store: one append log of readings for all destinations, on disk and, at its tail, in memory.

`put` appends to the tail and returns at once.  A flush every `flush_interval` makes one commit of everything: the
readings that some destination still lacks, where each destination is, its dead letters.  Senders read the tail as well
as the disk, so what is delivered before the flush is never written.  A flush starts at the lowest position that anyone
needs; so the log has gaps, but within a segment the sequence numbers are consecutive.
"""

import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edged import clock
from edged.errors import StoreHeld
from edged.reading import Entry, Reading
from edged.store.position import Position
from edged.store.queue import Queue
from edged.store.segment import READINGS, DamagedSegment, Segment
from edged.store.tables import DeadLetter, DeadLetterTable, LogTable, StateTable, connect

log = logging.getLogger(__name__)

_SAME_CLOCK_MS = 20  # a clock that moved by more against the time since boot begins a new segment
_LONG_TAIL = 5  # segments; then a flush comes before the interval is over
_RECENT = 8  # segments kept unpacked, for senders that are close behind the tail
_DESTINATION = "destination:"  # prefix of the states


class Log:
    """The store.  `start` begins the flushing; `stop` flushes a last time and lets go of the files."""

    def __init__(
        self,
        folder: Path,
        flush_interval: float,
        boot_id: str,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        """Opens the store in `folder`, or makes it.  Raises StoreHeld, OSError, sqlite3.Error.

        `flush_interval` in s; `boot_id` tells one boot of this machine from another.
        """
        self.lock = threading.RLock()  # the tail and the positions; held for moments only
        self.commits = 0
        self.stored = 0  # readings taken since the start
        self._disk = threading.RLock()  # the connection; held during a commit, and always taken before `lock`
        self._flush_interval = flush_interval
        self._boot_id = boot_id
        self._now_ms = now_ms
        self._runs: list[_Run] = []  # the tail: each becomes a segment
        self._queues: dict[str, Queue] = {}
        self._letters: list[DeadLetter] = []  # buried since the last commit
        self._owed = False  # whether readings on disk have been settled since the last commit
        self._failing = False  # whether the last commit failed
        self._recent: deque[Segment] = deque(maxlen=_RECENT)
        self._damaged: set[int] = set()  # segments that this has been said of
        self._stopping = threading.Event()
        self._full = threading.Event()  # the tail is long: flush before the interval is over
        self._thread = threading.Thread(target=self._flush_regularly, name="flush", daemon=True)

        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, _hold(folder))
            self._connection = opened.enter_context(contextlib.closing(connect(folder)))
            self._table = LogTable(self._connection, folder)
            self._states = StateTable(self._connection, folder)
            self._dead_letters = DeadLetterTable(self._connection)
            self._on_disk = self._table.last()  # the last sequence number there, or about to be
            # Destinations that the config does not have at the moment keep their place.
            self._idle: dict[str, dict[str, Any]] = {
                name: self._states[name] for name in self._states.names(_DESTINATION)
            }
            self._next = max([self._on_disk, *(state["counted"] for state in self._idle.values())]) + 1
            self._opened = opened.pop_all()

    # --- writing

    def put(self, readings: Iterable[Reading], offset_ms: int) -> None:
        """Takes readings of one moment; `offset_ms` is the clock's time minus the time since boot at that moment."""
        with self.lock:
            for reading in readings:
                run = self._runs[-1] if self._runs else None
                if run is None or not run.takes(offset_ms):
                    run = _Run(offset_ms)
                    self._runs.append(run)
                entry = Entry(self._next, *reading)
                run.entries.append(entry)
                self._next += 1
                self.stored += 1
                for queue in self._queues.values():
                    queue.arrived(entry)
            if len(self._runs) > _LONG_TAIL and not self._failing:
                self._full.set()

    def flush(self) -> None:
        """Makes one commit of all that is new and still lacked; none where there is nothing.  Raises sqlite3.Error."""
        with self._disk:
            with self.lock:
                lowest = self._lowest()
                runs = list(self._runs)
                if runs:
                    runs[-1].closed = True
                    if runs[-1].entries[-1].seq > lowest:  # from now on: what is settled during the commit is owed
                        self._on_disk = runs[-1].entries[-1].seq
                states = self._idle | {_DESTINATION + queue.name: queue.to_json() for queue in self._queues.values()}
                letters = list(self._letters)
                owed, self._owed = self._owed, False
            segments = [
                Segment.of(entries, self._boot_id, run.offset_ms)
                for run in runs
                if (entries := [entry for entry in run.entries if entry.seq > lowest])
            ]
            if segments or letters or owed:
                try:
                    self._commit(lowest, segments, letters, states)
                except BaseException:
                    with self.lock:
                        self._owed = self._owed or owed
                    raise
                self._recent.extend(segments)
            with self.lock:
                del self._runs[: len(runs)]
                del self._letters[: len(letters)]

    def _lowest(self) -> int:
        """The sequence number up to which nobody needs the readings any more."""
        taken = self._next - 1
        active = [queue.position.lowest if queue.queued else taken for queue in self._queues.values()]
        idle = [Position.from_json(state).lowest for state in self._idle.values() if state["queued"]]
        return min(active + idle, default=taken)

    def _commit(self, lowest: int, segments: list[Segment], letters: list[DeadLetter], states: dict[str, Any]) -> None:
        with self._connection.group():
            self._table.trim(lowest)  # first, so that its pages take the new segments
            for segment in segments:
                self._table.append(segment)
            self._dead_letters.append(letters)
            for name, state in states.items():
                self._states[name] = state
        self.commits += 1

    def _flush_regularly(self) -> None:
        due = time.monotonic() + self._flush_interval
        while not self._stopping.is_set():
            self._full.wait(max(0.0, due - time.monotonic()))
            self._full.clear()
            due = time.monotonic() + self._flush_interval
            try:
                self.flush()
            except Exception as error:  # whatever it is: the thread goes on
                if not self._failing:
                    bug = not isinstance(error, sqlite3.Error)
                    log.error(
                        "cannot write the store: %s; readings stay in memory and are tried again", error, exc_info=bug
                    )
                self._failing = True
            else:
                if self._failing:
                    log.error("the store can be written again")
                self._failing = False

    # --- reading

    def after(self, seq: int) -> Segment | None:
        """The first segment with a reading behind `seq`, from the tail or from the disk."""
        with self.lock:
            if self._runs and seq >= self._runs[0].entries[0].seq - 1:
                return self._tail_after(seq)
        with self._disk:  # a flush moves runs from the tail to the disk under this lock, so none is missed between
            recent = next((segment for segment in self._recent if segment.first <= seq + 1 <= segment.last), None)
            if recent is not None:
                return recent
            if seq < self._on_disk and (segment := self._from_disk(seq)) is not None:
                self._recent.append(segment)
                return segment
            with self.lock:
                return self._tail_after(seq)

    def _from_disk(self, seq: int) -> Segment | None:
        while True:
            try:
                return self._table.after(seq)
            except DamagedSegment as error:
                seq = self._table.cursor
                if seq not in self._damaged:
                    self._damaged.add(seq)
                    log.error("a segment of the store is damaged and passed over: %s", error, extra={"segment": seq})

    def _tail_after(self, seq: int) -> Segment | None:
        run = next((run for run in self._runs if run.entries and run.entries[-1].seq > seq), None)
        return Segment.of(list(run.entries), self._boot_id, run.offset_ms) if run else None

    # --- destinations

    def open_queue(self, name: str, wants: Callable[[str], bool], mapping: str) -> Queue:
        """The queue of a destination: where it was, or for a new one from the next reading on.

        Takes the place of its queue that is open, if one is: so nothing that comes in between is missed.
        `mapping` stands for what `wants` says: where it is another one than before, the queue is counted anew.
        """
        with self._disk:  # no flush goes by a queue that is not counted yet
            with self.lock:
                new = {"head": self._next - 1, "behind": {}, "queued": 0, "counted": self._next - 1, "mapping": mapping}
                kept = self._idle.get(_DESTINATION + name, {"delivered": 0, "dead": 0, "merged": 0} | new)
                if name in self._queues:
                    kept = self._queues[name].to_json()
                elif not kept["queued"]:
                    kept = kept | new  # what came while it was not there is not its own
            queue = Queue(name, self, wants, kept, mapping)
            with self.lock:
                queue.count()  # what has come in the meantime, all of it in the tail
                self._idle.pop(_DESTINATION + name, None)
                self._queues[name] = queue
                self._owed = self._owed or queue.queued != kept["queued"]
        return queue

    def close_queue(self, queue: Queue) -> None:
        """Ends a destination's use of its queue; the readings that it lacks are kept for it."""
        with self.lock:
            if self._queues.get(queue.name) is queue:
                del self._queues[queue.name]
                self._idle[_DESTINATION + queue.name] = queue.to_json()
                self._owed = True

    def settled(self, seq: int) -> None:
        """Notes that a reading was settled: one that is on disk would be sent again, should the process die."""
        self._owed = self._owed or seq <= self._on_disk

    def bury(self, destination: str, entry: Entry, reason: str, response: str) -> None:
        """Keeps a dead letter until the commit that settles its reading."""
        value = json.dumps(entry.value)
        reason, response = _storable(reason), _storable(response)
        letter = DeadLetter(destination, entry.series, entry.time_ms, value, reason, response, self._now_ms())
        self._letters.append(letter)

    def dead_letters(self, destination: str) -> list[DeadLetter]:
        """A destination's dead letters that have been committed, the oldest first."""
        with self._disk:
            return self._dead_letters.of(destination)

    # --- life

    def start(self) -> None:
        """Begins to flush every `flush_interval`."""
        self._thread.start()

    def stop(self) -> None:
        """Flushes all and closes the files.  Raises sqlite3.Error where the last flush failed."""
        self._stopping.set()
        self._full.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            with self.lock:
                self._owed = True
            self.flush()
        finally:
            with self._disk:
                self._opened.close()


class _Run:
    """Consecutive readings in memory, measured while the clock was in step with the time since boot."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms
        self.entries: list[Entry] = []
        self.closed = False  # being written; what comes now is of the next flush

    def takes(self, offset_ms: int) -> bool:
        return not self.closed and abs(offset_ms - self.offset_ms) <= _SAME_CLOCK_MS and len(self.entries) < READINGS


def _hold(folder: Path) -> int:
    """Takes the store for this process, until the descriptor is closed or the process ends.  Raises StoreHeld."""
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.closing(os.fdopen(held)) as file:
            owner = file.read().strip() or "unknown"
        raise StoreHeld(f"{folder}: another edged (process {owner}) holds this store; stop it first") from None
    with contextlib.suppress(OSError):  # a full disk; it is only for the message above
        os.truncate(held, 0)
        os.write(held, str(os.getpid()).encode())
    return held


def _storable(text: str) -> str:
    """The text without lone surrogates, which a platform's answer may have and UTF-8 has not."""
    return text.encode(errors="replace").decode()
