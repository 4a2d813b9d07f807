"""How a batch that fails is taken apart, and how large the next one is."""

from edged.platforms import Item
from edged.reading import Entry
from edged.sending.parcel import Parcel
from edged.sending.parts import Part, Size


def part(number: int, **keys: bool) -> Part:
    return Part([Parcel(Item(Entry(n, "a.x", n, n), None), "place") for n in range(number)], **keys)


def test_the_same_request_comes_again_before_it_is_halved():
    failing = part(5)
    assert failing.failed(slow=False) == [failing]
    assert failing.failed(slow=False) == [failing]
    assert [(len(half), half.suspect) for half in failing.failed(slow=False)] == [(3, True), (2, True)]


def test_what_took_too_long_is_halved_at_once():
    assert [len(half) for half in part(2).failed(slow=True)] == [1, 1]


def test_a_half_is_halved_at_once():
    assert [len(half) for half in part(3, suspect=True).failed(slow=False)] == [2, 1]


def test_a_lone_reading_cannot_be_halved():
    lone = part(1)
    assert [lone.failed(slow=True) for _ in range(9)] == [[lone]] * 9


def test_a_size_halves_and_grows_slowly():
    size = Size(100)
    size.too_large(100)
    assert size.now == 50
    for _ in range(20):
        size.fitted(size.now)
    assert size.now == 100
    size.too_large(1)
    assert size.now == 1


def test_requests_that_were_not_full_tell_nothing():
    size = Size(100)
    size.too_large(100)
    size.fitted(49)
    assert size.now == 50
