"""Dead letters: readings that a platform refused for good, each with what it said, until a person looks at them."""

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from edged.reading import Entry, Value

# The sequence numbers of dead letters that are in a queue again: below those of all readings, and in their own order.
AGAIN = -(1 << 62)

_PAGE = 500  # letters read at a time
_TEXT = 1000  # characters kept of a platform's answer
_COLUMNS = "id, destination, series, time_ms, value, reason, response, refused_at_ms"


class DeadLetter(NamedTuple):
    """A reading that a platform refused for good."""

    id: int
    destination: str
    series: str
    time_ms: int
    value: str  # as JSON, so that true, 1 and "1" stay apart
    reason: str
    response: str
    refused_at_ms: int

    @classmethod
    def of(
        cls, number: int, destination: str, entry: Entry, reason: str, response: str, refused_at_ms: int
    ) -> "DeadLetter":
        """The letter of a reading."""
        value, texts = json.dumps(entry.value), (_storable(reason), _storable(response))
        return cls(number, destination, entry.series, entry.time_ms, value, *texts, refused_at_ms)

    def is_whole(self) -> bool:
        """Whether it can be what `of` made."""
        if [type(value) for value in self] != [int, str, str, int, str, str, str, int]:
            return False
        try:
            return isinstance(json.loads(self.value), Value)
        except ValueError:
            return False

    def entry(self) -> Entry:
        """The reading, as it is given out again."""
        return Entry(AGAIN + self.id, self.series, self.time_ms, json.loads(self.value))


class DeadLetterTable:
    """The letters on disk, in a plain table for plain questions; `retry` is 1 for those in a queue again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS dead_letters (id INTEGER PRIMARY KEY, destination TEXT NOT NULL,"
            " series TEXT NOT NULL, time_ms INTEGER NOT NULL, value TEXT NOT NULL, reason TEXT NOT NULL,"
            " response TEXT NOT NULL, refused_at_ms INTEGER NOT NULL, retry INTEGER NOT NULL DEFAULT 0)"
        )

    def last(self) -> int:
        """The highest number given to a letter that is here; 0 where there is none."""
        return self._connection.execute("SELECT max(id) FROM dead_letters").fetchone()[0] or 0

    def append(self, letters: Iterable[DeadLetter], *, retry: bool = False) -> None:
        """Keeps the letters; one that is there already stays the same."""
        self._connection.executemany(
            f"INSERT OR REPLACE INTO dead_letters ({_COLUMNS}, retry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*letter, int(retry)) for letter in letters],
        )

    def of(self, destination: str, after: int, *, retry: bool) -> list[DeadLetter]:
        """A page of a destination's letters (or of those in its queue again) behind a number, the oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM dead_letters WHERE destination = ? AND retry = ? AND id > ?"
            f" ORDER BY id LIMIT {_PAGE}",
            (destination, int(retry), after),
        ).fetchall()
        return [DeadLetter(*row) for row in rows]

    def delete(self, numbers: Iterable[int]) -> None:
        """Forgets letters."""
        self._connection.executemany("DELETE FROM dead_letters WHERE id = ?", [(number,) for number in numbers])

    def delete_oldest(self, destination: str, number: int) -> None:
        """Forgets so many of a destination's letters."""
        self._connection.execute(
            "DELETE FROM dead_letters WHERE id IN"
            " (SELECT id FROM dead_letters WHERE destination = ? AND retry = 0 ORDER BY id LIMIT ?)",
            (destination, number),
        )

    def try_again(self, destination: str) -> None:
        """Puts all of a destination's letters into its queue."""
        self._connection.execute("UPDATE dead_letters SET retry = 1 WHERE destination = ?", (destination,))

    def hand_over(self, old: str, new: str) -> None:
        """Gives a destination's letters to another one."""
        self._connection.execute("UPDATE dead_letters SET destination = ? WHERE destination = ?", (new, old))

    def forget(self, destination: str) -> None:
        """Deletes all letters of a destination."""
        self._connection.execute("DELETE FROM dead_letters WHERE destination = ?", (destination,))


def _storable(text: str) -> str:
    """The text without lone surrogates, which a platform's answer may have and UTF-8 has not; not too long."""
    return text[:_TEXT].encode(errors="replace").decode()
