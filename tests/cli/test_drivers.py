import pytest

from edged import drivers
from edged.cli import main
from edged.config.config import SensorOptions
from edged.config.reader import read
from edged.options import declarations


def test_all_drivers(capsys):
    assert main(["drivers"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split() == ["driver", "for"]
    assert [row.split()[0] for row in rows] == drivers.names()
    assert all(len(row.split()) > 2 for row in rows)


@pytest.mark.parametrize("name", drivers.names())
def test_one_driver(capsys, name):
    driver = drivers.find(name)
    assert driver is not None
    assert main(["drivers", name]) == 0
    text = capsys.readouterr().out.partition("[sensors.NAME]")[0]
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    assert text.startswith(f"{name}: ")
    assert "ource" in text  # where its author has it from
    for quantity in driver.quantities:
        assert quantity.unit in rows[quantity.name]
    for options in (driver.Options, SensorOptions):
        for option in declarations(options).values():
            assert option.help in rows[option.name]


@pytest.mark.parametrize("name", drivers.names())
def test_the_example_is_right(capsys, tmp_path, name):
    assert main(["drivers", name]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "config.toml"
    path.write_text(text[text.index("[sensors.NAME]") :])
    config, problems, _ = read(path)
    assert problems == []
    assert config is not None
    assert config.sensors["NAME"].kind == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bme28", 'there is no driver "bme28"; did you mean "bme280"?'),
        ("digital_input", 'there is no driver "digital_input"; did you mean "digital-input"?'),
        ("_i2c", 'there is no driver "_i2c"; '),
        ("", 'there is no driver ""; there are: bme280, '),
        ("../host", 'there is no driver "../host"; '),
    ],
)
def test_no_driver(capsys, name, says):
    assert main(["drivers", name]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith(f"edged: {says}")
