"""The sums of a config in words, with units for people."""

from edged.config.config import Config
from edged.sums.figures import Sums

_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_SPANS = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"))


def in_words(sums: Sums, config: Config) -> list[str]:
    """A few lines: what it comes to a day, and how each queue fares."""
    network = size(sums.network_per_month.total)
    lines = [
        f"{sums.readings_per_day:,.0f} readings and {sums.requests_per_day:,.0f} requests a day,"
        f" {network} over the network a month",
        f"writes {size(sums.card_bytes_per_day)} a day to the card, {size(sums.card_bytes_per_day_offline)}"
        " without network",
    ]
    for name, lasts_s in sums.queue_lasts_s.items():
        bounds = config.destinations[name].bounds
        bound = f"max_size {binary(bounds.max_size)}"
        if bounds.max_age_s is not None and lasts_s >= bounds.max_age_s:
            bound = f"max_age {span(bounds.max_age_s)}"
        drained = ""
        if name in sums.grows_per_day:
            drained = "; a backlog is never drained, since readings come faster than they can go"
        elif name in sums.drain_s:
            drained = f"; a day's backlog is drained in {span(sums.drain_s[name])}"
        lines.append(f"{name}: the queue lasts {span(lasts_s)} without network ({bound}){drained}")
    return lines + list(sums.notes)


def size(number: float | None) -> str:
    """Bytes: `4.2 MB`."""
    return "an unknown number of bytes" if number is None else _scaled(number, _SIZES, "bytes")


def binary(number: float) -> str:
    """Bytes as the config has them: `256 MiB`."""
    return _scaled(number, _BINARY, "bytes")


def span(seconds: float) -> str:
    """A time: `41 days`, `2.6 h`."""
    return _scaled(seconds, _SPANS, "s")


def _scaled(number: float, units: tuple[tuple[float, str], ...], smallest: str) -> str:
    """Two digits or more in the largest unit of which there is one."""
    factor, unit = next(((factor, unit) for factor, unit in units if number >= factor), (1, smallest))
    number /= factor
    return f"{number:.1f} {unit}".replace(".0 ", " ") if number < 10 else f"{number:,.0f} {unit}"
