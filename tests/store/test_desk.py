"""What people do with queues: beside a running sender, each in one commit, and every reading counted."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import EdgedError, StoreUnusable
from edged.reading import Entry, Reading
from edged.store import desk
from edged.store import disk as disk_module
from edged.store.files import Files
from edged.store.log import Log
from edged.store.queue import Queue
from tests.store import ALL, NOW_MS, abandon, cannot_write, only, open_log, readings, settle_all

SERIES = ("a.x", "b.x", "c.x")


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path)
    yield log
    abandon(log)


def put(log: Log, count: int, *series: str, first: int = 0) -> None:
    """So many readings of each series, with their number as value and as time."""
    for value in range(first, first + count):
        log.put([Reading(name, NOW_MS + value, value) for name in series], 0)


def refuse(queue: Queue, number: int) -> None:
    for entry in queue.take(number):
        queue.settle(entry, reason="refused")


def given_out(queue: Queue) -> list[tuple[str, object]]:
    return [(entry.series, entry.value) for entry in settle_all(queue)]


def pending(queue: Queue) -> list[tuple[str, object]]:
    return [(entry.series, entry.value) for entry in queue.pending()]


def counts(queue: Queue) -> dict[str, int]:
    names = ("queued", "delivered", "dead", "dropped", "merged", "lost")
    return {name: number for name in names if (number := getattr(queue, name))}


def reopened(log: Log, folder: Path) -> Log:
    """After a death right behind the command: what it did is on disk."""
    abandon(log)
    return open_log(folder)


# --- retry


@pytest.mark.guarantee(1)
def test_dead_letters_go_back_before_all_else_and_in_their_order(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    put(log, 3, "a.x", "b.x")
    refuse(queue, 4)
    queue.wake.clear()
    commits = log.commits
    assert desk.retry(log, "web") == 4
    assert queue.wake.is_set()
    assert log.commits == commits + 2  # what was new, and then the command
    assert counts(queue) == {"queued": 6}
    log = reopened(log, tmp_path)
    queue = log.open_queue("web", ALL)
    assert (counts(queue), list(log.dead_letters("web"))) == ({"queued": 6}, [])
    assert given_out(queue) == [(series, value) for value in range(3) for series in ("a.x", "b.x")]
    assert counts(queue) == {"delivered": 6}
    assert desk.retry(log, "web") == 0
    abandon(log)


def test_what_was_put_back_and_is_refused_again_can_be_put_back_again(log):
    queue = log.open_queue("web", ALL)
    put(log, 1, "a.x", "b.x")
    for _ in range(3):
        refuse(queue, 2)
        assert counts(queue) == {"dead": 2}
        assert desk.retry(log, "web") == 2
        assert counts(queue) == {"queued": 2}
    assert given_out(queue) == [("a.x", 0), ("b.x", 0)]


def test_a_second_retry_leaves_those_that_are_in_the_queue_already(log):
    queue = log.open_queue("web", ALL)
    put(log, 3, "a.x")
    refuse(queue, 1)
    assert desk.retry(log, "web") == 1
    for entry in queue.take(2)[1:]:
        queue.settle(entry, reason="refused")
    assert desk.retry(log, "web") == 1
    assert counts(queue) == {"queued": 3}
    assert given_out(queue) == [("a.x", 0), ("a.x", 1), ("a.x", 2)]


def test_dead_letters_of_a_disabled_destination_are_put_back_for_the_day_that_it_is_enabled(log):
    queue = log.open_queue("web", ALL)
    put(log, 2, "a.x")
    refuse(queue, 1)
    log.close_queue(queue, removed=False)
    assert desk.retry(log, "web") == 1
    assert given_out(log.open_queue("web", ALL)) == [("a.x", 0), ("a.x", 1)]


# --- drop


@given(
    times=st.lists(st.tuples(st.sampled_from(SERIES), st.integers(0, 20)), min_size=1, max_size=30),
    delivered=st.integers(0, 8),
    blocked=st.sets(st.sampled_from(SERIES), max_size=2),
    dead=st.integers(0, 3),
    series=st.none() | st.sampled_from([*SERIES, "none.x"]),
    before=st.none() | st.integers(0, 21),
    flushed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_drop_takes_just_what_was_chosen(times, delivered, blocked, dead, series, before, flushed):
    """Whatever the order of the times: a clock that was set back leaves them in any."""
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(Path(folder))
        queue = log.open_queue("web", ALL)
        for value, (name, time_ms) in enumerate(times):
            log.put([Reading(name, NOW_MS + time_ms, value)], 0)
        if flushed:
            log.flush()
        refuse(queue, dead)
        refused = queue.dead
        desk.retry(log, "web")
        for entry in queue.take(delivered, blocked):
            queue.settle(entry)
        before_it = list(queue.pending())
        done = counts(queue)

        def goes(entry: Entry) -> bool:
            return series in (None, entry.series) and (before is None or entry.time_ms < NOW_MS + before)

        left = [entry for entry in before_it if not goes(entry)]
        number = desk.drop(log, "web", series, None if before is None else NOW_MS + before)
        assert number == len(before_it) - len(left)
        assert list(queue.pending()) == left
        assert counts(queue).get("queued", 0) == len(left)
        assert counts(queue).get("dropped", 0) == number
        assert counts(queue).get("delivered", 0) == done.get("delivered", 0)
        assert refused <= dead
        log = reopened(log, Path(folder))
        queue = log.open_queue("web", ALL)
        assert [entry[1:] for entry in settle_all(queue)] == [entry[1:] for entry in left]
        assert (queue.queued, queue.dropped) == (0, number)
        abandon(log)


def test_a_drop_of_all_leaves_nothing_on_disk(log):
    queue = log.open_queue("web", ALL)
    put(log, 10, *SERIES)
    log.flush()
    assert log.disk.last() == 30
    assert desk.drop(log, "web") == 30
    assert log.disk.last() == 0
    assert counts(queue) == {"dropped": 30}
    put(log, 1, "a.x")
    assert given_out(queue) == [("a.x", 0)]
    assert queue.position.to_json() == {"head": 31, "behind": {}, "skips": []}


def test_a_drop_for_one_destination_is_none_for_others(log):
    web, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    put(log, 2, "a.x", "b.x")
    assert desk.drop(log, "web", "a.x") == 2
    assert given_out(web) == [("b.x", 0), ("b.x", 1)]
    assert len(given_out(other)) == 4


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("how", ["delivered", "merged", "refused"])
def test_what_was_on_its_way_when_it_was_dropped_counts_as_what_became_of_it(log, how):
    queue = log.open_queue("web", ALL)
    put(log, 5, "a.x")
    batch = queue.take(3)
    assert desk.drop(log, "web") == 5
    for entry in batch:
        queue.settle(entry, merged=how == "merged", reason="no" if how == "refused" else "")
    assert counts(queue) == {{"refused": "dead"}.get(how, how): 3, "dropped": 2}
    assert queue.take(10) == []
    put(log, 1, "a.x", first=7)
    assert given_out(queue) == [("a.x", 7)]


@pytest.mark.guarantee(1)
def test_what_was_put_back_and_on_its_way_when_it_was_dropped_counts_as_what_became_of_it(log):
    queue = log.open_queue("web", ALL)
    put(log, 3, "a.x")
    refuse(queue, 2)
    desk.retry(log, "web")
    batch = queue.take(2)
    assert desk.drop(log, "web") == 3
    for entry in batch:
        queue.settle(entry)
    assert (counts(queue), queue.again) == ({"delivered": 2, "dropped": 1}, 0)


def test_of_a_batch_on_its_way_what_was_not_dropped_stays_in_order(log):
    queue = log.open_queue("web", ALL)
    put(log, 4, "a.x", "b.x")
    batch = queue.take(4)  # a0 b0 a1 b1
    assert desk.drop(log, "web", "a.x", NOW_MS + 1) == 1  # a0
    queue.settle(batch[0])
    queue.settle(batch[1])
    assert counts(queue) == {"queued": 6, "delivered": 2}
    assert given_out(queue) == [("a.x", 1), ("b.x", 1), ("a.x", 2), ("b.x", 2), ("a.x", 3), ("b.x", 3)]


# --- drop of dead letters


def test_dead_letters_are_dropped_by_series_and_time_and_counted(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    for time_ms in (5, 3, 9):
        log.put([Reading("a.x", NOW_MS + time_ms, time_ms), Reading("b.x", NOW_MS + time_ms, time_ms)], 0)
    refuse(queue, 5)
    assert desk.drop_dead(log, "web", "a.x", NOW_MS + 5) == 1
    assert [(it.series, it.value) for it in log.dead_letters("web")] == [
        ("a.x", "5"),
        ("b.x", "5"),
        ("b.x", "3"),
        ("a.x", "9"),
    ]
    assert desk.drop_dead(log, "web", None, NOW_MS + 5) == 1
    assert desk.drop_dead(log, "web", "b.x") == 1
    assert counts(queue) == {"queued": 1, "dead": 2, "dropped": 3}
    log = reopened(log, tmp_path)
    queue = log.open_queue("web", ALL)
    assert [(it.series, it.value) for it in log.dead_letters("web")] == [("a.x", "5"), ("a.x", "9")]
    assert desk.drop_dead(log, "web") == 2
    assert counts(queue) == {"queued": 1, "dropped": 5}
    assert list(log.dead_letters("web")) == []
    abandon(log)


def test_a_drop_of_dead_letters_leaves_those_that_were_put_back(log):
    queue = log.open_queue("web", ALL)
    put(log, 2, "a.x")
    refuse(queue, 1)
    desk.retry(log, "web")
    queue.settle(queue.take(2)[1], reason="refused")
    assert desk.drop_dead(log, "web") == 1
    assert given_out(queue) == [("a.x", 0)]
    assert counts(queue) == {"delivered": 1, "dropped": 1}


# --- adopt


@pytest.mark.guarantee(1)
def test_a_destination_gets_what_one_that_left_the_config_has_not_got(tmp_path):
    log = open_log(tmp_path)
    old = log.open_queue("old", ALL)
    put(log, 3, "a.x", "b.x")
    for entry in old.take(2):
        old.settle(entry)
    refuse(old, 1)
    log.close_queue(old, removed=True)
    new = log.open_queue("new", ALL)
    put(log, 1, "a.x", first=10)
    new.wake.clear()
    assert desk.adopt(log, "old", "new") == 3
    assert new.wake.is_set()
    assert counts(new) == {"queued": 4, "delivered": 2, "dead": 1}
    log = reopened(log, tmp_path)
    assert list(log.queues) == ["new"]
    new = log.open_queue("new", ALL)
    assert [(it.destination, it.series, it.value) for it in log.dead_letters("new")] == [("new", "a.x", "1")]
    assert list(log.dead_letters("old")) == []
    assert given_out(new) == [("b.x", 1), ("a.x", 2), ("b.x", 2), ("a.x", 10)]
    assert counts(new) == {"delivered": 6, "dead": 1}
    abandon(log)


def test_an_adopted_queue_is_behind_what_was_put_back_of_both(log):
    old = log.open_queue("old", ALL)
    put(log, 2, "a.x")
    refuse(old, 1)
    desk.retry(log, "old")
    log.close_queue(old, removed=True)
    new = log.open_queue("new", ALL)
    put(log, 2, "a.x", first=5)
    assert desk.adopt(log, "old", "new") == 2
    assert (counts(new), new.again) == ({"queued": 4}, 1)
    assert given_out(new) == [("a.x", 0), ("a.x", 1), ("a.x", 5), ("a.x", 6)]
    assert (counts(new), new.again) == ({"delivered": 4}, 0)


@pytest.mark.guarantee(1)
def test_series_that_the_new_one_does_not_take_are_dropped_and_counted(tmp_path):
    log = open_log(tmp_path)
    old = log.open_queue("old", only("a.x", "b.x"))
    put(log, 3, *SERIES)
    log.close_queue(old, removed=True)
    new = log.open_queue("new", only("b.x", "c.x"))
    assert desk.adopt(log, "old", "new") == 3
    assert counts(new) == {"queued": 3, "dropped": 3}
    log = reopened(log, tmp_path)
    new = log.open_queue("new", only("b.x", "c.x"))
    assert counts(new) == {"queued": 3, "dropped": 3}
    assert [(s, v) for s, v in given_out(new) if s == "b.x"] == [("b.x", 0), ("b.x", 1), ("b.x", 2)]
    abandon(log)


@pytest.mark.guarantee(1)
def test_series_that_only_the_new_one_takes_are_not_owed_of_the_time_before_it(log):
    log.open_queue("other", ALL)  # so all of it is on disk
    old = log.open_queue("old", only("a.x", "b.x"))
    put(log, 3, *SERIES)
    log.close_queue(old, removed=True)
    new = log.open_queue("new", only("b.x", "c.x"))
    moved = desk.adopt(log, "old", "new")
    assert moved == 3
    assert pending(new) == [("b.x", 0), ("b.x", 1), ("b.x", 2)]


@pytest.mark.guarantee(1)
def test_where_both_were_in_use_each_reading_is_counted_for_both(log):
    """The new one has its own of the time in which both lived; what the old one lacks of that is dropped, counted."""
    old = log.open_queue("old", ALL)
    put(log, 2, "a.x")  # only of the old one
    new = log.open_queue("new", ALL)
    put(log, 2, "a.x", first=5)
    for entry in new.take(1):
        new.settle(entry)
    log.close_queue(old, removed=True)
    put(log, 1, "a.x", first=9)
    owed = 4 + 3
    assert desk.adopt(log, "old", "new") == 2
    assert sum(counts(new).values()) == owed
    assert pending(new) == [("a.x", 0), ("a.x", 1), ("a.x", 6), ("a.x", 9)]


@pytest.mark.guarantee(1)
def test_where_the_old_one_had_got_further_the_new_one_still_gets_its_own(log):
    old = log.open_queue("old", ALL)
    new = log.open_queue("new", ALL)
    put(log, 3, "a.x")
    settle_all(old)
    log.close_queue(old, removed=True)
    assert desk.adopt(log, "old", "new") == 0
    assert counts(new) == {"queued": 3, "delivered": 3}
    assert given_out(new) == [("a.x", 0), ("a.x", 1), ("a.x", 2)]


@pytest.mark.guarantee(1)
def test_what_was_on_its_way_at_an_adoption_does_not_pass_by_what_was_adopted(log):
    """The new one's sender has a batch in the air; what it settles is behind what has come in front of it."""
    old = log.open_queue("old", ALL)
    put(log, 2, "a.x")
    log.close_queue(old, removed=True)
    new = log.open_queue("new", ALL)
    put(log, 2, "a.x", first=5)
    (entry,) = new.take(1)
    assert desk.adopt(log, "old", "new") == 2
    new.settle(entry)
    assert counts(new) == {"queued": 3, "delivered": 1}
    assert pending(new) == [("a.x", 0), ("a.x", 1), ("a.x", 6)]
    assert given_out(new) == [("a.x", 0), ("a.x", 1), ("a.x", 6)]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_adoption_gives_what_was_owed_of_both_and_counts_all_of_it(data):
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(Path(folder))
        series = st.lists(st.sampled_from(SERIES), max_size=8)
        take = st.tuples(st.integers(0, 8), st.sets(st.sampled_from(SERIES), max_size=2))
        wants = {name: data.draw(st.sets(st.sampled_from(SERIES), min_size=1), label=name) for name in ("old", "new")}
        value = 0
        owed: dict[str, list[int]] = {"old": [], "new": []}
        began = 0
        queues: dict[str, Queue] = {"old": log.open_queue("old", only(*sorted(wants["old"])))}
        log.open_queue("other", ALL)

        def live() -> None:
            nonlocal value
            for name in data.draw(series, label="readings"):
                log.put([Reading(name, NOW_MS, value)], 0)
                for queue in queues:
                    if name in wants[queue]:
                        owed[queue].append(value)
                value += 1
            for name in sorted(queues):
                most, blocked = data.draw(take, label=f"take {name}")
                for entry in queues[name].take(most, blocked):
                    queues[name].settle(entry)
                    owed[name].remove(int(entry.value))
            if data.draw(st.booleans(), label="flush"):
                log.flush()

        live()
        if data.draw(st.booleans(), label="overlap"):
            began = value
            queues["new"] = log.open_queue("new", only(*sorted(wants["new"])))
            live()
        log.close_queue(queues.pop("old"), removed=True)
        live()
        if "new" not in queues:
            began = value
            queues["new"] = log.open_queue("new", only(*sorted(wants["new"])))
        live()
        new = queues["new"]
        of = {int(entry.value): entry.series for entry in log.queues["other"].pending()}
        moved = [each for each in owed["old"] if each < began and of[each] in wants["new"]]
        delivered = new.delivered + log.queues["old"].delivered
        assert desk.adopt(log, "old", "new") == len(moved)
        right = moved + owed["new"]
        assert [entry.value for entry in new.pending()] == right
        assert (new.queued, new.delivered) == (len(right), delivered)
        assert new.dropped == len(owed["old"]) - len(moved)
        if data.draw(st.booleans(), label="die"):
            log = reopened(log, Path(folder))
            new = log.open_queue("new", only(*sorted(wants["new"])))
            assert (new.queued, new.delivered) == (len(right), delivered)
        got = [(entry.series, entry.value) for entry in settle_all(new)]
        for name in SERIES:
            assert [v for s, v in got if s == name] == [v for v in right if of[v] == name]
        assert (new.queued, new.again) == (0, 0)
        abandon(log)


# --- what is refused, in one clear line


@pytest.mark.parametrize(
    "do",
    [
        lambda log: desk.retry(log, "wbe"),
        lambda log: desk.drop(log, "wbe"),
        lambda log: desk.drop_dead(log, "wbe"),
        lambda log: desk.adopt(log, "wbe", "web"),
        lambda log: desk.adopt(log, "web", "wbe"),
    ],
)
def test_an_unknown_destination_is_refused_with_those_that_are_known(log, do):
    log.open_queue("web", ALL)
    log.open_queue("b", ALL)
    with pytest.raises(EdgedError) as refused:
        do(log)
    assert str(refused.value) == "the store knows no destination wbe; there are: b, web"


def test_an_empty_store_knows_none(log):
    with pytest.raises(EdgedError, match=r"there are: none$"):
        desk.retry(log, "web")


@pytest.mark.parametrize("how", ["in use", "disabled", "itself"])
def test_only_what_left_the_config_can_be_adopted(log, how):
    old, new = log.open_queue("old", ALL), log.open_queue("new", ALL)
    put(log, 2, "a.x")
    if how == "disabled":
        log.close_queue(old, removed=False)
    before = [counts(queue) for queue in log.queues.values()]
    with pytest.raises(EdgedError) as refused:
        desk.adopt(log, "old", "old" if how == "itself" else "new")
    assert str(refused.value) == ("old is in the config; only the queue of a destination that left it can be adopted")
    assert [counts(queue) for queue in log.queues.values()] == before
    assert len(settle_all(new)) == 2


COMMANDS: dict[str, Callable[[Log], int]] = {
    "retry": lambda log: desk.retry(log, "old"),
    "drop": lambda log: desk.drop(log, "old"),
    "drop_dead": lambda log: desk.drop_dead(log, "old"),
    "adopt": lambda log: desk.adopt(log, "old", "new"),
}


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_commit_fails_can_be_given_again(tmp_path, monkeypatch, command):
    """And whatever of it is there until then, no reading and no count of one is lost."""
    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    log = open_log(tmp_path)
    new = log.open_queue("new", ALL)
    old = log.open_queue("old", ALL)
    put(log, 4, "a.x")
    settle_all(new)
    refuse(old, 2)
    desk.retry(log, "old")
    old.settle(old.take(1)[0], reason="refused")  # one dead, one in the queue again, two in the queue
    log.close_queue(old, removed=True)
    log.flush()
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        with pytest.raises(StoreUnusable) as failed:
            COMMANDS[command](log)
    assert "\n" not in str(failed.value)
    assert str(failed.value).strip()
    log.flush()
    log.stop()
    log = open_log(tmp_path)
    new = log.open_queue("new", ALL)
    there = list(log.queues.values())
    assert sum(sum(counts(queue).values()) for queue in there) == 8
    for queue in there:
        assert queue.dead == len(list(log.dead_letters(queue.name)))
        assert queue.queued == len(list(queue.pending()))
    if "old" in log.queues:
        COMMANDS[command](log)
    there = list(log.queues.values())
    for queue in there:
        assert queue.dead == len(list(log.dead_letters(queue.name)))
        assert queue.queued == len(list(queue.pending()))
    assert sum(queue.dropped for queue in there) == {"drop": 3, "drop_dead": 1, "adopt": 2}.get(command, 0)
    assert sum(queue.dead for queue in there) == {"retry": 0, "drop_dead": 0}.get(command, 1)
    abandon(log)


def test_a_command_on_a_store_that_cannot_be_written_is_refused_and_changes_nothing(log, monkeypatch):
    queue = log.open_queue("old", ALL)
    log.open_queue("new", ALL)
    put(log, 2, "a.x")
    log.flush()
    refuse(queue, 1)
    log.close_queue(queue, removed=True)
    before = copy.deepcopy({name: counts(queue) for name, queue in log.queues.items()})
    with monkeypatch.context() as patch:
        patch.setattr(Files, "commit", cannot_write)
        for command in COMMANDS.values():
            with pytest.raises(StoreUnusable, match="disk I/O error"):
                command(log)
    assert {name: counts(queue) for name, queue in log.queues.items()} == before


def test_letters_that_left_the_queue_during_a_commit_do_not_come_back(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x", "c.x"), 0)
    for entry in queue.take(10):
        queue.settle(entry, reason="no")
    desk.retry(log, "web")
    for entry in queue.take(2):
        queue.settle(entry)  # delivered at the second try, and not committed yet
    read = log.disk.letters

    def letters(*args, **kwargs):
        page = iter(list(read(*args, **kwargs)))
        log.flush()  # by its own thread, as the page has just been read
        return page

    monkeypatch.setattr(log.disk, "letters", letters)
    assert [entry.series for entry in queue.take(10)] == ["c.x"]


@pytest.mark.parametrize("part", [1, 2, 7, 100])
def test_a_long_queue_is_dropped_in_parts_between_which_others_go_on(tmp_path, monkeypatch, part):
    monkeypatch.setattr(desk, "_PART", part)
    log = open_log(tmp_path)
    queue, other = log.open_queue("web", ALL), log.open_queue("other", ALL)
    for _ in range(10):
        log.put(readings("a.x", "b.x", "a.x", "c.x"), 0)
        log.flush()
    parts = []
    for number in desk.dropping(log, "web", series="a.x"):
        parts.append(number)
        log.put(readings("a.x"), 0)  # what comes meanwhile is not meant
        if len(parts) == 2:
            for entry in queue.take(6):
                queue.settle(entry)
    assert len(parts) > 1 or part == 100
    assert queue.dropped == sum(parts)
    assert queue.queued == 40 + len(parts) - queue.delivered - queue.dropped == len(list(queue.pending()))
    assert {entry.series for entry in queue.pending() if entry.seq <= 40} <= {"b.x", "c.x"}
    assert len(queue.position.to_json()["skips"]) <= 2  # however many parts there were
    assert other.queued == 40 + len(parts)
    log.flush()
    abandon(log)
    again = open_log(tmp_path).open_queue("web", ALL)
    assert (again.queued, again.dropped) == (queue.queued, queue.dropped)
