"""Giving up items one by one: what is left is minimal, and few calls are enough."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pytest_ncnn_parity.repair.search import ddmin


def calls(items: int, culprits: set[int]) -> int:
    """How many sets ddmin asks for until it has found `culprits`."""
    asked: list[Sequence[int]] = []

    def holds(rest: Sequence[int]) -> bool:
        asked.append(rest)
        return culprits <= set(rest)

    assert ddmin(range(items), holds) == sorted(culprits)
    return len(asked)


def test_one_of_256_is_found_in_logarithmic_time() -> None:
    assert max(calls(256, {culprit}) for culprit in range(256)) <= 3 * 8 + 1


def test_three_of_256_are_found_in_less_than_half_a_walk() -> None:
    random = Random(0)
    assert max(calls(256, set(random.sample(range(256), 3))) for _ in range(50)) < 128


def test_the_last_items_are_the_first_to_go() -> None:
    assert ddmin([1, 2, 3, 4], lambda rest: len(rest) >= 1) == [1]
    assert ddmin([4, 3, 2, 1], lambda rest: len(rest) >= 2) == [4, 3]


@given(st.lists(st.integers(0, 40), unique=True), st.data())
def test_it_is_exact_where_more_is_never_worse(items: list[int], data: st.DataObject) -> None:
    culprits = data.draw(st.sets(st.sampled_from(items))) if items else set()
    kept = ddmin(items, lambda rest: culprits <= set(rest))
    assert kept == [item for item in items if item in culprits]


@given(st.integers(0, 12), st.integers(0, 1 << 32), st.sampled_from([0.1, 0.5]))
def test_what_is_left_is_minimal_whatever_holds(items: int, seed: int, share: float) -> None:
    def holds(rest: Sequence[int]) -> bool:
        return len(rest) == items or Random(f"{seed} {rest}").random() < share

    kept = ddmin(range(items), holds)
    assert holds(kept)
    assert not any(holds([other for other in kept if other != item]) for item in kept)
