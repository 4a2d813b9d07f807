"""Makes one position of two: of what is new and its backlog, or of two destinations' queues; and what is left over."""

from edged.series import Left
from edged.store.owed import Log, Owed
from edged.store.position import Position
from edged.store.split import Where


def in_one(log: Log, where: Where) -> Position:
    """A position that is no longer split.  Raises StoreUnusable where the log does."""
    if isinstance(where, Position):
        return where
    live, at = where.live, where.mark
    series = set(live.behind)
    while live.behind and (segment := log.after(at)) is not None and segment.first <= live.head:
        series.update(segment.counts)
        at = segment.last
    return live.joined(where.backlog, where.mark, sorted(series))


def joined(log: Log, own: Where, earlier: Where, began: int) -> tuple[Position, list[str]]:
    """What is owed of both: of `earlier` up to number `began` of the log, of `own` behind it.

    With it the series that have readings up to there.  Raises StoreUnusable where the log does.
    """
    later, before = in_one(log, own), in_one(log, earlier)
    series: set[str] = set()
    behind = set(later.behind)
    at = min(before.lowest, began)
    while (segment := log.after(at)) is not None and segment.first <= max(began, later.head):
        (series if segment.first <= began else behind).update(segment.counts)
        if segment.last > began:
            behind.update(segment.counts)
        at = segment.last
    return later.joined(before, began, sorted(behind)), sorted(series)


def left_over(log: Log, left: Left, where: Where, upto: int) -> tuple[int, list[str]]:
    """What is owed, up to that number of the log, of series that are chosen no more: how many, and of which.

    Raises StoreUnusable where the log does.
    """
    at = where.lowest
    number = Owed(log, left, where).number(at, upto)
    series: set[str] = set()
    while (segment := log.after(where.past(at))) is not None and segment.first <= upto:
        series.update(filter(left.wants, segment.counts))
        at = segment.last
    return number, sorted(series)
