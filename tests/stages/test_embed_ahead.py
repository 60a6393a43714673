import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages.embed.ahead import ahead


def test_results_come_in_order_and_none_is_lost() -> None:
    with ThreadPoolExecutor(1) as beside:
        for count in (0, 1, 2, 7):
            assert list(ahead(range(count), str, beside)) == [str(n) for n in range(count)]


def test_the_next_result_is_made_while_one_is_in_use_and_no_further() -> None:
    made: list[int] = []
    second = threading.Event()

    def make(n: int) -> int:
        made.append(n)
        if n == 1:
            second.set()
        return n

    with ThreadPoolExecutor(1) as beside:
        results = ahead(range(5), make, beside)
        assert next(results) == 0
        assert second.wait(5)
        assert made == [0, 1]


def test_an_error_comes_up_in_its_place() -> None:
    with ThreadPoolExecutor(1) as beside:
        results = ahead([1, 0], lambda n: 1 / n, beside)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
