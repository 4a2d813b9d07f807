"""Tests of drivers, which drive `read` by hand: no time passes."""

from edged.drivers import Read
from edged.reading import Values


def finish(read: Read) -> Values:
    """What a read returns in the end."""
    while True:
        try:
            next(read)
        except StopIteration as end:
            values: Values = end.value
            return values
