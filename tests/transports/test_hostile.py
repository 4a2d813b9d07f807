"""Servers that answer as nobody should: an exchange ends, memory stays flat, and credentials go nowhere else."""

import contextlib
import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from edged.errors import NoAnswer
from edged.transports.http import MOST_BODY, MOST_ECHO, HttpTransport, Reply
from tests.transports.http_server import PATIENCE_S, Server, chunked, closing, post, reply, reset_after

MIB = 2**20


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    made = HttpTransport(PATIENCE_S)
    yield made
    made.close()


@contextlib.contextmanager
def flat(most: int) -> Iterator[None]:
    """Fails where memory rises by more than so many bytes at any time."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < most


# --- slow


@pytest.mark.pain("B9")
@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([byte]) for byte in reply(200, b"{}", "X-A: " + "b" * 200)],
        [b"HTTP/1.1 500 Oops\r\nContent-Length: 10000000\r\n\r\n", *[b"x"] * 100],
        [b"HTTP/1.1 100 Continue\r\n\r\n", *[b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] * 100],
    ],
    ids=["head", "body", "1xx"],
)
def test_an_answer_byte_by_byte_ends_at_the_deadline(pieces):
    with Server(drip_all(pieces, 0.02)) as server, closing(0.4) as transport:
        started = time.monotonic()
        with pytest.raises(NoAnswer, match=r"no complete answer within 0\.4 s") as caught:
            transport.exchange(post(server.url))
        assert time.monotonic() - started < 4
    assert (caught.value.sent, caught.value.timed_out) == (True, True)


def drip_all(pieces: list[bytes], pause_s: float) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)

    return answer


# --- large


def test_a_flood_is_not_read_to_its_end(transport):
    sent = 0

    def flood(connection):
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x" * 100_000)
            sent += 100_000

    with Server(flood, reply()) as server:
        assert transport.exchange(post(server.url)).body == b"x" * MOST_ECHO
        assert transport.exchange(post(server.url)).body == b"{}"
        assert server.connections == 2
    assert sent < 20_000_000


LARGE = 10_000_000
PIECE = b"<p>error</p>\n" * 5000


def pour(head: str, chunk: Callable[[bytes], bytes] = bytes) -> Callable[[socket.socket], None]:
    """A head, and then so much that it matters."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        piece, sent = chunk(PIECE), 0
        while sent < LARGE:
            connection.sendall(piece)
            sent += len(PIECE)
        raise ConnectionResetError  # done with it

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pour(f"HTTP/1.1 500 Oops\nContent-Type: text/html\nContent-Length: {LARGE}"),
        pour("HTTP/1.1 400 Bad Request\nConnection: close"),
        pour(
            "HTTP/1.1 502 Bad Gateway\nTransfer-Encoding: chunked", lambda piece: b"%x\r\n%b\r\n" % (len(piece), piece)
        ),
        reply(503, gzip.compress(b"\0" * 5 * LARGE), "Content-Encoding: gzip"),
        reply(503, zlib.compress(b"\0" * 5 * LARGE), "Content-Encoding: deflate"),
        pour(f"HTTP/1.1 200 OK\nContent-Length: {LARGE}"),
        reply(503, gzip.compress(gzip.compress(b"\0" * 5 * LARGE)), "Content-Encoding: gzip, gzip"),
    ],
    ids=["length", "to the end", "chunked", "gzip", "deflate", "a yes", "gzip twice"],
)
def test_a_large_body_takes_no_memory(transport, answer):
    with Server(answer) as server:
        with contextlib.suppress(NoAnswer):  # what is loaded by the first one stays
            transport.exchange(post(server.url))
        with flat(2 * MIB):
            for _ in range(3):
                got = transport.exchange(post(server.url))
                assert len(got.body) <= (MOST_BODY if got.status >= 400 else MOST_ECHO)
                assert len(got.excerpt) <= 200


def test_a_flood_of_headers_is_no_answer_and_takes_little_memory(transport):
    line = b"X-Header: " + b"y" * 60_000 + b"\r\n"

    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(1000):
            connection.sendall(line)

    with Server(flood) as server, flat(20 * MIB), pytest.raises(NoAnswer):
        transport.exchange(post(server.url))


# --- cut off


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTT",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=range(12),
)
def test_half_an_answer_is_none(transport, sent):
    with Server(reset_after(sent), reply()) as server:
        with pytest.raises(NoAnswer) as caught:
            transport.exchange(post(server.url))
        assert len(str(caught.value).splitlines()) == 1
        assert caught.value.sent
        assert transport.exchange(post(server.url)).status == 200


ANSWERS = {
    "length": reply(201, b'{"message":"ALL_INFO_PROCESSED"}', "Content-Type: application/json"),
    "chunked": chunked(b'{"message":', b'"ALL_INFO_PROCESSED"}'),
    "compressed": reply(200, gzip.compress(b'{"message":"ALL_INFO_PROCESSED"}'), "Content-Encoding: gzip"),
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + reply(200, b"{}"),
}


def end_after(sent: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        raise ConnectionResetError

    return answer


@pytest.mark.parametrize("cut", [end_after, reset_after])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_cut_at_any_byte_is_no_answer(name, cut):
    """Not even behind `200 OK`: a portal's page may have been cut there."""
    whole = ANSWERS[name]
    with Server(whole) as server, closing() as transport:
        expected = transport.exchange(post(server.url))
    cuts = [whole[:length] for length in range(len(whole))]
    got = [answer_to(cut(sent)) for sent in cuts]
    missed = [sent for sent, each in zip(cuts, got, strict=True) if not (isinstance(each, NoAnswer) and each.sent)]
    assert len(missed) <= (4 if name == "chunked" else 0), "the 0 of the last chunk says that all was there"
    assert all(each == expected for each in got if isinstance(each, Reply))


def answer_to(answer: Callable[[socket.socket], None]) -> Reply | NoAnswer:
    with Server(answer) as server, closing() as transport:
        try:
            return transport.exchange(post(server.url))
        except NoAnswer as error:
            return error


def test_a_body_that_ends_with_the_connection_may_be_short(transport):
    """As old servers answer; nothing tells whether it is whole, so the platform looks at it."""
    with Server(end_after(b"HTTP/1.0 200 OK\r\n\r\n{")) as server:
        assert transport.exchange(post(server.url)) == Reply(200, b"{")


# --- elsewhere


@pytest.mark.statement(2)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_redirect_is_an_answer_and_nothing_goes_elsewhere(transport, status, method):
    with Server(reply(200)) as other:
        moved = reply(status, b"", f"Location: {other.url}", f"Refresh: 0; url={other.url}", f"Link: <{other.url}>")
        with Server(moved, reply()) as server:
            request = post(server.url)
            for expected in (status, 200):
                got = transport.exchange(type(request)(request.url, request.body, request.headers, method))
                assert got.status == expected
            assert len(server.requests) == 2
        assert other.connections == 0


@pytest.mark.statement(2)
def test_credentials_that_are_asked_for_are_not_given(transport):
    asks = 'WWW-Authenticate: Basic realm="x"', 'Proxy-Authenticate: Basic realm="y"'
    with Server(reply(401, b"", *asks), reply(407, b"", *asks), reply()) as server:
        assert [transport.exchange(post(server.url)).status for _ in range(3)] == [401, 407, 200]
        assert len({request.lower() for request in server.requests}) == 1


@pytest.mark.parametrize("location", ["http://[bad/", "//", "http://a:b/", "\xff"])
def test_a_location_that_is_none_is_not_looked_at(transport, location):
    with Server(reply(302, b"moved", f"Location: {location}")) as server:
        assert transport.exchange(post(server.url)) == Reply(302, b"moved")


def test_a_redirects_body_is_not_read_to_its_end(transport):
    sent = 0

    def flood(connection):
        nonlocal sent
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x" * 100_000)
            sent += 100_000

    with Server(flood) as server:
        assert transport.exchange(post(server.url)) == Reply(302, b"x" * MOST_BODY)
    assert sent < 20_000_000


# --- malformed


@pytest.mark.parametrize("status", [100, 101, 102, 103, 199])
def test_what_comes_before_the_answer_is_not_the_answer(transport, status):
    """Else the true answer would be taken for that of the next request."""
    early = reply(status, b"", "Link: </x>", length=False)
    with Server(early + reply(201, b"first"), early * 5 + reply(400, b"second"), reply(200, b"third")) as server:
        got = [transport.exchange(post(server.url)) for _ in range(3)]
        assert [(each.status, each.body) for each in got] == [(201, b"first"), (400, b"second"), (200, b"third")]
        assert server.connections == 1


def test_what_comes_behind_the_answer_is_not_the_next_one(transport):
    with Server(reply(200, b"{}") + reply(500, b"{}"), reply(201)) as server:
        assert [transport.exchange(post(server.url)).status for _ in range(2)] == [200, 201]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Content-Length: 2", "Content-Length: 2"], Reply(200, b"{}")),
        (
            ["Content-Length: 2", "Content-Type: text/html", "Content-Type: text/plain"],
            Reply(200, b"{}", "text/html, text/plain"),
        ),
        (["Content-Length: 2", "Retry-After: 5", "Retry-After: 7"], Reply(200, b"{}")),
        (["Content-Length: 2", "Retry-After: -1"], Reply(200, b"{}")),
        (["Content-Length: 2", "no header at all"], Reply(200, b"{}")),
        (["Content-Length: 2", "X-\xff: \xfe"], Reply(200, b"{}")),
        (["Content-Length: 2", "Content-Encoding: unheard-of"], Reply(200, b"{}")),
        (["Content-Length: -7", "Connection: close"], Reply(200, b"{}")),
        (["Content-Length: two", "Connection: close"], Reply(200, b"{}")),
    ],
)
def test_odd_headers_are_borne(headers, expected, caplog):
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode("latin-1")
    with Server(end_after(head + b"{}")) as server, closing() as transport:
        assert transport.exchange(post(server.url)) == expected
    assert caplog.records == []


@pytest.mark.parametrize(
    "headers", [["Content-Length: 2", "Content-Length: 3"], ["Content-Encoding: gzip", "Content-Length: 2"]]
)
def test_headers_that_contradict_the_body_are_no_answer(headers):
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode()
    with Server(end_after(head + b"{}")) as server, closing() as transport, pytest.raises(NoAnswer):
        transport.exchange(post(server.url))


@pytest.mark.parametrize("body", [b"\xff\xfe{", b'{"a": "\xc3', b'{"message":', b"\0" * 10, "ü".encode("utf-16")])
def test_a_body_that_is_no_text_has_an_excerpt_all_the_same(transport, body):
    with Server(reply(400, body)) as server:
        got = transport.exchange(post(server.url))
    assert got.body == body
    assert got.excerpt == "" or got.excerpt.isprintable()
