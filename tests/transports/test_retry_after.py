"""Retry-After, as it is and as nobody expected it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.transports.http import LONGEST_WAIT_S, date_ms, retry_after

NOW_MS = 1_795_565_340_000  # Wed, 25 Nov 2026 00:09:00 GMT


@pytest.mark.case(20)
@pytest.mark.parametrize(
    "text", ["-1", "+3", "-3", "1.5", "1e3", "", "²", "٣", "nan", "inf", "0x10", "1 2", "2026-11-25"]
)
def test_malformed_is_none(text):
    assert retry_after(text, NOW_MS) == 0


@pytest.mark.case(20)
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 2", 2),
        ("9223372037", LONGEST_WAIT_S),
        ("9" * 400, LONGEST_WAIT_S),
        ("Wed, 25 Nov 2026 00:10:00 GMT", 60),
        ("Wed, 25 Nov 2026 00:08:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 25 Nov 2078 00:10:00 GMT", LONGEST_WAIT_S),
    ],
)
def test_seconds_and_dates(text, seconds):
    assert retry_after(text, NOW_MS) == seconds


@pytest.mark.case(20)
def test_a_date_without_the_answers_own_date_says_nothing():
    assert retry_after("Wed, 25 Nov 2026 00:10:00 GMT", None) == 0


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("Wed, 25 Nov 2026 00:09:00 GMT", NOW_MS),
        ("Wednesday, 25-Nov-26 00:09:00 GMT", NOW_MS),
        ("Wed, 25 Nov 2026 01:09:00 +0100", NOW_MS),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1000),
        ("Tue, 19 Jan 2038 03:14:08 GMT", 2_147_483_648_000),
        ("Wed, 25 Nov 2026 00:09:00 -0000", None),
        ("Wed, 25 Nov 2026 00:09:60 GMT", None),
        ("Wed, 25 Nov 2026 00:09:00 +9999", None),
        ("2026-11-25T00:09:00Z", None),
        ("Wed, 25 Nov 2026 00:09:00 GMT, Wed, 25 Nov 2026 00:09:00 GMT", None),
        ("1795565340", None),
        ("yesterday", None),
        ("", None),
    ],
)
@pytest.mark.case(40)
def test_the_servers_clock(text, time_ms):
    assert date_ms(text) == time_ms


HEADER = st.text() | st.from_regex(r"\A\w{3}, \d{1,9} \w{3} \d{1,9} \d{1,9}:\d\d:\d\d ?[\w+-]*\Z")


@pytest.mark.case(20)
@given(text=HEADER, date=HEADER)
def test_any_header_is_a_wait_of_at_most_a_day(text, date):
    assert 0 <= retry_after(text, date_ms(date)) <= LONGEST_WAIT_S
