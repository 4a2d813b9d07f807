"""The generic HTTP platform: what it sends by format, and what each answer means."""

import json
from pathlib import Path
from typing import Any

import pytest

from edged.config.reader import read
from edged.errors import SecretUnreadable
from edged.outcome import Delayed, Delivered, Isolate, Parked, Permanent, Transient
from edged.platforms import Item
from edged.platforms.http import Http, Named, Options
from edged.reading import Entry, Value
from edged.secret import from_env, plain, within
from edged.simulation.platforms import open_stand_in
from edged.transports.http import HttpTransport, Reply

TIME_MS = 1_709_647_650_250
URL = "https://collector.example.org/readings"


def platform(**options: Any) -> Http:
    return Http(Options(**{"url": URL} | options))


def item(
    value: Value = 21.37, series: str = "greenhouse.temperature", time_ms: int = TIME_MS, unit: str = "°C"
) -> Item:
    return Item(Entry(1, series, time_ms, value), Named(name=series), unit)


# --- what goes out

POINT = {"series": "greenhouse.temperature", "time": "2024-03-05T14:07:30.250Z", "value": 21.37}


def test_lines_of_json_by_default():
    request = platform().encode([item(), item(True, "door.state"), item('ü "x"\n', "co2.text")])
    assert (request.method, request.url) == ("POST", URL)
    assert request.headers == {"Accept": "*/*", "Content-Type": "application/x-ndjson"}
    assert request.body.endswith(b"\n")
    assert [json.loads(line) for line in request.body.splitlines()] == [
        POINT,
        POINT | {"series": "door.state", "value": True},
        POINT | {"series": "co2.text", "value": 'ü "x"\n'},
    ]


def test_a_list_of_json():
    request = platform(format="json", method="PUT").encode([item(), item(3)])
    assert request.method == "PUT"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == [POINT, POINT | {"value": 3}]


def test_a_series_goes_under_the_name_that_it_is_given():
    other = item()._replace(target=Named(name="t1"))
    assert json.loads(platform().encode([other]).body)["series"] == "t1"
    assert Http.usual("greenhouse.temperature") == "greenhouse.temperature"
    assert Http.usual_target("a.b") == Named(name="a.b")


@pytest.mark.parametrize(
    ("template", "value", "content_type", "body"),
    [
        ("{sensor},q={quantity} v={value}", 21.37, "text/plain; charset=utf-8", "greenhouse,q=temperature v=21.37"),
        ('{"v": {value}, "t": "{time}"}', 3, "application/json", '{"v": 3, "t": "2024-03-05T14:07:30.250Z"}'),
        ('{"v": {value}}', True, "application/json", '{"v": true}'),
        ('[{"s": "{sensor}.{quantity}", "v": "{value}"}]', 'a"b\\\n', "application/json", None),
        ('{"u": "{unit}", "o": {}}', 1, "application/json", '{"u": "°C", "o": {}}'),
        ("[{time}] {value}", "\ud800", "text/plain; charset=utf-8", "[2024-03-05T14:07:30.250Z] ?"),
    ],
)
def test_a_template_for_each_reading(template, value, content_type, body):
    made = platform(format="template", template=template)
    assert made.limits.readings == 1
    request = made.encode([item(value)])
    assert request.headers["Content-Type"] == content_type
    if body is None:
        assert json.loads(request.body) == [{"s": "greenhouse.temperature", "v": value}]
    else:
        assert request.body.decode() == body


def test_a_request_stays_small():
    assert platform().limits.readings == platform(format="json").limits.readings == 500
    assert platform().limits.body == 256 * 1024


@pytest.mark.parametrize("value", ["warm", "", "NaN", "1 2", '"', "]"])
def test_a_text_without_quotes_waits_for_a_person(value):
    made = platform(format="template", template='{"v": {value}}')
    outcome = made.refuses(item(value))
    assert isinstance(outcome, Parked)
    assert not outcome.whole
    assert "quotes" in outcome.reason
    for taken in (21.37, True, 3, "5"):
        assert made.refuses(item(taken)) is None
    assert platform(format="template", template="v={value}").refuses(item(value)) is None
    assert platform().refuses(item(value)) is None


@pytest.mark.pain("F15")
@pytest.mark.statement(2)
def test_headers_go_along_and_are_shown_nowhere(monkeypatch):
    monkeypatch.setenv("EDGED_TEST_KEY", "a-made-up-key")
    headers = {"X-Key": from_env("EDGED_TEST_KEY"), "content-type": plain("application/vnd.edged+json")}
    made = platform(headers=headers)
    request = made.encode([item()])
    assert request.headers == {
        "Accept": "*/*",
        "X-Key": "a-made-up-key",
        "content-type": "application/vnd.edged+json",
    }
    assert list(within(made.options)) == list(headers.values())
    assert "a-made-up-key" not in repr(made.options) + repr(request)
    with pytest.raises(SecretUnreadable, match="EDGED_NONESUCH is not set"):
        platform(headers={"X-Key": from_env("EDGED_NONESUCH")}).encode([item()])


# --- what comes back


@pytest.mark.parametrize(
    ("reply", "one", "two"),
    [
        (Reply(200), Delivered, Delivered),
        (Reply(201, b"anything \xff"), Delivered, Delivered),
        (Reply(202, b"OK", "text/html; charset=UTF-8"), Delivered, Delivered),
        (Reply(200, b"<html><title>Log in</title>", "text/html"), Transient, Transient),
        (Reply(200, b"\n<!DOCTYPE html>"), Transient, Transient),
        (Reply(200, b"<script>top.location='http://10.0.0.1/'</script>", "text/plain"), Transient, Transient),
        (Reply(200, b"\xef\xbb\xbf<html></html>", "text/html"), Transient, Transient),
        (Reply(200, "\ufeff<html></html>".encode("utf-16-le"), "text/html"), Transient, Transient),
        (Reply(200, "<html></html>".encode("utf-16-le"), "text/html"), Transient, Transient),
        (Reply(200, b"Log in <a href='/login'>here</a>", "text/html"), Transient, Transient),
        (Reply(200, b'{"taken": 1}', "text/html"), Delivered, Delivered),
        (Reply(200, b"<taken>1</taken>", "application/xml"), Delivered, Delivered),
        (Reply(204), Delivered, Delivered),
        (Reply(203), Parked, Parked),
        (Reply(206, b"{}"), Parked, Parked),
        (Reply(299), Parked, Parked),
        (Reply(302), Parked, Parked),
        (Reply(304), Parked, Parked),
        (Reply(400, b"bad line"), Permanent, Isolate),
        (Reply(400, b"unknown device"), Parked, Parked),
        (Reply(401), Parked, Parked),
        (Reply(403, b"no"), Parked, Parked),
        (Reply(403, b"<html></html>", "text/html"), Transient, Transient),
        (Reply(404), Parked, Parked),
        (Reply(409, b"{}"), Permanent, Isolate),
        (Reply(413), Permanent, Isolate),
        (Reply(422, b"rate limit exceeded"), Transient, Transient),
        (Reply(429), Transient, Transient),
        (Reply(500), Transient, Transient),
        (Reply(503), Transient, Transient),
    ],
)
def test_judge(reply, one, two):
    assert [type(outcome) for outcome in platform().judge(reply, [item()])] == [one]
    assert [type(outcome) for outcome in platform().judge(reply, [item(), item(2)])] == [two, two]


@pytest.mark.parametrize("status", [201, 207, 302, 409, 418, 503])
def test_success_is_what_the_config_lists(status):
    made = platform(success=(status,))
    assert made.judge(Reply(status, b"whatever"), [item(), item()]) == [Delivered()] * 2
    (outcome,) = made.judge(Reply(200), [item()])
    assert isinstance(outcome, Parked)
    assert outcome.whole
    assert outcome.reason == "HTTP 200: neither an error nor one of success; check url and success"


@pytest.mark.statement(5)
def test_waits_are_handed_on():
    (outcome,) = platform().judge(Reply(503, b"", "", 30.0), [item()])
    assert isinstance(outcome, Transient)
    assert outcome.wait_s == 30.0


def test_a_reading_ahead_of_the_servers_clock_waits():
    (outcome,) = platform().judge(Reply(400, b"no", date_ms=1_795_565_340_000), [item(time_ms=1_795_565_345_000)])
    assert isinstance(outcome, Delayed)
    assert outcome.wait_s == 5


# --- the config


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, []),
        ({"format": "template", "template": "{value}"}, []),
        ({"format": "template"}, ["template"]),
        ({"template": "{value}"}, ["template"]),
        ({"format": "json", "template": "{value}"}, ["template"]),
        ({"success": ()}, ["success"]),
        ({"success": (200, 99)}, ["success"]),
        ({"success": (600,)}, ["success"]),
        ({"headers": {"X-Key": plain("made-up")}}, []),
        ({"headers": {"X Key": plain("made-up")}}, ["headers"]),
        ({"headers": {"": plain("made-up"), "ü": plain("made-up")}}, ["headers", "headers"]),
        ({"headers": {"content-length": plain("made-up")}}, ["headers"]),
        ({"headers": {"Host": plain("made-up")}}, ["headers"]),
        ({"headers": {"X-Key": plain("made-up"), "x-key": plain("made-up")}}, ["headers"]),
        ({"headers": {"X-Key": plain("made\r\nup"), "X-Other": plain("made-\u20acp")}}, ["headers", "headers"]),
        ({"headers": {"X-Key": plain(" made-up"), "X-Other": plain("made\0up")}}, ["headers", "headers"]),
        ({"headers": {"X-Key": plain("m\xe4de\tup ~")}}, []),
        ({"headers": {"X-Key": from_env("EDGED_NONESUCH")}}, []),
    ],
)
def test_check(options, keys):
    assert [key for key, _ in Http.check(platform(**options).options)] == keys


def test_a_headers_value_is_not_quoted():
    options = platform(headers={"X-Key": plain("made\nup-key")}).options
    assert Http.check(options) == [
        ("headers", "X-Key holds a character that HTTP does not allow, a line break perhaps")
    ]


def test_cautions():
    assert Http.caution(platform().options) == []
    assert [key for key, _ in Http.caution(platform(success=(200, 302, 409)).options)] == ["success"]
    broken = platform(format="template", template='{"v": {value}, }')
    assert Http.caution(broken.options) == [("template", "it makes no JSON, so it is sent as plain text")]


def config(folder: Path, keys: str) -> tuple[Any, list[str]]:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        f'[daemon]\nname = "pi"\nstate_dir = "{folder}/state"\n[sensors.host]\ndriver = "host"\ninterval = 1\n'
        f'[destinations.d]\nplatform = "http"\nurl = "https://example.org/"\nseries = {{ "host.*" = true }}\n{keys}\n'
    )
    found, problems, _ = read(path)
    return found and found.destinations["d"].options, [str(problem).partition(": ")[2] for problem in problems]


def test_a_config_of_all_keys(tmp_path):
    keys = """\
method = "PATCH"
format = "template"
template = '{"pi": "{name}", "{quantity}": {value}}'
headers = { Authorization = { env = "EDGED_TEST_KEY" }, X-Scope = "pi" }
success = [200, 409]"""
    options, problems = config(tmp_path, keys)
    assert problems == ["destinations.d.success: warning: with 409 most servers say that nothing was taken"]
    assert (options.method, options.success) == ("PATCH", (200, 409))
    assert options.template == '{"pi": "pi", "{quantity}": {value}}'
    assert options.headers["X-Scope"].reveal() == "pi"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            'format = "template"\ntemplate = "{foo}"',
            "destinations.d.template: {foo} stands for nothing; there are {name}",
        ),
        ('format = "xml"', 'destinations.d.format: one of "jsonl", "json", "template" is expected'),
        ('success = [200, "201"]', "destinations.d.success: a whole number is expected"),
        ("headers = { X-Key = 1 }", "destinations.d.headers.X-Key: a secret is expected"),
        ('headers = { "X Key" = "x" }', "destinations.d.headers: 'X Key' is no header's name"),
        ("success = []", "destinations.d.success: statuses from 200 to 599"),
    ],
)
def test_what_is_wrong_with_a_config(tmp_path, keys, said):
    options, problems = config(tmp_path, keys)
    assert options is None
    (problem,) = problems
    assert problem.startswith(said)


# --- with the stand-in


@pytest.mark.statement(1)
@pytest.mark.parametrize("format", ["jsonl", "json"])
def test_the_collector_takes_it(format):
    transport = HttpTransport(10.0)
    with open_stand_in("http") as stand_in:
        headers = {"Authorization": plain("Bearer made-up-collector-token")}
        made = platform(url=stand_in.url, format=format, headers=headers)
        batch = [item(), item(True, "door.state"), item("ü", "co2.text"), item(-1e-7, "a.b"), item(10**15, "c.d")]
        assert made.judge(transport.exchange(made.encode(batch)), batch) == [Delivered()] * 5
        accepted, violations = stand_in.snapshot()
        assert [(a.target, a.time_ms, a.value) for a in accepted] == [
            (i.entry.series, i.entry.time_ms, i.entry.value) for i in batch
        ]
        assert violations == []
    transport.close()


def test_the_collector_takes_a_template():
    transport = HttpTransport(10.0)
    with open_stand_in("http") as stand_in:
        stand_in.admit({"format": "template"}, [])
        made = platform(url=stand_in.url, format="template", template="{sensor}.{quantity} {value} {time}")
        assert made.judge(transport.exchange(made.encode([item()])), [item()]) == [Delivered()]
        assert stand_in.snapshot()[0][0].value == "greenhouse.temperature 21.37 2024-03-05T14:07:30.250Z"
    transport.close()
