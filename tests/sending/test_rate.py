from edged.sending.rate import Rate


def test_the_average_of_the_last_minute():
    rate = Rate()
    assert rate.per_second(0) == 0
    for now_ms in range(0, 120_000, 100):
        rate.count(now_ms)
    assert rate.per_second(119_999) == 10
    assert rate.per_second(149_000) == 5
    assert rate.per_second(200_000) == 0


def test_after_a_pause_and_a_step_of_the_clock():
    rate = Rate()
    for now_ms in (0, 3_600_000, 3_600_001, 1_000_000, 1_000_500):
        rate.count(now_ms)
    assert rate.per_second(1_000_500) == 2 / 60
    assert rate.per_second(3_600_001) == 2 / 60


def test_it_holds_no_more_than_a_minute():
    rate = Rate()
    for second in range(100_000):
        rate.count(second * 1000)
    assert rate.per_second(99_999_000) == 1
    assert len(rate._counts) == 60
