"""What a driver remembers, kept in the store: it outlives the driver's objects, and the process."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from edged.errors import SensorError, StoreUnusable
from edged.reading import Reading


class Memory:
    """Of one sensor.  All of it is called by one thread at a time."""

    def __init__(
        self,
        owner: str,
        recall: Callable[[str], Any],
        put: Callable[[list[Reading], int, Mapping[str, Any]], None],
    ) -> None:
        """`owner` is its name in the store; `recall` and `put` are the store's."""
        self._owner = owner
        self._recall = recall
        self._put = put
        self._text: str | None = None  # as it is in the store, in JSON; None: that is not known yet
        self._counted = 0  # states so far: of two that a damaged store holds, the higher one is the later

    def recall(self) -> Any:
        """What was remembered last, for a new driver; None: nothing yet.  Raises SensorError: that is not known."""
        if self._text is None:
            try:
                kept = self._recall(self._owner) or {"state": None, "counted": 0}
            except StoreUnusable as error:
                raise SensorError(str(error)) from error
            self._text, self._counted = _as_text(kept["state"]), kept["counted"]
        return json.loads(self._text)

    def put(self, readings: list[Reading], offset_ms: int, state: Any) -> None:
        """Puts readings into the store, and with them what the driver remembers now, where that is new.

        Raises TypeError or ValueError where the state cannot be kept: then nothing is put.
        """
        text = _as_text(state)
        if text != self._text:
            kept = {"state": json.loads(text), "counted": self._counted + 1}  # a copy, which the driver cannot change
            self._put(readings, offset_ms, {self._owner: kept})
            self._text, self._counted = text, self._counted + 1
        elif readings:
            self._put(readings, offset_ms, {})


def _as_text(state: Any) -> str:
    return json.dumps(state, sort_keys=True, allow_nan=False)
