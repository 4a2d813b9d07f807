"""A position: one number while all series are in step, one more for each that is not."""

import json

from hypothesis import given
from hypothesis import strategies as st

from edged.store.position import Position

POSITIONS = st.builds(
    lambda head, behind: Position(head, {series: min(at, head) for series, at in behind.items()}),
    st.integers(0, 2**60),
    st.dictionaries(st.sampled_from(["a.x", "b.x", "c.x"]), st.integers(0, 2**60)),
)


def test_in_step_it_is_one_number():
    assert Position(7).to_json() == {"head": 7, "behind": {}}
    assert (Position(7).of("any.x"), Position(7).lowest) == (7, 7)


def test_a_series_that_is_behind_has_its_own():
    position = Position(7, {"slow.x": 3, "slower.x": 2})
    assert [position.of(series) for series in ("slow.x", "slower.x", "fast.x")] == [3, 2, 7]
    assert position.lowest == 2


@given(POSITIONS)
def test_it_comes_back_from_json(position):
    assert Position.from_json(json.loads(json.dumps(position.to_json()))) == position


@given(POSITIONS, st.sampled_from(["a.x", "b.x", "other.x"]))
def test_the_lowest_is_at_or_before_every_series(position, series):
    assert position.lowest <= position.of(series)


def test_what_is_kept_does_not_change_with_it():
    position = Position(7, {"slow.x": 3})
    kept = position.to_json()
    position.behind["slow.x"] = 4
    back = Position.from_json(kept)
    back.behind["slow.x"] = 5
    assert kept == {"head": 7, "behind": {"slow.x": 3}}


class Moving(dict[str, int]):
    """The sender's thread, at the worst moment: it passes reading 6 while a flush looks at who is behind."""

    position: Position

    def __len__(self) -> int:
        before = super().__len__()
        self.move()
        return before

    def values(self):
        self.move()
        return super().values()

    def keys(self):
        self.move()
        return super().keys()

    def move(self) -> None:
        self.setdefault("slow.x", 5)
        self.position.head = 6


def moving() -> Position:
    behind = Moving()
    behind.position = Position(5, behind)
    return behind.position


def test_a_flush_never_sees_it_further_than_it_is():
    """Else it would trim reading 6, which nobody has settled."""
    assert moving().lowest == 5
    kept = Position.from_json(moving().to_json())
    assert kept.of("slow.x") == 5
