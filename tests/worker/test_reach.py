"""Searches through a network: what they find, and how often they ask."""

from __future__ import annotations

import sys

import pytest

from pytest_ncnn_parity.worker.judge.fp16.reach import Reach

DEPTH = 2 * sys.getrecursionlimit()


class Diamonds:
    """Each number leads to the next two, up to `end`; what is sought is at `sought`."""

    def __init__(self, end: int, sought: int | None = None) -> None:
        self.asked: list[int] = []
        self._end = end
        self._sought = sought

    def further(self, number: int) -> list[int] | None:
        self.asked.append(number)
        if number == self._sought:
            return None
        return [n for n in (number + 1, number + 2) if n <= self._end]


def test_each_state_is_asked_once_however_many_ways_lead_to_it() -> None:
    diamonds = Diamonds(DEPTH)
    reach = Reach(diamonds.further)
    assert not reach.finds(0)
    assert sorted(diamonds.asked) == list(range(DEPTH + 1))
    assert not any(reach.finds(n) for n in range(DEPTH))
    assert len(diamonds.asked) == DEPTH + 1


def test_what_led_to_a_find_is_known_to_lead_there() -> None:
    row = Diamonds(DEPTH, sought=DEPTH)
    reach = Reach(row.further)
    assert reach.finds(0)
    on_the_way = set(row.asked)
    assert all(reach.finds(n) for n in on_the_way)
    assert len(row.asked) == len(on_the_way)


@pytest.mark.parametrize("start", [0, 5, 7, 8])
def test_only_what_lies_behind_a_state_counts(start: int) -> None:
    assert Reach(Diamonds(10, sought=7).further).finds(start) is (start <= 7)
