"""Makes an older store one of this version, in one transaction.

Version 0 had no mark.  It knew no bounds, and no ranges that are not owed; the series that a destination wants stood
in its state as a text: `+greenhouse.* -greenhouse.humidity`.
"""

import contextlib
import json
import re
import sqlite3
from typing import Any

from edged.store.queue import COUNTERS
from edged.store.tables import StateTable


def migrate(connection: sqlite3.Connection, states: StateTable) -> None:
    """From version 0 to 1."""
    for table, column in (("queue_log", "bytes_before INTEGER"), ("dead_letters", "retry INTEGER NOT NULL DEFAULT 0")):
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if columns and column.split()[0] not in columns:  # tables were made one by one, and not all may be there
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for name, data in connection.execute("SELECT key, data FROM dict_state").fetchall():
        with contextlib.suppress(ValueError, TypeError):  # what is no state is said where queues are made of states
            if isinstance(state := json.loads(data), dict):
                states.write({name: _state(state)})


def _state(kept: dict[str, Any]) -> dict[str, Any]:
    """The state of a queue.  Raises TypeError where it is none."""
    counters = dict.fromkeys((*COUNTERS, "again", "removed_s"), 0)
    rules = re.findall(r"([+-])(.+?)(?= [+-]|$)", kept.get("mapping", ""))
    choice = [[pattern, sign == "+"] for sign, pattern in rules]
    new = {"skips": [], "choice": choice, "open": True, "removed": False, "began": 0}
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        new["began"] = min([kept["head"], *kept["behind"].values()])
    return counters | new | {key: value for key, value in kept.items() if key != "mapping"}
