"""Which series go to a destination."""

import pytest

from edged.sending.mapping import Mapping, Usual
from edged.series import Choice

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


def test_its_choice_says_what_is_mapped_and_not_where_to():
    assert Mapping((("a.*", 1), ("a.b", None))).choice == Choice((("a.*", True), ("a.b", False)))
    assert Mapping((("a.*", 1),)).choice == Mapping((("a.*", Usual(str.upper)),)).choice


@pytest.mark.parametrize("series", ["greenhouse.temperature", "cellar.x", "self.store_bytes", "self.queued_there"])
def test_its_choice_wants_what_has_a_target(series):
    assert MAPPING.choice.wants(series) == (MAPPING.target(series) is not None)
