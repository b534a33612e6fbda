"""What an error is measured by: parts, rows and natural scales."""

import numpy as np
import pytest

from pytest_ncnn_parity.compare.judging import judge
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.nature import UNKNOWN, Nature
from pytest_ncnn_parity.compare.scales import LAYER_UNIT, OUTPUT_UNIT, scale_of
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, Tolerance

OUTPUTS = {name: defaults.output for name, defaults in DEFAULTS.items() if name not in ("bf16", "int8")}
BOXES, SCORES = 1, 2
MIXED = Nature(
    parts=np.array([[BOXES]] * 4 + [[SCORES]]), units={BOXES: 0.0, SCORES: 1.0}
)  # a part for each row of (5, 2100)


def detections(seed: int = 0) -> np.ndarray:
    """Rows x, y, w, h in pixels of a picture of 640, and a score, nearly all of them small."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, [[640], [640], [90], [60]], (4, 2100))
    return np.vstack([boxes, rng.beta(0.3, 3, (1, 2100))]).astype(np.float32)


def off(reference: np.ndarray, row: int, share: float) -> np.ndarray:
    """`reference` with one element of the row off by a share of the row's largest."""
    candidate = reference.copy()
    candidate[row, 7] += share * np.abs(reference[row]).max()
    return candidate


@pytest.mark.parametrize("precision", OUTPUTS)
@pytest.mark.parametrize("nature", [MIXED, UNKNOWN], ids=["known parts", "one maker"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("row", range(5))
def test_a_row_wrong_by_a_tenth_is_red(row: int, axis: int, nature: Nature, precision: str) -> None:
    reference = detections()
    candidate = off(reference, row, 0.1)
    if nature is MIXED and axis:
        nature = Nature(parts=MIXED.parts.T, units=MIXED.units)  # type: ignore[union-attr]
    if axis:
        candidate, reference = candidate.T, reference.T
    assert not judge(candidate, reference, OUTPUTS[precision], nature, whole=True).agrees


@pytest.mark.parametrize("precision", OUTPUTS)
def test_a_row_off_by_what_its_precision_takes_is_green(precision: str) -> None:
    allowed = {"fp32": 1e-4, "fp16-weights": 5e-3, "golden": 5e-3}.get(precision, 0.04)
    reference = detections()
    for row in range(5):
        for nature in (MIXED, UNKNOWN):
            candidate = off(reference, row, allowed)
            assert judge(candidate, reference, OUTPUTS[precision], nature, whole=True).agrees


GATED = DEFAULTS["fp16"].output


def gated(suppressed: float) -> tuple[np.ndarray, np.ndarray, Nature]:
    """A value, and probabilities that let half of it through; where they do not, it is larger."""
    rng = np.random.default_rng(0)
    value = rng.normal(0, 20, 4000)
    probability = rng.uniform(0, 1, 4000)
    value[:2000] *= suppressed
    probability[:2000] = 2e-6
    return value, probability, Nature(gate=np.abs(value))


def test_what_a_gate_holds_back_may_be_0() -> None:
    value, probability, _ = gated(suppressed=1.0)
    for places in (slice(0, 2000), slice(None)):
        held = np.where(probability[places] < 1.5e-5, 0.0, probability[places])
        reference = value[places] * probability[places]
        of_places = Nature(gate=np.abs(value[places]))
        assert judge(value[places] * held, reference, GATED, of_places, whole=True).agrees
    assert not judge(0.0 * value[:2000], (value * probability)[:2000], GATED, whole=True).agrees


@pytest.mark.parametrize("suppressed", [1.0, 1e3])
@pytest.mark.parametrize("by", [0.9, 1.1])
def test_a_gate_wrong_by_a_tenth_is_red(by: float, suppressed: float) -> None:
    value, probability, nature = gated(suppressed)
    reference = value * probability
    assert not judge(value * probability * by, reference, GATED, nature, whole=True).agrees
    largest = int(np.abs(reference).argmax())  # and so is one element
    candidate = reference.copy()
    candidate[largest] *= by
    assert not judge(candidate, reference, GATED, nature, whole=True).agrees


def test_a_gate_that_lets_through_what_it_should_not_is_red() -> None:
    value, probability, _ = gated(1.0)
    wrong = np.where(probability < 1e-5, 0.01, probability)[:2000]
    reference = (value * probability)[:2000]
    of_places = Nature(gate=np.abs(value[:2000]))
    assert not judge(value[:2000] * wrong, reference, GATED, of_places, whole=True).agrees


def test_recorded_scores_of_another_size_are_red_whichever_side_is_large() -> None:
    small, large = detections(), detections()
    small[4], large[4] = 0.0003, 1.0
    for nature in (MIXED, UNKNOWN):
        for candidate, reference in ((small, large), (large, small)):
            metrics = judge(candidate, reference, OUTPUTS["golden"], nature, whole=True)
            assert not metrics.agrees
            assert metrics.mismatched == 2100
            assert metrics.index[0] == 4


def test_a_score_near_nothing_may_become_nothing() -> None:
    reference = detections()
    reference[4] *= 1e-5
    candidate = reference.copy()
    candidate[4] = 0.0
    assert judge(candidate, reference, OUTPUTS["fp16"], MIXED, whole=True).agrees


def test_channels_of_a_picture_are_rows_too() -> None:
    reference = detections().reshape(5, 42, 50)
    candidate = reference.copy()
    candidate[4] += 0.1
    nature = Nature(parts=np.array([1, 1, 1, 1, 2]).reshape(5, 1, 1), units={1: 0.0, 2: 1.0})
    for known in (nature, UNKNOWN):
        assert not judge(candidate, reference, OUTPUTS["fp16"], known, whole=True).agrees


def test_the_same_at_another_place_is_not_distinguished_by_rows() -> None:
    # anchors of three strides: parts along the long axis, and all in one unit
    parts = np.repeat([1, 2, 3], [1600, 400, 100])[:, None]
    reference = np.random.default_rng(0).normal(0, 1, (2100, 32)).astype(np.float32)
    scale = scale_of(reference, Nature(parts=parts, units={1: 0.0, 2: 0.0, 3: 0.0}), 0.08, True)
    assert isinstance(scale, np.ndarray)
    assert scale.shape == (2100, 1)
    assert len(np.unique(scale)) == 3


@pytest.mark.parametrize(
    "reference",
    [
        np.random.default_rng(1).normal(0, 1, (8, 30)),  # rows of one size
        np.random.default_rng(1).normal(0, 1, (8, 30)) * np.geomspace(1, 1 / 24, 8)[:, None],
        np.random.default_rng(1).normal(0, 1, (4, 1, 1)) * [[[1]], [[0.01]], [[1]], [[1]]],  # too few
        np.random.default_rng(1).normal(0, 1, (1000,)) * np.geomspace(1, 1e-4, 1000),  # no rows
        np.random.default_rng(1).normal(0, 1, (3, 40, 40)) * np.geomspace(1, 1e-4, 40),  # dark columns
    ],
    ids=["alike", "24 apart", "four numbers", "a vector", "a picture with a dark side"],
)
def test_one_largest_value_measures_what_is_in_one_unit(reference: np.ndarray) -> None:
    assert scale_of(reference, UNKNOWN, 0.08, True) is not None
    scale = np.broadcast_to(scale_of(reference, UNKNOWN, 0.08, True), reference.shape)
    assert (scale == np.abs(reference).max()).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_place_where_no_joint_is_has_no_unit_of_its_own(axis: int) -> None:
    """The scores of 17 joints for each of 256 places, as of SimCC: most places are far from any."""
    places = np.arange(256.0)
    peaks = np.random.default_rng(0).uniform(60.0, 120.0, (17, 1))
    scores = 3.0 * np.exp(-np.square(places - peaks) / 50.0)
    candidate = scores.copy()
    candidate[5, 200] += 0.1
    if axis:
        candidate, scores = candidate.T, scores.T
    assert judge(candidate, scores, OUTPUTS["fp16"], UNKNOWN, whole=True).agrees
    candidate = np.where(candidate == candidate.max(), 0.9 * candidate, candidate)
    assert not judge(candidate, scores, OUTPUTS["fp16"], UNKNOWN, whole=True).agrees


RNG = np.random.default_rng(3)
GOLDEN = OUTPUTS["golden"]


@pytest.mark.parametrize("hidden", [-1000.0, -1e4, -65504.0])
@pytest.mark.parametrize("shape", [(100,), (1, 400), (3, 16, 16)])
def test_values_beside_some_that_hide_others_have_their_own_scale(
    hidden: float, shape: tuple[int, ...]
) -> None:
    """Logits of suppressed words, to which a mask was added."""
    reference = RNG.normal(0.0, 2.0, shape)
    masked = RNG.random(shape) < 0.3
    reference[masked] += hidden
    candidate = reference + np.where(masked, 1e-3 * hidden, 0.01)
    assert judge(candidate, reference, GOLDEN, UNKNOWN, whole=True).agrees
    candidate[np.unravel_index(np.argmax(~masked), shape)] += 2.0
    assert not judge(candidate, reference, GOLDEN, UNKNOWN, whole=True).agrees


@pytest.mark.parametrize("shape", [(16, 768), (768, 6), (320, 8, 8)])
def test_channels_beside_a_massive_one_have_their_own_scale(shape: tuple[int, ...]) -> None:
    reference = RNG.normal(0.0, 1.0, shape)
    at = (slice(None), 5) if shape[0] == 16 else (5,)
    reference[at] += 1500.0
    candidate = reference + 0.01
    candidate[at] += 1.0
    assert judge(candidate, reference, GOLDEN, UNKNOWN, whole=True).agrees
    for place in ((3, 4), (3, 5)) if len(shape) == 2 else ((4, 0, 0), (5, 0, 0)):
        wrong = candidate.copy()
        wrong[place] += 2.0 if wrong[place] < 100.0 else 200.0
        assert not judge(wrong, reference, GOLDEN, UNKNOWN, whole=True).agrees, place


@pytest.mark.parametrize("shape", [(256,), (1, 256), (2, 256), (17, 256)])
def test_a_sharp_peak_leaves_other_places_no_scale_of_their_own(shape: tuple[int, ...]) -> None:
    reference = RNG.normal(0.0, 0.01, shape)
    for row in np.atleast_2d(reference):
        row[RNG.integers(256)] = 3.0
    assert scale_of(reference, UNKNOWN, 0.08, True) == np.abs(reference).max()


def test_what_rounding_leaves_beside_a_large_value_has_no_scale() -> None:
    """A spectrum beside its mean, channels beside the principal component, a component of size one."""
    spectrum = np.array([-1e4, *RNG.normal(0, 1e-3, 63)])
    component = np.array([-1.0, *RNG.normal(0, 3e-3, 63)])
    channels = RNG.normal(0, 1e-4, (320, 8, 8))
    channels[7] += 8.0
    for reference in (spectrum, component, channels):
        assert scale_of(reference, UNKNOWN, 0.08, True) == np.abs(reference).max()


def test_a_vector_of_numbers_in_different_units_has_one_scale() -> None:
    """As a pose of 30 degrees beside angles of nearly 0, and landmarks beside a distance."""
    for reference in (np.array([30.0, 0.2, 0.1]), np.array([500.0, *RNG.normal(0, 1, 20)])):
        assert scale_of(reference, UNKNOWN, 0.08, True) == np.abs(reference).max()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_vector_that_is_repeated_has_one_scale(axis: int) -> None:
    """Tokens of an empty input are all alike: one feature of -0.0008 beside 0.25 is there by chance."""
    token = np.random.default_rng(0).normal(0.0, 0.1, 32)
    token[[3, 7]] = 0.25, -0.0008
    reference = np.tile(token, (64, 1)) * (1.0 + 1e-7 * RNG.normal(size=(64, 32)))
    candidate = reference.copy()
    candidate[:, 7] += 0.0003
    wrong = reference.copy()
    wrong[:, 7] += 0.04
    if axis == 0:
        reference, candidate, wrong = reference.T, candidate.T, wrong.T
    assert judge(candidate, reference, OUTPUTS["fp16"], UNKNOWN, whole=True).agrees
    assert not judge(wrong, reference, OUTPUTS["fp16"], UNKNOWN, whole=True).agrees
    other = reference.copy()  # a single token that differs gives the features rows again
    other[(..., 5) if axis == 0 else 5] *= 0.5
    assert not judge(other + (candidate - reference), other, OUTPUTS["fp16"], UNKNOWN, whole=True).agrees


def test_a_layer_alone_is_measured_by_less_than_a_whole_network() -> None:
    reference = np.full((1, 8, 8), 1e-5, np.float32)
    probability = Nature(1.0)
    layer, output = (scale_of(reference, probability, 0.05, whole) for whole in (False, True))
    assert (layer, output) == (LAYER_UNIT, OUTPUT_UNIT)


def sigmoid(candidate: float, reference: float, whole: bool) -> Metrics:
    arrays = (np.full((1, 8, 8), value, np.float32) for value in (candidate, reference))
    defaults = DEFAULTS["fp16"]
    return judge(*arrays, defaults.output if whole else defaults.layer, Nature(1.0), whole)


@pytest.mark.parametrize("whole", [False, True])
def test_small_probabilities_are_measured_by_their_scale(whole: bool) -> None:
    assert sigmoid(0.0, 1.1e-5, whole).agrees
    assert sigmoid(0.0009, 0.0005, whole).agrees
    assert not sigmoid(0.45, 0.5, whole).agrees  # a tenth off is red, as of any other value
    assert not sigmoid(0.11, 0.01, whole).agrees
    assert not sigmoid(float("nan"), 1e-5, whole).agrees


def test_a_layer_of_probabilities_a_tenth_off_is_red_as_any_other() -> None:
    assert not sigmoid(0.27, 0.3, whole=False).agrees


def test_parts_of_a_copying_layer_have_a_tolerance_each() -> None:
    reference = detections()
    candidate = reference.copy()
    candidate[4] *= 1.2
    assert judge(candidate, reference, DEFAULTS["fp16"].layer).agrees  # by one largest value
    assert not judge(candidate, reference, DEFAULTS["fp16"].layer, MIXED).agrees


def test_values_that_are_not_finite_give_no_scale() -> None:
    reference = np.array([[np.inf, 2.0, np.nan]], np.float32)
    assert scale_of(reference, UNKNOWN, 0.05, True) == 2.0
    metrics = judge(reference, reference, Tolerance(scaled=0.05), Nature(1.0), whole=True)
    assert metrics.agrees
