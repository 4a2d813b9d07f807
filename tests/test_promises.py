"""What was promised has a test that says so: each number of it is the mark of one at least."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

STATEMENTS = range(1, 67)  # of the platforms' wire contracts, over HTTP and BBData's MQTT
GUARANTEES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
FIELD_REPORTS = (1, 16, 17, 19, 20, 22, 23, 25, 26, 28, 34, 35)  # as far as what they are about exists
COMPLAINTS = 45  # of the 96, at least


def marks() -> dict[str, set[object]]:
    """The arguments of each `pytest.mark.NAME(...)` in the tests."""
    found: dict[str, set[object]] = defaultdict(set)
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(ast.Attribute(ast.Name("pytest"), "mark"), name), args=args):
                    found[name].update(arg.value for arg in args if isinstance(arg, ast.Constant))
    return found


@pytest.mark.parametrize(
    ("mark", "numbers"),
    [("statement", STATEMENTS), ("guarantee", GUARANTEES), ("case", FIELD_REPORTS)],
)
def test_each_has_a_test(mark, numbers):
    assert set(numbers) - marks()[mark] == set()


def test_most_complaints_about_others_have_a_test():
    assert len(marks()["pain"]) >= COMPLAINTS
