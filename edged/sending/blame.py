"""Who is to blame for a request that got there and no answer came: the line, or one of its readings.  Pure.

A reading that fails alone, again and again, while others get through in between, is to blame at last, and becomes a
dead letter: otherwise it would stop its series for ever.  Nothing less than that is proof, since a bad line fails some
requests as well, and an outage all.  Where there are no others, the next reading of its series is called as a witness.
"""

from dataclasses import dataclass

from edged.outcome import Permanent, Transient
from edged.sending.parcel import Parcel
from edged.sending.parts import Part

_TO_BLAME = 10  # alternations of a failure with others that get through
_CALLS_WITNESS = 12  # failures in a row
_LAST_CHANCES = 4  # of a suspect whose witness has got through
_BRISK = 3  # what gets no answer waits no longer than after so many failures, since others tell of the line
_MOST = 1000  # suspects that are remembered


@dataclass(slots=True)
class Suspicion:
    """Of a reading that failed when it was sent alone."""

    times: int = 0
    alone: int = 0  # since others got through
    alternations: int = 0  # failures with others that got through in between, and none that failed
    others_got_through: bool = False  # since the last one


class Suspects(dict[int, Suspicion]):
    """Readings that fail when they are sent alone, by their sequence numbers."""

    def failed(self, seq: int) -> Suspicion:
        """Once more."""
        if len(self) > _MOST:
            self.clear()
        suspicion = self.setdefault(seq, Suspicion())
        suspicion.times += 1
        suspicion.alone = 1 if suspicion.others_got_through else suspicion.alone + 1
        suspicion.alternations += suspicion.others_got_through
        suspicion.others_got_through = False
        return suspicion

    def got_through(self) -> None:
        """Some other request did."""
        for suspicion in self.values():
            suspicion.others_got_through = True

    def another_failed(self) -> None:
        """A request that is no suspect: it is the line, and proves nothing."""
        for suspicion in self.values():
            suspicion.alternations, suspicion.others_got_through = 0, False

    def calls_witness(self, seq: int) -> bool:
        """Whether the next one of its series goes with it, since there are no others to tell a bad line by."""
        return seq in self and self[seq].alone >= _CALLS_WITNESS


@dataclass(frozen=True)
class Judgement:
    """What to send instead of a part that has failed, ..."""

    parts: list[Part]
    waits_as_after: int = 0  # failures: how long its series is held for it; 0: not at all
    fate: Permanent | None = None  # of the reading, which is to blame


def judge(part: Part, outcome: Transient, suspects: Suspects, witness: Parcel | None) -> Judgement:
    """Of a part that may be to blame for its failure; `witness`: the next of its series, if a suspect has one."""
    if not part.is_suspect:
        suspects.another_failed()
    parts = part.failed(slow=outcome.slow)
    if len(part) > 1 or not part.is_suspect:
        return Judgement(parts)
    if part.is_witness:
        return Judgement([], waits_as_after=1)
    if part.is_last and not outcome.answered and part.failures < _LAST_CHANCES:
        return Judgement(parts)
    seq = part.parcels[0].item.entry.seq
    suspicion = suspects.failed(seq)
    if outcome.answered:
        return Judgement([], waits_as_after=suspicion.times)
    if part.is_last or suspicion.alternations >= _TO_BLAME:
        said = f"no answer whenever it is sent, while others get through: {outcome.reason}"
        return Judgement([], fate=Permanent(said))
    if suspects.calls_witness(seq) and witness is not None:
        return Judgement([Part([witness], suspect=True, is_witness=True)])
    return Judgement([], waits_as_after=min(suspicion.times, _BRISK))
