"""BBData after answers that never came: nothing is lost, nothing is believed without a reason, and it costs little."""

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import NoAnswer
from edged.outcome import Again, Delivered, Isolate, Outcome, Parked, Permanent, Transient
from edged.platforms import Item
from edged.platforms._bbdata import Object
from edged.platforms._bbdata_unanswered import Measure, Unanswered
from edged.platforms.bbdata import BBData, Options
from edged.reading import Entry
from edged.secret import plain
from edged.simulation.platforms import Accepted, Fault, open_stand_in
from edged.transports.http import HttpTransport, Reply

TIME_MS = 1_709_647_650_250
TOKEN = "0123456789abcdef0123456789abcdef"
OBJECTS = (4711, 4712, 4713)
LOST = Fault(status=0, store=True, cut=True)
NEVER = Fault(status=503, cut=True)


def items(count: int, objects: tuple[int, ...] = OBJECTS) -> list[Item]:
    """Readings of several objects by turns, as a queue has them."""
    return [
        Item(
            Entry(n + 1, f"s.q{objects[n % len(objects)]}", TIME_MS + 1000 * n, 20.0 + n),
            Object(object=objects[n % len(objects)], token=plain(TOKEN)),
        )
        for n in range(count)
    ]


class Drain:
    """Sends as the daemon does, without its pauses: each outcome's readings again until all are settled."""

    def __init__(self, stand_in) -> None:
        self.stand_in = stand_in
        self.platform = BBData(Options(url=stand_in.url))
        self.transport = HttpTransport(10.0)
        self.requests = 0
        self.delivered: list[Item] = []
        self.dead: list[Item] = []
        self.parked: list[Item] = []

    def send(self, part: list[Item]) -> list[Outcome] | None:
        self.requests += 1
        try:
            return self.platform.judge(self.transport.exchange(self.platform.encode(part)), part)
        except NoAnswer:
            return None

    def run(self, batch: list[Item], most: int = 400) -> None:
        parts = [batch]
        while parts:
            assert self.requests < most
            part = parts.pop(0)
            outcomes = self.send(part) or [Transient("no answer")] * len(part)
            again, split = [], []
            for item, outcome in zip(part, outcomes, strict=True):
                match outcome:
                    case Delivered():
                        self.delivered.append(item)
                    case Permanent():
                        self.dead.append(item)
                    case Parked():
                        self.parked.append(item)
                    case Isolate():
                        split.append(item)
                    case _:
                        again.append(item)
            half = (len(split) + 1) // 2
            parts[:0] = [each for each in (again, split[:half], split[half:]) if each]

    @property
    def stored(self) -> set[tuple[str, int]]:
        return {(reading.target, reading.time_ms) for reading in self.stand_in.snapshot()[0]}


@pytest.fixture
def drain() -> Iterator[Drain]:
    with open_stand_in("bbdata", hasty_s=0) as stand_in:
        stand_in.admit({}, [{"object": number, "token": TOKEN, "type": "float"} for number in OBJECTS])
        made = Drain(stand_in)
        yield made
        made.transport.close()


def key(item: Item) -> tuple[str, int]:
    return str(item.target.object), item.entry.time_ms


def stored_by_others(drain: Drain, batch: list[Item]) -> None:
    for item in batch:
        drain.stand_in.store(key(item)[0], Accepted(*key(item), item.entry.value))


def assert_all_arrived(drain: Drain, batch: list[Item]) -> None:
    assert drain.stored == set(map(key, batch))
    assert sorted(map(key, drain.delivered)) == sorted(map(key, batch))
    assert drain.stand_in.snapshot()[1] == []


@pytest.mark.statement(7)
@pytest.mark.statement(37)
@pytest.mark.pain("B2")
def test_a_batch_that_was_stored_whole_costs_three_requests_more_at_most(drain):
    batch = items(100)
    drain.stand_in.fail(LOST)
    drain.run(batch)
    assert drain.requests <= 4
    assert_all_arrived(drain, batch)


def test_a_batch_that_never_arrived_costs_the_repetition_alone(drain):
    batch = items(100)
    drain.stand_in.fail(NEVER)
    drain.run(batch)
    assert drain.requests == 2
    assert_all_arrived(drain, batch)


@pytest.mark.statement(39)
@pytest.mark.parametrize("stored", [0, 1, 2, 3, 7, 50, 98, 99, 100])
def test_a_crash_midway_costs_a_few_requests_wherever_it_was(drain, stored):
    batch = items(100)
    drain.stand_in.modes.crash_midway = stored
    drain.run(batch)
    assert drain.requests <= 5
    assert_all_arrived(drain, batch)


@pytest.mark.statement(39)
def test_crashes_one_after_the_other_are_all_found_out(drain):
    batch = items(60)
    drain.stand_in.modes.crash_midway = 10
    drain.send(batch)
    drain.stand_in.modes.crash_midway = 20
    drain.run(batch)
    assert drain.requests <= 10
    assert_all_arrived(drain, batch)


def test_answers_lost_for_parts_are_found_out(drain):
    """As where a time-out has the batch halved."""
    batch = items(80)
    drain.stand_in.fail(NEVER, NEVER, LOST)
    for part in (batch, batch[:40], batch[:20]):
        assert drain.send(part) is None
    drain.run(batch)
    assert drain.requests <= 3 + 4
    assert_all_arrived(drain, batch)


def test_a_question_whose_answer_is_lost_is_asked_again(drain):
    batch = items(50)
    drain.stand_in.fail(LOST, Fault(status=0, store=True), NEVER, Fault(502, b"<html></html>"), LOST)
    drain.run(batch)
    assert drain.requests <= 8
    assert_all_arrived(drain, batch)


def test_questions_are_asked_after_lost_answers_only(drain):
    """What exists already is of another origin here: each is told by the server itself."""
    batch = items(30)
    stored_by_others(drain, [batch[3], batch[20]])
    drain.run(batch)
    assert drain.requests == 3
    assert not any("simulate" in request.path for request in drain.stand_in.requests)
    assert_all_arrived(drain, batch)


@pytest.mark.parametrize("origin", [LOST, NEVER])
@pytest.mark.parametrize("others", [[1], [5], [5, 8], [1, 29], [10, 11, 12], [28, 29]])
def test_what_others_stored_says_nothing_of_its_neighbours(drain, origin, others):
    """Another daemon writes the same object at the same times, but not all of them; a request of ours got lost."""
    batch = items(30)
    stored_by_others(drain, [batch[n] for n in others])
    drain.stand_in.fail(origin)  # refused as a whole where it arrives, so nothing of it is stored
    drain.run(batch)
    assert_all_arrived(drain, batch)


def test_a_series_that_was_held_back_is_not_concluded_from_the_others(drain):
    """It was no part of the lost request, and its readings lie between those of it."""
    batch = items(30, OBJECTS[:2])
    sent = [item for item in batch if item.target.object == OBJECTS[0]]
    drain.stand_in.fail(LOST)
    assert drain.send(sent) is None
    drain.run(batch)
    assert_all_arrived(drain, batch)


def test_what_was_concluded_of_a_series_that_is_held_back_stays_open(drain):
    """It is sent again later, maybe between readings that another request left behind."""
    batch = items(7)
    first, held, never_sent = batch[::3], batch[1::3], batch[2::3]
    drain.stand_in.fail(LOST)
    assert drain.send([item for item in batch if item not in never_sent]) is None
    drain.run(first)
    drain.stand_in.fail(NEVER)
    drain.run([item for item in batch if item not in first])
    assert held[0] in drain.delivered
    assert_all_arrived(drain, batch)


@pytest.mark.pain("B2")
@pytest.mark.parametrize("event", [LOST, NEVER])
def test_nothing_is_concluded_for_what_an_earlier_run_may_have_sent(drain, event):
    """It stored the most of it, and was killed before that was written down; one series was parked then."""
    batch = items(10, OBJECTS[:2])
    stored_by_others(drain, [item for item in batch if item.target.object == OBJECTS[0]])
    drain.platform.begin(10)
    drain.stand_in.fail(event)
    drain.run(batch)
    assert_all_arrived(drain, batch)


def test_what_went_with_an_old_reading_is_of_unknown_origin_too(drain):
    batch = items(8)
    drain.platform.begin(1)
    drain.stand_in.fail(LOST, NEVER)
    assert drain.send([batch[n] for n in (0, 3, 6)]) is None
    drain.run(batch[3:])  # the others are held back by now
    drain.run(batch[:3])
    assert_all_arrived(drain, batch)


def test_after_a_restart_a_lost_answer_costs_a_request_a_reading_and_later_ones_a_few(drain):
    old, new = items(40)[:20], items(40)[20:]
    drain.platform.begin(20)
    drain.stand_in.fail(LOST)
    drain.run(old)
    assert 20 <= drain.requests <= 22
    drain.requests = 0
    drain.stand_in.fail(LOST)
    drain.run(new)
    assert drain.requests <= 4
    assert_all_arrived(drain, old + new)


def test_a_letter_that_is_retried_may_be_stored_already(drain):
    batch = items(9)
    stored_by_others(drain, [batch[0], batch[8]])
    letters = [Item(item.entry._replace(seq=-item.entry.seq), item.target) for item in batch]
    drain.stand_in.fail(NEVER)
    drain.run(letters)
    assert_all_arrived(drain, batch)


@pytest.mark.parametrize("event", [LOST, NEVER])
def test_a_request_that_never_went_out_does_no_harm(drain, event):
    """It was too large, or no connection came about."""
    batch = items(20)
    drain.platform.encode(batch)
    drain.platform.encode(batch[10:])
    drain.stand_in.fail(event)
    drain.run(batch[:10])
    drain.run(batch)
    assert drain.requests <= 4 + 14
    assert drain.stored == set(map(key, batch))


def test_a_bad_one_among_those_that_a_crash_left_is_found_too(drain):
    drain.stand_in.modes.crash_midway = 4
    batch = items(20)
    drain.send(batch)
    drain.stand_in.disabled.add(OBJECTS[2])
    drain.run(batch)
    expected = [item for n, item in enumerate(batch) if item.target.object != OBJECTS[2] or n < 4]
    assert {key(item) for item in (*drain.delivered, *drain.parked)} == set(map(key, batch))
    assert drain.stored == set(map(key, expected))
    assert set(map(key, drain.delivered)) <= drain.stored
    assert drain.dead == []


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_gets_lost_nothing_is_believed_that_is_not_so(data):
    """Crashes, lost answers and lost requests in any order, parts of any size, and another writer before the start."""
    with open_stand_in("bbdata", hasty_s=0) as stand_in:
        stand_in.admit({}, [{"object": number, "token": TOKEN, "type": "float"} for number in OBJECTS])
        drain = Drain(stand_in)
        batch = items(data.draw(st.integers(1, 12)), OBJECTS[: data.draw(st.integers(1, 3))])
        for _ in range(data.draw(st.integers(0, 3))):
            part = batch[: data.draw(st.integers(1, len(batch)))]
            event: Callable[[], None] = data.draw(st.sampled_from([lost, never, crashed(len(part) // 2)]))(stand_in)
            event()
            drain.send(part)
            stand_in.forgive()  # parts are sent here whatever has become of them
        for _ in range(data.draw(st.integers(0, 2))):
            data.draw(st.sampled_from([lost, never]))(stand_in)()
        drain.run(batch)
        assert_all_arrived(drain, batch)
        drain.transport.close()


def lost(stand_in):
    return lambda: stand_in.fail(LOST)


def never(stand_in):
    return lambda: stand_in.fail(NEVER)


def crashed(after: int):
    def set_up(stand_in):
        def crash() -> None:
            stand_in.modes.crash_midway = after

        return crash

    return set_up


# --- what is concluded

A, B, C, D = (1, 10), (2, 10), (1, 20), (2, 20)
SEQ = {A: 1, B: 2, C: 3, D: 4}


def sent(*measures: Measure) -> dict[Measure, int]:
    """Those of a request with their sequence numbers."""
    return {measure: SEQ[measure] for measure in measures}


def test_what_precedes_in_every_request_that_may_be_the_origin():
    unanswered = Unanswered()
    assert unanswered.before(C) == set()
    unanswered.note(sent(A, B, C, D))
    assert unanswered.before(C) == {A, B}
    assert unanswered.behind(B) == {C, D}
    unanswered.note(sent(A, C))
    assert unanswered.before(C) == {A}
    assert unanswered.before(D) == {A, B, C}
    assert unanswered.before((9, 9)) == set()


def test_a_request_that_left_an_earlier_one_out_is_no_origin():
    unanswered = Unanswered()
    unanswered.note(sent(A, B, C, D))
    unanswered.rule_out(C, {D})
    assert unanswered.before(C) == {A, B}
    unanswered.rule_out(C, {B})
    assert unanswered.before(C) == set()


def test_what_is_settled_is_not_remembered():
    unanswered = Unanswered()
    unanswered.note(sent(A, B, C, D))
    unanswered.settle(sent(A, B), {A, B})
    assert unanswered.before(D) == {C}
    unanswered.settle(sent(C, D), {C, D})
    assert not unanswered._requests


def test_what_is_told_out_of_its_order_may_come_again():
    """The first of its series is undecided: if the series is held back now, both are sent again."""
    unanswered = Unanswered()
    unanswered.settle(sent(A, B, C), {C})
    unanswered.note(sent(B, C, D))
    assert unanswered.before(D) == set()


def test_a_witness_may_come_again():
    unanswered = Unanswered()
    unanswered.note(sent(A))
    unanswered.settle(sent(C), {C})
    unanswered.note(sent(B, C, D))
    assert unanswered.before(D) == set()


def test_only_so_many_are_remembered_and_nothing_is_concluded_without_the_others():
    unanswered = Unanswered()
    for n in range(100):
        unanswered.note({(1, n): 2 * n + 1, (2, n): 2 * n + 2})
        unanswered.note({})
        assert len(unanswered._requests) < 10
        assert unanswered.before((2, n)) in ({(1, n)}, set())
    unanswered.note({(1, 0): 1, (3, 0): 3, (2, 0): 2})
    assert unanswered.before((2, 0)) == set()
    unanswered.note({(1, 200): 201, (2, 200): 202})
    assert unanswered.before((2, 200)) == {(1, 200)}


def test_again_is_never_the_answer_to_all_of_a_delivery():
    """Or the same request would go out for ever."""
    batch = items(3)
    platform = BBData(Options())
    platform.encode(batch)
    echo = json.dumps([{"objectId": item.target.object} for item in batch]).encode()
    assert not any(isinstance(outcome, Again) for outcome in platform.judge(Reply(200, echo), batch))
