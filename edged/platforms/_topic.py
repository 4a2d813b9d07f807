"""MQTT's rules for topics, other texts and host names, and how any name becomes a level of a topic.

Source: MQTT 3.1.1, sections 1.5.3 and 4.7.
"""

import ipaddress
import re

_LONGEST = 65_535  # bytes
# Wildcards, the separator, the mark of the broker's own topics, and what UTF-8 in MQTT had better not hold: control
# characters, surrogates, non-characters.  The percent sign is the mark of what stands for another.
_FOREIGN = re.compile(
    r"[%+#/$\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)


def level(name: str) -> str:
    """A name as (part of) one level of a topic.  No two names become the same one.

    What cannot stand there is written as in a URL: `HM-1500 #1` becomes `HM-1500 %231`, `a/b` becomes `a%2Fb`.
    """
    return _FOREIGN.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")), name
    )


def topic_problem(topic: str) -> str:
    """Why nothing can be published there; empty: it can."""
    if not topic or topic.startswith("$") or _FOREIGN.search(re.sub("[%/$]", "", topic)):
        return f"{topic!r} is no topic: not empty, without + and # and control characters, not beginning with $"
    if problem := text_problem(topic):
        return f"{topic[:40]!r}... is no topic: {problem}"
    return ""


def text_problem(text: str) -> str:
    """Why MQTT cannot carry it as an id, a name or a last will; empty: it can."""
    return f"longer than {_LONGEST} bytes" if len(text.encode("utf-8", "surrogatepass")) > _LONGEST else ""


def host_problem(host: str) -> str:
    """Why it is neither a name (no URL, no port, no empty label) nor an address; empty: it is one."""
    try:
        good = re.fullmatch(r"[^\s/:@.]+(\.[^\s/:@.]+)*\.?", host) or ipaddress.IPv6Address(host)
    except ValueError:
        good = None
    return "" if good else f"{host!r} is no host's name or address; the port is a key of its own"


def is_loopback(host: str) -> bool:
    """Whether it is this machine."""
    return host == "localhost" or host == "::1" or host.startswith("127.")
