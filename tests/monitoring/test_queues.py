"""What `edged queue` is told of queues whose readings cannot be read just now."""

from pathlib import Path

import pytest

from edged.monitoring.queues import actions
from tests.store import ALL, abandon, files_of, open_log, readings


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
