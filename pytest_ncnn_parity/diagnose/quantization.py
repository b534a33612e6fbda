"""Rules for a candidate whose files compute in int8: which scale is wrong, or that no scale is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ncnn_parity.base.errors import listed
from pytest_ncnn_parity.compare.measured import Loss
from pytest_ncnn_parity.compare.tolerance import QUANTIZED
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials
from pytest_ncnn_parity.engine.int8_evidence import OtherScale, Quantization, WeightSteps

# share of a layer's weights; in a healthy layer one weight of each output is clipped
MUCH_CLIPPED = 0.05
# an input's scale that differs by this factor from the one of its largest value is wrong
WRONG_SCALE = 1.5


def has_no_scale(failure: Failure) -> Explanation | None:
    """Outputs whose weights are all 0, for which ncnn2table gives inf as the scale."""
    outputs = failure.evidence.without_scale
    if not outputs:
        return None
    return Explanation(
        f"{failure.nan_or_seen}; the file's scale is inf for the weights of {len(outputs)} of its "
        "outputs",
        (
            f"outputs {listed([*map(str, outputs)])}: ncnn2table gives inf where all weights are 0, and "
            "kernels differ in what they make of 0 / inf or 0 * inf",
            "write a finite number for them into the table, such as 1, and quantize again",
        ),
    )


def right_on_the_cpu(failure: Failure) -> Explanation | None:
    """The device is wrong with these int8 files, and the CPU is right with the same files."""
    evidence = failure.evidence
    if not evidence.in_int8 or failure.result.metrics is None or not evidence.right("other_files"):
        return None
    if evidence.has_wrong_files:
        return None
    return with_trials(failure, f"{failure.seen}; the CPU is right with the same files")


def loses_too_much(failure: Failure) -> Explanation | None:
    """A layer in int8 is off by more than rounding to int8 may cost."""
    evidence, metrics = failure.evidence, failure.result.metrics
    weights, inputs = evidence.weights, evidence.quantization
    if metrics is None or not evidence.in_int8:
        return None
    if failure.case.output is not None:
        held = f"; not what {failure.case.golden} holds" if failure.case.golden else ""
        return Explanation(f"{failure.seen}{held}; what its layers lose in int8 adds up")
    lines = (
        *(
            f"quantizing keeps the {one.what}: quantize these files again"
            for one in evidence.differences
        ),
        *_of_output(evidence.other_scale),
        *_of_weights(weights),
        *_of_input(inputs, failure),
        *failure.compared_with,
    )
    lost = "; ".join(metrics.failed) or f"sqnr_db {metrics.sqnr_db:.4g}"
    how = "in int8" if weights is None or weights.gain is None else "in blocks of a few bits"
    return Explanation(f"{lost} {how}; {_blamed(failure)}", lines)


def _least(failure: Failure) -> float:
    least = failure.case.tolerance.sqnr_db
    assert QUANTIZED.sqnr_db is not None
    return QUANTIZED.sqnr_db if least is None else least


def _blamed(failure: Failure) -> str:
    evidence = failure.evidence
    weights, inputs, scale = evidence.weights, evidence.quantization, evidence.other_scale
    wrong = [
        f"its {one.what} is {one.here} in floats and {one.there} in int8" for one in evidence.differences
    ]
    if scale is not None:
        given, taken = _told_apart(scale.given, scale.taken)
        wrong.append(f"it gives int8 by {given}, {scale.reader} reads it by {taken}")
    least = _least(failure)
    if inputs is not None and not _own(inputs).allowed(least):
        fits = _best(inputs).allowed(least)
        wrong.append("the scale of its input is wrong" if fits else "no scale fits all of its input")
    if weights is not None and weights.others:
        wrong.append("its weights are not those in floats")
    elif weights is not None and weights.clipped > MUCH_CLIPPED:
        wrong.append("its weights are clipped")
    elif weights is not None and weights.wasting:
        wrong.append("the scales of its weights are too small")
    if weights is not None and weights.rounded:
        wrong.append(f"its weights are rounded {weights.rounded}, not to the nearest")
    if weights is not None and weights.biased:
        wrong.append("its biases are not those in floats")
    looked_up = failure.case.layer is not None and failure.case.layer.type == "Embed"
    if looked_up and weights is not None and not wrong:
        return "no scale fits all of its rows"
    return " and ".join(wrong) or "its weights and its input lose too much together"


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Both in as few digits as show that they differ, five or more."""
    digits = next((n for n in range(5, 9) if f"{one:.{n}g}" != f"{other:.{n}g}"), 9)
    return f"{one:.{digits}g}", f"{other:.{digits}g}"


def _own(inputs: Quantization) -> Loss:
    return Loss(inputs.sqnr_db, inputs.channels_db)


def _best(inputs: Quantization) -> Loss:
    return Loss(inputs.best_sqnr_db, inputs.best_channels_db)


def _of_output(scale: OtherScale | None) -> Iterator[str]:
    if scale is None:
        return
    yield (
        f"the scale of its output is {scale.given / scale.taken:.4g} times that of the input of "
        f"{scale.reader}, which reads the same integers: ncnn2int8 writes one number for both"
    )


def _of_weights(weights: WeightSteps | None) -> Iterator[str]:
    if weights is not None and weights.clipped > MUCH_CLIPPED:
        yield f"{100.0 * weights.clipped:.3g} % of its weights are clipped: their scales are too large"
    if weights is not None and weights.rounded:
        yield (
            f"{weights.against_nearest} of its weights, or nearly all such, were rounded "
            f"{weights.rounded} though the integer on the other side is nearer"
        )
    if weights is not None and weights.wasting:
        yield (
            f"the scales of {_named(weights, weights.wasting)} could be {weights.spare:.3g} times as "
            "large: most of int8's steps are not used"
        )
    if weights is not None and weights.biased:
        of_matrix = f" behind {weights.matrix}" if weights.matrix else ""
        which = f"{len(weights.biased)} of its {weights.biases} biases{of_matrix}"
        yield (
            f"{which} ({listed([*map(str, weights.biased)])}) are off by up to {weights.bias_off:.4g}, "
            "more than what rounding of the weights could shift them by"
        )
    if weights is not None and weights.unscaled:
        yield (
            f"the scale of {_named(weights, weights.unscaled)} is 0, inf or nan, as if they were 0; in "
            f"floats they are up to {weights.unscaled_largest:.3g}"
        )
    if weights is None or not weights.outputs:
        return
    if weights.gain is not None:
        yield (
            f"{_named(weights, weights.outputs)} are {weights.gain:.3g} times those in floats (least "
            f"squares), and off by up to {weights.largest:.3g} steps of rounding"
        )
        return
    yield (
        f"{_named(weights, weights.outputs)} are off by up to {weights.largest:.3g} steps of their "
        "quantization, where rounding leaves 0.5"
    )
    if max(weights.factor, 1.0 / weights.factor) >= WRONG_SCALE:
        yield f"they would agree if their scales were divided by {weights.factor:.3g}"


def _named(weights: WeightSteps, wrong: Sequence[int]) -> str:
    """The weights of the outputs `wrong`, or those rows or columns of a matrix."""
    rows = f"{weights.lines} of {weights.matrix}" if weights.matrix else "outputs"
    return f"weights of {len(wrong)} of {weights.total} {rows} ({listed([*map(str, wrong)])})"


def _of_input(inputs: Quantization | None, failure: Failure) -> Iterator[str]:
    if inputs is None:
        return
    ratio = inputs.scale / inputs.best
    yield (
        f"input scale {inputs.scale:.5g}, {ratio:.3g} times 127/largest ({inputs.best:.5g}): "
        f"{100.0 * inputs.clipped:.3g} % of the values are clipped"
    )
    yield (
        f"with its input alone rounded so, sqnr is {inputs.sqnr_db:.3g} dB, in half of its channels "
        f"{inputs.channels_db:.3g}; by 127/largest {inputs.best_sqnr_db:.3g} and "
        f"{inputs.best_channels_db:.3g}"
    )
    if not _best(inputs).allowed(_least(failure)):
        yield "leave the layer in floats: the values of its input span too wide a range for 255 steps"
