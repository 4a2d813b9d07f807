"""The common part, on Databoom: faults, restarts, and statements 1 to 8."""

import http.client
import json
import socket
import threading
from typing import Any

import pytest

from edged.simulation.platforms import Accepted, Fault, names, open_stand_in

AUTHORISED = {"Authorization": "Bearer made-up-databoom-token"}
DATE = "2024-03-05T14:07:30.250+0000"


def push(value: Any = 21.37, name: str = "room_temp", date: str = DATE) -> dict[str, Any]:
    return {"device": "0abc12def3", "signals": {name: {"history": [{"date": date, "value": value}]}}}


@pytest.fixture
def databoom(client):
    return lambda **modes: client("databoom", "/v1/signals/push", AUTHORISED, **modes)


def test_the_platforms_are_the_modules():
    assert {"bbdata", "bbdata-mqtt", "databoom", "datacake", "mqtt"} <= set(names())
    assert not any(name.startswith("_") for name in names())


def test_an_unknown_platform_names_the_known_ones():
    with pytest.raises(ValueError, match="databoom"):
        open_stand_in("nonesuch")
    with pytest.raises(ValueError, match="bbdata"):
        open_stand_in("_server")


@pytest.mark.parametrize("platform", ["bbdata", "bbdata-mqtt", "databoom", "datacake", "mqtt"])
def test_an_unknown_mode_is_an_error(platform):
    with pytest.raises(TypeError, match="nonesuch"):
        open_stand_in(platform, nonesuch=True)


@pytest.mark.parametrize("platform", ["bbdata", "bbdata-mqtt", "databoom", "datacake", "mqtt"])
def test_one_that_never_started_closes_its_port(platform):
    stand_in = open_stand_in(platform)
    stand_in.stop()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", stand_in.port))


def test_stop_refuses_clients_and_start_goes_on_with_what_was_accepted(databoom):
    client = databoom()
    client.send(push())
    port = client.stand_in.port
    client.stand_in.stop()
    client.cut(push())
    client.cut(push())
    client.stand_in.start()
    assert client.stand_in.port == port
    assert client.send(push(date="2024-03-05T14:07:31Z")).status == 200
    assert len(client.accepted) == 2


def test_a_connection_serves_many_requests(databoom):
    client = databoom()
    client.send(push())
    first = client.connection.sock
    client.send(push())
    assert client.connection.sock is first


def test_requests_are_kept_with_their_status(databoom, clock):
    client = databoom()
    client.send(push(), path="/elsewhere?x=1")
    (request,) = client.stand_in.requests
    assert (request.method, request.path, request.status) == ("POST", "/elsewhere?x=1", 404)
    assert request.headers["Authorization"] == "Bearer made-up-databoom-token"
    assert request.arrived == clock.monotonic()
    assert b"room_temp" in request.body


def test_faults_answer_first_in_first_out(databoom):
    client = databoom()
    client.stand_in.fail(Fault(500, b"broken"), Fault(429, headers={"Retry-After": "0"}))
    assert client.send(push()).body == b"broken"
    assert client.accepted == []
    assert client.send(push()).headers["Retry-After"] == "0"
    assert client.send(push()).status == 200


def test_a_delay_ends_with_stop():
    stand_in = open_stand_in("databoom").start()
    stand_in.fail(Fault(delay_s=60))
    with socket.create_connection(("127.0.0.1", stand_in.port)) as connection:
        connection.sendall(b"POST /v1/signals/push HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        while not stand_in.requests:
            pass
        stand_in.stop()
        assert connection.recv(1) == b""


def test_an_answer_can_be_cut_anywhere(databoom):
    client = databoom()
    client.stand_in.fail(Fault(status=0, store=True, cut=True, cut_after=30))
    with socket.create_connection(("127.0.0.1", client.stand_in.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(100), b""))
    assert received.startswith(b"HTTP/1.1 404")
    assert len(received) == 30


def test_a_connection_can_be_reset_at_every_byte(databoom):
    client = databoom()
    for cut_after in (0, 1, 30):
        client.stand_in.fail(Fault(status=0, store=True, cut=True, cut_after=cut_after, reset=True))
        with socket.create_connection(("127.0.0.1", client.stand_in.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            with pytest.raises(ConnectionResetError):  # noqa: PT012 (whenever it comes)
                while more := connection.recv(100):
                    received += more
        assert len(received) == cut_after


def test_a_reset_is_a_cut():
    with pytest.raises(ValueError, match="cut=True"):
        Fault(reset=True)


def test_an_answer_can_come_byte_by_byte(databoom):
    client = databoom()
    client.stand_in.fail(Fault(status=0, store=True, trickle_s=0.002))
    with socket.create_connection(("127.0.0.1", client.stand_in.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        pieces = list(iter(lambda: connection.recv(4096), b""))
    assert len(pieces) > 10
    assert b"".join(pieces).startswith(b"HTTP/1.1 404")


def test_a_poisonous_request_is_never_answered(databoom):
    client = databoom(poison=b"13.13")
    assert client.send(push(value=12)).status == 200
    for _ in range(3):
        client.cut(push(value=13.13, name="other"))
    assert client.send(push(value=14, name="third")).status == 200
    assert len(client.accepted) == 2


def test_refusals_are_told_in_a_line_each(databoom):
    client = databoom()
    client.send(push())
    client.send(push(), path="/elsewhere?x=1")
    client.stand_in.fail(Fault(503, b"<html>\n  <h1>Bad\tGateway" + b"." * 1000), Fault(500), Fault(cut=True))
    client.send(push())
    client.send(push())
    client.cut(push())
    first, second, third = client.stand_in.refusals
    assert first == '404 POST /elsewhere: {"message": "not found"}'
    assert second.startswith("503 POST /v1/signals/push: <html> <h1>Bad Gateway...")
    assert len(second) < 300
    assert third == "500 POST /v1/signals/push"


def test_the_own_answer_needs_the_request_to_be_treated():
    with pytest.raises(ValueError, match="store=True"):
        Fault(status=0)


def test_admitted_identifiers_replace_the_made_up_ones(databoom):
    client = databoom()
    client.stand_in.admit({"token": "their own token", "device": "theirs"}, [{"name": "room_temp"}])
    client.stand_in.admit({"token": "another token", "device": "other"}, [])
    assert client.send(push()).status == 401
    assert client.send({**push(), "device": "theirs"}, headers={"Authorization": "Bearer another token"}).status == 200
    assert client.violations == []


@pytest.mark.statement(1)
@pytest.mark.parametrize(
    "body",
    [
        b'{"device": "0abc12def3", "signals": NaN}',
        b'{"device": "a", "device": "0abc12def3", "signals": []}',
        b"{} {}",
        b'{"device": "\xff"}',
        b"[" * 100_000,
        b"",
    ],
)
def test_bodies_are_strict_json(databoom, body):
    client = databoom()
    assert client.send(raw=body).status == 400
    assert client.violations == [1]


@pytest.mark.statement(1)
def test_the_content_type_is_json_with_or_without_parameters(databoom):
    client = databoom()
    assert client.send(push(), headers={"Content-Type": "Application/JSON; charset=utf-8"}).status == 200
    assert client.violations == []
    assert client.send(push(), headers={"Content-Type": "text/plain"}).status == 415
    assert client.violations == [1]


@pytest.mark.statement(2)
@pytest.mark.parametrize(
    "path",
    ["/v1/signals/push?key=made-up-databoom-token", "/v1/signals/push?key=made%2Dup-databoom-token", "/?token=wrong"],
)
def test_no_secret_in_the_url(databoom, path):
    client = databoom()
    client.send(push(), path=path)
    assert client.violations == [2]


@pytest.mark.statement(2)
def test_no_secret_in_the_body_where_a_header_carries_it(databoom):
    client = databoom()
    client.send(push(value="made-up-databoom-token"))
    assert client.violations == [2]


@pytest.mark.statement(2)
@pytest.mark.parametrize("name", ["X-Key", "Cookie", "Bearer-made-up-databoom-token"])
def test_no_secret_in_another_header(databoom, name):
    client = databoom()
    assert client.send(push(), headers={name: "key=made-up-databoom-token"}).status == 200
    assert client.violations == [2]


@pytest.mark.parametrize("name", ["Authorization", "content-type", "User-Agent"])
def test_no_header_comes_twice(databoom, name):
    client = databoom()
    body = json.dumps(push()).encode()
    head = {**client.headers, "User-Agent": "test", "Content-Length": str(len(body))}
    client.connection.putrequest("POST", client.path)
    for each in (*head.items(), (name, "another")):
        client.connection.putheader(*each)
    client.connection.endheaders(body)
    client.connection.getresponse().read()
    assert client.violations == [0]


@pytest.mark.statement(3)
@pytest.mark.parametrize(
    "fault",
    [Fault(408), Fault(429), Fault(503), Fault(200, b"<html>Log in"), Fault(cut=True), Fault(cut=True, store=True)],
)
def test_after_a_transient_answer_readings_return_unchanged(databoom, fault):
    client = databoom()
    for value, expected in ((1, []), (2, [3])):
        client.stand_in.fail(fault)
        document = push(value=1, name=f"signal{value}")
        client.cut(document) if fault.cut else client.send(document)
        client.send(push(value=value, name=f"signal{value}"))
        assert sorted(set(client.violations)) == expected


@pytest.mark.statement(3)
def test_a_client_that_gave_up_waiting_owes_the_same_readings(databoom):
    client = databoom()
    client.stand_in.fail(Fault(status=0, store=True, delay_s=0.2))
    client.connection.timeout = 0.02
    with pytest.raises(TimeoutError):
        client.send(push())
    client.connection.close()
    while client.stand_in._conduct._pauses._failed_at is None:
        pass
    client.connection.timeout = 10
    assert client.send(push()).status == 200
    assert client.violations == []
    assert client.stand_in.resends == 1


@pytest.mark.statement(4)
def test_a_refused_reading_never_returns(databoom):
    client = databoom()
    for signal in ("a", "b"):
        client.stand_in.fail(Fault(400, b"{}"))
        client.send(push(name=signal))
    assert client.send(push(name="c")).status == 200
    assert client.violations == []
    client.send(push(name="a"))
    assert client.violations == [4]
    client.stand_in.forgive()
    client.send(push(name="b"))
    assert client.violations == [4]


@pytest.mark.statement(4)
def test_readings_refused_in_company_may_return(databoom):
    client = databoom()
    both = push()
    both["signals"] |= push(name="other")["signals"]
    client.stand_in.fail(Fault(400, b"{}"))
    client.send(both)
    client.send(push())
    assert client.violations == []


@pytest.mark.statement(5)
@pytest.mark.parametrize("wish", ["30", "Tue, 05 Mar 2024 14:08:00 GMT"])
def test_retry_after_is_obeyed(databoom, clock, wish):
    client = databoom()
    for waited, expected in ((30.0, []), (29.9, [5])):
        headers = {"Retry-After": wish, "Date": "Tue, 05 Mar 2024 14:07:30 GMT"}
        client.stand_in.fail(Fault(429, headers=headers))
        client.send(push())
        clock.advance(waited)
        client.send(push())
        assert client.violations == expected


@pytest.mark.statement(5)
@pytest.mark.parametrize("wish", ["soon", "-1", "1.5", "", "Tue, 99 Mar 2024 14:08:00 GMT"])
def test_a_malformed_retry_after_asks_for_nothing(databoom, wish):
    client = databoom()
    client.stand_in.fail(Fault(503, headers={"Retry-After": wish}))
    client.send(push())
    client.send(push())
    assert client.violations == []


@pytest.mark.statement(5)
def test_more_than_a_day_need_not_be_waited(databoom, clock):
    client = databoom()
    client.stand_in.fail(Fault(503, headers={"Retry-After": "9999999"}))
    client.send(push())
    clock.advance(86_400)
    client.send(push())
    assert client.violations == []


@pytest.mark.statement(6)
def test_retries_without_any_pause_are_flagged(databoom, clock):
    client = databoom(hasty_s=0.020)
    client.stand_in.fail(*[Fault(503)] * 20)
    for _ in range(4):
        client.send(push())
    clock.advance(0.030)  # a short draw of the jitter
    for _ in range(4):
        client.send(push())
    assert client.violations == []
    client.send(push())
    assert client.violations == [6]


@pytest.mark.statement(6)
@pytest.mark.parametrize(
    ("fault", "pause", "expected"),
    [
        (Fault(503), 0.025, [6]),
        (Fault(cut=True), 10.0, [6]),
        (Fault(503), 1.1, []),  # Databoom's pace
        (Fault(503, headers={"Retry-After": "30"}), 30.0, []),
        (Fault(429), 30.0, []),  # whose meaning a platform's config may know
        (Fault(404), 300.0, []),
    ],
)
def test_retries_without_jitter_are_flagged(databoom, clock, fault, pause, expected):
    client = databoom(hasty_s=0.020)
    client.stand_in.fail(*[fault] * 6)
    for _ in range(6):
        client.cut(push()) if fault.cut else client.send(push())
        clock.advance(pause)
    assert client.violations == expected


@pytest.mark.statement(6)
def test_a_config_tells_the_pace(databoom, clock):
    client = databoom(hasty_s=0.020)
    client.stand_in.admit({"token": "made-up-databoom-token", "device": "0abc12def3", "min_request_interval": 60.0}, [])
    client.stand_in.fail(*[Fault(503)] * 20)
    for pause, expected in ((60.0, []), (5.0, [6])):
        for _ in range(7):
            client.send(push())
            clock.advance(pause)
        assert client.violations == expected
        client.stand_in.forgive()


@pytest.mark.statement(6)
def test_one_request_in_flight(databoom):
    client = databoom()
    client.stand_in.fail(Fault(delay_s=60))
    other = http.client.HTTPConnection("127.0.0.1", client.stand_in.port)
    other.request("POST", "/v1/signals/push", b"{}", AUTHORISED)
    while not client.stand_in.requests:
        pass
    client.send(push())
    assert client.violations == [6]
    other.close()
    client.send(push())  # the first client gave up: that request is in flight no longer
    assert client.violations == [6]


@pytest.mark.statement(7)
def test_stored_then_cut_is_stored_once(databoom):
    client = databoom()
    client.stand_in.fail(Fault(store=True, cut=True))
    client.cut(push())
    assert client.send(push()).status == 200
    assert client.stand_in.accepted == [Accepted("room_temp", 1_709_647_650_250, 21.37)]
    assert client.violations == []


@pytest.mark.statement(8)
@pytest.mark.parametrize("status", [401, 403, 404])
def test_parked_readings_may_return(databoom, status):
    client = databoom()
    client.stand_in.fail(Fault(status))
    assert client.send(push()).status == status
    assert client.send(push()).status == 200
    assert client.violations == []


def test_no_thread_is_left():
    before = threading.active_count()
    with open_stand_in("databoom") as stand_in, socket.create_connection(("127.0.0.1", stand_in.port)):
        pass
    assert threading.active_count() <= before + 1  # a connection's thread may still be on its way out
