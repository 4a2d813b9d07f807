"""A store that cannot be opened for writing, as on a read-only file system: it is read all the same, by its pages."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.store.letters import DeadLetter
from edged.store.pages import Row, rows
from edged.store.segment import DamagedSegment, Segment
from edged.store.tables import FILE, MEMORY, state_of

_AT_A_TIME = 100  # segments read from the file at a time, to be held in memory: up to some 4 MB


class Frozen:
    """What is in the store's files, for reading.  Raises OSError where nothing of them can be read."""

    def __init__(self, folder: Path) -> None:
        self.failure: OSError | None = None  # why a part of them could not be read
        self._path = folder / FILE
        self._segments: list[Segment] = []  # the next ones, in order
        self._from = 0  # the number behind which `_segments` are all there is, up to their end
        self._last = 0
        self.states: dict[str, Any] = {}
        next(folder.iterdir(), None)  # OSError: a folder that is not there may be on a disk that comes later
        if self._is_there():
            for row in self._rows():
                if (segment := segment_of(row)) is not None:
                    self._last = max(self._last, segment.last)
                elif (state := state_in(row)) is not None:
                    self.states[state[0]] = state[1]

    def _is_there(self) -> bool:
        """Not by `exists`, to which what may not be looked at is not there (from Python 3.14 on)."""
        try:
            self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _rows(self) -> Iterator[Row]:
        there = False
        try:
            for row in rows(self._path):
                there = True
                yield row
        except OSError as error:  # which comes after all rows that can be read
            if not there:
                raise
            self.failure = error

    def last(self) -> int:
        """The sequence number of the last reading there."""
        return self._last

    def after(self, seq: int) -> Segment | None:
        """The first segment that holds a reading behind `seq`."""
        if seq >= self._last:
            return None
        if not self._segments or not self._from <= seq < self._segments[-1].last:
            keys = (segment for row in self._rows() if (segment := segment_of(row)) and segment.last > seq)
            found = heapq.nsmallest(_AT_A_TIME, keys, key=lambda segment: segment.last)
            self._segments, self._from = found, seq
        return next((segment for segment in self._segments if segment.last > seq), None)

    def letters(self) -> Iterator[tuple[DeadLetter, bool]]:
        """All dead letters, and whether each is in a queue again."""
        if self._is_there():
            found = (letter for row in self._rows() if (letter := letter_in(row)) is not None)
            yield from sorted(found)


def memories(folder: Path) -> dict[str, Any]:
    """What drivers remembered last, by owner; nothing where there is no store yet.  Raises OSError."""
    try:
        states = Frozen(folder).states
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name.removeprefix(MEMORY): state for name, state in states.items() if name.startswith(MEMORY)}


def segment_of(row: Row) -> Segment | None:
    """The segment that a row of the log holds; None for other rows and for damaged ones."""
    if len(row.values) not in (3, 4) or not isinstance(row.values[1], bytes):
        return None
    try:
        segment = Segment.loads(row.values[1])
    except DamagedSegment:
        return None
    return segment if segment.last == row.rowid else None


def state_in(row: Row) -> tuple[str, Any] | None:
    """The name and the state that a row holds; None for other rows."""
    if len(row.values) != 2 or not isinstance(row.values[0], str) or not isinstance(row.values[1], bytes):
        return None
    state = state_of(row.values[1])
    return None if state is None else (row.values[0], state)


def letter_in(row: Row) -> tuple[DeadLetter, bool] | None:
    """The dead letter that a row holds, and whether it is in a queue again; None for other rows."""
    if not 8 <= len(row.values) <= 9:
        return None
    letter = DeadLetter(row.rowid, *row.values[1:8])  # type: ignore[arg-type]  # looked at below
    return (letter, row.values[8:] == (1,)) if letter.is_whole() else None
