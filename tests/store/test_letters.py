"""Dead letters: kept with their type and what was said, listed page by page, put back in their order."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.reading import Entry, Reading
from edged.store import desk
from edged.store import letters as letters_module
from edged.store.letters import AGAIN, DeadLetter, DeadLetterTable
from edged.store.queue import Bounds, Queue
from edged.store.tables import connect
from tests.store import ALL, NOW_MS, abandon, files_of, open_log, readings, settle_all

VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(st.characters())
)


@pytest.fixture
def log(tmp_path):
    log = open_log(tmp_path)
    yield log
    abandon(log)


@pytest.fixture
def table(tmp_path):
    connection = connect(tmp_path)
    yield DeadLetterTable(connection)
    connection.close()


def letter(number: int, destination: str = "web") -> DeadLetter:
    return DeadLetter(number, destination, "a.x", number, "1.0", "no", "", 0)


def numbers(table: DeadLetterTable, destination: str = "web", *, retry: bool = False) -> list[int]:
    return [it.id for it in table.of(destination, 0, retry=retry)]


def refuse_all(queue: Queue) -> None:
    for entry in queue.take(1000):
        queue.settle(entry, reason="refused", response="{}")


# --- one letter


@given(VALUES)
def test_a_reading_comes_back_with_its_type(value):
    kept = DeadLetter.of(7, "web", Entry(3, "a.x", 5, value), "no", "", NOW_MS)
    back = kept.entry()
    assert back == Entry(AGAIN + 7, "a.x", 5, value)
    assert type(back.value) is type(value)


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "ü\ud800"])
def test_a_dead_letter_keeps_the_type_of_its_value(log, value):
    queue = log.open_queue("web", ALL)
    log.put([Reading("a.x", 0, value)], 0)
    queue.settle(queue.take(1)[0], reason="no")
    log.flush()
    (kept,) = log.dead_letters("web")
    back = json.loads(kept.value)
    assert (type(back), back) == (type(value), value)


def test_an_answer_with_half_a_character_is_kept_without_it(log):
    """JSON can name a lone surrogate, and a platform's answer may; it must not keep every flush from succeeding."""
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x"), 0)
    queue.settle(queue.take(1)[0], reason="no: \ud83d", response="\udcff\0ü")
    log.flush()
    (kept,) = log.dead_letters("web")
    assert (kept.reason, kept.response) == ("no: ?", "?\0ü")


def test_of_a_long_answer_the_beginning_is_kept():
    kept = DeadLetter.of(1, "web", Entry(1, "a.x", 0, 1), "r" * 5000, "<html>" + "x" * 10**6, 0)
    assert (len(kept.reason), kept.response) == (1000, "<html>" + "x" * 994)


def test_letters_that_are_tried_again_come_before_all_readings_in_their_order():
    assert DeadLetter.of(1, "web", Entry(9, "a.x", 0, 1), "", "", 0).entry().seq < AGAIN + 2 < -(1 << 61) < 0


# --- the table


def test_letters_are_by_destination_and_the_oldest_first(table):
    table.append([letter(3), letter(1), letter(2, "other")])
    assert table.of("web", 0, retry=False) == [letter(1), letter(3)]
    assert numbers(table, "other") == [2]
    assert table.last() == 3


def test_a_letter_that_is_there_already_is_there_once(table):
    table.append([letter(1)])
    table.append([letter(1)])
    assert numbers(table) == [1]


def test_what_is_put_back_is_a_destinations_own_and_no_letter_any_more(table):
    table.append([letter(1), letter(2, "other"), letter(3)])
    table.try_again("web")
    table.append([letter(4)])
    assert (numbers(table), numbers(table, retry=True)) == ([4], [1, 3])
    assert (numbers(table, "other"), numbers(table, "other", retry=True)) == ([2], [])


def test_the_oldest_go_and_none_that_is_in_the_queue_again(table):
    table.append([letter(1)])
    table.try_again("web")
    table.append([letter(2), letter(3, "other"), letter(4), letter(5)])
    table.delete_oldest("web", 2)
    assert (numbers(table), numbers(table, retry=True), numbers(table, "other")) == ([5], [1], [3])


def test_letters_are_given_to_another_destination_with_what_they_are(table):
    table.append([letter(1)])
    table.try_again("web")
    table.append([letter(2), letter(3, "new")])
    table.hand_over("web", "new")
    assert (numbers(table, "new"), numbers(table, "new", retry=True), numbers(table)) == ([2, 3], [1], [])


def test_all_of_a_destination_are_forgotten(table):
    table.append([letter(1), letter(2, "other")])
    table.try_again("web")
    table.append([letter(3)])
    table.forget("web")
    table.delete([2, 99])
    assert table.last() == 0


# --- through the store


@pytest.mark.guarantee(8)
def test_letters_are_read_page_by_page(log, monkeypatch):
    monkeypatch.setattr(letters_module, "_PAGE", 10)
    queue = log.open_queue("web", ALL)
    for value in range(35):
        log.put(readings("a.x", value=value), 0)
    refuse_all(queue)
    log.flush()
    told: list[str] = []
    files_of(log).connection.set_trace_callback(told.append)
    listed = log.dead_letters("web")
    assert next(listed).value == "0"
    assert len(told) == 1
    assert [it.value for it in listed] == [str(value) for value in range(1, 35)]
    assert len(told) == 5


def test_those_that_are_not_committed_yet_are_listed_as_well(log):
    queue = log.open_queue("web", ALL)
    other = log.open_queue("other", ALL)
    log.put(readings("a.x", "b.x"), 0)
    queue.settle(queue.take(1)[0], reason="no")
    log.flush()
    queue.settle(queue.take(1)[0], reason="no")
    other.settle(other.take(1)[0], reason="neither")
    assert [it.series for it in log.dead_letters("web")] == ["a.x", "b.x"]
    assert [it.reason for it in log.dead_letters("other")] == ["neither"]


def test_each_is_listed_once_though_a_commit_comes_between(log):
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    queue.settle(queue.take(1)[0], reason="no")
    log.flush()
    queue.settle(queue.take(1)[0], reason="no")
    listed = log.dead_letters("web")
    seen = [next(listed).series]
    log.flush()
    seen += [it.series for it in listed]
    assert seen == ["a.x", "b.x"]


def test_a_number_is_not_given_twice_while_its_letter_is_there(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    log.put(readings("a.x", "b.x"), 0)
    queue.settle(queue.take(1)[0], reason="no")
    log.stop()
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    refuse_all(queue)
    log.stop()
    log = open_log(tmp_path)
    assert [it.series for it in log.dead_letters("web")] == ["a.x", "b.x"]
    abandon(log)


@pytest.mark.guarantee(1)
def test_beyond_their_bound_the_oldest_are_dropped_and_counted(tmp_path):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL, Bounds(max_dead_letters=3))
    other = log.open_queue("other", ALL, Bounds(max_dead_letters=3))
    for value in range(5):
        log.put(readings("a.x", value=value), 0)
    refuse_all(queue)
    other.settle(other.take(1)[0], reason="no")
    log.flush()
    for _ in range(2):
        assert (queue.queued, queue.dead, queue.dropped) == (0, 3, 2)
        assert [it.value for it in log.dead_letters("web")] == ["2", "3", "4"]
        assert (other.dead, other.dropped, len(list(log.dead_letters("other")))) == (1, 0, 1)
        log.flush()
    log.stop()
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL, Bounds(max_dead_letters=1))  # a reload with a smaller bound
    log.flush()
    assert (queue.dead, queue.dropped) == (1, 4)
    assert [it.value for it in log.dead_letters("web")] == ["4"]
    abandon(log)
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL, Bounds(max_dead_letters=1))
    assert (queue.dead, queue.dropped) == (1, 4)
    assert [it.value for it in log.dead_letters("web")] == ["4"]
    abandon(log)


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("stopped", [True, False])
def test_what_is_tried_again_ends_or_is_refused_again_across_a_restart(tmp_path, stopped):
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    for value in range(3):
        log.put(readings("a.x", value=value), 0)
    refuse_all(queue)
    assert desk.retry(log, "web") == 3
    first, second, third = queue.take(10)
    queue.settle(first)
    queue.settle(second, reason="again")
    assert [entry.value for entry in queue.take(10)] == [2]
    assert [entry.value for entry in queue.pending()] == [2]
    log.flush()
    if stopped:
        log.stop()
    else:
        abandon(log)
    log = open_log(tmp_path)
    queue = log.open_queue("web", ALL)
    assert (queue.queued, queue.delivered, queue.dead) == (1, 1, 1)
    assert [(it.value, it.reason) for it in log.dead_letters("web")] == [("1", "again")]
    assert [entry.value for entry in settle_all(queue)] == [third.value]
    assert (queue.queued, queue.delivered, queue.dead) == (0, 2, 1)
    abandon(log)
