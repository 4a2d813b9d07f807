"""What goes in and out of a stand-in, and what it remembers of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from edged.reading import Value


@dataclass(frozen=True)
class Violation:
    """Something that a correct client never does, by the number of the statement that it breaks; 0: the protocol."""

    statement: int
    text: str


@dataclass(frozen=True)
class Accepted:
    """A reading that the stand-in has stored."""

    target: str  # Databoom: the signal; BBData: the object's id; Datacake: device/FIELD; plain MQTT: the topic
    time_ms: int
    value: Value


@dataclass
class Request:
    """A request that arrived; `status` is 0 until it is answered, and stays so where the answer was cut off."""

    method: str
    path: str  # as on the request line, with the query
    headers: Message
    body: bytes
    arrived: float  # s, monotonic
    status: int = 0

    @property
    def route(self) -> str:
        """The path without the query, percent-decoded."""
        return unquote(urlsplit(self.path).path)

    @property
    def query(self) -> dict[str, str]:
        """The query; a key without a value has the empty string."""
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def values(self, key: str) -> list[str]:
        """What the query says for a key, as often as it does."""
        return [value for name, value in parse_qsl(urlsplit(self.path).query, keep_blank_values=True) if name == key]

    @property
    def is_json(self) -> bool:
        """Whether the body is declared to be JSON (parameters are allowed)."""
        return (self.headers.get("Content-Type") or "").split(";")[0].strip().lower() == "application/json"


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(
        cls, status: int, document: Any, *, indent: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Self:
        """An answer with a JSON body."""
        text = json.dumps(document, indent=indent, ensure_ascii=False)
        # A lone surrogate can be written in JSON but not in UTF-8: it goes back as a question mark.
        return cls(status, text.encode(errors="replace"), {"Content-Type": "application/json", **(headers or {})})

    @property
    def is_html(self) -> bool:
        """Whether this is a page for people, which no client may take for the platform's own word."""
        return self.body.lstrip()[:1] == b"<"

    def encode(self) -> bytes:
        """The bytes for the wire."""
        known = self.status in set(HTTPStatus)
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase if known else 'Unknown'}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


class Refusal(Exception):
    """Ends the treatment of a request with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


@dataclass(frozen=True)
class Fault:
    """One scripted answer instead of the normal one."""

    status: int = 503  # 0: the platform's own answer, only late or cut (with `store`)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    store: bool = False  # treat and store the request first, as if nothing were wrong
    cut: bool = False  # close the connection without an answer, or after `cut_after` bytes of it
    cut_after: int = 0
    reset: bool = False  # cut with RST instead of FIN
    delay_s: float = 0.0  # before the answer
    trickle_s: float = 0.0  # before each byte of it

    def __post_init__(self) -> None:
        if self.status == 0 and not self.store:
            raise ValueError("the platform's own answer (status 0) needs store=True")
        if self.reset and not self.cut:
            raise ValueError("reset=True says how to cut and needs cut=True")

    def reply(self, own: Reply | None) -> Reply:
        """The scripted reply, or the platform's `own` one where that is asked for."""
        if self.status == 0 and own is not None:
            return own
        return Reply(self.status, self.body, self.headers)
