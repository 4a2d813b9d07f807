"""Whether a destination can be reached and takes what it is to get, asked without storing anything.

What is told of a certificate, a clock or an answer is worked out by pure functions, apart from what asks for it.
"""

from typing import NamedTuple


class Finding(NamedTuple):
    """What one step found: right, wrong, or (None) not to be told."""

    step: str
    ok: bool | None
    message: str  # for a person: what was found and, where it is wrong, what to do
