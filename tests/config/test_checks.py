"""What the parts of a config mean to one another; here mostly what is right, or worth a warning only."""

import shutil

import pytest

from edged.config.reader import read
from edged.secret import redact

SENSORS = """\
[sensors.greenhouse]
driver = "bme280"
interval = "10s"
"""
DATABOOM = """\
[destinations.databoom]
platform = "databoom"
token = { credential = "databoom-token" }
device = "0abc12def3"
"""


@pytest.fixture
def problems(tmp_path, monkeypatch):
    """Writes a config and returns the lines that are said of it."""
    monkeypatch.chdir(tmp_path)

    def problems(text: str, mode: int = 0o644) -> list[str]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(mode)
        config, found, _ = read(path.relative_to(tmp_path))
        assert (config is None) == any(problem.severity == "error" for problem in found)
        return [str(problem) for problem in found]

    return problems


@pytest.mark.parametrize("key", ['token = "0123456789abcdef"', 'password = "0123456789abcdef"'])
def test_a_secret_that_all_may_read(problems, key):
    platform = 'platform = "bbdata-mqtt"'
    if key.startswith("token"):
        platform, key = 'platform = "databoom"\ndevice = "d"', key
    text = f"[destinations.d]\n{platform}\n{key}\n"
    (line,) = problems(text)
    row, column = len(text.splitlines()), key.index('"') + 1
    assert line == (
        f"config.toml:{row}:{column}: destinations.d.{key.split(' ')[0]}: warning: a secret in a file that all users "
        "may read; chmod o-r config.toml, or use { credential = ... }"
    )
    assert problems(text, mode=0o640) == []


def test_a_series_token_that_all_may_read(problems):
    series = 'series = { "greenhouse.humidity" = { object = 1, token = "0123456789abcdef0123456789abcdef" } }\n'
    text = SENSORS + f'[destinations.d]\nplatform = "bbdata"\n{series}'
    (line,) = problems(text)
    assert 'destinations.d.series."greenhouse.humidity".token: warning: a secret in a file' in line
    assert problems(text, mode=0o600) == []


def test_secrets_from_elsewhere_are_no_matter(problems):
    assert problems(DATABOOM) == []


# --- series


def test_quantities_that_come_from_the_device(problems):
    iio = '[sensors.roof]\ndriver = "iio"\nname = "bme280"\ninterval = 10\n'
    (line,) = problems(iio + DATABOOM + 'series = { "roof.temperature" = true }\n')
    assert line == (
        'config.toml:9:12: destinations.databoom.series."roof.temperature": warning: '
        "its sensor's quantities come from the device: `edged read` shows them"
    )
    assert problems(iio + DATABOOM + 'series = { "roof.*" = true, "*" = true }\n') == []


def test_a_series_that_is_taken_out_must_exist_as_well(problems):
    (line,) = problems(SENSORS + DATABOOM + 'series = { "greenhouse.temprature" = false }\n')
    assert 'did you mean "greenhouse.temperature"?' in line


def test_a_disabled_sensor_keeps_its_series(problems):
    text = SENSORS + "enabled = false\n" + DATABOOM + 'series = { "greenhouse.*" = true }\n'
    assert problems(text) == []


def test_one_field_of_two_devices(problems):
    datacake = (
        '[destinations.d]\nplatform = "datacake"\ntoken = { env = "T" }\ndevice = "one"\n[destinations.d.series]\n'
    )
    two = '"greenhouse.humidity" = "X"\n"greenhouse.pressure" = { field = "X", device = "two" }\n'
    assert problems(SENSORS + datacake + two) == []
    (line,) = problems(SENSORS + datacake + two.replace('"two"', '"one"'))
    assert "same target" in line


def test_one_object_with_two_tokens(problems):
    series = "".join(
        f'"greenhouse.{quantity}" = {{ object = 1, token = {{ env = "{quantity}" }} }}\n'
        for quantity in ("humidity", "pressure")
    )
    (line,) = problems(SENSORS + '[destinations.d]\nplatform = "bbdata"\n[destinations.d.series]\n' + series)
    assert "greenhouse.humidity goes to the same target as greenhouse.pressure" in line


# --- hardware


def bme280(name: str, *keys: str) -> str:
    return "\n".join([f"[sensors.{name}]", 'driver = "bme280"', "interval = 10", *keys, ""])


def test_two_chips_at_two_addresses(problems):
    assert problems(bme280("a", "address = 0x76") + bme280("b", "address = 0x77")) == []


def test_one_address_on_two_buses(problems):
    assert problems(bme280("a", "bus = 1") + bme280("b", "bus = 3") + bme280("c", 'bus = "sim"')) == []


def test_a_disabled_sensor_claims_nothing(problems):
    assert problems(bme280("a") + bme280("b", "enabled = false")) == []


def test_three_of_one_address_are_two_errors(problems):
    assert len(problems(bme280("a") + bme280("b") + bme280("c"))) == 2


def test_a_sensor_of_events_needs_no_interval(problems):
    door = '[sensors.door]\ndriver = "digital-input"\npin = 17\n'
    assert problems(door + "events = true\n") == []
    (line,) = problems(door)
    assert "interval is missing" in line


def test_a_cron_expression(problems):
    assert problems(SENSORS.replace('interval = "10s"', 'cron = "*/5 6-22 * * 1-5"')) == []


# --- cautions


@pytest.mark.parametrize(
    ("destination", "key"),
    [
        ('platform = "bbdata-mqtt"\nqos = 0\n', "qos"),
        (DATABOOM.partition("\n")[2] + "max_points = 500\n", "max_points"),
        (DATABOOM.partition("\n")[2] + "max_signals = 21\n", "max_signals"),
        (DATABOOM.partition("\n")[2] + 'min_request_interval = "100ms"\n', "min_request_interval"),
    ],
)
@pytest.mark.guarantee(7)
def test_what_goes_beyond_a_platforms_limits_is_warned_of(problems, destination, key):
    (line,) = problems("[destinations.d]\n" + destination)
    assert f" destinations.d.{key}: warning: " in line


def test_a_queue_that_its_disk_has_no_room_for(problems, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100 * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    daemon = f'[daemon]\nstate_dir = "{tmp_path}/var/state"\n'
    two = DATABOOM + DATABOOM.replace(".databoom]", ".other]")
    assert problems(daemon) == []
    (line,) = problems(daemon + two)  # both have it from [queue]
    says = (
        f"queue.max_size: warning: 256MiB, but the disk of {tmp_path}/var/state has room for 100MiB; "
        "when that is full, readings are lost, whatever when_full says: set a smaller size"
    )
    assert line == f"config.toml:1:1: {says}"
    (line,) = problems(daemon + '[queue]\nmax_size = "200MB"\n' + two + 'max_size = "100MiB"\n')
    assert line.startswith("config.toml:4:12: queue.max_size: warning: 190.7MiB, but ")
    (line,) = problems(daemon + '[queue]\nmax_size = "50MiB"\n' + two + 'max_size = "1GiB"\n')
    assert line.startswith("config.toml:13:12: destinations.other.max_size: warning: 1GiB, but ")
    assert problems(daemon + DATABOOM + "enabled = false\n") == []


def test_what_the_store_has_already_is_room(problems, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "store.db").write_bytes(bytes(2**16))
    text = f'[daemon]\nstate_dir = "{tmp_path}/state"\n' + DATABOOM
    assert problems(text + 'max_size = "64KiB"\n') == []
    (line,) = problems(text + 'max_size = "65KiB"\n')
    assert "has room for 64KiB;" in line


def test_a_stale_after_that_is_not_taken_as_it_is(problems):
    (line,) = problems(SENSORS + 'stale_after = "5s"\n')
    assert line == "config.toml:4:15: sensors.greenhouse.stale_after: warning: it counts as 10 s, the shortest there is"
    assert problems(SENSORS + 'stale_after = "10s"\n') == []
    (line,) = problems('[sensors.door]\ndriver = "digital-input"\npin = 17\nevents = true\nstale_after = "1d"\n')
    assert "sensors.door.stale_after: warning: it has no effect" in line


def test_problems_are_in_the_order_of_the_file(problems):
    lines = problems(
        bme280("a", "interval = 5") + bme280("b").replace("interval", "intervall") + DATABOOM + "batch_size = 0\n"
    )
    assert len(lines) == 1  # a key that is set twice ends the file
    lines = problems(
        bme280("a", 'cron = "* * * * *"')
        + bme280("b", "address = 0x77").replace("10", '"x"')
        + DATABOOM
        + "batch_size = 0\n"
    )
    assert [line.split(": ")[1] for line in lines] == [
        "sensors.a.cron",
        "sensors.b.interval",
        "destinations.databoom.batch_size",
    ]


def test_a_secret_in_a_header_that_all_may_read(problems):
    text = (
        SENSORS + '[destinations.d]\nplatform = "http"\nurl = "https://collector.example.org/"\n'
        'headers = { Authorization = "Bearer abcdef" }\nseries = { "*" = true }\n'
    )
    (line,) = problems(text)
    assert "destinations.d.headers.Authorization: warning: a secret in a file that all users may read" in line


@pytest.mark.case(26)
def test_a_name_that_topics_hold_in_another_form_is_told_once(problems):
    text = SENSORS.replace("greenhouse", '"HM-1500 #1"') + (
        '[destinations.d]\nplatform = "mqtt"\nhost = "mqtt.example.org"\nseries = { "*" = true }\n'
    )
    (line,) = problems(text)
    assert "warning: in topics 'HM-1500 #1' is written 'HM-1500 %231'" in line


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('cert_file = "/nowhere/client.pem"\n', "cert_file: warning: /nowhere/client.pem does not exist"),
        ('proxy = "http://proxy.example.org:3128"\n', "proxy: warning: this platform connects directly, without it"),
    ],
)
def test_what_a_broker_is_not_reached_with(problems, keys, said):
    text = f'{SENSORS}[destinations.d]\nplatform = "mqtt"\nhost = "mqtt.example.org"\n{keys}series = {{ "*" = true }}\n'
    (line,) = problems(text)
    assert f"destinations.d.{said}" in line


# --- brokers and topics

MQTT = '[destinations.{name}]\nplatform = "mqtt"\nhost = "mqtt.example.org"\n'


@pytest.mark.pain("G1")
@pytest.mark.statement(50)
def test_two_clients_of_one_id_at_one_broker(problems):
    first = MQTT.format(name="one") + 'client_id = "edged_1"\n'
    second = MQTT.format(name="two").replace("mqtt.", "MQTT.") + 'port = 8883\nclient_id = "edged_1"\n'
    assert problems(first + second) == [
        "config.toml:9:13: destinations.two.client_id: 'edged_1' is that of destinations.one too (config.toml:4:13), "
        "and the broker would end the session of one for the other; give each a client_id of its own"
    ]
    assert problems(first + second + "enabled = false\n") == []
    assert problems(first + second.replace("8883", "1883")) == []
    assert problems(first + second.replace("edged_1", "edged_2")) == []
    assert problems(first + second.replace("example.org", "example.com")) == []


@pytest.mark.statement(50)
@pytest.mark.parametrize("platform", ["mqtt", "bbdata-mqtt"])
def test_the_usual_client_id_is_for_one_destination_of_a_broker(problems, platform):
    text = MQTT.replace('"mqtt"', f'"{platform}"')
    (line,) = problems(text.format(name="one") + text.format(name='"t w o"'))
    assert line.startswith('config.toml:4:15: destinations."t w o".client_id: ')
    assert "that of destinations.one too (config.toml:1:15)" in line


def test_an_empty_client_id_is_told_of_once_a_destination(problems):
    text = MQTT + 'client_id = ""\n'
    assert len(problems(text.format(name="one") + text.format(name="two"))) == 2


def test_a_series_own_topic_has_to_be_one(problems):
    text = SENSORS + MQTT.format(name="d") + 'series = { "greenhouse.humidity" = "a/#" }\n'
    (line,) = problems(text)
    assert line.startswith('config.toml:7:36: destinations.d.series."greenhouse.humidity"')
    assert "'a/#' is no topic" in line
    assert "warning" not in line


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("a/{sensor}", "put {quantity} into topic"),
        ("a/{quantity}", "put {sensor} into topic"),
        ("a", "put {sensor} and {quantity} into topic"),
    ],
)
def test_a_topic_that_does_not_tell_series_apart(problems, topic, said):
    text = SENSORS + SENSORS.replace("greenhouse", "hall").replace('"10s"', '"10s"\naddress = 0x77')
    text += f'{MQTT.format(name="d")}topic = "{topic}"\nseries = {{ "*" = true }}\n'
    (line,) = problems(text)
    assert line.endswith(f"; {said}")


def test_two_series_on_one_topic_of_their_own(problems):
    series = 'series = { "greenhouse.humidity" = "a", "greenhouse.pressure" = "a" }\n'
    (line,) = problems(SENSORS + MQTT.format(name="d") + 'topic = "b/{sensor}"\n' + series)
    assert line.endswith("; each series needs one of its own")


@pytest.mark.parametrize(
    ("topic", "series"),
    [
        ("a/b", '"greenhouse.humidity" = true'),
        ("{sensor}/{quantity}", '"greenhouse.humidity" = "a/b"'),
        ("a/b", '"*" = true'),
    ],
)
def test_a_last_will_among_the_readings(problems, topic, series):
    text = f'{SENSORS}{MQTT.format(name="d")}topic = "{topic}"\npayload = "{{sensor}} {{quantity}} {{value}}"\n'
    text += f"series = {{ {series} }}\nwill = "
    (line,) = problems(text + '{ topic = "a/b" }\n')
    assert line.startswith("config.toml:10:18: destinations.d.will.topic: warning: greenhouse.")
    assert line.endswith(" goes there too, and who reads it gets 'online' for a value; use another topic")
    assert problems(text + '{ topic = "a/c" }\n') == []


def test_a_name_of_several_levels(problems):
    text = '[daemon]\nname = "pi odd/1"\n' + SENSORS + MQTT.format(name="d") + 'series = { "*" = true }\n'
    said = 'config.toml:2:8: daemon.name: warning: {name} makes 2 levels of a topic, since "/" parts them'
    assert problems(text) == [said]
    assert problems(text + 'topic = "a/{sensor}/{quantity}"\n') == []
    assert problems(text + 'topic = "a/{sensor}/{quantity}"\nwill = {}\n') == [said]
    assert problems(text.replace("true", '"x/{name}"').replace("*", "greenhouse.humidity")) == [said]


def test_keys_that_are_not_used(problems):
    plain = SENSORS + MQTT.format(name="d") + 'tls = false\nca_file = "/nowhere/ca.pem"\n'
    (line,) = problems(plain)
    says = "it is not used: without TLS there is no certificate to check"
    assert line == f"config.toml:8:11: destinations.d.ca_file: warning: {says}"
    (line,) = problems(plain.replace("false", "true"))
    assert line.endswith("destinations.d.ca_file: warning: /nowhere/ca.pem does not exist")
    (line,) = problems(SENSORS + MQTT.format(name="d") + 'device = "pi"\n')
    assert line == "config.toml:7:1: destinations.d.device: warning: it is not used: only discovery tells it to others"
    assert problems(SENSORS + MQTT.format(name="d") + 'device = "pi"\ndiscovery = "homeassistant"\n') == []


def test_a_first_wait_beyond_the_longest(problems):
    (line,) = problems(DATABOOM + 'backoff = { first = "2m", max = "1m" }\n')
    assert line == "config.toml:5:21: destinations.databoom.backoff.first: first (120 s) is above max (60 s)"
    assert problems(DATABOOM + 'backoff = { first = "1m", max = "1m" }\n') == []
    assert problems(DATABOOM + 'backoff = { max = "100ms" }\n') == []


def test_a_secret_too_short_to_be_blacked_out(problems):
    for text, count in (("abc", 1), ("abcd", 0)):
        lines = problems(DATABOOM.replace('{ credential = "databoom-token" }', f'"{text}"'), mode=0o600)
        assert len(lines) == count
        assert (redact(f"token {text} is unknown") == f"token {text} is unknown") is bool(count)
    (line,) = problems(DATABOOM.replace('{ credential = "databoom-token" }', '"abc"'), mode=0o600)
    assert line.startswith(
        "config.toml:3:9: destinations.databoom.token: warning: so short a secret is not blacked out"
    )
    assert len(problems(DATABOOM.replace('{ credential = "databoom-token" }', '""'))) == 1
