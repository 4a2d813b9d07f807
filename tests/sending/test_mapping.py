"""Which series go to a destination."""

import pytest

from edged.sending.mapping import Mapping, Usual
from edged.series import Choice, matches

MAPPING = Mapping(
    (
        ("*", "everything"),
        ("greenhouse.*", "greenhouse"),
        ("*.temperature", "temperature"),
        ("greenhouse.temperature", "exact"),
        ("self.*", None),
        ("self.queued_*", Usual(str.upper)),
    )
)


@pytest.mark.parametrize(
    ("series", "target"),
    [
        ("greenhouse.temperature", "exact"),
        ("greenhouse.humidity", "greenhouse"),
        ("cellar.temperature", "temperature"),
        ("cellar.humidity", "everything"),
        ("self.store_bytes", None),
        ("self.queued_there", "SELF.QUEUED_THERE"),
    ],
)
def test_an_exact_name_before_a_pattern_and_a_longer_before_a_shorter(series, target):
    assert MAPPING.target(series) == target


def test_what_no_rule_names_is_not_wanted():
    mapping = Mapping((("a.b", 1),))
    assert (mapping.target("a.c"), mapping.rule("a.c")) == (None, "")


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


def test_its_choice_says_what_is_mapped_and_not_where_to():
    assert Mapping((("a.*", 1), ("a.b", None))).choice == Choice((("a.*", True), ("a.b", False)))
    assert Mapping((("a.*", 1),)).choice == Mapping((("a.*", 2),)).choice
