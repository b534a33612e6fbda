"""Comparing arrays of every layout and size, and refusing to compare nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.compare.blocks import BLOCK
from pytest_ncnn_parity.compare.metrics import agrees_but_for_ends, compare
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, Tolerance

EXACT = Tolerance()


@pytest.mark.parametrize(
    "shape",
    [
        (BLOCK,),
        (2 * BLOCK + 3,),
        (3, BLOCK + 1),  # a row is more than a block
        (BLOCK // 4 + 1, 4),
        (2, 3, 200, 111),
    ],
)
@pytest.mark.parametrize("rtol", [0.0, 1e-3])
def test_arrays_beyond_one_block(shape: tuple[int, ...], rtol: float) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=shape).astype(np.float32)
    candidate = reference.copy()
    last = reference.size - 1
    places = list(dict.fromkeys([0, BLOCK - 1, min(BLOCK, last), last - 1]))
    for i, place in enumerate(places):
        candidate.flat[place] += 10.0 * (i + 1)
    metrics = compare(candidate, reference, Tolerance(atol=1e-3, rtol=rtol))
    assert metrics.mismatched == len(places)
    assert metrics.index == np.unravel_index(places[-1], shape)
    assert metrics.candidate == candidate.flat[places[-1]]
    c, r = candidate.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    assert metrics.cosine == pytest.approx(c @ r / math.sqrt((c @ c) * (r @ r)))
    assert metrics.sqnr_db == pytest.approx(10 * math.log10((r @ r) / ((c - r) @ (c - r))))
    candidate.flat[last] = math.inf
    metrics = compare(candidate, reference, Tolerance(atol=1e-3, rtol=rtol))
    assert metrics.index == tuple(size - 1 for size in shape)
    assert (metrics.inf, metrics.mismatched) == (1, len({*places, last}))


def test_what_another_comparison_left_in_memory_makes_no_difference() -> None:
    """The arrays that are worked in are used again, by smaller and by larger blocks."""
    rng = np.random.default_rng(3)
    small, large = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 7), (3, BLOCK)))
    large[1, 5] = math.nan
    t = Tolerance(atol=1e-3)
    first = repr(compare(small + np.float32(0.1), small, t))  # nan equals itself in a text
    beside = repr(compare(large * np.float32(2.0), large, t))
    assert repr(compare(small + np.float32(0.1), small, t)) == first
    assert repr(compare(large * np.float32(2.0), large, t)) == beside


@settings(deadline=None)
@given(st.permutations(range(4)), st.lists(st.sampled_from([1, -1, 2, -2]), min_size=4, max_size=4))
def test_layout_in_memory_makes_no_difference(axes: list[int], steps: list[int]) -> None:
    rng = np.random.default_rng(1)
    cut = tuple(slice(None, None, step) for step in steps)
    reference = rng.normal(size=(3, 4, 5, 6)).astype(np.float32).transpose(axes)[cut]
    candidate = reference + rng.normal(size=reference.shape).astype(np.float32) * np.float32(0.1)
    candidate = np.asfortranarray(candidate)
    t = Tolerance(atol=0.01, rtol=0.01, scaled=0.01)
    dense = compare(np.ascontiguousarray(candidate), np.ascontiguousarray(reference), t)
    assert compare(candidate, reference, t) == dense


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sums_are_float64_whatever_the_arrays_are(dtype: type) -> None:
    reference = np.full(1000, 60000.0, dtype)  # the squares overflow float16, the sums float16
    candidate = np.full(1000, 30000.0, dtype)
    metrics = compare(candidate, reference, Tolerance(scaled=0.5))
    assert metrics.agrees
    assert metrics.cosine == pytest.approx(1.0)
    assert metrics.sqnr_db == pytest.approx(20 * math.log10(2))


def test_neither_array_is_changed() -> None:
    candidate, reference = np.array([1.0, math.nan, 3.0]), np.array([math.inf, 2.0, 3.0])
    before = candidate.copy(), reference.copy()
    compare(candidate, reference, Tolerance(rtol=0.1))
    np.testing.assert_array_equal(candidate, before[0])
    np.testing.assert_array_equal(reference, before[1])


def test_a_scalar_is_an_array_of_one() -> None:
    metrics = compare(np.array(2.0), np.array(1.0), EXACT)
    assert (metrics.total, metrics.mismatched, metrics.max_abs, metrics.index) == (1, 1, 1.0, (0,))


@pytest.mark.parametrize(
    ("candidate", "reference"), [((2, 3), (3, 2)), ((6,), (2, 3)), ((1, 3), (3,)), ((0,), (3,))]
)
def test_different_shapes_are_not_compared(
    candidate: tuple[int, ...], reference: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        compare(np.zeros(candidate), np.zeros(reference), EXACT)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 2)])
def test_two_lists_of_nothing_agree(shape: tuple[int, ...]) -> None:
    metrics = compare(np.zeros(shape), np.zeros(shape), EXACT)
    assert metrics.agrees
    assert (metrics.total, metrics.scaled, metrics.sqnr_db) == (0, 0.0, math.inf)


@pytest.mark.parametrize(
    ("candidate", "reference", "alike"),
    [
        ([math.inf, 1.0], [2.4e38, 1.0], True),
        ([3.3e38, -math.inf], [2.4e38, -2.4e38], True),
        ([math.inf, 1.5], [2.4e38, 1.0], False),  # 2.4e38 is no scale of the others
        ([math.inf, 1.0], [1e38, 1.0], False),
        ([math.inf, 1.0], [-2.4e38, 1.0], False),
        ([math.nan, 1.0], [2.4e38, 1.0], False),
        ([1.0, 1.0], [1.0, 1.0], False),  # nothing is near an end
    ],
)
def test_values_near_the_end_of_fp32_are_alike(
    candidate: list[float], reference: list[float], alike: bool
) -> None:
    arrays = (np.array(values, np.float32) for values in (candidate, reference))
    assert agrees_but_for_ends(*arrays, DEFAULTS["fp32"].layer) is alike


# -- the defaults --------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp16", "fp16-storage", "fp16-packed"])
def test_rounding_to_fp16_alone_passes_the_defaults(precision: str) -> None:
    rng = np.random.default_rng(2)
    for scale in (1e-8, 1e-4, 1.0, 1e4):
        reference = (rng.normal(size=10_000) * scale).astype(np.float32)
        rounded = reference.astype(np.float16).astype(np.float32)
        assert compare(rounded, reference, DEFAULTS[precision].layer).agrees


@pytest.mark.parametrize("precision", DEFAULTS)
def test_a_whole_network_may_be_off_by_more_than_a_layer_and_nothing_by_half(
    precision: str,
) -> None:
    layer, output = DEFAULTS[precision].layer, DEFAULTS[precision].output
    assert layer.scaled <= output.scaled < 0.5
    reference = np.linspace(-1, 1, 1001)
    assert not compare(reference * 0.5, reference, output).agrees
    assert not compare(np.zeros(1001), reference, output).agrees
