"""Which layers must stay in floats: those that are red and the costliest others, and no more."""

from __future__ import annotations

import math
from collections.abc import Collection
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pytest_ncnn_parity.repair.search import Spent
from pytest_ncnn_parity.repair.search_floats import MOST_GROUPS, SPLITS, FloatsSearch


class Model:
    """The output's noise is the sum of what the layers in int8 cause, as shares of its power."""

    def __init__(self, noise: list[float], least_db: float, budget: int = 300) -> None:
        self.noise = noise
        self.least_db = least_db
        self.budget = budget
        self.known: dict[frozenset[int], float] = {}

    def sqnr_db(self, in_float: Collection[int]) -> float:
        chosen = frozenset(in_float)
        if chosen not in self.known:
            if len(self.known) >= self.budget:
                raise Spent
            left = sum(noise for layer, noise in enumerate(self.noise) if layer not in chosen)
            self.known[chosen] = -10.0 * math.log10(left) if left else math.inf
        return self.known[chosen]

    def holds(self, in_float: Collection[int]) -> bool:
        return self.sqnr_db(in_float) >= self.least_db

    def spent(self) -> float:
        return len(self.known) / self.budget


def found(model: Model, red: Collection[int] = ()) -> FloatsSearch:
    search = FloatsSearch(range(len(model.noise)), list(red), model, model.budget)
    search.run()
    return search


def test_the_red_layers_are_enough_where_they_are_at_fault() -> None:
    search = found(Model([1e-5, 1.0, 1e-5, 0.5], 12.0), red=[1, 3])
    assert (search.chosen, search.minimal) == ([1, 3], True)
    assert [group.layers for group in search.ranked[:2]] == [(1,), (3,)]


def test_the_costliest_others_are_added_and_none_that_is_not_needed() -> None:
    noise = [1e-5] * 30
    noise[7], noise[20], noise[25] = 0.2, 0.3, 0.03
    search = found(Model(noise, 12.0), red=[2])
    assert (search.chosen, search.minimal) == ([2, 7, 20], True)


@given(st.randoms(use_true_random=False), st.integers(50, 400), st.integers(1, 4))
def test_a_few_costly_layers_of_many_are_found_in_few_runs(
    random: Random, count: int, costly: int
) -> None:
    noise = [1e-6] * count
    layers = sorted(random.sample(range(count), costly))
    for layer in layers:
        noise[layer] = random.uniform(0.2, 1.0)
    model = Model(noise, 12.0)
    search = found(model)
    assert search.chosen == layers
    assert len(model.known) <= MOST_GROUPS + 2 * SPLITS + 2 * math.ceil(math.log2(count)) + 2 * 16


def test_what_adds_up_over_many_layers_takes_as_many_as_are_needed() -> None:
    random = Random(3)
    noise = [random.uniform(0.5, 1.5) / 1000.0 for _ in range(70)]
    model = Model(noise, 15.0)
    search = found(model)
    assert search.chosen is not None
    assert search.minimal
    assert model.holds(search.chosen)
    assert not any(model.holds(set(search.chosen) - {layer}) for layer in search.chosen)
    needed, left = 0, sum(noise)
    for one in sorted(noise, reverse=True):
        if left <= 10.0**-1.5:
            break
        needed, left = needed + 1, left - one
    assert len(search.chosen) <= 1.2 * needed  # some groups of two are not distinguished
    assert len(model.known) < 150


def test_where_floats_do_not_help_nothing_further_is_tried() -> None:
    model = Model([0.5, 0.5], math.inf)
    model.known[frozenset({0, 1})] = 3.0
    search = found(model)
    assert (search.chosen, search.ended, search.ranked) == (None, True, [])


def test_a_spent_budget_keeps_the_best_that_held_or_says_what_was_tried() -> None:
    noise = [0.01 * (1 + layer % 7) for layer in range(60)]
    best = found(Model(noise, 12.0)).chosen
    assert best is not None
    for budget in range(1, 80, 7):
        model = Model(noise, 12.0, budget)
        search = found(model)
        assert len(model.known) <= budget
        assert search.ended == search.minimal
        if search.chosen is None:
            assert not any(search.tried.values())
        else:
            assert model.holds(search.chosen)
            assert len(search.chosen) >= len(best)
