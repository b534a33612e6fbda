"""Where runs under other masks go on, and what goes when room is short."""

from __future__ import annotations

from weakref import WeakSet

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ncnn_parity.worker.networks.checkpoints import SHARES, Checkpoints
from pytest_ncnn_parity.worker.values.blob import Blob, Made

BYTES = 40  # of a value


def values(*names: str) -> Made:
    return {name: Blob(None, np.zeros(BYTES // 4, np.float32)) for name in names}


@pytest.fixture
def checkpoints() -> Checkpoints:
    opened = Checkpoints(limit=4 * BYTES)
    opened.open()
    return opened


def test_a_run_goes_on_at_the_last_layer_before_which_all_masks_are_the_same(
    checkpoints: Checkpoints,
) -> None:
    early, late = values("a"), values("b", "c")
    checkpoints.keep("net", [0, 0], early)
    checkpoints.keep("net", [0, 0, 18, 0], late)
    assert checkpoints.last("net", [0, 0, 18, 0, 1]) == (4, late)
    assert checkpoints.last("net", [0, 0, 18, 1, 1]) == (2, early)
    assert checkpoints.last("net", [0, 1, 18, 0, 1]) == (0, {})
    assert checkpoints.last("other inputs", [0, 0, 18, 0, 1]) == (0, {})


def test_what_a_run_makes_of_the_values_changes_no_checkpoint(checkpoints: Checkpoints) -> None:
    kept = values("a")
    checkpoints.keep("net", [0], kept)
    _, blobs = checkpoints.last("net", [0, 0])
    blobs.clear()
    kept.clear()
    assert list(checkpoints.last("net", [0, 0])[1]) == ["a"]


def test_a_run_is_kept_where_masks_begin_and_at_the_start_of_each_share(
    checkpoints: Checkpoints,
) -> None:
    own = [0] * 80
    masks = [*own[:33], 18, *own[34:]]
    shares = {n for n in range(1, 80) if n % (80 // SHARES) == 0}
    assert checkpoints.places(0, masks, own) == shares | {33}
    assert checkpoints.places(0, own, own) == shares
    assert checkpoints.places(33, masks, own) == {n for n in shares if n > 33}, "not kept yet"


def test_nothing_is_kept_before_it_is_opened_or_after_it_is_closed(checkpoints: Checkpoints) -> None:
    assert Checkpoints(limit=BYTES).places(0, [0] * 80, [0] * 80) == set()
    checkpoints.keep("net", [0], values("a"))
    checkpoints.close()
    assert checkpoints.last("net", [0, 0]) == (0, {})
    assert checkpoints.places(0, [0] * 80, [0] * 80) == set()


def test_what_was_not_used_for_longest_makes_room(checkpoints: Checkpoints) -> None:
    for mask in (1, 2, 3, 4):
        checkpoints.keep("net", [mask], values("a"))
    checkpoints.last("net", [1])
    checkpoints.keep("net", [5], values("a"))
    assert [checkpoints.last("net", [mask])[0] for mask in (1, 2, 3, 4, 5)] == [1, 0, 1, 1, 1]


def test_a_value_that_several_checkpoints_hold_is_counted_once(checkpoints: Checkpoints) -> None:
    """As one that a layer close to the end reads, and that all checkpoints therefore hold."""
    shared = values("skip", "b", "c")
    for mask in (1, 2, 3):
        checkpoints.keep("net", [mask], shared)
    checkpoints.keep("net", [4], values("d"))
    assert all(checkpoints.last("net", [mask])[0] for mask in (1, 2, 3, 4))
    checkpoints.keep("net", [5], values("e"))
    found = [checkpoints.last("net", [mask])[0] for mask in (1, 2, 3, 4, 5)]
    assert found == [0, 0, 0, 1, 1], "only all three make room"


def test_what_exceeds_the_limit_alone_is_not_kept(checkpoints: Checkpoints) -> None:
    checkpoints.keep("net", [0], values("a"))
    checkpoints.keep("net", [1], values(*"abcde"))
    assert [checkpoints.last("net", [mask])[0] for mask in (0, 1)] == [1, 0]


@given(st.lists(st.tuples(st.integers(0, 9), st.sets(st.sampled_from("abcdefgh"))), max_size=40))
def test_no_more_is_kept_than_the_limit(kept: list[tuple[int, set[str]]]) -> None:
    checkpoints = Checkpoints(limit=5 * BYTES)
    checkpoints.open()
    alive: WeakSet[Blob] = WeakSet()
    current = values(*"abcdefgh")
    for mask, names in kept:
        some = {name: current[name] for name in names}
        alive.update(some.values())
        checkpoints.keep("net", [mask, len(names)], some)
        current.update(values(*names))
        del some
        assert len(alive) <= 5
