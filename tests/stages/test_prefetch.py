import threading
import time
from collections.abc import Iterator

import pytest

from stages.prefetch import ahead


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("depth", [1, 3])
def test_items_come_in_order_and_none_is_lost(count: int, depth: int) -> None:
    assert list(ahead(iter(range(count)), depth)) == list(range(count))


def test_items_that_are_none_or_empty_are_items() -> None:
    assert list(ahead([None, [], 0])) == [None, [], 0]


def test_items_are_made_while_one_is_in_use_and_no_further_than_the_depth() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    results = ahead(items())
    assert next(results) == 0
    # One in use, one that waits, one in the making.
    assert third.wait(5)
    time.sleep(0.3)
    assert made == [0, 1, 2]


def test_an_error_comes_up_in_its_place() -> None:
    results = ahead(1 / number for number in (1, 0))
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_consumer_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = ahead(iter(range(1000)))
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before
