"""A day's points, over restarts and over midnight."""

import copy
from typing import Any

import pytest

from edged.sending.quota import DAY_MS, Quota, until_midnight

NOON_MS = 1_709_640_000_000  # 2024-03-05T12:00:00Z


class Store:
    """What stays over restarts, and how often it was written."""

    def __init__(self) -> None:
        self.kept: Any = None
        self.writes = 0

    def quota(self, most: int) -> Quota:
        return Quota(most, lambda: copy.deepcopy(self.kept), self._keep)

    def _keep(self, points: Any) -> None:
        self.kept = copy.deepcopy(points)
        self.writes += 1


def spend_all(quota: Quota, route: str = "device", now_ms: int = NOON_MS) -> int:
    spent = 0
    while quota.spend(route, 1, now_ms):
        spent += 1
    return spent


@pytest.mark.statement(65)
def test_a_day_has_so_many_points_and_no_more():
    quota = Store().quota(500)
    assert quota.left("device", NOON_MS) == 500
    assert spend_all(quota) == 500
    assert quota.left("device", NOON_MS) == 0


def test_each_device_has_its_own():
    quota = Store().quota(10)
    spend_all(quota, "one")
    assert quota.left("another", NOON_MS) == 10


@pytest.mark.statement(65)
@pytest.mark.guarantee(7)
def test_deaths_never_give_more_points_and_cost_few():
    store = Store()
    spent = 0
    for _ in range(20):
        quota = store.quota(1000)
        spent += sum(quota.spend("device", 3, NOON_MS) for _ in range(7)) * 3
    spent += spend_all(store.quota(1000))
    assert 800 <= spent <= 1000


def test_a_clean_end_gives_back_what_was_not_spent():
    store = Store()
    for _ in range(100):
        quota = store.quota(1000)
        assert quota.spend("device", 1, NOON_MS)
        quota.close()
    assert store.quota(1000).left("device", NOON_MS) == 900


def test_it_is_written_seldom():
    store = Store()
    spend_all(store.quota(7500))
    assert store.writes <= 101


def test_the_next_day_begins_at_midnight_in_utc():
    quota = Store().quota(5)
    spend_all(quota)
    midnight = NOON_MS // DAY_MS * DAY_MS + DAY_MS
    assert quota.left("device", midnight - 1) == 0
    assert quota.left("device", midnight) == 5
    assert until_midnight(midnight - 1500) == 1.5
    assert until_midnight(midnight) == 86_400


def test_a_clock_that_is_set_back_does_not_begin_a_day_again():
    quota = Store().quota(5)
    spend_all(quota)
    assert quota.left("device", NOON_MS + DAY_MS) == 5
    assert quota.left("device", NOON_MS) == 0


def test_a_clock_that_was_years_ahead_costs_no_later_day():
    store = Store()
    spend_all(store.quota(5), now_ms=NOON_MS + 3650 * DAY_MS)
    assert store.quota(5).left("device", NOON_MS) == 5


def test_without_a_budget_nothing_is_counted():
    store = Store()
    quota = store.quota(0)
    assert quota.spend("device", 10**6, NOON_MS)
    quota.close()
    assert store.writes == 0
