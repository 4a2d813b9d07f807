"""What the parts of a config mean to one another; here mostly what is right, or worth a warning only."""

import shutil

import pytest

from edged.config.reader import read

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
