"""A request as a person may see it: as it would be sent, without a secret in it."""

import json
from collections.abc import Iterable
from typing import Any

from edged.platforms import Item, Platform
from edged.probing.trials import requests_of
from edged.secret import public, replaced

_MASK = public("***")
_REQUESTS = 3  # that are shown
_LINES = 40  # of each
_WIDTH = 120  # of a line that holds a whole object


def masked(value: Any) -> Any:
    """Options or a target with `***` for each secret in them, readable or not."""
    return replaced(value, lambda secret: _MASK)


def preview(kind: type[Platform], options: Any, items: Iterable[Item]) -> str:
    """The requests that would carry the items."""
    platform = kind(masked(options))
    groups = list(requests_of(platform, [item._replace(target=masked(item.target)) for item in items]))
    shown = [_shown(platform.encode(group)) for group in groups[:_REQUESTS]]
    more = len(groups) - _REQUESTS
    return "\n\n".join([*shown, *([f"... and {more} more"] if more > 0 else [])])


def _shown(request: Any) -> str:
    """An HTTP request, or the messages of MQTT."""
    if isinstance(request, tuple):
        text = "\n".join(f"PUBLISH {each.topic} ({_how(each)})\n{_pretty(each.payload)}" for each in request)
    else:
        headers = [f"{name}: {value}" for name, value in request.headers.items()]
        text = "\n".join([f"{request.method} {request.url}", *headers, "", _pretty(request.body)])
    lines = text.splitlines()
    rest = len(lines) - _LINES
    return "\n".join(lines if rest <= 0 else [*lines[:_LINES], f"... and {rest} more lines"])


def _how(message: Any) -> str:
    return f"QoS {message.qos}" + (", retained" if message.retain else "")


def _pretty(body: bytes) -> str:
    """JSON over several lines; any other text as it is."""
    text = body.decode("utf-8", "replace")
    try:
        return _spread(json.loads(text))
    except ValueError:
        return text


def _spread(value: Any, indent: str = "") -> str:
    """JSON with a line for each member, but for objects and arrays that hold no others and fit into one."""
    plain = json.dumps(value, ensure_ascii=False)
    inner = list(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else []
    if len(plain) <= _WIDTH and not any(isinstance(each, dict | list) for each in inner):
        return plain
    if isinstance(value, dict):
        members = [
            f"{json.dumps(key, ensure_ascii=False)}: {_spread(each, indent + '  ')}" for key, each in value.items()
        ]
    elif isinstance(value, list):
        members = [_spread(each, indent + "  ") for each in value]
    else:
        return plain
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(f"{indent}  {member}" for member in members) + f"\n{indent}{closing}"
