"""The control socket: the wire, the file, and what bad clients do to it."""

import json
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from edged import __version__
from edged.cli._running import NotRunning, ask, call
from edged.errors import EdgedError
from edged.monitoring import control, socketfile
from edged.monitoring.control import Answer, Server, item, progress
from edged.secret import plain
from tests.conftest import without_root


@pytest.fixture(autouse=True)
def no_runtime_folders(monkeypatch):
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture
def serve():
    """Starts servers; ends those that are left."""
    servers = []

    def start(state_dir: Path, **actions: control.Action) -> Server:
        state_dir.mkdir(exist_ok=True)
        server = Server(state_dir, actions)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def client(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def talk(path: Path, request: bytes) -> list[Any]:
    """All that comes on one connection."""
    with client(path) as connection, connection.makefile("rb") as lines:
        connection.sendall(request)
        return [json.loads(line) for line in lines]


def path_of(server: Server) -> Path:
    assert server.path is not None
    return server.path


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def echo(request: dict[str, Any]) -> Any:
    return request


def many(request: dict[str, Any]) -> Generator[Answer, None, Any]:
    for number in range(request["n"]):
        yield item(number)
        if number % 1000 == 0:
            yield progress(number, request["n"])
    return {"count": request["n"]}


# --- the wire


def test_greeting_request_answer(serve, tmp_path):
    server = serve(tmp_path, echo=echo)
    greeting, answer = talk(path_of(server), b'{"do": "echo", "x": [1, null]}\n')
    assert greeting == {"edged": __version__, "state_dir": str(tmp_path)}
    assert answer == {"done": {"do": "echo", "x": [1, None]}}


def test_items_and_progress_stream(serve, tmp_path):
    server = serve(tmp_path, many=many)
    _, *answers, done = talk(path_of(server), b'{"do": "many", "n": 20000}\n')
    assert done == {"done": {"count": 20000}}
    assert [answer["item"] for answer in answers if "item" in answer] == list(range(20000))
    assert answers[1] == {"progress": [0, 20000]}


def test_the_client_gives_items_progress_and_the_last_value(serve, tmp_path):
    serve(tmp_path, many=many, echo=echo)
    seen = []
    items = call(tmp_path, {"do": "many", "n": 2500}, on_progress=lambda *at: seen.append(at))
    assert list(items) == list(range(2500))
    assert seen == [(0, 2500), (1000, 2500), (2000, 2500)]
    assert ask(tmp_path, {"do": "many", "n": 3}) == {"count": 3}
    assert ask(tmp_path, {"do": "echo", "text": "°\n\ud800"}) == {"do": "echo", "text": "°\n\ud800"}


@pytest.mark.parametrize(
    "request_line",
    [b"\n", b"nonsense\n", b"[]\n", b"3\n", b'{"to": "echo"}\n', b"\xff\xfe\n", b"[" * 60000 + b"\n", b"x" * 200_000],
)
def test_what_is_no_request(serve, tmp_path, request_line):
    server = serve(tmp_path, echo=echo)
    try:
        answers = talk(path_of(server), request_line)
    except ConnectionError:  # it did not read all of it
        pass
    else:
        assert "a request is a line of JSON" in answers[1]["error"]
    assert ask(tmp_path, {"do": "echo"}) == {"do": "echo"}


@pytest.mark.parametrize("name", ["other", None, [], {}])
def test_an_action_that_the_daemon_does_not_know(serve, tmp_path, name):
    serve(tmp_path, echo=echo)
    with pytest.raises(EdgedError, match=f"edged {__version__}, does not know ") as caught:
        ask(tmp_path, {"do": name})
    assert "\n" not in str(caught.value)


def test_errors_are_one_line_without_secrets(serve, tmp_path, caplog):
    def wrong(request: dict[str, Any]) -> Any:
        raise EdgedError("there is no\n  token-of-this-very-test here")

    def late(request: dict[str, Any]) -> Generator[Answer, None, Any]:
        yield item(1)
        raise EdgedError("gone")

    def bug(request: dict[str, Any]) -> Any:
        raise ZeroDivisionError

    plain("token-of-this-very-test")
    serve(tmp_path, wrong=wrong, late=late, bug=bug)
    with pytest.raises(EdgedError, match=r"^there is no \*\*\* here$"):
        ask(tmp_path, {"do": "wrong"})
    items = call(tmp_path, {"do": "late"})
    assert next(items) == 1
    with pytest.raises(EdgedError, match=r"^gone$"):
        next(items)
    assert not caplog.records
    with pytest.raises(EdgedError, match=r"^a bug in the daemon; its log has more$"):
        ask(tmp_path, {"do": "bug"})
    assert "ZeroDivisionError" in caplog.text


# --- bad clients


def test_clients_that_hang_hold_up_nobody(serve, tmp_path, monkeypatch):
    """Silent ones, and ones that take nothing of a long answer."""
    server = serve(tmp_path, echo=echo, many=many)
    silent = [client(path_of(server)) for _ in range(4)]
    full = [client(path_of(server)) for _ in range(3)]
    for connection in full:
        connection.sendall(b'{"do": "many", "n": 10000000}\n')
    assert ask(tmp_path, {"do": "echo"}) == {"do": "echo"}
    for connection in silent + full:
        connection.close()


def test_too_many_are_told_so(serve, tmp_path):
    server = serve(tmp_path, echo=echo)
    connections = []
    for _ in range(control._MOST):
        connections.append(client(path_of(server)))
        connections[-1].recv(1)  # admitted
    with pytest.raises(EdgedError, match="busy with other commands"):
        ask(tmp_path, {"do": "echo"})
    for connection in connections:
        connection.close()
    for thread in list(server._connections.values()):
        thread.join(20)
    assert ask(tmp_path, {"do": "echo"}) == {"do": "echo"}


def test_a_silent_client_is_let_go(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(control, "_REQUEST_S", 0.05)
    server = serve(tmp_path)
    with client(path_of(server)) as connection, connection.makefile("rb") as lines:
        assert len(list(lines)) == 1  # then it is closed


def test_a_client_that_goes_away_ends_its_answer(serve, tmp_path):
    ended = threading.Event()

    def endless(request: dict[str, Any]) -> Generator[Answer, None, Any]:
        try:
            while True:
                yield item("x" * 1000)
        finally:
            ended.set()

    server = serve(tmp_path, endless=endless)
    with client(path_of(server)) as connection:
        connection.sendall(b'{"do": "endless"}\n')
        connection.recv(100)
    assert ended.wait(20)


def test_the_end_does_not_wait_for_clients(serve, tmp_path):
    server = serve(tmp_path, many=many)
    path = path_of(server)
    with client(path) as silent, client(path) as full:
        silent.recv(1)
        full.sendall(b'{"do": "many", "n": 10000000}\n')
        full.recv(1)
        threads = [server._thread, *server._connections.values()]
        server.stop()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert not path.exists()


def test_an_answer_that_breaks_off(serve, tmp_path):
    going = threading.Event()

    def slow(request: dict[str, Any]) -> Generator[Answer, None, Any]:
        yield progress(0, 1)
        going.wait(20)

    server = serve(tmp_path, slow=slow)

    def stop(done: int, total: int) -> None:
        server.stop()
        going.set()

    with pytest.raises(EdgedError, match="the daemon's answer broke off"):
        ask(tmp_path, {"do": "slow"}, on_progress=stop)


# --- the file


def test_its_owner_and_group_may_use_it_whatever_the_umask(serve, tmp_path):
    before = os.umask(0o077)
    try:
        path = path_of(serve(tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert list(tmp_path.iterdir()) == [path]


def test_its_place(serve, tmp_path, monkeypatch):
    for name in ("runtime", "user", "state"):
        (tmp_path / name).mkdir()
    state = tmp_path / "state"
    assert serve(state).path == state / "control.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "user"))
    assert serve(state).path == tmp_path / "user" / "edged" / "control.sock"
    assert stat.S_IMODE((tmp_path / "user" / "edged").stat().st_mode) == 0o700
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/runtime:/run/other")
    assert serve(state).path == tmp_path / "runtime" / "control.sock"


def test_the_service_has_it_where_the_unit_says():
    unit = (Path(__file__).parents[2] / "systemd" / "edged.service").read_text().splitlines()
    assert f"RuntimeDirectory={socketfile.SERVICE.parent.name}" in unit
    assert "RuntimeDirectoryMode=0750" in unit  # the group gets through
    assert socketfile.SERVICE.parent.parent == Path("/run")


def test_one_of_a_dead_daemon_is_replaced(serve, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    server = serve(tmp_path, echo=echo)
    assert server.path == tmp_path / "control.sock"
    assert ask(tmp_path, {"do": "echo"}) == {"do": "echo"}


def test_two_daemons_are_not_mixed_up(serve, tmp_path, monkeypatch):
    """The second leaves the first one's socket alone, and each is found by its state_dir."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    a, b, c = (tmp_path / name for name in "abc")
    first = serve(a, who=lambda request: "a")
    second = serve(b, who=lambda request: "b")
    assert first.path == tmp_path / "edged" / "control.sock"
    assert second.path == b / "control.sock"
    assert ask(a, {"do": "who"}) == "a"
    assert ask(b, {"do": "who"}) == "b"
    link = tmp_path / "link"
    link.symlink_to(a)
    assert ask(link, {"do": "who"}) == "a"
    c.mkdir()
    with pytest.raises(NotRunning) as caught:
        call(c, {"do": "who"})
    assert f"{first.path} (another daemon's, with state_dir {a})" in str(caught.value)
    first.stop()
    assert ask(b, {"do": "who"}) == "b"
    with pytest.raises(NotRunning):
        call(a, {"do": "who"})


def test_a_place_without_a_daemon(tmp_path):
    with pytest.raises(NotRunning) as caught:
        call(tmp_path, {"do": "x"})
    assert str(caught.value).startswith(f"no daemon is running for {tmp_path}: looked at {socketfile.SERVICE} (")
    assert f"{tmp_path}/control.sock (No such file or directory)" in str(caught.value)
    assert not caught.value.denied


def test_one_that_may_not_be_asked(serve, tmp_path):
    serve(tmp_path)
    tmp_path.chmod(0o700)
    with (
        without_root(),
        pytest.raises(NotRunning, match=r"can be asked.*Permission denied.*; try it as root") as caught,
    ):
        call(tmp_path, {"do": "x"})
    assert caught.value.denied


def test_something_that_is_no_daemon(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def answer() -> None:
            for text in (b"220 hello\n", b"[]\n", b""):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        for _ in range(3):
            with pytest.raises(NotRunning, match=r"control\.sock"):
                call(tmp_path, {"do": "x"})
        thread.join()


# --- no place for it


@pytest.mark.guarantee(10)
def test_a_path_that_is_too_long(serve, tmp_path, caplog):
    folder = tmp_path / ("x" * 100)
    server = serve(folder)
    assert server.path is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{folder}/control.sock: longer than the 107 bytes" in record.getMessage()
    with pytest.raises(NotRunning, match="too long"):
        call(folder, {"do": "x"})


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("what", ["missing", "a file", "read-only", "in the way", "a dangling link"])
def test_a_place_that_cannot_be_used(tmp_path, caplog, what):
    folder = tmp_path / "state"
    match what:
        case "a file":
            folder.touch()
        case "read-only":
            tmp_path.chmod(0o755)
            folder.mkdir(mode=0o555)
        case "in the way":
            folder.mkdir()
            (folder / "control.sock").write_text("mine")
        case "a dangling link":
            folder.mkdir()
            (folder / "control.sock").symlink_to("nowhere")
    server = Server(folder, {})
    with without_root():
        server.start()
    assert server.path is None
    server._look_after()  # it is said once
    server.stop()
    (record,) = caplog.records
    assert f"{folder}/control.sock: " in record.getMessage()
    assert "\n" not in record.getMessage()
    if what == "in the way":
        assert (folder / "control.sock").read_text() == "mine"


def test_a_place_that_goes_and_comes_back(serve, tmp_path, caplog, monkeypatch):
    """As $XDG_RUNTIME_DIR at a logout and the next login."""
    monkeypatch.setattr(control, "_LOOK_S", 0.01)
    server = serve(tmp_path, echo=echo)
    path = path_of(server)
    path.unlink()
    until(path.exists)
    assert ask(tmp_path, {"do": "echo"}) == {"do": "echo"}
    assert not caplog.records
    path.rename(tmp_path / "moved")
    path.mkdir()
    until(lambda: caplog.records)
    assert server.path is None
    path.rmdir()
    until(path.exists)
    assert ask(tmp_path, {"do": "echo"}) == {"do": "echo"}
    server.stop()
    assert not path.exists()
    assert len(caplog.records) == 1


def test_the_end_leaves_another_ones_socket(serve, tmp_path):
    server = serve(tmp_path)
    path = path_of(server)
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        server.stop()
        assert path.exists()
