"""What `edged queue` is told of queues whose readings cannot be read just now."""

from pathlib import Path
from typing import Any

import pytest

from edged.errors import EdgedError
from edged.monitoring.queues import actions
from tests.store import ALL, abandon, files_of, only, open_log, readings


@pytest.mark.guarantee(10)
def test_the_counts_of_a_store_that_is_damaged_are_shown_all_the_same(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    log.flush()
    log.reader.recent.clear()
    files_of(log).connection.execute("DROP TABLE queue_log")
    files_of(log).connection.commit()
    summary = actions(log)["queues"]({})
    assert isinstance(summary, dict)
    assert (summary["web"]["queued"], summary["web"]["oldest"]) == (2, None)
    abandon(log)


@pytest.mark.guarantee(1)
def test_a_reload_in_the_midst_of_an_adoption_lets_nothing_be_dropped_that_nobody_was_asked_about(
    tmp_path: Path,
) -> None:
    log = open_log(tmp_path)
    log.open_queue("old", ALL)
    log.put(readings(*["a.x", "b.x"] * 3000), 0)
    log.close_queue(log.queues["old"], removed=True)
    log.open_queue("new", ALL)
    request = {"do": "queue-adopt", "destination": "old", "new": "new", "configured": ["new"]}
    asked = actions(log)["queue-adopt"](request)
    assert next(asked) == {"progress": [5000, 6000]}  # it looks for what is not taken
    log.open_queue("new", only("a.x"))
    with pytest.raises(EdgedError, match="nothing was moved: a reload has just changed what new takes; try again"):
        next(asked)
    assert (log.queues["old"].queued, log.queues["new"].queued, log.queues["new"].dropped) == (6000, 0, 0)
    assert set(exhaust(actions(log)["queue-adopt"](request))["untaken"]) == {"b.x"}
    log.open_queue("old", ALL)  # it is in the config again
    with pytest.raises(EdgedError, match="old is in the config"):
        exhaust(actions(log)["queue-adopt"](request | {"configured": ["new", "old"], "yes": True}))
    abandon(log)


def exhaust(answer: Any) -> Any:
    """What an action returns at last."""
    while True:
        try:
            next(answer)
        except StopIteration as stop:
            return stop.value
