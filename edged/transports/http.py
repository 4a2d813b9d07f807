"""HTTP exchanges: one request, one reply, or NoAnswer.  Knows no platform.

Of `requests` only the adapter is used, on which its sessions build: a session would follow redirects with our
credentials, let ~/.netrc replace our Authorization header, keep cookies, and cost a fifth of an exchange's time.
"""

import codecs
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3

from edged import __version__
from edged.errors import NoAnswer
from edged.secret import redact
from edged.transports.connection import Adapter, Link
from edged.transports.deadline import deadlines
from edged.transports.tls import NOT_YET_VALID, FileUnusable, hint

MOST_BODY = 64 * 1024  # bytes of a refusal that are read; more says nothing to us
MOST_ECHO = (
    512 * 1024
)  # of a yes: BBData sends back what it was sent, at most 256 KiB, with a few words for each measure
LONGEST_WAIT_S = 86_400.0  # of a Retry-After: a reading that is held for years is lost
HEADERS = {"User-Agent": f"edged/{__version__}", "Accept-Encoding": "gzip, deflate", "Accept": "application/json"}

# Behind comments and `<?xml ?>`; portals leave out much of what a page should begin with.
_PAGE = re.compile(
    r"(?:\s++|<!--.*?-->|<\?.*?>)*+<(?:!doctype\s+html|(?:html|head|title|meta|link|base|style|script|noscript|body)(?=[\s>/]|\Z))",
    re.IGNORECASE | re.DOTALL,
)
_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_MOST_BEFORE_TITLE = 4096  # characters; a search in all of a hostile page takes seconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """What goes out."""

    url: str
    body: bytes = field(repr=False)  # may hold credentials
    headers: Mapping[str, str] = field(repr=False)  # they do
    method: str = "POST"


@dataclass(frozen=True)
class Reply:
    """What came back, whatever it says."""

    status: int
    body: bytes = b""
    content_type: str = ""
    retry_after_s: float = 0.0
    date_ms: int | None = None  # the server's clock, whole seconds; None: it does not say

    @property
    def is_html(self) -> bool:
        """Whether it is a page, so not the platform's own word but that of a proxy or a captive portal."""
        return "html" in self.content_type.lower() or (self.is_markup and bool(_PAGE.match(self.text)))

    @property
    def is_markup(self) -> bool:
        """Whether it begins as a page would, or XML; so it is no JSON."""
        return self.text.startswith("<")

    @property
    def text(self) -> str:
        """The body, or its beginning, as text, whatever it is; without blanks and a byte order mark ahead of it."""
        body = self.body.removeprefix(codecs.BOM_UTF8).lstrip()
        encoding = "utf-16" if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
        return body[:MOST_BODY].decode(encoding, "replace").lstrip()

    @property
    def excerpt(self) -> str:
        """One line of it for a person; of a page, its title."""
        text = self.text
        if self.is_html and (title := _TITLE.search(text, 0, _MOST_BEFORE_TITLE)):
            text = title[1]
        return line(text)


def line(text: str) -> str:
    """One line of it for a person: printable, at most 200 characters, and blacked out before it is cut."""
    text = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    return text if len(text) <= 200 else text[:199] + "…"


class HttpTransport:
    """One kept-alive connection to one destination."""

    def __init__(self, timeout_s: float, ca_file: Path | None = None, proxy: str = "") -> None:
        """`timeout_s` is for a whole exchange, from connecting to the last byte."""
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._link = Link()
        self._adapter: Adapter | None = None
        self._last: tuple[object, requests.PreparedRequest] | None = None

    def exchange(self, request: Request) -> Reply:
        """Sends the request and waits for its reply.  Raises NoAnswer."""
        deadline = time.monotonic() + self._timeout_s
        self._link.begin(deadline)
        try:
            with deadlines.within(self._timeout_s, self._link.cut):
                reply = self._exchange(request)
            if self._link.is_cut:  # what came before the cut may look whole
                raise OSError("the connection was cut")
            return reply
        except (NoAnswer, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.close()  # nothing of a broken exchange is used again
            late = time.monotonic() >= deadline
            unreached = isinstance(error, NoAnswer)  # and says why
            raise NoAnswer(
                f"no complete answer within {self._timeout_s:g} s" if late and not unreached else _plain(error),
                sent=self._link.is_sent,
                timed_out=late,
                premature=any(getattr(cause, "verify_code", 0) == NOT_YET_VALID for cause in _causes(error)),
                unusable=_is_bad_header(error) or any(isinstance(cause, FileUnusable) for cause in _causes(error)),
            ) from error

    def _exchange(self, request: Request) -> Reply:
        prepared = self._prepare(request)
        adapter = self._adapter = self._adapter or Adapter(self._link, self._ca_file)
        with adapter.send(prepared, timeout=self._timeout_s, stream=True, proxies=self._proxies) as response:
            most = MOST_ECHO if response.status_code < 300 else MOST_BODY
            body = response.raw.read(most, decode_content=True) or b""
            if not response.raw.isclosed() and response.raw.read(1):
                response.raw.close()  # a flood: the connection is given up rather than read to its end
            headers = response.headers
            now_ms = date_ms(headers.get("Date", ""))
            wait_s = retry_after(headers.get("Retry-After", ""), now_ms)
            return Reply(response.status_code, body, headers.get("Content-Type", ""), wait_s, now_ms)

    def _prepare(self, request: Request) -> requests.PreparedRequest:
        """The request as `requests` wants it: the one before with another body, where that is all that is new."""
        head = (request.method, request.url, dict(request.headers))
        if self._last is None or self._last[0] != head:
            self._last = (head, requests.Request(*head[:2], HEADERS | head[2]).prepare())
        prepared = self._last[1]
        prepared.prepare_body(request.body, None)
        return prepared

    def abort(self) -> None:
        """Ends the exchange under way, from another thread."""
        self._link.cut()

    def close(self) -> None:
        """Closes the connection; the next exchange opens another."""
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None


def retry_after(text: str, now_ms: int | None) -> float:
    """Seconds that a Retry-After header asks to wait: 0 for a malformed one, at most a day.

    A date counts from the answer's own Date (`now_ms`), since our clock may be wrong.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):  # str.isdigit() would take ² as well
        return min(float(text[:12]), LONGEST_WAIT_S)
    until_ms = date_ms(text)
    return 0.0 if until_ms is None or now_ms is None else min(max((until_ms - now_ms) / 1000, 0.0), LONGEST_WAIT_S)


def date_ms(text: str) -> int | None:
    """A header's date in milliseconds since 1970; None where it is none."""
    try:
        return (parsedate_to_datetime(text) - _EPOCH) // timedelta(milliseconds=1) if text else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made of, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        inner = (getattr(cause, "reason", None), *cause.args)
        cause = next((each for each in inner if isinstance(each, BaseException)), None)


def _is_bad_header(error: BaseException) -> bool:
    # requests 2.32 leaves a newline at the end to `http.client`, which quotes the header.
    return isinstance(error, requests.exceptions.InvalidHeader | UnicodeEncodeError) or "Invalid header" in str(error)


def _plain(error: BaseException) -> str:
    """The cause of a failed exchange in a line, without numbers, objects' addresses, headers or the request's URL."""
    if _is_bad_header(error):
        return "a header cannot be sent: it holds a character that HTTP does not allow; check the credentials"
    *_, cause = _causes(error)
    reason = getattr(cause, "reason", None)
    text = reason if isinstance(reason, str) and not isinstance(cause, OSError) else str(cause)
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>: |\w*(Connection|Pool)\([^)]*\): ", "", text)
    text = re.sub(r"\[(Errno -?\d+|SSL[^]]*)\] | \(_ssl\.c:\d+\)", "", text)
    return line(text + hint(cause)) or type(cause).__name__
