"""Whether this user can read what a destination needs."""

import shlex
from typing import Any

from edged.config.config import Destination
from edged.errors import SecretUnreadable
from edged.secret import Secret, within

_SERVICE = "sudo -u edged"  # as the README has it installed


def of(destination: Destination) -> list[Secret]:
    """All secrets that the destination needs, each once."""
    targets = [target for _, target in destination.mapping.rules]
    return list(dict.fromkeys(within(destination.options, *targets)))


def trouble(secret: Secret, destination: str) -> str:
    """Why it cannot be read, and what to do; or nothing."""
    try:
        secret.reveal()
    except SecretUnreadable as error:
        if not isinstance(error.__context__, PermissionError):
            return str(error)
        return f"{error}; as the service sees it: {_SERVICE} edged probe {shlex.quote(destination)}"
    return ""


def readable(options: Any) -> bool:
    """Whether all secrets in options or in a target can be read."""
    return not any(trouble(secret, "") for secret in within(options))
