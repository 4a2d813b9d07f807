"""The connection below an HTTP exchange: the adapter of `requests`, and the few things about it that are ours.

Left alone it would build a TLS context for each connection (28 ms of CPU against 4), trust certifi's list instead of
the system's, and give each of a host's addresses the time of the whole exchange; and `http.client` would take half a
head for an answer, and a 103 for the final one.
"""

import http.client
import logging
import math
import socket
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from edged.errors import NoAnswer
from edged.transports.dial import dial
from edged.transports.tls import context

# Both say once more, and to people who can do nothing about it, what an exchange's outcome says.
logging.getLogger("urllib3").setLevel(logging.ERROR)  # a malformed header, with a traceback for each
urllib3.disable_warnings(urllib3.exceptions.SystemTimeWarning)  # a clock that is not set yet


class Link:
    """The connection of the exchange under way: another thread can cut it, and it knows whether a request went out."""

    def __init__(self) -> None:
        self._socket: Any = None
        self.deadline = math.inf  # of the exchange; monotonic, s
        self.is_cut = False
        self.is_sent = False  # at least in part

    def begin(self, deadline: float) -> None:
        """Another exchange."""
        self.deadline = deadline
        self.is_cut = self.is_sent = False

    def show(self, sock: socket.socket) -> None:
        """This is the socket that is about to connect.  Raises NoAnswer if the exchange has been cut."""
        self._socket = sock
        if self.is_cut:
            raise NoAnswer("the connection was cut")

    def use(self, sock: Any) -> None:
        """This is its socket from now on."""
        self._socket = sock
        if self.is_cut:  # before there was anything to cut
            self.cut()

    def cut(self) -> None:
        """Ends the exchange, from any thread; does not block."""
        self.is_cut = True
        sock = self._socket
        sock = getattr(sock, "socket", sock)  # of TLS within a proxy's TLS
        try:
            # Both ways, so that a blocked read returns; not TLS's own shutdown, after which a write goes out in plain.
            if sock is not None:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # closed already


class Adapter(HTTPAdapter):
    """One connection at a time, verified by our TLS context, and shown to a link."""

    def __init__(self, link: Link, ca_file: Path | None) -> None:
        self._pools = {
            "http": _pool(urllib3.HTTPConnectionPool, link, ca_file),
            "https": _pool(urllib3.HTTPSConnectionPool, link, ca_file),
        }
        self._found: tuple[str | None, Any] = None, None
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leaves the context as it is; `requests` would load certifi's list into it."""

    def get_connection_with_tls_context(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """The pool of a request's server; looked for again for another URL only, since all else stays the same."""
        if request.url != self._found[0]:
            self._found = request.url, super().get_connection_with_tls_context(request, *args, **kwargs)
        return self._found[1]

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """The answer without cookies and guesses at its text's encoding, which nobody asks for here."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        return response


def _pool(base: type[Any], link: Link, ca_file: Path | None) -> type[Any]:
    plain: Any = base.ConnectionCls

    class Connection(plain):  # type: ignore[misc]  # its base is known at run time only
        response_class = _Response
        _raw: socket.socket | None = None
        _is_connecting = False

        def connect(self) -> None:
            self._is_connecting = True
            try:
                if base is urllib3.HTTPSConnectionPool:
                    self.ssl_context = context(ca_file)  # asked for each connection: the file may have changed
                super().connect()
            finally:
                self._is_connecting = False
                link.use(self.sock)
                if self._raw is not None:
                    self._raw.close()

        def _new_conn(self) -> Any:
            # Its NoAnswer goes through `urllib3` and `requests` as it is: neither retries, and both let go of the rest.
            sock = dial(self._dns_host.strip("[]"), self.port, None, link.deadline, link.show)
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(self.timeout)
            self._raw = sock.dup()  # a handshake can hang as well, and TLS takes the socket itself away
            link.use(self._raw)
            return sock

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            if link.is_cut:
                raise OSError("the connection was cut")
            link.is_sent |= not self._is_connecting  # a CONNECT to a proxy is none of the request
            super().send(data)

    return type("Pool", (base,), {"ConnectionCls": Connection})


class _Response(http.client.HTTPResponse):
    """An answer that begins with its final status, behind any number of 1xx (RFC 9110, 15.2), and whose head is whole.

    A 103 taken for the answer would leave the true one to the next request, and the half head of a portal's page says
    "200 OK" without a word of the page.
    """

    fp: Any
    status: int

    def begin(self) -> None:
        file, self.fp = self.fp, _Head(self.fp)
        try:
            super().begin()
            while 100 <= self.status < 200:
                self.headers = self.msg = None  # type: ignore[assignment]  # else it would not begin again
                super().begin()
        finally:
            self.fp = self.fp and file  # None: closed, since it is no HTTP


class _Head:
    """An answer's head, line by line, none of which may be cut short."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(limit)
        if len(line) < limit and not line.endswith(b"\n"):
            raise http.client.RemoteDisconnected("the connection ended before the answer's head did")
        return line
