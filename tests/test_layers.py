"""Imports point one way, and what is heavy is loaded by those alone that need it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edged"
LAYERS = (  # each may import those below it
    ("__main__",),
    ("cli",),
    ("probing",),
    ("overview", "sums"),
    ("daemon",),
    ("config", "sampling", "sending", "monitoring"),
    ("drivers", "platforms", "store"),
    ("buses", "transports", "simulation"),
    ("board", "clock", "errors", "options", "outcome", "plugins", "reading", "secret", "series"),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
ALLOWED = {  # within a level: (importer, imported) -> why
    ("edged.config.checks", "edged.sending.mapping"): "patterns are checked with the very function that decides later",
    ("edged.config.config", "edged.sending.backoff"): "declared where it is used",
    ("edged.config.config", "edged.sending.mapping"): "a destination's series table, made once from the config",
    ("edged.config.reader", "edged.sending.mapping"): "the same",
    ("edged.secret", "edged.errors"): "words of the words",
}
HEAVY = {  # module -> the only ones that may import it at their head
    "gpiozero": (),
    "lgpio": (),
    "paho": ("edged.transports.session",),
    "persistqueue": ("edged.store.tables",),
    "requests": ("edged.transports.connection", "edged.transports.http"),
    "rich": (),
    "smbus2": (),
    "urllib3": ("edged.transports.connection", "edged.transports.http"),
    "voluptuous": ("edged.config.values",),
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(("edged", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        yield name, ast.parse(file.read_text())


def imports(node: ast.AST) -> Iterator[str]:
    """The modules that a statement imports, as absolute names; `from edged import board` is edged.board."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            below = f"{node.module}.{alias.name}"
            path = PACKAGE.parent / Path(*below.split("."))
            yield below if path.is_dir() or path.with_suffix(".py").exists() else node.module or ""


def edges() -> list[tuple[str, str]]:
    """(importer, imported), of all imports at whatever depth."""
    return [(name, found) for name, tree in modules() for node in ast.walk(tree) for found in imports(node)]


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_its_layer():
    assert {part(name) for name, _ in modules()} - {""} == set(LEVEL)


def test_imports_point_down():
    within, wrong = set(), []
    for importer, imported in edges():
        below = part(imported) if imported.startswith("edged.") else ""
        if not below or below == part(importer):
            continue
        if LEVEL[part(importer)] == LEVEL[below]:
            within.add((importer, imported))
        elif LEVEL[part(importer)] > LEVEL[below]:
            wrong.append((importer, imported))
    assert wrong == []
    assert within - ALLOWED.keys() == set()
    assert ALLOWED.keys() - within == set()  # no reason outlives its import


@pytest.mark.parametrize(
    ("importer", "never"),
    [
        ("drivers", ("time", "threading", "smbus2", "gpiozero", "lgpio", "edged.platforms", "edged.store")),
        ("platforms", ("requests", "urllib3", "paho", "socket", "time", "threading", "edged.drivers", "edged.store")),
        ("simulation", ("edged.drivers", "edged.platforms", "edged.buses", "edged.transports")),
        ("transports", ("edged.platforms", "edged.simulation")),
        ("store", ("edged.drivers", "edged.platforms")),
    ],
)
def test_never(importer, never):
    found = [edge for edge in edges() if part(edge[0]) == importer]
    assert found
    assert [edge for edge in found if any(edge[1] == each or edge[1].startswith(f"{each}.") for each in never)] == []


def test_heavy_modules_are_imported_where_they_are_needed():
    for name, tree in modules():
        head = [found for node in tree.body for found in imports(node)]
        for found in head:
            assert name in HEAVY.get(found.split(".")[0], (name,)), f"{name} imports {found} at its head"


_CODE = """\
import os, runpy, signal, sys, threading, time
def end():
    while not any(thread.name.startswith("send") for thread in threading.enumerate()):
        time.sleep(0.05)
    time.sleep(0.5)  # it sends
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
sys.argv = ["edged", "run", "--config", sys.argv[1]]
try:
    runpy.run_module("edged", run_name="__main__")
except SystemExit as exit:
    assert exit.code == 0, exit.code
print(*sys.modules)
"""


DATABOOM = """\
platform = "databoom"
url = "http://127.0.0.1:1/"
device = "d"
token = { env = "HOME" }
series = { "*" = true }
"""
MQTT = """\
platform = "bbdata-mqtt"
host = "127.0.0.1"
port = 1
client_id = "bbdata_test"
series = { "board.load_1m" = { object = 1, token = "0123456789abcdef0123456789abcdef" } }
"""


@pytest.mark.parametrize(
    ("destination", "needed", "unneeded"),
    [(DATABOOM, {"requests"}, {"paho"}), (MQTT, {"paho"}, {"requests", "urllib3"})],
    ids=["HTTP", "MQTT"],
)
def test_the_daemon_loads_only_what_its_config_needs(tmp_path, destination, needed, unneeded):
    path = tmp_path / "config.toml"
    path.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[sensors.board]\ndriver = "host"\ninterval = "1s"\n'
        f"[destinations.d]\n{destination}"
    )
    command = [sys.executable, "-c", _CODE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded >= {"edged", "persistqueue"} | needed
    assert loaded & ({"rich", "gpiozero", "lgpio", "smbus2"} | unneeded) == set()
    assert not any(name.startswith("edged.simulation") for name in done.stdout.split())
