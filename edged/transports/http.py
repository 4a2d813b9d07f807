"""HTTP exchanges: one request, one reply, or NoAnswer.  Knows no platform.

`requests` left alone would build a TLS context for each connection (28 ms of CPU against 4), trust certifi's list
instead of the system's, follow redirects with our credentials and let ~/.netrc replace our Authorization header; all
four are turned off here.
"""

import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from edged.errors import NoAnswer
from edged.secret import redact
from edged.transports.deadline import deadlines
from edged.transports.tls import context

MOST_BODY = 64 * 1024  # bytes of an answer that are read; more says nothing to us
LONGEST_WAIT_S = 86_400.0  # of a Retry-After: a reading that is held for years is lost


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

    @property
    def is_html(self) -> bool:
        """Whether it is a page, so not the platform's own word but that of a proxy or a captive portal."""
        start = self.body[:256].lstrip().lower()
        return "html" in self.content_type.lower() or start.startswith((b"<!doctype html", b"<html"))

    @property
    def excerpt(self) -> str:
        """One line of it for a person; of a page, its title."""
        text = self.body.decode("utf-8", "replace")
        if self.is_html and (title := re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)):
            text = title[1]
        return line(text)


def line(text: str) -> str:
    """One line of it for a person: printable, at most 200 characters, and blacked out before it is cut."""
    text = " ".join("".join(c if c.isprintable() else " " for c in redact(text)).split())
    return text if len(text) <= 200 else text[:199] + "…"


class HttpTransport:
    """One keep-alive session to one destination."""

    def __init__(self, timeout_s: float, ca_file: Path | None = None, proxy: str = "") -> None:
        """`timeout_s` is for a whole exchange, from connecting to the last byte."""
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._session: requests.Session | None = None
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._link = _Link()
        self._last: tuple[object, requests.PreparedRequest] | None = None

    def exchange(self, request: Request) -> Reply:
        """Sends the request and waits for its reply.  Raises NoAnswer."""
        self._link.begin()
        started = time.monotonic()
        try:
            with deadlines.within(self._timeout_s, self._link.cut):
                reply = self._exchange(request)
            if self._link.is_cut:  # what came before the cut may look whole
                raise OSError("the connection was cut")
            return reply
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.close()  # nothing of a broken exchange is used again
            if time.monotonic() - started >= self._timeout_s:
                raise NoAnswer(f"no complete answer within {self._timeout_s:g} s") from error
            raise NoAnswer(_plain(error)) from error

    def _exchange(self, request: Request) -> Reply:
        session = self._session = self._session or self._open()
        prepared = self._prepare(session, request)
        with session.send(
            prepared, timeout=self._timeout_s, allow_redirects=False, stream=True, proxies=self._proxies
        ) as response:
            body = response.raw.read(MOST_BODY, decode_content=True) or b""
            if not response.raw.isclosed() and response.raw.read(1):
                response.raw.close()  # a flood: the connection is given up rather than read to its end
            return Reply(
                response.status_code,
                body,
                response.headers.get("Content-Type", ""),
                retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", "")),
            )

    def _prepare(self, session: requests.Session, request: Request) -> requests.PreparedRequest:
        """The request as `requests` wants it: the one before with another body, where that is all that is new."""
        head = (request.method, request.url, dict(request.headers))
        if self._last is None or self._last[0] != head:
            self._last = (head, session.prepare_request(requests.Request(*head)))
        prepared = self._last[1]
        prepared.prepare_body(request.body, None)
        return prepared

    def _open(self) -> requests.Session:
        session = _Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # no platform means any
        session.headers.update({"User-Agent": "edged", "Accept": "application/json"})
        adapter = _Adapter(context(self._ca_file), self._link)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def abort(self) -> None:
        """Ends the exchange under way, from another thread."""
        self._link.cut()

    def close(self) -> None:
        """Closes the connection; the next exchange opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None


def retry_after(text: str, date: str) -> float:
    """Seconds that a Retry-After header asks to wait: 0 for a malformed one, at most a day.

    A date counts from the answer's own Date, since our clock may be wrong.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):  # str.isdigit() would take ² as well
        return min(float(text[:12]), LONGEST_WAIT_S)
    try:
        wait = (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(wait, 0.0), LONGEST_WAIT_S)


class _Link:
    """The connection of the exchange under way, so that another thread can cut it."""

    def __init__(self) -> None:
        self._socket: Any = None
        self.is_cut = False

    def begin(self) -> None:
        self.is_cut = False

    def use(self, sock: Any) -> None:
        self._socket = sock
        if self.is_cut:  # before there was anything to cut
            self.cut()

    def cut(self) -> None:
        self.is_cut = True
        sock = self._socket
        sock = getattr(sock, "socket", sock)  # of TLS within a proxy's TLS
        try:
            # Both ways, so that a blocked read returns; not TLS's own shutdown, after which a write goes out in plain.
            if sock is not None:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # closed already


class _Session(requests.Session):
    """Even where it may not follow a redirect, `requests` would read the whole body and resolve the location."""

    def get_redirect_target(self, resp: Any) -> None:
        """None: a redirect is an answer like any other."""


class _Adapter(HTTPAdapter):
    """Our TLS context instead of one from certifi's list, and connections that show us their sockets."""

    def __init__(self, tls: ssl.SSLContext, link: _Link) -> None:
        self._tls = tls
        self._pools = {
            "http": _pool(urllib3.HTTPConnectionPool, link),
            "https": _pool(urllib3.HTTPSConnectionPool, link),
        }
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs, ssl_context=self._tls)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leaves the context as it is; `requests` would load certifi's list into it."""


def _pool(base: type[Any], link: _Link) -> type[Any]:
    plain: Any = base.ConnectionCls

    class Connection(plain):  # type: ignore[misc]  # its base is known at run time only
        _raw: socket.socket | None = None

        def connect(self) -> None:
            try:
                super().connect()
            finally:
                link.use(self.sock)
                if self._raw is not None:
                    self._raw.close()

        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            self._raw = sock.dup()  # a handshake can hang as well, and TLS takes the socket itself away
            link.use(self._raw)
            return sock

    return type("Pool", (base,), {"ConnectionCls": Connection})


def _plain(error: BaseException) -> str:
    """The cause of a failed exchange in a line, without objects' addresses, headers or the request's URL."""
    if isinstance(error, requests.exceptions.InvalidHeader | UnicodeEncodeError):
        return "a header cannot be sent: it holds a character that HTTP does not allow; check the credentials"
    while isinstance(reason := getattr(error, "reason", None) or (error.args or (None,))[0], BaseException):
        error = reason
    text = str(reason if isinstance(reason, str) and not isinstance(error, OSError) else error)
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>: |\w*(Connection|Pool)\([^)]*\): ", "", text)
    return line(text) or type(error).__name__
