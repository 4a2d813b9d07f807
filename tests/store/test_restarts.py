"""A thousand restarts with a backlog."""

import random

import pytest

from tests.store import ALL, abandon, open_log
from tests.store.ledger import Ledger, number_of


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(4)
@pytest.mark.pain("A20")
@pytest.mark.pain("A22")
def test_a_thousand_restarts_lose_nothing_and_repeat_only_what_was_not_committed(tmp_path):
    """Half of them are kills; what was settled after the last flush before one of these is delivered again."""
    chance = random.Random(1)
    ledger = Ledger(web=ALL, dead=ALL)
    delivered: list[int] = []  # by `web`, as the store has it committed
    log = open_log(tmp_path)
    ledger.open(log)
    ledger.put(log, 5000)
    log.stop()
    for start in range(1000):
        log = open_log(tmp_path)
        queues = ledger.open(log)
        assert queues["web"].queued == ledger.next - len(delivered)
        assert queues["web"].delivered == len(delivered)
        ledger.put(log, 3)
        log.flush()
        batch = queues["web"].take(20)
        assert [number_of(entry.value) for entry in batch[:3]] == list(range(len(delivered), len(delivered) + 3))
        settled = batch[: chance.randrange(12)]
        for entry in settled:
            queues["web"].settle(entry)
        if start % 100 == 0:
            ledger.check(log)
        if start % 2:
            log.stop()
        else:
            abandon(log)
            continue
        delivered += [number_of(entry.value) for entry in settled]
    assert delivered == list(range(len(delivered)))
    assert len(delivered) > 2000
    log = open_log(tmp_path)
    queues = ledger.open(log)
    ledger.check(log)
    assert queues["dead"].queued == ledger.next == 8000
    log.stop()
