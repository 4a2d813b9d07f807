import pytest

from edged import platforms
from edged.cli import main
from edged.config.config import DestinationOptions
from edged.config.reader import read
from edged.options import declarations


def test_all_platforms(capsys):
    assert main(["platforms"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split() == ["platform", "what", "it", "is"]
    assert [row.split()[0] for row in rows] == platforms.names()


@pytest.mark.parametrize("name", platforms.names())
def test_one_platform(capsys, name):
    platform = platforms.find(name)
    assert platform is not None
    assert main(["platforms", name]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{name}: ")
    assert "Source: " in text
    for options in (platform.Options, DestinationOptions, platform.Series):
        for option in declarations(options).values():
            (row,) = [line for line in text.splitlines() if option.help in line and line.split()[0] == option.name]
            if option.required:
                assert " required " in row


def test_a_secret_default_is_not_shown(capsys):
    assert main(["platforms", "bbdata-mqtt"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("password ")]
    assert "Secret" not in row


@pytest.mark.parametrize("name", platforms.names())
def test_the_example_is_right(capsys, tmp_path, name):
    assert main(["platforms", name]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "config.toml"
    sensors = '[sensors.greenhouse]\ndriver = "bme280"\ninterval = 1\n[sensors.host]\ndriver = "host"\ninterval = 1\n'
    path.write_text(sensors + text[text.index("[destinations.NAME]") :])
    config, problems, _ = read(path)
    assert problems == []
    assert config is not None
    assert config.destinations["NAME"].kind == name


@pytest.mark.parametrize("name", ["databoon", "_http", "zebra"])
def test_no_platform(capsys, name):
    assert main(["platforms", name]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith(f'edged: there is no platform "{name}"; ')
