"""Nobody waits for anybody: a destination not for another one, a sensor for none of them, and what is old not for ever.

With real senders, a real store and its flushes; where days go by, in time that the test gives.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edged.errors import NoAnswer
from edged.outcome import Delivered, Outcome
from edged.platforms import Item, Limits, Platform, Wire
from edged.reading import Reading
from edged.sending.backoff import Backoff
from edged.sending.choosing import Manner
from edged.sending.mapping import Mapping, Usual
from edged.sending.sender import Sender, stop_all
from edged.store.log import Log
from tests.sending.conftest import NOW_MS, in_order
from tests.transports.broker import wait_until

READINGS = 50_000
PORTION = 100  # readings of one moment
SERIES = [f"sensor{number}.x" for number in range(10)]
DAY_S = 86_400


class Scene(Platform):
    """A platform without a network: `act` has the time of an exchange, and may raise NoAnswer."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__(None)
        self.values: list[Any] = []  # that were delivered, in order
        self._act = act

    @property
    def limits(self) -> Limits:
        return Limits(200)

    def connect(self, wire: Wire) -> Any:
        return self

    def encode(self, items: Any) -> Any:
        return [item.entry.value for item in items]

    def exchange(self, request: list[Any]) -> None:
        self._act()
        self.values += request

    def judge(self, reply: Any, items: Any) -> list[Outcome]:
        return [Delivered() for _ in items]

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def refuse() -> None:
    raise NoAnswer("[Errno 111] Connection refused")


@pytest.fixture
def log(tmp_path) -> Iterator[Log]:
    made = Log(tmp_path, 0.05, "test")
    yield made
    made.stop()


@contextmanager
def sending(log: Log, **platforms: Platform) -> Iterator[dict[str, Sender]]:
    """A sender of each platform's own, in its thread."""
    mapping = Mapping((("*", Usual(str)),))
    senders = {}
    for name, platform in platforms.items():
        queue = log.open_queue(name, mapping.choice)
        manner = Manner(Backoff(first=0.01, max=0.05), every=0.0)
        senders[name] = Sender(queue, platform, mapping, Wire(1.0, None, ""), manner)
        senders[name].start()
    try:
        yield senders
    finally:
        stop_all(senders.values(), 1.0)


def put(log: Log, first: int, number: int = PORTION) -> None:
    log.put([Reading(SERIES[n % 10], NOW_MS + n, n) for n in range(first, first + number)], 0)


# --- destinations


@pytest.mark.guarantee(3)
@pytest.mark.pain("B4")
@pytest.mark.pain("B5")
@pytest.mark.pain("F3")
def test_beside_destinations_that_are_dead_and_hang_a_live_one_gets_everything(log):
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(60)
        raise NoAnswer("no complete answer within 30 s", sent=True, timed_out=True)

    live = Scene()
    with sending(log, dead=Scene(refuse), hangs=Scene(hang), live=live) as senders:
        log.start()
        for first in range(0, READINGS, PORTION):
            put(log, first)
        wait_until(lambda: senders["live"].queue.delivered == READINGS, "the live one has all")
        assert entered.is_set()
        assert not release.is_set()
        assert live.values == sorted(set(live.values))
        assert len(live.values) == READINGS
        assert [(s.queue.queued, s.queue.delivered) for s in senders.values()] == [
            (READINGS, 0),
            (READINGS, 0),
            (0, READINGS),
        ]
        assert log.commits > 0
        release.set()


@pytest.mark.guarantee(3)
@pytest.mark.pain("B6")
def test_while_a_commit_hangs_readings_are_taken_and_delivered(log, monkeypatch):
    """The card takes its time: whoever is not behind lives in memory meanwhile."""
    entered, release = threading.Event(), threading.Event()
    commit = log.disk.commit

    def hang(changes: Any) -> None:
        entered.set()
        release.wait(60)
        commit(changes)

    monkeypatch.setattr(log.disk, "commit", hang)
    live = Scene()
    with sending(log, dead=Scene(refuse), live=live) as senders:
        log.start()
        put(log, 0)
        assert entered.wait(30)
        for first in range(PORTION, 10 * PORTION, PORTION):
            threaded(put, log, first)
        wait_until(lambda: senders["live"].queue.delivered == 10 * PORTION, "the live one has all")
        assert not release.is_set()
        assert live.values == list(range(10 * PORTION))
        release.set()
        wait_until(lambda: log.commits > 0, "the commit")
    assert senders["dead"].queue.queued == 10 * PORTION


@pytest.mark.guarantee(3)
@pytest.mark.pain("B6")
def test_a_destination_that_reads_its_backlog_from_a_slow_card_stops_neither_sensors_nor_others(log, monkeypatch):
    live = Scene()
    with sending(log, live=live) as senders:
        behind = log.open_queue("behind", senders["live"].queue.choice)
        put(log, 0)
        log.flush()
        log.reader.recent.clear()
        entered, release = threading.Event(), threading.Event()
        after = log.disk.after

        def hang(seq: int) -> Any:
            entered.set()
            release.wait(60)
            return after(seq)

        monkeypatch.setattr(log.disk, "after", hang)
        wait_until(lambda: senders["live"].queue.queued == 0, "what was put")
        taken: list[Any] = []
        reader = threading.Thread(target=lambda: taken.extend(behind.take(PORTION)))
        reader.start()
        assert entered.wait(30)
        threaded(put, log, PORTION)
        wait_until(lambda: senders["live"].queue.delivered == 2 * PORTION, "the live one has all")
        assert not release.is_set()
        release.set()
        reader.join(30)
        assert [entry.value for entry in taken] == list(range(PORTION))


def threaded(call: Callable[..., object], *args: Any) -> None:
    """Calls, and fails where it does not come back."""
    thread = threading.Thread(target=call, args=args, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits"


# --- long ones


@pytest.mark.guarantee(6)
@pytest.mark.pain("A16")
@pytest.mark.pain("A27")
@pytest.mark.pain("G4")
def test_after_a_month_without_network_all_goes_on_by_itself(bench, caplog):
    """No restart by cron, no reboot: readings are taken all the time, and go when the network is there."""
    longest = 1800.0
    it = bench(backoff=Backoff(first=1.0, max=longest), manner={"every": 1.0})
    ends = it.clock.seconds + 30 * DAY_S
    ways = [
        NoAnswer("[Errno -3] Temporary failure in name resolution"),
        NoAnswer("[Errno 101] Network is unreachable"),
        NoAnswer("no complete answer within 30 s", timed_out=True),
        NoAnswer("no complete answer within 30 s", sent=True, timed_out=True),  # the line broke in the middle
    ]

    def answer(items: list[Item]) -> list[Outcome]:
        if it.clock.seconds < ends:
            raise ways[len(it.platform.requests) // 100 % len(ways)]
        return [Delivered() for _ in items]

    it.platform.answer = answer
    number = 0
    while it.clock.seconds < ends:
        it.put("a.x", number, time_ms=it.clock.now_ms())
        it.put("b.x", number, time_ms=it.clock.now_ms())
        number += 1
        step_until(it, it.clock.seconds + 1800)
    assert len(it.platform.requests) > 30 * DAY_S / longest  # it has been trying all the time
    assert it.queued == 2 * number
    assert len(caplog.records) < 100
    step_until(it, ends + longest + 600)
    assert sorted(value for value, _ in it.fates("a.x")) == list(range(number))
    assert {fate for _, fate in it.settled} == {"delivered"}
    assert it.queued == 0
    assert in_order(entry for entry, _ in it.settled)


def step_until(it: Any, until: float) -> None:
    it.drive(until=until)
    it.clock.seconds = max(it.clock.seconds, until)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A11")
@pytest.mark.pain("A13")
@pytest.mark.parametrize("live_first", [False, True])
def test_nothing_is_too_old_to_be_sent(bench, live_first):
    it = bench(manner={"live_first": live_first}, readings=50)
    ages_s = [3650 * DAY_S, 400 * DAY_S, 31 * DAY_S, DAY_S, 3600, 0]
    for number, age_s in enumerate(ages_s):
        it.put("a.x", *range(100 * number, 100 * number + 100), time_ms=NOW_MS - age_s * 1000 - 100_000)
    it.log.flush()
    it.drive()
    queue = it.sender.queue
    assert sorted(it.platform.sent) == sorted(
        ("a.x", NOW_MS - age_s * 1000 - 100_000 + n * 1000, 100 * number + n)
        for number, age_s in enumerate(ages_s)
        for n in range(100)
    )
    assert (queue.delivered, queue.dropped, queue.merged, queue.dead, queue.queued) == (600, 0, 0, 0, 0)


@pytest.mark.pain("C3")
@pytest.mark.parametrize("step_s", [-3650 * DAY_S, -DAY_S, -3, 3, DAY_S, 3650 * DAY_S])
@pytest.mark.parametrize("live_first", [False, True])
def test_a_clock_that_is_set_delays_no_round(bench, monkeypatch, step_s, live_first):
    every = 60.0
    it = bench(manner={"every": every, "phase": 0.4, "live_first": live_first}, resolution_ms=1000)
    it.put("a.x", 0, time_ms=it.clock.now_ms() - 5000)
    step_until(it, it.clock.seconds + 7)  # in the middle of a wait
    now_ms = it.clock.now_ms
    monkeypatch.setattr(it.sender, "_now_ms", lambda: now_ms() + step_s * 1000)
    for number in range(1, 6):
        it.put("a.x", number, time_ms=it.sender._now_ms())
        step_until(it, it.clock.seconds + every + 1.1)  # a second ends before it is sent
        assert it.fates("a.x")[-1] == (number, "delivered")
    assert [value for _, _, value in it.platform.sent] == list(range(6))
