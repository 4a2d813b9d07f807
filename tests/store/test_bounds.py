"""Bounds: what a queue may take is what it takes, and everything that a bound takes away is counted, one by one."""

from pathlib import Path
from typing import Literal

import pytest

from edged.reading import Reading
from edged.store.log import Log
from edged.store.queue import Bounds, Queue
from edged.store.room import RESERVE_BYTES
from edged.store.tables import footprint
from tests.store import ALL, BOOT, NOW_MS, abandon, only, open_log, readings, settle_all
from tests.store.ledger import Ledger, account, killed, number_of

KIB = 1024
MIB = 1024 * KIB
WAL = 2 * MIB
DAY_MS = 86_400_000
Full = Literal["drop-oldest", "drop-newest"]


def disk_use(folder: Path) -> int:
    """What all files take."""
    return sum(path.stat().st_size for path in folder.iterdir())


def numbers_of(queue: Queue) -> list[int]:
    return [number_of(entry.value) for entry in queue.pending()]


def reopened(folder: Path, ledger: Ledger, **bounds: Bounds) -> dict[str, list[int]]:
    """What each destination has after another start."""
    log = open_log(folder)
    queues = ledger.open(log, **bounds)
    ledger.check(log)
    found = {name: numbers_of(queue) for name, queue in queues.items()}
    log.stop()
    return found


# --- size


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-newest"])
@pytest.mark.parametrize("number", [300, 1000, 3000])
def test_of_a_flush_that_is_larger_than_the_bound_what_fits_is_kept(tmp_path, when_full: Full, number):
    log = open_log(tmp_path)
    ledger = Ledger()
    queue = ledger.open(log, web=Bounds(64 * KIB, when_full=when_full))["web"]
    ledger.put(log, number, 300)
    log.flush()
    ledger.check(log)
    size = log.reader.bytes_of_all(queue.needs())
    assert 64 * KIB * 0.95 - 17 * KIB < size <= 64 * KIB
    kept = [number_of(entry.value) for entry in queue.pending()]
    newest = when_full == "drop-oldest"
    assert kept == list(range(number - len(kept), number) if newest else range(len(kept)))
    log.stop()


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(8)
@pytest.mark.pain("A4")
@pytest.mark.pain("A5")
@pytest.mark.pain("A24")
@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-newest"])
@pytest.mark.parametrize(
    ("max_size", "each", "bytes_each", "flushes"),
    [
        (64 * KIB, 1, 1000, 200),
        (64 * KIB, 1, 0, 300),
        (64 * KIB, 1000, 0, 30),
        (3 * MIB, 1, 8000, 600),
        (3 * MIB, 1000, 300, 30),
        (6 * MIB, 1000, 1000, 15),
    ],
)
def test_the_files_stay_within_the_bound_and_all_is_counted(
    tmp_path, max_size, each, bytes_each, flushes, when_full: Full
):
    bounds = Bounds(max_size, when_full=when_full)
    ledger = Ledger()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=bounds)["web"]
    for number in range(flushes):
        ledger.put(log, each, bytes_each)
        log.flush()
        assert disk_use(tmp_path) <= max_size + WAL + RESERVE_BYTES
        if number % 20 == 19:
            ledger.check(log)
    ledger.check(log)
    numbers = numbers_of(queue)
    assert (queue.dropped, queue.lost) == (ledger.next - len(numbers), 0)
    if when_full == "drop-oldest":
        assert numbers == list(range(queue.dropped, ledger.next))
    else:
        assert numbers == list(range(len(numbers)))
    if queue.dropped:  # and no more is dropped than must be
        segment = footprint(each * bytes_each if bytes_each else 40 * each)
        assert log.bytes_of(0, ledger.next) > max_size * 0.95 - 2 * segment
    log.stop()
    assert reopened(tmp_path, ledger, web=bounds)["web"] == numbers


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(3)
@pytest.mark.pain("A4")
def test_each_destination_has_its_own_bound_and_one_in_step_has_no_need_of_it(tmp_path):
    bounds = {"small": Bounds(64 * KIB), "large": Bounds(4 * MIB), "live": Bounds(64 * KIB), "part": Bounds(MIB)}
    ledger = Ledger(small=ALL, large=ALL, live=ALL, part=only("b.x"))
    log = open_log(tmp_path)
    queues = ledger.open(log, **bounds)
    for number in range(80):
        for _ in range(4):
            ledger.put(log, 25, 1000)
            settle_all(queues["live"])
        log.flush()
        assert disk_use(tmp_path) <= 4 * MIB + WAL + RESERVE_BYTES
        if number % 10 == 0:
            ledger.check(log)
    ledger.check(log)
    assert (queues["live"].delivered, queues["live"].dropped) == (8000, 0)
    kept = {name: len(numbers_of(queue)) for name, queue in queues.items()}
    assert kept["large"] > 3500
    assert 300 < kept["part"] < 600
    assert kept["small"] < 70
    log.stop()
    reopened(tmp_path, ledger, **bounds)


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-newest"])
def test_what_was_dropped_on_its_way_and_arrives_is_delivered(tmp_path, when_full: Full):
    ledger = Ledger()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=Bounds(64 * KIB, when_full=when_full))["web"]
    ledger.put(log, 40, 1000)
    log.flush()
    for _ in range(10):
        on_its_way = queue.take(30)
        ledger.put(log, 40, 1000)
        if when_full == "drop-newest":
            on_its_way = queue.take(60)
        log.flush()
        ledger.check(log)
        for number, entry in enumerate(on_its_way):
            queue.settle(entry, merged=number % 5 == 1, reason="refused" if number % 5 == 2 else "")
            assert sum(account(queue).values()) == ledger.next
        ledger.check(log)
        log.flush()
    assert queue.dropped
    assert (queue.delivered > 0, queue.merged > 0, queue.dead > 0) == (True, True, True)
    log.stop()
    reopened(tmp_path, ledger)


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(2)
@pytest.mark.pain("A5")
@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-newest"])
def test_after_a_kill_no_fewer_are_counted_than_were_dropped(tmp_path, when_full: Full):
    bounds = Bounds(64 * KIB, when_full=when_full)
    ledger = Ledger()
    log = open_log(tmp_path / "running")
    queue = ledger.open(log, web=bounds)["web"]
    for number in range(20):
        ledger.put(log, 20, 1000)
        on_its_way = queue.take(10)
        log.flush()
        for entry in on_its_way:
            queue.settle(entry)
        folder = killed(tmp_path / "running", tmp_path / f"killed{number}")
        found = open_log(folder)
        again = ledger.open(found, web=bounds)["web"]
        ledger.check(found)
        assert again.dropped >= queue.dropped
        assert {number_of(entry.value) for entry in again.pending()} >= set(numbers_of(queue))
        abandon(found)
    abandon(log)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A3")
def test_what_is_full_takes_new_ones_again_once_it_has_drained(tmp_path):
    bounds = Bounds(64 * KIB, when_full="drop-newest")
    ledger = Ledger()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=bounds)["web"]
    for _ in range(10):
        ledger.put(log, 20, 1000)
        log.flush()
    first = len(numbers_of(queue))
    assert (queue.full, queue.dropped) == (True, 200 - first)
    for entry in queue.take(first // 2):
        queue.settle(entry)
    ledger.put(log, 5, 1000)  # comes before it is looked at again
    log.flush()
    ledger.check(log)
    assert (queue.full, queue.dropped) == (False, 200 - first + 5)
    ledger.put(log, 5, 1000)
    log.flush()
    assert numbers_of(queue)[-5:] == list(range(205, 210))
    ledger.check(log)
    log.stop()
    reopened(tmp_path, ledger, web=bounds)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A3")
def test_what_is_full_and_drained_whole_is_open_again_with_the_next_flush(tmp_path):
    """Although nothing waits then that could make it fuller."""
    ledger = Ledger()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=Bounds(64 * KIB, when_full="drop-newest"))["web"]
    ledger.put(log, 200, 1000)
    log.flush()
    states = [queue.full]
    ledger.put(log, 10)
    log.flush()
    settle_all(queue)
    log.flush()
    states.append(queue.full)
    assert states == [True, False]
    ledger.put(log, 10)
    assert queue.queued == 10
    ledger.check(log)
    log.stop()


@pytest.mark.guarantee(1)
def test_bounds_that_another_config_makes_tighter_are_kept_at_once(tmp_path):
    ledger = Ledger()
    log = open_log(tmp_path)
    ledger.open(log)
    for _ in range(40):
        ledger.put(log, 20, 1000)
        log.flush()
    log.stop()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=Bounds(128 * KIB))["web"]
    ledger.put(log, 1)
    log.flush()
    ledger.check(log)
    assert log.bytes_of(queue.position.lowest, ledger.next) <= 128 * KIB
    log.stop()
    assert reopened(tmp_path, ledger, web=Bounds(128 * KIB))["web"][-1] == 800


@pytest.mark.guarantee(3)
def test_a_destination_that_keeps_the_oldest_and_one_that_keeps_the_newest_keep_no_more_than_both(tmp_path):
    bounds = {"oldest": Bounds(MIB, when_full="drop-newest"), "newest": Bounds(MIB)}
    ledger = Ledger(oldest=ALL, newest=ALL)
    log = open_log(tmp_path)
    queues = ledger.open(log, **bounds)
    for _ in range(60):
        ledger.put(log, 100, 1000)
        log.flush()
        assert disk_use(tmp_path) <= 2 * MIB + WAL + RESERVE_BYTES
    ledger.check(log)
    assert numbers_of(queues["oldest"])[0] == 0
    assert numbers_of(queues["newest"])[-1] == ledger.next - 1
    log.stop()
    reopened(tmp_path, ledger, **bounds)


# --- it is said


@pytest.fixture
def hour(monkeypatch) -> list[float]:
    """A monotonic clock in hours."""
    now = [1.0]
    monkeypatch.setattr("edged.store.bounds.time.monotonic", lambda: now[0] * 3600)
    return now


@pytest.mark.pain("A3")
@pytest.mark.parametrize(("when_full", "which"), [("drop-oldest", "the oldest"), ("drop-newest", "new")])
def test_it_is_said_once_and_then_once_an_hour(tmp_path, caplog, hour, when_full: Full, which):
    ledger = Ledger()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=Bounds(64 * KIB, when_full=when_full))["web"]
    counts: list[int] = []
    for _ in range(3):
        for _ in range(10):
            ledger.put(log, 20, 1000)
            log.flush()
            if len(caplog.messages) > len(counts):
                counts.append(queue.dropped)
            hour[0] += 0.09
        hour[0] += 0.1
    assert caplog.messages == [
        f"web: {which} readings are dropped, since its queue is at its max_size of 65536 bytes; {count} so far"
        for count in counts
    ]
    assert len(counts) == 3
    assert {record.__dict__["destination"] for record in caplog.records} == {"web"}
    log.stop()


@pytest.mark.pain("A3")
def test_nothing_is_said_while_nothing_more_is_dropped(tmp_path, caplog, hour):
    ledger = Ledger()
    log = open_log(tmp_path)
    queue = ledger.open(log, web=Bounds(64 * KIB, when_full="drop-newest"))["web"]
    ledger.put(log, 200, 1000)
    log.flush()
    assert (queue.full, len(caplog.messages)) == (True, 1)
    for _ in range(5):
        hour[0] += 2
        log.flush()
    assert len(caplog.messages) == 1
    log.stop()


# --- age


class Clock:
    """The time of day, and the time since boot."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.boot_ms = 1_000_000

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.boot_ms += ms

    def log(self, folder: Path, boot_id: str = BOOT) -> Log:
        return Log(folder, 3600.0, boot_id, lambda: self.now_ms, lambda: self.boot_ms)

    def put(self, log: Log, *values: int) -> None:
        """As the sampler does: what the clock says, and how that is to the time since boot."""
        log.put([Reading("a.x", self.now_ms, value) for value in values], self.now_ms - self.boot_ms)


AGED = Bounds(max_age_s=10 * 86400.0)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A21")
@pytest.mark.pain("A11")
def test_what_is_too_old_is_dropped_and_counted_to_the_reading(tmp_path, caplog):
    clock = Clock()
    log = clock.log(tmp_path)
    queue = log.open_queue("web", ALL, AGED)
    other = log.open_queue("other", ALL)
    for day in range(15):
        clock.put(log, day)
        if day % 3 == 0:
            log.flush()
        clock.wait(DAY_MS)
    log.flush()
    assert [entry.value for entry in queue.pending()] == list(range(5, 15))
    assert (queue.dropped, other.queued) == (5, 15)
    assert caplog.messages[-1].startswith("web: the oldest readings are dropped, since they are older than 864000 s")
    log.stop()
    log = clock.log(tmp_path)
    queue = log.open_queue("web", ALL, AGED)
    assert (queue.dropped, queue.queued) == (5, 10)
    clock.wait(3 * DAY_MS)
    log.flush()  # although nothing has come
    assert [entry.value for entry in queue.pending()] == list(range(8, 15))
    assert account(queue) == {"delivered": 0, "dead": 0, "dropped": 8, "merged": 0, "lost": 0, "queued": 7}
    log.stop()


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("step_ms", [-20_000 * DAY_MS, 40 * DAY_MS, 3 * DAY_MS])
@pytest.mark.parametrize("flushed", [True, False])
def test_in_the_same_boot_the_age_is_that_of_the_time_since_boot(tmp_path, step_ms, flushed):
    """Whatever the clock said when it was measured, and whatever it says now."""
    clock = Clock()
    clock.now_ms += max(0, -step_ms - clock.now_ms)
    log = clock.log(tmp_path)
    queue = log.open_queue("web", ALL, AGED)
    clock.put(log, 0)
    if flushed:
        log.flush()
    clock.now_ms += step_ms
    clock.put(log, 1)
    clock.wait(9 * DAY_MS)
    clock.put(log, 2)
    log.flush()
    assert (queue.queued, queue.dropped) == (3, 0)
    clock.wait(2 * DAY_MS)
    log.flush()
    assert [entry.value for entry in queue.pending()] == [2]
    assert queue.dropped == 2
    log.stop()


@pytest.mark.guarantee(6)
def test_readings_of_1970_are_not_aged_by_a_clock_that_jumps_to_2026(tmp_path):
    clock = Clock()
    clock.now_ms = 5000
    log = clock.log(tmp_path)
    log.open_queue("web", ALL, AGED)
    clock.put(log, 0, 1)
    log.stop()
    clock.now_ms, clock.boot_ms = 1_770_000_000_000, 9000  # the next boot, with the right time
    log = clock.log(tmp_path, "another boot")
    queue = log.open_queue("web", ALL, AGED)
    clock.put(log, 2)
    log.flush()
    assert (queue.queued, queue.dropped) == (3, 0)
    log.stop()


@pytest.mark.guarantee(1)
def test_of_another_boot_what_is_too_old_is_dropped(tmp_path):
    clock = Clock()
    log = clock.log(tmp_path)
    log.open_queue("web", ALL, AGED)
    clock.put(log, 0)
    clock.wait(5 * DAY_MS)
    clock.put(log, 1)
    log.stop()
    clock.wait(6 * DAY_MS)
    clock.boot_ms = 10
    log = clock.log(tmp_path, "another boot")
    queue = log.open_queue("web", ALL, AGED)
    log.flush()
    assert [entry.value for entry in queue.pending()] == [1]
    assert queue.dropped == 1
    log.stop()


# --- dead letters


@pytest.mark.guarantee(1)
@pytest.mark.pain("A3")
def test_dead_letters_beyond_the_bound_are_dropped_the_oldest_first(tmp_path):
    bounds = Bounds(max_dead_letters=10)
    ledger = Ledger(web=ALL, other=ALL)
    log = open_log(tmp_path)
    queues = ledger.open(log, web=bounds)
    for number in range(10):
        ledger.put(log, 7)
        for queue in queues.values():
            for entry in queue.take(100):
                queue.settle(entry, reason="refused")
        if number % 2:
            log.flush()
            ledger.check(log)
            assert (queues["web"].dead, queues["web"].dropped) == (10, 7 * number + 7 - 10)
    assert [int(letter.value) for letter in log.dead_letters("web")] == list(range(60, 70))
    assert (queues["other"].dead, queues["other"].dropped) == (70, 0)
    log.stop()
    log = open_log(tmp_path)
    queues = ledger.open(log, web=Bounds(max_dead_letters=3))
    log.flush()
    ledger.put(log, 1)
    log.flush()
    ledger.check(log)
    assert [int(letter.value) for letter in log.dead_letters("web")] == [67, 68, 69]
    log.stop()


# --- disk space


@pytest.mark.pain("A25")
@pytest.mark.parametrize("way", ["delivered", "dropped"])
def test_disk_space_is_given_back_after_a_long_backlog(tmp_path, way):
    ledger = Ledger(web=ALL, other=ALL)
    log = open_log(tmp_path)
    queues = ledger.open(log)
    for _ in range(80):
        ledger.put(log, 100, 1000)
        log.flush()
    assert (tmp_path / "store.db").stat().st_size > 7 * MIB
    if way == "delivered":
        for queue in queues.values():
            settle_all(queue)
    else:
        queues = ledger.open(log, web=Bounds(64 * KIB), other=Bounds(64 * KIB))
        ledger.put(log, 1)
    log.flush()
    assert (tmp_path / "store.db").stat().st_size < 200 * KIB
    assert disk_use(tmp_path) < RESERVE_BYTES + WAL + 300 * KIB
    ledger.check(log)
    log.stop()
    assert disk_use(tmp_path) < RESERVE_BYTES + 300 * KIB
    reopened(tmp_path, ledger)


def test_a_range_does_not_take_what_is_trimmed_behind_it(tmp_path):
    log = open_log(tmp_path)
    full = log.open_queue("full", ALL, Bounds(max_size=1500, when_full="drop-newest"))
    other = log.open_queue("other", ALL)
    sizes = []
    for _ in range(20):
        log.put(readings("a.x", "b.x"), 0)
        log.flush()
        settle_all(other)
        log.flush()
        sizes.append((full.queued, sum(log.bytes_of(*needed) for needed in full.needs())))
    assert len({size for queued, size in sizes if queued == full.queued}) == 1, sizes
