"""What comes with an installation: libraries of known ages, and instructions that today's systems follow."""

import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BARE_PIP = re.compile(r"(?<![\w/-])(?:pip3?|python3? -m pip) install")


@pytest.mark.pain("F8")
def test_no_library_may_come_in_a_version_that_breaks_what_it_had():
    required = [each for each in metadata.requires("edged") or [] if "extra ==" not in each]
    assert len(required) > 5
    assert [each for each in required if not re.search(r"<\d", each)] == []


@pytest.mark.pain("F6")
def test_nobody_is_told_to_install_into_the_systems_python():
    """Which refuses it since Debian 12."""
    told = {path.name: BARE_PIP.findall(path.read_text()) for path in sorted(ROOT.glob("*.md"))}
    assert told["README.md"] == []
    assert not any(told.values())
    assert "pipx install" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [
        ("$ pip install edged", True),
        ("sudo pip3 install .", True),
        ("python3 -m pip install edged", True),
        ("`pip install edged`", True),
        ("/opt/edged/bin/pip install .", False),
        ("pipx install .", False),
        ("uv pip install", True),
    ],
)
def test_such_a_line_is_found(text, is_bare):
    assert bool(BARE_PIP.search(text)) == is_bare
