"""Which board this is: by what is soldered on, not by what is on the card."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from edged import board

STATE = Path("/var/lib/edged")
PLACES = ["proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty machine; files are put into it as the kernel or the card has them."""

    def put(path: str, content: bytes) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)

    monkeypatch.setattr(board, "Path", lambda path: tmp_path / path.lstrip("/"))
    return put


@pytest.mark.pain("G2")
@pytest.mark.parametrize("place", PLACES)
def test_two_boards_with_clones_of_one_card_are_two(machine, place):
    machine("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    machine(place, b"10000000abcdef01\0")
    assert board.serial(STATE) == "10000000abcdef01"
    machine(place, b"10000000abcdef02\0")
    assert board.serial(STATE) == "10000000abcdef02"


@pytest.mark.pain("G2")
@pytest.mark.pain("G5")
def test_a_board_with_another_card_is_the_same(machine):
    machine(PLACES[0], b"10000000abcdef01\0")
    machine("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    before = board.serial(STATE)
    machine("etc/machine-id", b"fedcba9876543210fedcba9876543210\n")
    assert board.serial(Path("/elsewhere")) == before


@pytest.mark.parametrize("content", [b"", b"\0", b"\n", b"\xff\xfe\0"])
def test_what_is_no_serial_number_is_none(machine, content):
    machine("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    without = board.serial(STATE)
    machine(PLACES[0], content)
    assert board.serial(STATE) == without
    machine(PLACES[1], b"10000000abcdef01\0")
    assert board.serial(STATE) == "10000000abcdef01"


@pytest.mark.pain("G5")
def test_without_a_serial_number_it_is_the_same_each_time_and_another_elsewhere(machine):
    machine("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    first = board.serial(STATE)
    assert board.serial(STATE) == first
    assert len(first) == 16
    assert board.serial(Path("/srv/second")) != first  # two daemons of one machine
    machine("etc/machine-id", b"fedcba9876543210fedcba9876543210\n")
    assert board.serial(STATE) != first


def test_a_machine_without_an_id_goes_by_its_name(machine, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "cellar")
    first = board.serial(STATE)
    assert board.serial(STATE) == first
    monkeypatch.setattr("platform.node", lambda: "attic")
    assert board.serial(STATE) != first


@pytest.mark.pain("G5")
def test_it_is_the_same_in_each_process():
    ask = "from edged import board; from pathlib import Path; print(board.serial(Path('/var/lib/edged')))"
    serials = {
        subprocess.run(
            [sys.executable, "-c", ask],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert serials == {board.serial(STATE) + "\n"}


def test_a_boot_has_one_name():
    assert board.boot_id() == board.boot_id()
    uuid.UUID(board.boot_id())
