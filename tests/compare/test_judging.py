"""Edges of maps, and probabilities that sum to one."""

from dataclasses import replace

import numpy as np
import pytest

from pytest_ncnn_parity.compare.judging import judge
from pytest_ncnn_parity.compare.nature import UNKNOWN, Nature
from pytest_ncnn_parity.compare.tolerance import (
    DEFAULTS,
    EDGES,
    OPERATORS,
    Tolerance,
    is_default,
)

FP16 = DEFAULTS["fp16"].output
PROBABILITY = Nature(1.0)
INTEGERS = Nature(integers=True)
SOFTMAX = Nature(1.0, sums_to_one=True, along=1)


def text_map(seed: int = 0) -> np.ndarray:
    """Words as a text detector sees them: boxes of ones with edges a pixel wide."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((1, 160, 160), np.float32)
    for _ in range(12):
        y, x = rng.integers(5, 130, 2)
        height, width = rng.integers(8, 14), rng.integers(12, 28)
        drawn[0, y : y + height, x : x + width] = 0.97
    return drawn


def edge_pixels(drawn: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Places just inside the boxes."""
    outside = drawn[0] < 0.5
    near = np.zeros_like(outside)
    for axis in (0, 1):
        for step in (-1, 1):
            near |= np.roll(outside, step, axis)
    ys, xs = np.nonzero(near & ~outside)
    chosen = np.random.default_rng(seed).choice(len(ys), count, replace=False)
    return ys[chosen], xs[chosen]


def test_a_few_pixels_at_edges_may_be_off() -> None:
    reference = text_map()
    candidate = reference.copy()
    ys, xs = edge_pixels(reference, 25)
    candidate[0, ys, xs] -= 0.18
    metrics = judge(candidate, reference, FP16, PROBABILITY, whole=True)
    assert metrics.agrees
    assert metrics.mismatched == 25
    sentence = "25 of 25600 elements are out of tolerance, by up to 2.3 times: on edges of the map"
    assert metrics.forgiven == sentence
    assert metrics.max_abs == pytest.approx(0.18)


def test_off_edges_one_pixel_is_red() -> None:
    reference = text_map()
    candidate = reference.copy()
    y, x = np.argwhere(reference[0] == 0)[0]
    candidate[0, y, x] = 0.18
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


@pytest.mark.parametrize("seed", range(10))
def test_a_word_that_is_not_found_is_red(seed: int) -> None:
    reference = text_map(seed)
    ys, xs = np.nonzero(reference[0])
    candidate = reference.copy()
    y, x = ys[0], xs[0]
    candidate[0, y : y + 6, x : x + 6] = 0.0  # 36 pixels: well below the share
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


def test_an_edge_may_move_so_far_that_its_pixels_are_wrong_altogether() -> None:
    """As in a mask of hair, of which pixels become 0 that were 1, though the mask is the same."""
    reference = text_map()
    candidate = reference.copy()
    ys, xs = edge_pixels(reference, 25)
    candidate[0, ys, xs] = 0.0
    metrics = judge(candidate, reference, FP16, PROBABILITY, whole=True)
    assert metrics.agrees
    assert metrics.max_abs > 0.9


def test_soft_pixels_beside_edges_may_be_a_little_off_if_they_are_few() -> None:
    reference = text_map()
    candidate = reference.copy()
    ys, xs = edge_pixels(reference, 38)
    candidate[0, ys, xs] -= 0.3
    places = np.argwhere(reference[0] == 0)[::3000]
    for beside, error, agrees in ((2, 0.3, True), (3, 0.3, False), (1, 0.5, False)):
        off = candidate.copy()
        off[0, places[:beside, 0], places[:beside, 1]] = error
        assert judge(off, reference, FP16, PROBABILITY, whole=True).agrees is agrees


def test_edges_that_move_a_little_need_no_areas() -> None:
    """As in a map of depth with a wall at half of its largest value."""
    rng = np.random.default_rng(4)
    reference = np.full((1, 64, 64), 0.5, np.float32) + rng.normal(0, 0.003, (1, 64, 64)).astype("f4")
    reference[0, 20:40, 20:40] = 0.97
    candidate = reference + rng.normal(0, 0.003, reference.shape).astype("f4")
    candidate[0, 20, 22:26] -= 0.15
    assert judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees
    candidate[0, 20, 22:26] -= 0.3
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


def test_too_many_pixels_are_red() -> None:
    reference = text_map()
    ys, xs = edge_pixels(reference, int(EDGES * reference.size) + 1)
    candidate = reference.copy()
    candidate[0, ys, xs] -= 0.1
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


def test_a_thin_line_that_is_lost_is_red() -> None:
    """Each of its pixels lies beside an edge of the reference; the candidate has none there."""
    reference = text_map()
    reference[0, 140:142, 20:50] = 0.97
    candidate = reference.copy()
    candidate[0, 140:142, 20:50] = 0.0
    for one, other in ((candidate, reference), (reference, candidate)):
        assert not judge(one, other, FP16, PROBABILITY, whole=True).agrees


def test_a_gap_that_closes_is_red() -> None:
    """Two lines of text become one."""
    candidate = np.zeros((1, 160, 160), np.float32)
    candidate[0, 40:66, 20:70] = 0.97
    reference = candidate.copy()
    reference[0, 52:54, 20:70] = 0.0
    for one, other in ((candidate, reference), (reference, candidate)):
        metrics = judge(one, other, FP16, PROBABILITY, whole=True)
        assert metrics.mismatched < EDGES * metrics.total
        assert not metrics.agrees


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("background", [0.0, 0.97])
def test_small_objects_that_are_lost_are_red(background: float, sign: float) -> None:
    """Bright ones and dark ones, and as a TanH gives them."""
    candidate = np.full((1, 160, 160), sign * background, np.float32)
    reference = candidate.copy()
    for y in range(10, 150, 30):
        reference[0, y : y + 4, 50:55] = sign * (0.97 - background)
    metrics = judge(candidate, reference, FP16, PROBABILITY, whole=True)
    assert metrics.mismatched < EDGES * metrics.total
    assert not metrics.agrees


@pytest.mark.parametrize("background", [False, True])
def test_a_small_area_that_moves_is_red(background: bool) -> None:
    """Its edges are few pixels, but it is elsewhere; a channel of background is no excuse."""
    reference = np.zeros((1, 160, 160), np.float32)
    reference[0, 40:60, 40:60] = 0.97
    candidate = np.roll(reference, 1, 2)
    if background:
        candidate, reference = (np.concatenate([0.97 - one, one]) for one in (candidate, reference))
    metrics = judge(candidate, reference, FP16, PROBABILITY, whole=True)
    assert metrics.mismatched < EDGES * metrics.total
    assert not metrics.agrees


def test_faint_peaks_that_move_are_red() -> None:
    """Peaks of 0.45 lie below half of the scale."""
    y, x = np.mgrid[:64, :48]
    peaks = [0.95 if n == 0 else 0.45 for n in range(17)]
    at = [(5 + 3 * n, 4 + 2 * n) for n in range(17)]
    squares = ((y - v) ** 2 + (x - u) ** 2 for v, u in at)
    maps = [h * np.exp(-square / 8.0) for h, square in zip(peaks, squares, strict=True)]
    reference = np.stack(maps).astype(np.float32)
    candidate = reference.copy()
    candidate[1:11] = np.roll(reference[1:11], 2, 2)
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_picture_has_no_edges(sign: float) -> None:
    """Everywhere between dark and light pixels, any value lies between its neighbours."""
    rng = np.random.default_rng(0)
    reference = (sign * rng.uniform(size=(3, 160, 160))).astype(np.float32)
    candidate = reference.copy()
    places = rng.choice(reference.size, reference.size // 300, replace=False)
    candidate.flat[places] = sign * rng.uniform(size=len(places))
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


def test_a_letter_in_place_of_another_is_red() -> None:
    """The scores of a text recognizer, (1, places, letters), look like a map with thin lines."""
    reference = np.zeros((1, 80, 97), np.float32)
    reference[0, np.arange(80), np.random.default_rng(1).integers(0, 90, 80)] = 0.97
    candidate = reference.copy()
    candidate[0, 40] = np.roll(reference[0, 40], 1)
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
def test_holes_and_specks_are_red(shape: tuple[int, int]) -> None:
    for value in (0.0, 0.97):
        reference = text_map()
        candidate = reference.copy()
        rows, columns = np.nonzero(_inside(reference[0] != value))
        height, width = shape
        y, x = rows[len(rows) // 2], columns[len(rows) // 2]
        candidate[0, y : y + height, x : x + width] = value
        assert not judge(candidate, reference, FP16, PROBABILITY, whole=True).agrees


def _inside(area: np.ndarray) -> np.ndarray:
    """The places of `area` that are five pixels from its border, or more."""
    padded = np.pad(area, 5)
    return np.lib.stride_tricks.sliding_window_view(padded, (11, 11)).all((2, 3))


def test_a_map_shifted_by_a_pixel_is_red() -> None:
    reference = text_map()
    assert not judge(np.roll(reference, 1, 2), reference, FP16, PROBABILITY, whole=True).agrees


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_one_value_that_is_not_finite_is_red(value: float) -> None:
    reference = text_map()
    candidate = reference.copy()
    ys, xs = edge_pixels(reference, 1)
    candidate[0, ys, xs] = value
    tolerance = replace(FP16, share=0.1)
    for nature in (PROBABILITY, UNKNOWN):
        assert not judge(candidate, reference, tolerance, nature, whole=True).agrees


def test_only_probabilities_of_whole_networks_have_edges() -> None:
    reference = text_map()
    candidate = reference.copy()
    ys, xs = edge_pixels(reference, 25)
    candidate[0, ys, xs] -= 0.18
    assert not judge(candidate, reference, FP16, UNKNOWN, whole=True).agrees
    assert not judge(candidate, reference, FP16, PROBABILITY, whole=False).agrees
    assert not judge(candidate, reference, FP16.updated({"scaled": 0.08}), PROBABILITY, True).agrees
    flat = candidate.reshape(160, 160), reference.reshape(160, 160)
    assert not judge(*flat, FP16, PROBABILITY, whole=True).agrees


def test_a_share_that_the_user_grants_holds_for_any_value() -> None:
    reference = np.random.default_rng(0).normal(0, 1, (4, 500)).astype(np.float32)
    candidate = reference.copy()
    candidate[0, :10] += 3 * 0.02 * np.abs(reference).max()
    tolerance = Tolerance(scaled=0.02)
    assert not judge(candidate, reference, tolerance).agrees
    granted = tolerance.updated({"share": 0.01})
    assert judge(candidate, reference, granted, whole=True).agrees
    candidate[0, :11] += 3 * 0.02 * np.abs(reference).max()
    assert not judge(candidate, reference, granted, whole=True).agrees


def test_what_may_be_out_of_tolerance_is_said_where_that_rule_was_applied() -> None:
    reference = text_map()
    on_edges = f"share {EDGES:g} of the elements on edges of the map up to 5 times beyond, at sqnr 33 dB"
    of_areas = "on edges of areas however far, at an IoU of 0.97 or more"
    candidate = reference + 0.2
    assert judge(candidate, reference, FP16, PROBABILITY, whole=True).also_allowed == (
        f"{on_edges} or more; {of_areas}"
    )
    assert judge(candidate, reference, FP16, UNKNOWN, whole=True).also_allowed == "", "no map"
    granted = FP16.updated({"share": 0.01})
    said = judge(candidate, reference, granted, whole=True).also_allowed
    assert said.startswith("share 0.01 of the elements anywhere up to")


def stuck(logits: np.ndarray) -> np.ndarray:
    """A Softmax whose sum is kept in fp16, term by term."""
    powers = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float16)
    total = np.zeros(len(logits), np.float16)
    for column in powers.T:
        total = (total + column).astype(np.float16)
    return (powers / total[:, None]).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_a_flat_softmax_whose_sum_is_stuck_is_red(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 0.02, (1, 4096))
    reference, candidate = softmax(logits), stuck(logits)
    assert np.abs(candidate - reference).max() < 0.001  # by elements alone it would pass
    layer = judge(candidate, reference, DEFAULTS["fp16"].layer, SOFTMAX)
    assert not layer.agrees
    assert layer.failed[-1].startswith("probabilities off by ")
    copied = replace(SOFTMAX, along=None)
    assert not judge(candidate.reshape(64, 64), reference.reshape(64, 64), FP16, copied, True).agrees


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("spread", [0.5, 4.0, 10.0])
def test_a_softmax_in_fp16_over_what_people_classify_is_green(classes: int, spread: float) -> None:
    logits = np.random.default_rng(classes).normal(0, spread, (20, classes)).astype(np.float32)
    reference = softmax(logits)
    candidate = reference.astype(np.float16).astype(np.float32)
    metrics = judge(candidate, reference, DEFAULTS["fp16"].layer, SOFTMAX)
    assert metrics.agrees
    assert 0.0 < metrics.used < 0.2


def test_rows_of_nothing_are_no_probabilities() -> None:
    reference = np.full((2, 4), 0.25, np.float32)
    reference[1] = np.nan  # a row masked as a whole
    assert judge(reference, reference, DEFAULTS["fp16"].layer, SOFTMAX).agrees


@pytest.mark.parametrize("whole", [False, True])
def test_integers_are_right_or_wrong(whole: bool) -> None:
    words = np.array([3, 99, 2**24 + 1], np.int32)
    near = np.array([3, 99, 2**24 + 2], np.int32)
    assert judge(words, words.astype(np.int64), FP16, INTEGERS, whole).agrees  # as recorded
    metrics = judge(near, words, FP16, INTEGERS, whole)
    assert (metrics.agrees, metrics.integers) == (False, True)
    assert (metrics.mismatched, metrics.index) == (1, (2,))
    assert (metrics.reference, metrics.candidate) == (2**24 + 1, 2**24 + 2)
    lost = np.zeros(3, np.int32)  # what 16 bits make of them
    assert judge(lost, words, FP16, INTEGERS, whole).mismatched == 3


def test_places_in_floats_are_right_or_wrong() -> None:
    places = np.array([120.0, 7.0], np.float32)
    assert judge(places, places, FP16, INTEGERS).agrees
    assert not judge(places + np.float32(1), places, FP16, INTEGERS).agrees


def test_a_swish_that_fp16_makes_0_is_green_and_one_that_is_wrong_red() -> None:
    inputs = np.linspace(-14, -8, 100, dtype=np.float32)
    reference = inputs / (1 + np.exp(-inputs))
    with np.errstate(over="ignore"):
        powers = np.exp(-inputs).astype(np.float16)
    candidate = (inputs.astype(np.float16) / (1 + powers)).astype(np.float32)
    swish = OPERATORS["fp16", "Swish"]
    assert (candidate == 0).sum() > 30
    assert not judge(candidate, reference, DEFAULTS["fp16"].layer).agrees
    assert judge(candidate, reference, swish).agrees
    for scale in (1.0, 0.1):  # of a layer whose values are of any size but nothing
        ordinary = np.linspace(-3, 3, 100, dtype=np.float32) * np.float32(scale)
        right = ordinary / (1 + np.exp(-ordinary))
        assert not judge(right * np.float32(1.1), right, swish).agrees


@pytest.mark.parametrize("operator", ["UnaryOp rsqrt", "RMSNorm", "LayerNorm"])
def test_a_reciprocal_of_12_bits_is_green_and_one_that_is_a_hundredth_off_red(operator: str) -> None:
    right = 1 / np.sqrt(np.linspace(0.01, 3, 1000, dtype=np.float32))
    bound = np.float32(1.5 * 2**-12)  # what Intel says of RSQRTPS
    signs = np.where(np.arange(1000) % 2, bound, -bound)
    allowed = OPERATORS["fp32", operator]
    assert judge(right * (1 + signs), right, allowed).agrees
    assert not judge(right * (1 + signs), right, DEFAULTS["fp32"].layer).agrees
    assert not judge(right * np.float32(1.01), right, allowed).agrees
    assert is_default(allowed)


def test_a_tolerance_that_a_user_gives_is_distinguished_from_a_default() -> None:
    layer = DEFAULTS["fp16"].layer
    assert is_default(layer)
    assert is_default(OPERATORS["fp32", "GELU"])
    for given in ({"scaled": 1e-4}, {"cosine": 0.99}, {"share": 0.01}):
        assert not is_default(layer.updated(given))
    assert is_default(layer.updated({"headroom": 2.0})), "which is no tolerance"
