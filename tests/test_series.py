"""Series by name and by pattern."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.series import Choice, deciding, matches

NAMES = st.text("ab.*", max_size=6)
CHOICES = st.builds(lambda rules: Choice(tuple(rules)), st.lists(st.tuples(NAMES, st.booleans()), max_size=5))


@pytest.mark.parametrize(
    ("pattern", "series", "expected"),
    [
        ("*", "a.b", True),
        ("a.*", "a.b.c", True),
        ("a*c", "a.b.c", True),
        ("a.?", "a.b", False),
        ("a.[b]", "a.b", False),
        ("a.b", "axb", False),
        ("a.*", "ab", False),
        ("*.b", "a.bc", False),
        ("a.b", "a.b\n", False),
        ("*", "a\n.b", False),
    ],
)
def test_only_the_star_is_special(pattern, series, expected):
    assert matches(pattern, series) is expected


@given(st.lists(NAMES, max_size=5), st.text("ab.", max_size=6))
def test_an_exact_name_before_a_pattern_and_a_longer_before_a_shorter(patterns, series):
    fitting = [p for p in patterns if re.fullmatch("".join(".*" if c == "*" else re.escape(c) for c in p), series)]
    decided = deciding(patterns, series)
    if series in patterns:
        assert decided == series
    elif fitting:
        assert decided in fitting
        assert len(decided) == max(map(len, fitting))
    else:
        assert decided == ""


@pytest.mark.parametrize(
    ("series", "wanted"),
    [
        ("cellar.humidity", True),
        ("greenhouse.humidity", False),
        ("greenhouse.temperature", True),
        ("self.store_bytes", False),
        ("self.queued_there", True),
    ],
)
def test_a_choice_goes_by_the_rule_that_decides(series, wanted):
    choice = Choice(
        (
            ("*", True),
            ("greenhouse.*", False),
            ("greenhouse.temperature", True),
            ("self.*", False),
            ("self.queued_*", True),
        )
    )
    assert [choice.wants(series) for _ in range(2)] == [wanted, wanted]


def test_what_no_rule_names_is_not_wanted():
    assert not Choice((("a.b", True),)).wants("a.c")
    assert not Choice(()).wants("a.c")


@given(CHOICES)
def test_a_choice_comes_back_from_json(choice):
    back = Choice.from_json(json.loads(json.dumps(choice.to_json())))
    assert back == choice
    assert hash(back) == hash(choice)


def test_what_was_asked_of_a_choice_does_not_make_it_another():
    one, other = Choice((("a.*", True),)), Choice((("a.*", True),))
    one.wants("a.b")
    assert (one, hash(one), repr(one)) == (other, hash(other), repr(other))


@pytest.mark.parametrize("kept", [None, 7, {"a": 1}, [["a.*"]], [["a.*", True, 1]], ["abc"]])
def test_what_is_no_choice_is_refused(kept):
    with pytest.raises((TypeError, ValueError)):
        Choice.from_json(kept)
