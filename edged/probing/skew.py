"""This machine's clock against a server's."""

from datetime import timedelta

TOLERATED_MS = 2000  # BBData takes no reading that is further ahead of its own clock


def ahead_ms(date_ms: int, sent_ms: int, received_ms: int) -> int:
    """How far our clock is ahead of the server's at least (below 0: behind), in ms; 0 where they may agree.

    `date_ms` is an answer's Date, which counts whole seconds; it was made at some time between the two others, which
    are ours, of its request and of its arrival.
    """
    least, most = sent_ms - (date_ms + 999), received_ms - date_ms
    return max(least, 0) + min(most, 0)


def told(ahead: int) -> tuple[bool, str]:
    """Whether the clock will do, and what to say of it."""
    if abs(ahead) <= TOLERATED_MS:
        return True, f"agrees with the server's, within {TOLERATED_MS / 1000:g} s"
    by = f"{abs(ahead) / 1000:.1f} s" if abs(ahead) < 120_000 else str(timedelta(seconds=round(abs(ahead) / 1000)))
    where = "ahead of" if ahead > 0 else "behind"
    advice = "timedatectl shows whether it is synchronised, and timedatectl set-ntp true has that done"
    return False, f"this machine's clock is {by} {where} the server's: {advice}"
