"""What becomes of several readings of one place: by a resolution, and by a policy for backlogs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.platforms import Item, Limits
from edged.reading import Entry
from edged.sending.parcel import Parcel
from edged.sending.thinning import merge, slots

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def thinned(policy: str, *values: Any) -> Parcel:
    entries = [Entry(n, "a.x", 1000 * n, value) for n, value in enumerate(values, 1)]
    parcel = Parcel(Item(entries[0], None), "place")
    for entry in entries[1:]:
        merge(parcel, Item(entry, None), policy)
    return parcel


@pytest.mark.parametrize(
    ("policy", "value", "seq"),
    [("last", 2.0, 4), ("all", 2.0, 4), ("mean", 4.5, 4), ("min", 1.0, 2), ("max", 9.0, 3)],
)
def test_a_policy(policy, value, seq):
    parcel = thinned(policy, 6.0, 1.0, 9.0, 2.0)
    entry = parcel.item.entry
    assert (entry.value, entry.seq, entry.time_ms) == (value, seq, 1000 * seq)  # a mean has the last one's time
    assert sorted([each.seq for each in parcel.merged] + [entry.seq]) == [1, 2, 3, 4]


@given(NUMBERS, st.sampled_from(["mean", "min", "max", "last"]))
def test_every_reading_is_in_it_once(values, policy):
    parcel = thinned(policy, *values)
    assert sorted([each.seq for each in parcel.merged] + [parcel.item.entry.seq]) == list(range(1, len(values) + 1))
    right = {"mean": sum(values) / len(values), "min": min(values), "max": max(values), "last": values[-1]}
    assert parcel.item.entry.value == pytest.approx(right[policy])
    assert parcel.first_ms == 1000


@pytest.mark.parametrize("policy", ["mean", "min", "max"])
def test_of_what_is_no_number_the_last_wins(policy):
    assert thinned(policy, True, False).item.entry.value is False
    assert thinned(policy, "closed", "open").item.entry.value == "open"
    assert thinned("mean", "off", 2.0, 4.0).item.entry.value == 3.0


def test_a_point_stands_for_twice_the_pause():
    assert slots(Limits(100, target_interval=1.1, resolution_ms=1000), 10) == 2
    assert slots(Limits(100, target_interval=5.0, resolution_ms=1000), 10) == 10
    assert slots(Limits(100, target_interval=0.1, resolution_ms=1000), 10) == 1


def test_with_a_days_budget_for_longer():
    limits = Limits(100, target_interval=1.1, resolution_ms=1000, points_a_day=8640)
    assert slots(limits, 1) == 20
    assert slots(limits, 3) == 60
