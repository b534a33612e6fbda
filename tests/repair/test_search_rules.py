"""What a search must keep to, whatever an oracle says: required masks, and closed regions."""

from __future__ import annotations

import pytest
from oracles import STRONG, WEAK, Asked, chain, needs, strong

from pytest_ncnn_parity.repair.search import closed, search

# -- required masks ------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [strong(4), {9: WEAK}, strong(2, 11)])
def test_a_required_mask_is_in_every_set_and_never_given_up(wanted: dict[int, int]) -> None:
    oracle = Asked(needs(wanted))
    result = search(chain(seed=strong(4), required={8: 16}), oracle)
    assert result.masks == {**wanted, 8: 16}
    assert all(masks[8] & 16 for masks in oracle.asked)


def test_what_is_required_may_be_enough() -> None:
    oracle = Asked(needs({}))
    result = search(chain(required={8: 16}), oracle)
    assert (result.masks, result.complete) == ({8: 16}, True)
    assert len(oracle.asked) == 1


def test_a_required_layer_keeps_the_bits_it_needs_beside_them() -> None:
    needed = Asked(lambda masks: masks.get(3) == 18)
    assert search(chain(4, seed={3: 18}, required={3: 16}), needed).masks == {3: 18}
    redundant = Asked(lambda masks: bool(masks.get(3)))
    assert search(chain(4, seed={3: 18}, required={3: 16}), redundant).masks == {3: 16}


# -- on a CPU with 16 bits, a strong mask wants its makers' values in fp32 -------------------------

BEHIND = {n: [n - 1] for n in range(3, 13)}  # each takes 16-bit values from the one before, but 1 and 2


def test_a_region_is_closed_back_to_where_values_are_fp32() -> None:
    assert closed(strong(5), chain(makers=BEHIND)) == strong(2, 3, 4, 5)
    assert closed(strong(2), chain(makers=BEHIND)) == strong(2)
    assert closed({5: WEAK}, chain(makers=BEHIND)) == {5: WEAK}, "arithmetic is no matter of bytes"
    assert closed({3: WEAK, 4: STRONG}, chain(makers=BEHIND)) == {2: 18, 3: 19, 4: 18}
    assert closed(strong(5), chain()) == strong(5)


def test_only_closed_sets_are_asked_for() -> None:
    oracle = Asked(needs(strong(5)))
    space = chain(seed=strong(5, 6), makers=BEHIND)
    assert search(space, oracle).masks == strong(2, 3, 4, 5)
    assert all(closed(masks, space) == masks for masks in oracle.asked)
    assert len(oracle.asked) < 6


def test_a_region_that_grows_stays_closed() -> None:
    oracle = Asked(needs(strong(4, 6)))
    space = chain(seed=strong(4), makers=BEHIND)
    assert search(space, oracle).masks == strong(2, 3, 4, 5, 6)
    assert all(closed(masks, space) == masks for masks in oracle.asked)
