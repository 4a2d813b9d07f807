"""BBData among lost answers, crashes, holds and restarts by chance: what counts as delivered is on the server."""

from dataclasses import dataclass
from email.message import Message
from random import Random

import pytest

from edged.outcome import Again, Delivered, Outcome, Transient
from edged.platforms import Item
from edged.platforms._bbdata import Object
from edged.platforms.bbdata import BBData, Options
from edged.reading import Entry
from edged.secret import plain
from edged.simulation.platforms import open_stand_in
from edged.simulation.platforms._records import Refusal
from edged.simulation.platforms._records import Request as Received
from edged.simulation.platforms.bbdata import BBData as StandIn
from edged.transports.http import Reply, Request

NOW_MS = 1_760_000_000_000
TOKENS = {number: f"{number:032d}" for number in range(1, 6)}
TARGETS = {number: Object(object=number, token=plain(token)) for number, token in TOKENS.items()}
WORLD_MS = 100_000
TICKS = 30
WORLDS = 40  # of each kind


@dataclass(frozen=True)
class Odds:
    """How likely a thing is at each request."""

    lost: float = 0.1  # the request never arrives, and
    unheard: float = 0.15  # its answer never does
    crash: float = 0.2  # the server stores a part of it; half of the time it says so
    late: float = 0.0  # it is found unanswered, and is processed afterwards
    hold: float = 0.0  # a series is held back, or let go again
    restart: float = 0.0
    unflushed: float = 0.0  # a restart forgets the last readings that were settled
    letter: float = 0.0  # of what gets no answer, one is buried and sent again by a person


class World:
    """A client that sends as the daemon does: a batch in parts, each series in order, settled up to what is decided."""

    def __init__(self, stand_in: StandIn, number: int, odds: Odds) -> None:
        self.random = Random(number)
        self.stand_in = stand_in
        self.odds = odds
        self.first_ms = NOW_MS - (number + 2) * WORLD_MS
        self.objects = range(1, self.random.randint(2, len(TARGETS)) + 1)
        self.platform = BBData(Options(url=""))
        self.seq = 0
        self.letters = 0
        self.put: set[tuple[int, int]] = set()
        self.queued: list[Item] = []
        self.settled: list[Item] = []
        self.hand: list[Item] = []  # in order
        self.decided: set[tuple[int, int]] = set()  # of the hand, and not settled
        self.part: list[Item] = []
        self.held: set[int] = set()
        self.late: list[Request] = []

    def live(self) -> None:
        """Readings come and go for a while; then nothing disturbs any more, and the rest has to arrive."""
        for tick in range(TICKS):
            self.measure(tick)
            self.disturb()
            self.turn(self.odds)
        while self.late:
            self.serve(self.late.pop())
        self.held.clear()
        calm = Odds(lost=0, unheard=0, crash=0)
        turns = 0
        while self.queued:
            turns += 1
            assert turns < 1000
            self.turn(calm)
        assert all(self.is_stored(*key) for key in self.put)

    def measure(self, tick: int) -> None:
        for number in self.objects:
            if tick < 5 or self.random.random() < 0.1:
                self.seq += 1
                time_ms = self.first_ms + tick * 1000
                self.put.add((number, time_ms))
                self.queued.append(Item(Entry(self.seq, f"s.{number}", time_ms, 1.0), TARGETS[number]))

    def disturb(self) -> None:
        if self.random.random() < self.odds.restart:
            self.platform = BBData(Options(url=""))
            self.platform.begin(self.seq)
            self.leave(set(self.objects))
            self.held.clear()
            if self.random.random() < self.odds.unflushed:
                self.queued += self.settled[-4:]
                self.queued.sort(key=lambda item: item.entry.seq)
                del self.settled[-4:]
        if self.random.random() < self.odds.hold:
            number = self.random.choice(self.objects)
            self.held ^= {number}
            self.leave(self.held)
        if self.random.random() < 0.1:  # the whole destination is held back for a moment
            self.leave(set(self.objects))
        if self.part and self.random.random() < 0.1:
            self.part = self.part[: (len(self.part) + 1) // 2]
        if self.late and self.random.random() < 0.3:
            self.serve(self.late.pop(0))

    def leave(self, numbers: set[int]) -> None:
        """What is decided of a series and not settled is forgotten with it."""
        self.hand = [item for item in self.hand if item.target.object not in numbers]
        self.part = [item for item in self.part if item.target.object not in numbers]
        self.decided &= {key(item) for item in self.hand}

    def turn(self, odds: Odds) -> None:
        undecided = [item for item in self.hand if key(item) not in self.decided]
        if not undecided:
            free = [item for item in self.queued if item.target.object not in self.held]
            size = self.random.choice((3, 6, 20))
            self.hand = undecided = free[-size:] if self.random.random() < 0.2 else free[:size]  # the newest, or oldest
        if not self.part:
            half = (len(undecided) + 1) // 2
            self.part = undecided[:half] if self.random.random() < 0.3 else undecided
        if self.part:
            outcomes = self.send(self.part, odds)
            again = []
            for item, outcome in zip(self.part, outcomes, strict=True):
                if isinstance(outcome, Delivered):
                    assert self.is_stored(*key(item)), f"{key(item)} is not"
                    self.decided.add(key(item))
                else:
                    assert isinstance(outcome, (Again, Transient))
                    again.append(item)
            self.part = again
            self.settle()
            if len(again) == len(outcomes) and self.random.random() < odds.letter:
                self.bury(again[0])

    def settle(self) -> None:
        rest: list[Item] = []
        for item in self.hand:
            if key(item) in self.decided and all(item.target != other.target for other in rest):
                self.decided.remove(key(item))
                self.queued.remove(item)
                self.settled.append(item)
            else:
                rest.append(item)
        self.hand = rest

    def send(self, part: list[Item], odds: Odds) -> list[Outcome]:
        request = self.platform.encode(part)
        fate = self.random.random() - odds.lost
        if fate >= 0 and (fate := fate - odds.unheard) < 0:
            self.serve(request)
        elif fate >= 0 and (fate := fate - odds.late) < 0:
            self.late.append(request)
        elif fate >= 0 and (fate := fate - odds.crash) < 0:
            reply = self.serve(request, self.random.randint(0, len(part)))
            if self.random.random() < 0.5:
                return self.platform.judge(reply, part)
        elif fate >= 0:
            return self.platform.judge(self.serve(request), part)
        return [Transient("no answer")] * len(part)

    def bury(self, item: Item) -> None:
        self.letters += 1
        again = item._replace(entry=item.entry._replace(seq=self.letters - 2**62))
        self.queued = sorted([again, *(each for each in self.queued if each != item)], key=lambda each: each.entry.seq)
        self.hand = [each for each in self.hand if each != item]
        self.part = []

    def serve(self, request: Request, crash_midway: int | None = None) -> Reply:
        headers = Message()
        for name, value in request.headers.items():
            headers[name] = value
        self.stand_in.modes.crash_midway = crash_midway
        try:
            reply = self.stand_in.answer(Received(request.method, request.url, headers, request.body, 0.0))
        except Refusal as refusal:
            reply = refusal.reply
        self.stand_in.modes.crash_midway = None
        return Reply(reply.status, reply.body, reply.headers.get("Content-Type", ""))

    def is_stored(self, number: int, time_ms: int) -> bool:
        return self.stand_in.stored(str(number), time_ms)


def key(item: Item) -> tuple[int, int]:
    return item.target.object, item.entry.time_ms


@pytest.mark.statement(7)
@pytest.mark.statement(37)
@pytest.mark.statement(39)
@pytest.mark.parametrize(
    "odds",
    [
        Odds(),
        Odds(hold=0.2),
        Odds(late=0.15),
        Odds(late=0.15, hold=0.2),
        Odds(restart=0.1),
        Odds(restart=0.1, unflushed=0.7),
        Odds(restart=0.1, unflushed=0.7, late=0.1, hold=0.2),
        Odds(letter=0.2, hold=0.1),
    ],
    ids=repr,
)
def test_what_is_counted_as_delivered_is_on_the_server(odds):
    with open_stand_in("bbdata", now_ms=lambda: NOW_MS) as stand_in:
        stand_in.admit({}, [{"object": number, "token": token, "type": "float"} for number, token in TOKENS.items()])
        for number in range(WORLDS):
            World(stand_in, number, odds).live()
