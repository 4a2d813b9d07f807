"""Sender, platform and transport against the strict stand-ins, in whatever way those may behave.

Time is the test's; the sockets are real.  In the end everything is there once and in order, and no rule was broken.
"""

import json
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from edged.platforms import Wire
from edged.platforms._bbdata import Object
from edged.platforms.bbdata_mqtt import BBDataMqtt, Options
from edged.secret import plain
from edged.sending.backoff import Backoff
from edged.sending.mapping import Mapping
from edged.sending.sender import PARKED_S
from edged.simulation.platforms import Fault
from edged.simulation.platforms._records import Reply
from edged.simulation.platforms.bbdata import BBData, broken
from tests.sending.conftest import open_bench
from tests.transports.broker import wait_until

HTML = Fault(502, b"<html><title>Bad Gateway</title></html>", {"Content-Type": "text/html"})
PORTAL = Fault(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html"})
CLOUDFLARE = Fault(403, b"<!DOCTYPE html><title>Access denied</title>", {"Content-Type": "text/html; charset=UTF-8"})

PLATFORMS: dict[str, dict[str, dict[str, Any]]] = {
    "databoom": {"a.x": {"name": "a_x"}, "b.x": {"name": "b_x"}},
    "bbdata": {
        "a.x": {"object": 4711, "token": plain(BBData.made_up[4711].token)},
        "b.x": {"object": 4715, "token": plain(BBData.made_up[4715].token)},
    },
    "datacake": {"a.x": {"field": "TEMPERATURE"}, "b.x": {"field": "HUMIDITY"}},
}
COUNT = 6
PUSH = pytest.mark.parametrize("name", list(PLATFORMS))


def fill(it) -> None:
    it.put("a.x", *(float(n) for n in range(COUNT)))
    it.put("b.x", *(float(n) for n in range(100, 100 + COUNT)))


def assert_all_there(it) -> None:
    """Each reading once, in order, by the rules, and nothing buried."""
    assert it.violations == []
    accepted = it.accepted()
    assert sorted(len(readings) for readings in accepted.values()) == [COUNT, COUNT]
    values = sorted([value for _, value in readings] for readings in accepted.values())
    assert values == [[float(n) for n in range(COUNT)], [float(n) for n in range(100, 100 + COUNT)]]
    for readings in accepted.values():
        assert [time for time, _ in readings] == sorted(time for time, _ in readings)
    assert (it.sender.queue.delivered, it.sender.queue.dead, it.queued) == (2 * COUNT, 0, 0)
    assert it.sender.status.state == "ok"


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(4)
@pytest.mark.statement(1)
@pytest.mark.statement(2)
@PUSH
def test_all_is_well(rig, name):
    it = rig(name, PLATFORMS[name])
    fill(it)
    it.drive()
    assert_all_there(it)


FAULTS = {
    "503": [Fault(503), Fault(503)],
    "500": [broken()],
    "a page": [HTML, PORTAL],
    "408, 425, 429": [Fault(408), Fault(425), Fault(429)],
    "cut": [Fault(cut=True), Fault(200, b"{}", cut=True, cut_after=7)],
    "stored, then cut": [Fault(0, store=True, cut=True)],
    "stored, answer cut in the middle": [Fault(0, store=True, cut=True, cut_after=60)],
    "stored, then 500": [Fault(500, store=True)],
    "stored twice": [Fault(500, store=True), Fault(0, store=True, cut=True), Fault(503)],
}


@pytest.mark.guarantee(1)
@pytest.mark.statement(3)
@pytest.mark.statement(6)
@pytest.mark.statement(7)
@pytest.mark.statement(45)
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@PUSH
def test_faults_lose_nothing_and_double_nothing(rig, name, faults):
    it = rig(name, PLATFORMS[name])
    it.stand_in.fail(*faults)
    fill(it)
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(3)
@pytest.mark.statement(7)
@PUSH
def test_an_answer_that_comes_too_late_is_asked_for_again(rig, name):
    it = rig(name, PLATFORMS[name], timeout_s=0.2)
    it.stand_in.fail(Fault(0, store=True, delay_s=1.0))
    fill(it)
    it.drive()
    assert it.sender.status.last_error == "no complete answer within 0.2 s"
    assert_all_there(it)


@pytest.mark.case(19)
@pytest.mark.parametrize(
    "page",
    [CLOUDFLARE, Fault(429, CLOUDFLARE.body, CLOUDFLARE.headers), Fault(500, b'{"code":"HTTP_ERROR","message":"524"}')],
)
@PUSH
def test_cloudflare_in_the_platforms_place(rig, name, page):
    it = rig(name, PLATFORMS[name])
    it.stand_in.fail(*[page] * 8)
    fill(it)
    it.drive(until=it.clock.seconds + 2)
    assert it.sender.status.state == "backing-off"
    assert ("HTML" in it.sender.status.last_error) == (page.status != 500)
    assert "token" not in it.sender.status.last_error
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(5)
@pytest.mark.case(20)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "45"}, 45),
        ({"Retry-After": "Wed, 25 Nov 2026 00:10:00 GMT", "Date": "Wed, 25 Nov 2026 00:09:00 GMT"}, 60),
        ({"Retry-After": "9223372037"}, 86_400),
        ({"Retry-After": "-1"}, 0),
        ({"Retry-After": "\xb2"}, 0),
    ],
)
@PUSH
def test_retry_after_is_obeyed(rig, name, headers, seconds):
    it = rig(name, PLATFORMS[name])
    it.stand_in.fail(Fault(503, headers=headers))
    fill(it)
    it.drive()
    first, second = (request.arrived for request in it.stand_in.requests[:2])
    assert seconds - 1e-6 <= second - first <= seconds + 11
    assert_all_there(it)


@pytest.mark.statement(8)
@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 415])
@PUSH
def test_what_a_person_has_to_repair_deletes_nothing(rig, name, status):
    it = rig(name, PLATFORMS[name])
    it.stand_in.fail(Fault(status, b'{"detail": "no"}', {"Content-Type": "application/json"}))
    fill(it)
    it.drive(until=it.clock.seconds + PARKED_S / 2)
    assert (it.sender.status.state, it.queued) == ("parked", 2 * COUNT)
    it.drive()
    assert_all_there(it)


@pytest.mark.pain("F1")
@pytest.mark.pain("F2")
@PUSH
def test_a_platform_that_is_away_at_the_start(rig, name):
    it = rig(name, PLATFORMS[name])
    it.stand_in.stop()
    fill(it)
    it.drive(until=it.clock.seconds + 600)
    assert it.sender.status.state == "backing-off"
    assert "refused" in it.sender.status.last_error
    it.stand_in.start()
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(4)
@PUSH
def test_a_refused_reading_is_buried_and_its_neighbours_arrive(rig, name):
    """One value of a series is refused alone as in company: by its text in the body."""
    it = rig(name, PLATFORMS[name])
    if name == "databoom":  # it takes any value, but for this one
        answer = it.stand_in.answer
        refused = Reply.json(400, {"message": "value refused"})
        it.stand_in.answer = lambda request: refused if b'"unwanted"' in request.body else answer(request)
    fill(it)
    it.put("a.x", "unwanted", time_ms=it.clock.now_ms())
    it.clock.advance(1)
    it.put("a.x", 50.0, time_ms=it.clock.now_ms())
    it.drive()
    assert it.violations == []
    assert (it.sender.queue.delivered, it.sender.queue.dead, it.queued) == (2 * COUNT + 1, 1, 0)
    it.log.flush()
    (letter,) = it.log.dead_letters("there")
    assert (letter.series, json.loads(letter.value)) == ("a.x", "unwanted")
    assert "HTTP 400" in letter.reason
    assert letter.response


# --- Databoom


@pytest.mark.statement(19)
@pytest.mark.statement(20)
@pytest.mark.parametrize("success", ["documented", "204", "other"])
def test_databoom_in_each_way_to_say_yes(rig, success):
    it = rig("databoom", PLATFORMS["databoom"], success=success)
    fill(it)
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(19)
def test_databoom_never_gets_more_than_it_bears(rig):
    series = {f"s{n}.x": {"name": f"s{n}"} for n in range(30)}
    it = rig("databoom", series)
    for each in series:
        it.put(each, *range(30), step_ms=10)
    it.drive()
    assert it.violations == []
    assert (it.sender.queue.delivered, it.queued) == (900, 0)
    assert {len(readings) for readings in it.accepted().values()} == {30}
    arrived = [request.arrived for request in it.stand_in.requests]
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(arrived))


@pytest.mark.statement(10)
@pytest.mark.statement(8)
def test_databoom_token_without_the_right_to_publish(rig):
    it = rig("databoom", PLATFORMS["databoom"], publish=False)
    fill(it)
    it.drive(until=it.clock.seconds + 100)
    assert it.sender.status.state == "parked"
    it.stand_in.modes.publish = True
    it.drive()
    assert_all_there(it)


# --- BBData


@pytest.mark.statement(39)
@pytest.mark.statement(37)
@pytest.mark.parametrize("stored", [0, 1, 5, 2 * COUNT - 1])
@pytest.mark.parametrize("api", ["input", "objects"])
def test_bbdata_that_crashes_midway(rig, api, stored):
    it = rig("bbdata", PLATFORMS["bbdata"], {"api": api}, crash_midway=stored)
    fill(it)
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(43)
@pytest.mark.statement(40)
def test_bbdata_of_the_older_generation(rig):
    it = rig("bbdata", PLATFORMS["bbdata"], generation="legacy", kafka_down=True)
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert (it.sender.status.state, it.queued) == ("backing-off", 2 * COUNT)
    it.stand_in.modes.kafka_down = False
    it.drive()
    assert_all_there(it)
    assert all(request.query == {"ack": "true"} for request in it.stand_in.requests)


@pytest.mark.statement(37)
def test_bbdata_that_has_all_of_it_already(rig):
    it = rig("bbdata", PLATFORMS["bbdata"])
    it.stand_in.fail(Fault(504, broken(504).body, broken(504).headers, store=True))
    fill(it)
    it.drive()
    assert_all_there(it)
    assert len(it.stand_in.requests) <= 2 + 2 * COUNT


@pytest.mark.statement(8)
@pytest.mark.statement(30)
@pytest.mark.parametrize("generation", ["v2", "legacy"])
@pytest.mark.parametrize("status", [401, 400, 404])
def test_bbdata_object_with_another_token_waits_alone(rig, generation, status):
    it = rig("bbdata", PLATFORMS["bbdata"], generation=generation, legacy_bad_token_status=status)
    known = it.stand_in.objects[4711]
    it.stand_in.objects[4711] = known._replace(token="f" * 32)
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert list(it.sender.status.parked) == ["a.x"]
    assert [len(readings) for readings in it.accepted().values()] == [COUNT]
    it.stand_in.objects[4711] = known
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(31)
def test_bbdata_object_that_is_disabled_waits_alone(rig):
    it = rig("bbdata", PLATFORMS["bbdata"])
    it.stand_in.disabled.add(4715)
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert list(it.sender.status.parked) == ["b.x"]
    it.stand_in.disabled.clear()
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(29)
def test_bbdata_with_its_clock_behind_ours(rig, clock):
    it = rig("bbdata", PLATFORMS["bbdata"], now_ms=lambda: clock.now_ms() - 20_000)
    fill(it)
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(46)
def test_bbdata_under_a_wrong_path(rig):
    it = rig("bbdata", PLATFORMS["bbdata"])
    it.platform.options = type(it.platform.options)(url=it.stand_in.url + "/elsewhere")
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert (it.sender.status.state, it.sender.queue.dead, it.queued) == ("parked", 0, 2 * COUNT)


@pytest.mark.statement(33)
@pytest.mark.statement(38)
def test_bbdata_value_of_another_type_is_buried_alone(rig):
    token = plain(BBData.made_up[4712].token)
    it = rig("bbdata", PLATFORMS["bbdata"] | {"count.x": {"object": 4712, "token": token}})
    fill(it)
    it.put("count.x", 1, 2.5, 3)
    it.drive()
    assert it.violations == []
    assert it.sender.queue.dead == 1
    assert [value for _, value in it.accepted()["4712"]] == [1, 3]
    assert it.sender.queue.delivered == 2 * COUNT + 2


# --- Datacake


@pytest.mark.guarantee(7)
@pytest.mark.statement(62)
@pytest.mark.statement(63)
@pytest.mark.statement(64)
@pytest.mark.statement(66)
@pytest.mark.parametrize("excess", ["429", "429-bare", "drop"])
@pytest.mark.parametrize("success", [(200, True), (201, False), (202, True), (204, False)])
def test_datacake_limits_are_kept_on_our_side(rig, excess, success):
    status, body = success
    it = rig("datacake", PLATFORMS["datacake"], excess=excess, success_status=status, success_body=body)
    fill(it)
    started = it.clock.seconds
    it.drive()
    assert_all_there(it)
    assert it.stand_in.requests[-1].arrived - started < COUNT * 1.1 / 0.95
    assert it.stand_in.dropped == []


@pytest.mark.statement(62)
@pytest.mark.parametrize("excess", ["429", "429-bare"])
def test_datacake_that_is_slower_than_it_says(rig, excess):
    """Its own clock runs slow: the writes come too soon for it, and it says so."""
    it = rig("datacake", PLATFORMS["datacake"], excess=excess, write_interval_s=1.5)
    fill(it)
    it.drive()
    assert {violation.statement for violation in it.violations} <= {62}
    assert [len(readings) for readings in it.accepted().values()] == [COUNT, COUNT]
    assert (it.sender.queue.delivered, it.sender.queue.dead) == (2 * COUNT, 0)


@pytest.mark.statement(59)
def test_datacake_field_that_is_unknown_waits_alone(rig):
    it = rig("datacake", PLATFORMS["datacake"] | {"typo.x": {"field": "TYPO"}})
    it.put("typo.x", 1.0, 2.0)
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert list(it.sender.status.parked) == ["typo.x"]
    assert (it.sender.queue.delivered, it.sender.queue.dead, it.queued) == (2 * COUNT, 0, 2)
    device = it.stand_in.made_up_device
    it.stand_in.devices[device]["TYPO"] = "FLOAT"
    it.drive()
    assert it.violations == []
    assert [value for _, value in it.accepted()[f"{device}/TYPO"]] == [1.0, 2.0]


@pytest.mark.statement(57)
@pytest.mark.parametrize("empty", [True, False])
def test_datacake_key_that_is_refused_parks(rig, empty):
    it = rig("datacake", PLATFORMS["datacake"], empty_401=empty)
    it.stand_in.secrets = {"another-key-than-ours"}
    fill(it)
    it.drive(until=it.clock.seconds + 60)
    assert (it.sender.status.state, it.queued) == ("parked", 2 * COUNT)
    assert it.stand_in.requests[-1].status == 401
    it.stand_in.secrets = {it.stand_in.made_up_token}
    it.drive()
    assert_all_there(it)


@pytest.mark.statement(64)
def test_datacake_takes_one_reading_a_second(rig):
    it = rig("datacake", PLATFORMS["datacake"])
    it.put("a.x", *(float(n) for n in range(50)), step_ms=300)
    it.drive()
    assert it.violations == []
    times = [time for time, _ in it.accepted()[f"{it.stand_in.made_up_device}/TEMPERATURE"]]
    assert len(set(times)) == len(times) == it.sender.queue.delivered
    assert it.sender.queue.delivered + it.sender.queue.merged == 50


@pytest.mark.statement(58)
def test_datacake_batches_are_for_one_device(rig):
    device = "11111111-2222-3333-4444-555555555555"
    series = {f"s{n}.x": {"field": f"F{n}"} for n in range(150)} | {"other.x": {"field": "F0", "device": device}}
    it = rig("datacake", series)
    it.stand_in.devices[it.stand_in.made_up_device] |= {f"F{n}": "FLOAT" for n in range(150)}
    it.stand_in.devices[device] = {"F0": "FLOAT"}
    for each in series:
        it.put(each, 1.0, 2.0)
    it.drive()
    assert it.violations == []
    assert it.sender.queue.delivered == 302


# --- BBData over MQTT

MQTT: dict[str, dict[str, Any]] = {
    "a.x": {"object": 4711, "token": plain(BBData.made_up[4711].token)},
    "b.x": {"object": 4715, "token": plain("f" * 32)},
}


@pytest.fixture
def over_mqtt(tmp_path, clock, broker):
    """`over_mqtt(**options)`: a bench that sends to the real broker."""
    with ExitStack() as stack:

        def make(**options):
            keys = {
                "host": broker.host,
                "port": broker.port,
                "client_id": "bbdata_test",
                "password": plain(broker.password),
            } | options
            mapping = Mapping(tuple((each, Object(**target)) for each, target in MQTT.items()))
            wire = Wire(10.0, broker.ca_file, "")
            return open_bench(stack, tmp_path / "mqtt", clock, BBDataMqtt(Options(**keys)), mapping, Backoff(), wire)

        yield make


def arrived(broker) -> dict[int, list[float]]:
    """The values of each object, in order; what came again (same time) is taken once."""
    seen: dict[int, dict[int, float]] = {}
    for measure in broker.measures():
        seen.setdefault(measure["objectId"], {}).setdefault(measure["time_ms"], float(measure["value"]))
    return {number: list(values.values()) for number, values in seen.items()}


EXPECTED = {4711: [float(n) for n in range(COUNT)], 4715: [float(n) for n in range(100, 100 + COUNT)]}


@pytest.mark.statement(52)
@pytest.mark.statement(54)
@pytest.mark.guarantee(4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_all_reaches_the_broker(over_mqtt, broker, qos):
    it = over_mqtt(qos=qos, max_inflight=5)
    fill(it)
    it.drive()
    broker.wait_for(2 * COUNT)
    assert arrived(broker) == EXPECTED
    keys = {"objectId", "token", "timestamp", "value", "comment", "owner", "time_ms"}
    assert all(measure.keys() == keys for measure in broker.measures())
    assert {(measure["comment"], measure["owner"]) for measure in broker.measures()} == {("", None)}
    assert (it.sender.queue.delivered, it.queued) == (2 * COUNT, 0)


@pytest.mark.statement(54)
@pytest.mark.pain("A16")
@pytest.mark.guarantee(1)
def test_a_broker_that_is_restarted_in_mid_flight_loses_nothing(over_mqtt, broker):
    it = over_mqtt(max_inflight=2)
    fill(it)
    for _ in range(3):
        it.step()
    broker.stop()
    settled = len(it.settled)
    it.drive(until=it.clock.seconds + 300)
    assert len(it.settled) == settled, "nothing is settled without a confirmation"
    assert it.sender.status.state == "backing-off"
    broker.start()
    it.drive()
    wait_until(lambda: arrived(broker) == EXPECTED, "all readings")
    assert it.queued == 0


@pytest.mark.statement(49)
@pytest.mark.statement(8)
@pytest.mark.pain("G6")
def test_a_wrong_password_parks_and_is_tried_slowly(over_mqtt, broker, clock):
    it = over_mqtt(password=plain("not-the-password"))
    fill(it)
    it.drive(until=clock.seconds + 2.5 * PARKED_S)
    assert (it.sender.status.state, it.queued) == ("parked", 2 * COUNT)
    assert "check client_id, username, password" in it.sender.status.last_error
    assert "not-the-password" not in it.sender.status.last_error
    assert broker.log().count("New connection") <= 3 + 5, "three tries, and the tests' own"
