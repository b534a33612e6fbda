"""The search for masks, with oracles made up: what it finds, what it asks, and where it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DIRECT, NEVER, STRONG, WEAK, Asked, chain, needs, strong

from pytest_ncnn_parity.repair.search import Masks, Space, grown, search

# -- what is found -------------------------------------------------------------------------------


def test_a_seed_that_must_be_whole_is_kept_whole() -> None:
    seed = strong(3, 4, 5)
    result = search(chain(seed=seed), Asked(needs(seed)))
    assert (result.masks, result.complete) == (seed, True)
    assert result.start == "the region the causes point at"


def test_a_seed_larger_than_needed_is_shrunk() -> None:
    result = search(chain(seed=strong(2, 3, 4, 8, 9)), Asked(needs(strong(3, 9))))
    assert result.masks == strong(3, 9)


def test_several_faults_are_fixed_together() -> None:
    seed = strong(1, 2, 6, 11, 12)
    assert search(chain(seed=seed), Asked(needs(seed))).masks == seed


def test_a_layer_loses_no_more_than_it_must() -> None:
    result = search(chain(seed=strong(3, 4)), Asked(needs({3: WEAK, 4: STRONG})))
    assert result.masks == {3: WEAK, 4: STRONG}


@pytest.mark.parametrize("wanted", [WEAK, STRONG])
def test_of_both_levels_on_a_layer_one_is_left(wanted: int) -> None:
    result = search(chain(seed={3: STRONG | WEAK}), Asked(needs({3: wanted})))
    assert result.masks == {3: wanted}


def test_both_levels_stay_where_both_are_needed() -> None:
    result = search(chain(seed={3: STRONG | WEAK}), Asked(lambda masks: masks.get(3) in (STRONG, 19)))
    assert result.masks == {3: STRONG}
    both = Asked(lambda masks: masks.get(3) == 19 or len(masks) == 12)
    assert search(chain(seed={3: STRONG | WEAK}), both).masks == {3: 19}


def test_a_strong_and_a_weak_seed_keep_their_levels() -> None:
    seed = {3: WEAK, 7: STRONG}
    assert search(chain(seed=seed), Asked(needs(seed))).masks == seed


def test_where_there_is_no_weak_mask_none_is_tried() -> None:
    oracle = Asked(needs(strong(3)))
    assert search(chain(seed=strong(3, 4), light=()), oracle).masks == strong(3)
    assert {mask for masks in oracle.asked for mask in masks.values()} == {STRONG}


def test_without_a_seed_it_starts_from_weak_everywhere() -> None:
    oracle = Asked(needs({5: WEAK, 9: WEAK}))
    result = search(chain(), oracle)
    assert result.masks == {5: WEAK, 9: WEAK}
    assert result.start == "every layer at 1"
    assert oracle.asked[1] == dict.fromkeys(range(1, 13), WEAK)


@pytest.mark.parametrize("light", [(WEAK,), (WEAK, DIRECT, WEAK | DIRECT), ()])
def test_without_a_seed_it_starts_from_everything_where_less_is_too_little(
    light: Sequence[int],
) -> None:
    result = search(chain(light=light), Asked(needs(strong(5))))
    assert (result.masks, result.start) == (strong(5), "every layer")


@pytest.mark.parametrize(("price", "taken"), [(lambda masks: -min(masks), 10), (min, 2), (len, 2)])
def test_of_two_fixes_that_no_evidence_points_at_the_cheaper_is_taken(
    price: Callable[[Masks], float], taken: int
) -> None:
    either = Asked(lambda masks: bool({2, 10} & masks.keys()))
    assert search(chain(price=price), either).masks == {taken: WEAK}


def test_of_two_fixes_the_one_that_the_evidence_points_at_is_taken() -> None:
    either = Asked(lambda masks: bool({2, 10} & masks.keys()))
    assert search(chain(seed=strong(10), price=min), either).masks == {10: WEAK}


def test_nothing_helps() -> None:
    oracle = Asked(NEVER)
    result = search(chain(seed=strong(3)), oracle)
    assert (result.masks, result.complete) == (None, True)
    assert oracle.asked == [strong(3), strong(*range(1, 13))], "the seed, the strongest, and no more"


# -- winograd ------------------------------------------------------------------------------------

BOTH = WEAK | DIRECT
LIGHT = (DIRECT, WEAK, BOTH)


@pytest.mark.parametrize("wanted", [*LIGHT, STRONG])
@pytest.mark.parametrize("seed", [STRONG, STRONG | BOTH, BOTH, DIRECT, WEAK])
def test_whatever_it_starts_from_a_layer_loses_just_what_it_must(seed: int, wanted: int) -> None:
    result = search(chain(light=LIGHT, seed={3: seed}), Asked(needs({3: wanted})))
    assert (result.masks, result.complete) == ({3: wanted}, True)


def test_where_either_is_a_fix_the_cheaper_is_taken() -> None:
    either = Asked(lambda masks: masks.get(3, 0) != 0)
    assert search(chain(light=LIGHT, seed={3: WEAK}), either).masks == {3: DIRECT}


def test_without_a_seed_winograd_is_asked_about_before_layers_leave_the_device() -> None:
    oracle = Asked(needs({5: DIRECT}))
    result = search(chain(light=LIGHT), oracle)
    assert (result.masks, result.start) == ({5: DIRECT}, "every layer at 64")
    strongest = strong(*range(1, 13))
    assert [masks for masks in oracle.asked if STRONG in masks.values()] == [strongest]


# -- growing -------------------------------------------------------------------------------------


def test_a_seed_that_does_not_hold_grows() -> None:
    result = search(chain(seed=strong(6)), Asked(needs(strong(4, 6))))
    assert result.masks == strong(4, 6)
    assert result.start == "the region and 3 layers around it"


def test_a_weak_seed_that_is_too_little_becomes_strong() -> None:
    result = search(chain(seed={6: WEAK}), Asked(needs(strong(6))))
    assert (result.masks, result.start) == (strong(6), "the region and 1 layer around it")


def test_what_lies_too_far_is_found_from_everything() -> None:
    result = search(chain(seed=strong(1)), Asked(needs(strong(12))))
    assert (result.masks, result.start) == (strong(12), "every layer")


def test_growing_goes_1_then_3_then_7_layers_far_and_ends_before_all() -> None:
    around = [sorted(masks) for _, masks in grown(strong(10), chain(20))]
    assert around == [[9, 10, 11], [*range(7, 14)], [*range(3, 18)]]
    assert list(grown({}, chain())) == []


def test_growing_takes_only_what_may_be_masked() -> None:
    space = Space([2, 3], strong(2), {}, STRONG, {}, {1: [2], 2: [1, 3], 3: [2, 4], 4: [3]})
    assert list(grown(space.seed, space)) == []
    assert search(space, Asked(needs(strong(3)))).masks == strong(3)


def test_growing_ends_where_nothing_more_is_next_to_it() -> None:
    """Layers that run in fp32 already part a network."""
    space = Space(
        [1, 2, 4, 5, 6], strong(5), {}, STRONG, {}, {1: [2], 2: [1], 4: [5], 5: [4, 6], 6: [5]}
    )
    assert [sorted(masks) for _, masks in grown(space.seed, space)] == [[4, 5, 6]]
    result = search(space, Asked(needs(strong(1, 5))))
    assert (result.masks, result.start) == (strong(1, 5), "every layer")


# -- the budget ----------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", range(1, 12))
def test_a_spent_budget_leaves_the_smallest_that_held(budget: int) -> None:
    oracle = Asked(needs(strong(3, 9)), budget)
    result = search(chain(seed=strong(*range(2, 12))), oracle)
    assert not result.complete
    assert result.masks == oracle.held()[-1]
    assert len(result.masks) == min(len(masks) for masks in oracle.held())


@pytest.mark.parametrize("rule", [needs(strong(3)), NEVER])
def test_a_budget_spent_before_any_set_held(rule: Callable[[Masks], bool]) -> None:
    result = search(chain(seed=strong(3)), Asked(rule, 0))
    assert (result.masks, result.complete) == (None, False)


# -- whatever the network does -------------------------------------------------------------------

LIGHTS = st.sampled_from([(), (WEAK,), (DIRECT,), LIGHT])


def masks_of(space: Space) -> list[int]:
    """The masks that a layer of `space` may end with, the cheapest first."""
    return [*space.light[1], STRONG]


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    layers = draw(st.integers(1, 14))
    light = draw(LIGHTS)
    seeds = st.sampled_from([*light, STRONG, *(STRONG | mask for mask in light)])
    return chain(layers, draw(st.dictionaries(st.integers(1, layers), seeds)), light)


def neighbours(masks: Masks, space: Space) -> list[dict[int, int]]:
    """`masks` without one of its layers, or with a cheaper one; nothing at all is not among them."""
    dropped = [{n: mask for n, mask in masks.items() if n != layer} for layer in masks]
    every = masks_of(space)
    lowered = [
        {**masks, layer: less}
        for layer, mask in masks.items()
        for less in (every[: every.index(mask)] if mask in every else every)
    ]
    return [smaller for smaller in (*dropped, *lowered) if smaller]


@settings(deadline=None, max_examples=300)
@given(spaces(), st.data())
def test_where_more_is_never_worse_just_what_is_needed_is_found(
    space: Space, data: st.DataObject
) -> None:
    levels = st.sampled_from(masks_of(space))
    wanted = data.draw(st.dictionaries(st.sampled_from(space.layers), levels, min_size=1))
    oracle = Asked(needs(wanted))
    result = search(space, oracle)
    assert (result.masks, result.complete) == (wanted, True)
    assert result.masks in oracle.asked
    assert not any(oracle.rule(smaller) for smaller in neighbours(wanted, space))


def arbitrary(seed: int, share: float, space: Space) -> Callable[[Masks], bool]:
    """A rule without rhyme or reason, save that the strongest masks on every layer hold."""
    everything = strong(*space.layers)

    def holds(masks: Masks) -> bool:
        return dict(masks) == everything or Random(f"{seed} {sorted(masks.items())}").random() < share

    return holds


@settings(deadline=None, max_examples=300)
@given(spaces(), st.integers(0, 1 << 32), st.sampled_from([0.05, 0.3, 0.7]))
def test_whatever_holds_what_is_returned_held_and_nothing_next_to_it_does(
    space: Space, seed: int, share: float
) -> None:
    oracle = Asked(arbitrary(seed, share, space))
    result = search(space, oracle)
    assert result.complete
    assert result.masks in oracle.held()
    assert result.masks is not None
    assert not any(oracle.rule(smaller) for smaller in neighbours(result.masks, space))
    tried = [tuple(sorted(masks.items())) for masks in oracle.asked]
    assert len(tried) == len(set(tried)), "nothing is asked twice"
    assert () not in tried, "the network is known to be wrong without masks"


@settings(deadline=None)
@given(spaces(), st.integers(0, 1 << 32), st.integers(0, 30))
def test_whatever_holds_a_spent_budget_returns_what_held(space: Space, seed: int, budget: int) -> None:
    oracle = Asked(arbitrary(seed, 0.3, space), budget)
    result = search(space, oracle)
    assert result.masks in (oracle.held() or [None])
    if result.masks is not None and not result.complete:
        assert len(result.masks) == min(len(masks) for masks in oracle.held())
