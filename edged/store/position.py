"""How far one destination is: a number while its series are in step, one more for each that is not.

A series may fall behind (its field is at the rate limit, its token is refused) and must not hold up the others; the
order within a series is kept.  So what is settled of a series is always all up to some sequence number.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """Everything at or before `head` is settled, except of the series in `behind`: those up to their own number."""

    head: int = 0
    behind: dict[str, int] = field(default_factory=dict)

    def of(self, series: str) -> int:
        """The sequence number up to which all readings of the series are settled."""
        return self.behind.get(series, self.head)

    @property
    def lowest(self) -> int:
        """The sequence number up to which all readings are settled, so that no one here needs them."""
        # The head first: a flush asks while the sender's thread moves it, and may get it too low, never too high.
        return min([self.head, *self.behind.values()])

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the store; the head first, as in `lowest`."""
        return {"head": self.head, "behind": dict(self.behind)}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Position":
        """As it was kept."""
        return cls(kept["head"], dict(kept["behind"]))
