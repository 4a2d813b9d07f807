"""The choice of readings for a request, within what the platform bears."""

from typing import Any

import pytest

from edged.platforms import Limits, Platform
from edged.reading import Entry
from edged.sending.batch import Lanes, Offer, Selection
from edged.sending.blame import Suspects, Suspicion

NOW_MS = 1_709_647_650_250


class Routed(Platform):
    """Targets are `route/place`."""

    @classmethod
    def route(cls, options: Any, target: Any) -> object:
        return target.partition("/")[0]


def select(
    *entries: Entry,
    pause=lambda place: 0.0,
    sent_slots=(),
    now_ms=NOW_MS,
    room=1000,
    backlog_ends=0,
    suspects=(),
    **limits,
) -> Selection:
    suspected = Suspects({seq: Suspicion(times, times) for seq, times in dict(suspects).items()})
    selection = Selection(
        Lanes(Routed(None), lambda series: series if "/" in series else f"there/{series}", lambda series: ""),
        Limits(**{"readings": 100} | limits),
        Offer(pause, lambda route, is_new: room, dict(sent_slots), now_ms, backlog_ends, suspected),
    )
    closed = set()
    for entry in entries:  # as the queue does: a series is left out from the first reading that does not fit
        if entry.series not in closed and not selection.fits(entry):
            closed.add(entry.series)
    return selection


def entry(seq: int, series: str = "a", time_ms: int | None = None) -> Entry:
    return Entry(seq, series, NOW_MS - 100_000 + 1000 * seq if time_ms is None else time_ms, seq)


def values(selection: Selection) -> list[Any]:
    return [parcel.item.entry.value for parcel in selection.parcels]


def test_as_many_as_a_request_holds():
    assert values(select(*(entry(n) for n in range(9)), readings=4)) == [0, 1, 2, 3]


def test_as_many_targets_as_a_request_holds():
    entries = [entry(1, "a"), entry(2, "b"), entry(3, "c"), entry(4, "a"), entry(5, "c"), entry(6, "b")]
    assert values(select(*entries, targets=2)) == [1, 2, 4, 6]


@pytest.mark.statement(63)
def test_one_reading_of_a_target_in_a_request():
    assert values(select(entry(1, "a"), entry(2, "a"), entry(3, "b"), per_target=1)) == [1, 3]


def test_one_route_in_a_request():
    entries = [entry(1, "x/a"), entry(2, "y/a"), entry(3, "x/b"), entry(4, "y/b")]
    assert values(select(*entries)) == [1, 3]


@pytest.mark.statement(62)
def test_a_place_that_was_just_written_waits_and_no_other():
    selection = select(entry(1, "a"), entry(2, "b"), pause=lambda place: 0.7 if place == "there/a" else 0.0)
    assert (values(selection), selection.pauses) == ([2], [0.7])


@pytest.mark.statement(64)
def test_the_last_of_a_second_wins_and_the_others_are_merged():
    times = [NOW_MS - 9000, NOW_MS - 8900, NOW_MS - 8800, NOW_MS - 5000]
    selection = select(*(entry(n, "a", time_ms) for n, time_ms in enumerate(times)), resolution_ms=1000)
    assert values(selection) == [2, 3]
    assert [[merged.value for merged in parcel.merged] for parcel in selection.parcels] == [[0, 1], []]


@pytest.mark.statement(64)
def test_what_comes_late_for_a_second_that_was_sent_is_merged():
    slot = (NOW_MS - 9000) // 1000
    entries = [entry(1, "a", slot * 1000 + 900), entry(2, "a", slot * 1000 + 1900)]
    selection = select(*entries, sent_slots=[(("there/a", True), slot)], resolution_ms=1000)
    assert ([late.value for late in selection.late], values(selection)) == ([1], [2])


@pytest.mark.statement(64)
def test_a_second_that_is_not_over_waits():
    selection = select(entry(1, "a", NOW_MS - 100), resolution_ms=1000)
    assert (values(selection), selection.slots) == ([], [0.75])


def test_a_stamp_far_ahead_is_no_reason_to_wait():
    assert values(select(entry(1, "a", NOW_MS + 3_600_000), resolution_ms=1000)) == [1]


def test_without_a_resolution_nothing_waits():
    assert values(select(entry(1, "a", NOW_MS), entry(2, "a", NOW_MS + 1), entry(3, "a", NOW_MS + 5000))) == [1, 2, 3]


# --- streams, suspects, a day's points


def test_a_backlog_and_what_is_new_do_not_wait_for_each_other():
    selection = select(entry(8, "a"), entry(1, "a"), entry(9, "a"), backlog_ends=5, per_target=3)
    assert [(parcel.item.entry.value, parcel.is_new) for parcel in selection.parcels] == [
        (8, True),
        (1, False),
        (9, True),
    ]


@pytest.mark.statement(64)
def test_each_of_them_knows_its_own_last_second():
    slot = (NOW_MS - 100_000) // 1000
    entries = [entry(8, "a", slot * 1000), entry(2, "a", slot * 1000 + 1)]
    selection = select(*entries, sent_slots=[(("there/a", False), slot)], backlog_ends=5, resolution_ms=1000)
    assert ([late.value for late in selection.late], values(selection)) == ([2], [8])


def test_a_suspect_goes_alone():
    assert values(select(entry(1, "a"), entry(2, "b"), suspects={1: 1})) == [1]
    assert values(select(entry(1, "a"), entry(2, "b"), entry(3, "c"), suspects={2: 1})) == [1, 3]


def test_or_with_a_witness():
    entries = [entry(1, "a"), entry(2, "b"), entry(3, "a"), entry(4, "a")]
    assert values(select(*entries, suspects={1: 12}, per_target=1)) == [1, 3]


@pytest.mark.statement(65)
def test_no_more_than_the_day_has_left():
    selection = select(entry(1, "x/a"), entry(2, "x/b"), entry(3, "x/c"), entry(4, "y/a"), room=2)
    assert (values(selection), selection.spent) == ([1, 2], True)
