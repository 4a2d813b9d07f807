"""Looks through the whole store once, so that damage is found at the start, and not when it is somebody's turn."""

from collections.abc import Callable

from edged.errors import StoreUnusable
from edged.store.disk import Disk
from edged.store.letterbox import Letterbox
from edged.store.queue import Queue
from edged.store.tail import Ranges


def inspect(
    disk: Disk, letters: Letterbox, queues: list[Queue], needed: Ranges, last: int, pause: Callable[[], bool]
) -> None:
    """What is not there, up to number `last` of the `needed` ranges, is counted as lost by the next flush.

    `pause` leaves the disk to others for a moment; where it returns True, it is time to end.
    """
    try:
        for after, upto in needed:
            at = after
            while at < min(upto, last) and not pause():
                segment = disk.after(at)
                if segment is None or segment.first > at + 1:
                    disk.recount = True  # readings are not there
                if segment is None:
                    break
                at = segment.last
        for queue in queues:
            with queue.turn:
                dead, again = letters.kept(queue.name)
                if (dead, len(again)) != (queue.dead, queue.again):
                    disk.recount = True  # dead letters are not there
    except StoreUnusable:
        pass  # the disk knows, and the next flush mends it
