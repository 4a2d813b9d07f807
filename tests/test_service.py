"""The systemd unit: its syntax, and what it promises about restarts and exit statuses."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "systemd" / "edged.service"


@pytest.fixture
def service():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are not lower case
    unit.read(UNIT)
    return unit


@pytest.mark.pain("F12")
def test_systemd_finds_nothing_wrong_with_it(tmp_path):
    unit = tmp_path / "edged.service"  # with a program that exists here
    edged = Path(sys.executable).with_name("edged")
    unit.write_text(
        UNIT.read_text().replace("/opt/edged/bin/edged", str(edged)).replace("User=edged\nGroup=edged\n", "")
    )
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze is missing: sh tests/tools.sh installs it"
    result = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    complaints = [line for line in result.stderr.splitlines() if "edged.service" in line]
    assert (result.returncode, complaints) == (0, []), result.stderr


@pytest.mark.pain("F4")
def test_it_is_restarted_for_ever_but_not_for_a_wrong_config(service):
    assert service["Service"]["Restart"] == "always"
    assert service["Service"]["RestartPreventExitStatus"] == "78"
    assert service["Unit"]["StartLimitIntervalSec"] == "0"


@pytest.mark.guarantee(6)
@pytest.mark.pain("C1")
def test_it_waits_neither_for_the_network_nor_for_the_time(service):
    wanted = UNIT.read_text()
    assert "network-online.target" not in wanted
    assert "time-sync.target" not in wanted


def test_it_runs_as_its_own_user_with_its_own_state(service):
    assert service["Service"]["User"] == "edged"
    assert service["Service"]["StateDirectory"] == "edged"
    assert service["Service"]["ExecStart"] == "/opt/edged/bin/edged run"
