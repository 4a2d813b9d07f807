"""The objects that BBData's stand-ins know, whichever way a measure comes in."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Known(NamedTuple):
    """An object's token, and the type of its unit."""

    token: str
    type: str


MADE_UP = {
    4711: Known("0123456789abcdef0123456789abcdef", "float"),
    4712: Known("123456789abcdef0123456789abcdef0", "int"),
    4713: Known("23456789abcdef0123456789abcdef01", "bool"),
    4714: Known("3456789abcdef0123456789abcdef012", "string"),
    4715: Known("456789abcdef0123456789abcdef0123", "float"),
}


def of(targets: Iterable[Mapping[str, Any]]) -> dict[int, Known]:
    """The objects of a configured destination; one that does not say its type takes any value."""
    return {target["object"]: Known(target["token"], target.get("type") or "string") for target in targets}


def example(platform: str, keys: str, objects: Mapping[int, Known]) -> str:
    """The TOML table of a destination for these objects, the first of them in use; `keys` are the lines of its own."""
    lines = [
        f'"SENSOR.QUANTITY" = {{ object = {number}, token = "{known.token}", type = "{known.type}" }}'
        for number, known in objects.items()
    ]
    return "\n".join(
        [
            f"[destinations.{platform}]",
            f'platform = "{platform}"',
            keys,
            f"[destinations.{platform}.series]",
            lines[0].replace("SENSOR.QUANTITY", "greenhouse.temperature"),
            *(f"# {line}" for line in lines[1:]),
            "",
        ]
    )
