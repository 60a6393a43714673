import pytest

from pipeline.run.pace import BURSTS, WINDOW_S, Pace


class Clock:
    """Seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pace_of(total: int, ends: list[float], units: int = 1) -> tuple[Pace, Clock]:
    """A pace after so many units at each of these times."""
    clock = Clock()
    pace = Pace(total, clock)
    for clock.now in ends:
        pace.add(units)
    return pace, clock


def test_the_start_of_a_stage_is_not_part_of_its_pace() -> None:
    """Workers and models took 230 s, then each unit a second; by the whole time 228 s would be left."""
    pace, _ = pace_of(8, [230, 231, 232, 233])
    assert pace.seconds_left() == pytest.approx(4)


def test_nothing_is_estimated_from_few_units_or_from_one_burst() -> None:
    assert pace_of(100, [60, 70, 80])[0].seconds_left() is None
    assert pace_of(100, [60.0, 60.2, 60.4, 60.6, 60.8])[0].seconds_left() is None
    assert pace_of(100, [60, 70, 80, 90])[0].seconds_left() == pytest.approx(960)


def test_units_that_end_together_are_one_burst() -> None:
    ends = [60.0, 60.1, 60.2, 90.0, 90.1, 90.2, 120.0, 120.1, 120.2, 150.0, 150.1, 150.2]
    pace, clock = pace_of(24, ends)
    assert pace.seconds_left() == pytest.approx(120, rel=0.01)
    clock.now = 160.0
    assert pace.seconds_left() == pytest.approx(110, rel=0.01)
    clock.now = 1000.0
    assert pace.seconds_left() == 0


def test_the_pace_follows_a_cluster_that_grows() -> None:
    slow = [10.0 * n for n in range(60)]
    fast = [slow[-1] + 2.0 * n for n in range(1, 1 + int(WINDOW_S / 2))]
    pace, _ = pace_of(len(slow) + len(fast) + 100, slow + fast)
    assert pace.seconds_left() == pytest.approx(200, rel=0.05)


def test_long_units_are_estimated_too() -> None:
    pace, _ = pace_of(10, [2 * WINDOW_S * n for n in range(1, BURSTS + 2)])
    assert pace.seconds_left() == pytest.approx(2 * WINDOW_S * (10 - BURSTS - 1))


def test_at_the_end_nothing_is_left() -> None:
    assert pace_of(1, [228])[0].seconds_left() == 0
