"""A thread that reads the sensors of one bus in turn; while one waits for its conversion the others go on."""

import heapq
import itertools
import logging
import math
import threading
from collections.abc import Callable
from typing import NamedTuple

from edged.sampling.sampler import Sampler
from edged.sampling.schedule import retry_pause

log = logging.getLogger(__name__)

_LOOK_S = 10.0  # the clock is looked at so often, for a step that moves the schedule
_STEP_S = 0.5  # what is more than a slewed clock does between two looks
_BUG_S = 30.0  # a sensor in whose way there is a bug of ours waits so long


class _Event(NamedTuple):
    at: float  # monotonic, s
    number: int  # so that the heap never compares what follows
    sampler: Sampler
    due: float  # when the read was due
    begins: bool  # else it goes on


class Lane:
    """Sensors that take turns.  `start` and `stop` are its life; sensors come and go while it runs."""

    def __init__(self, name: str, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        """`wall` gives the clock's time in s."""
        self._monotonic = monotonic
        self._wall = wall
        self._events: list[_Event] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._leaving: dict[Sampler, threading.Event] = {}  # set when its device is let go of
        self._stopping = False
        self._offset = wall() - monotonic()
        self._thread = threading.Thread(target=self._run, name=f"lane {name}", daemon=True)

    # --- life

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ends after the step under way, and closes all sensors; a device that hangs is left behind."""
        self.request_stop()
        self._thread.join(timeout_s)

    def request_stop(self) -> None:
        """Asks the thread to end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def add(self, sampler: Sampler) -> None:
        """Reads the sensor once now, then on its schedule."""
        now = self._monotonic()
        self._push(sampler, now, now, begins=True)

    def remove(self, sampler: Sampler) -> threading.Event:
        """Reads the sensor no more and lets go of its device; what is returned is set when that is done."""
        with self._changed:
            self._events = [event for event in self._events if event.sampler is not sampler]
            heapq.heapify(self._events)
            gone = self._leaving[sampler] = threading.Event()
            self._changed.notify()
        return gone

    def _push(self, sampler: Sampler, at: float, due: float, *, begins: bool) -> None:
        with self._changed:
            if sampler not in self._leaving:
                heapq.heappush(self._events, _Event(at, next(self._numbers), sampler, due, begins))
                self._changed.notify()

    # --- its thread

    def _run(self) -> None:
        while (event := self._next()) is not None:
            try:
                self.step(event)
            except Exception:  # the other sensors of the bus go on
                log.exception("%s: a bug in reading it; please report it", event.sampler.name)
                again = self._monotonic() + _BUG_S
                self._push(event.sampler, again, again, begins=True)
        with self._changed:
            samplers, leaving = {event.sampler for event in self._events}, self._leaving
        _let_go(leaving)
        for sampler in samplers:
            sampler.close()

    def _next(self) -> _Event | None:
        """Waits for the next event; None: it is time to stop."""
        while True:
            with self._changed:
                if self._stopping:
                    return None
                leaving, self._leaving = self._leaving, {}
                if not leaving:
                    self._realign()
                    wait = self._events[0].at - self._monotonic() if self._events else math.inf
                    if wait <= 0:
                        return heapq.heappop(self._events)
                    self._changed.wait(min(wait, _LOOK_S))
            _let_go(leaving)

    def _realign(self) -> None:
        """After a step of the clock all schedules are laid anew; reads under way go on."""
        offset = self._wall() - self._monotonic()
        if abs(offset - self._offset) > _STEP_S:
            log.warning("the clock was set by %+.1f s; schedules follow it", offset - self._offset)
            now = self._monotonic()
            for index, event in enumerate(self._events):
                if event.begins and not event.sampler.health.failures:  # a new try after a failure is off the schedule
                    at = event.sampler.schedule.after(-math.inf, now, offset)
                    self._events[index] = event._replace(at=at, due=at)
            heapq.heapify(self._events)
        self._offset = offset

    def step(self, event: _Event) -> None:
        """Begins a read that is due, or lets one go on."""
        sampler, now = event.sampler, self._monotonic()
        wait = sampler.begin(now) if event.begins else sampler.resume(now)
        now = self._monotonic()
        if wait is not None:
            self._push(sampler, now + wait, event.due, begins=False)
            return
        failures = sampler.health.failures
        again = now + retry_pause(failures) if failures else now
        due = sampler.schedule.after(event.due, again, self._offset)
        missed = sampler.schedule.between(event.due, due)
        sampler.missed += missed
        if failures:  # tried again whatever its schedule; what is counted as missed by then is not counted again
            self._push(sampler, again, again if missed else event.due, begins=True)
        else:
            self._push(sampler, due, due, begins=True)


def _let_go(leaving: dict[Sampler, threading.Event]) -> None:
    """Closes sensors that have been removed; nothing is held, since a device may hang in it."""
    for sampler, gone in leaving.items():
        sampler.close()
        gone.set()
