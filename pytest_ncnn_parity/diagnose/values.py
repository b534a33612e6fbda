"""Rules that read the values themselves. Each assumes that no rule before it in `RULES` applies."""

from __future__ import annotations

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_NORMAL, FP16_OVERFLOW
from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials
from pytest_ncnn_parity.network.masks import NO_VULKAN
from pytest_ncnn_parity.network.operator_kinds import ELEMENTWISE, copies


def misreads_16_bits(failure: Failure) -> Explanation | None:
    blob = failure.evidence.misread
    if blob is None:
        return None
    return Explanation(
        f"31={failure.evidence.mask} makes it read the 16-bit values of {blob} as fp32 on "
        f"{failure.where}",
        ("on a CPU with 16-bit storage a masked region must be entered by fp32 blobs",),
    )


def wrong_for_its_mask(failure: Failure) -> Explanation | None:
    if failure.unsafe_mask is None:
        return None
    mask, half = failure.evidence.mask, failure.case.comparison.half
    return Explanation(
        f"{failure.seen}; {failure.unsafe_mask}",
        (f"31={mask} without 16: the shader reads {half} bytes as fp32. Write {mask | NO_VULKAN}",),
    )


def behind_an_unsafe_mask(failure: Failure) -> Explanation | None:
    """An output that is far from right behind a layer that is right alone, because it is read alone."""
    if not failure.unsafe or not (failure.collapsed or failure.evidence.wrong("repeated")):
        return None
    first, half = failure.unsafe[0], failure.case.comparison.half
    more = f" and {len(failure.unsafe) - 1} more" if len(failure.unsafe) > 1 else ""
    return with_trials(
        failure,
        f"{failure.seen}; {first}{more} upstream: its readers take fp32 for {half}",
        *(f"unsafe mask: {one}. Add {NO_VULKAN}" for one in failure.unsafe[:10]),
    )


def layers_inside_read_16_bits(failure: Failure) -> Explanation | None:
    half = failure.evidence.format_inside
    if half is None or half == "fp16":  # of weights, which is rounding
        return None
    return Explanation(
        f"{failure.seen}; its kernel hands fp32 to layers inside it that read {half}",
        (f"the kernel is at fault; masks must take {half} from the layers in front as well",),
    )


def beyond_fp16(failure: Failure) -> Explanation | None:
    unheld = failure.evidence.unrepresentable
    if unheld is None:
        return None
    limit, largest = f"> {FP16_MAX:.0f}", wording.number(unheld.absmax)
    lines = [f"{unheld.blob} reaches {largest} in fp32; fp16 ends at 65504"]
    if unheld.readers:
        lines.append(f"read in fp16 by: {', '.join(unheld.readers)}")
    metrics = failure.metrics
    if failure.evidence.predicted:
        what = f"fp32 reference {largest} {limit}: inf in fp16, predicted"
    elif metrics.inf + metrics.nan:
        what = f"{failure.seen}; fp32 reference {largest} {limit}"
    else:
        what = f"{largest} {limit} is finite here ({failure.evidence.execution}) and inf to its readers"
    return Explanation(what, tuple(lines))


def missed_by_a_reader(failure: Failure) -> Explanation | None:
    missed = failure.evidence.underflow
    if missed is None:
        return None
    reader = f"{missed.reader} ({missed.reader_type})"
    zeros = f"{counted(missed.count, 'value')} {'becomes' if missed.count == 1 else 'become'} 0"
    if missed.failure:
        return Explanation(
            f"{zeros} in fp16, and {reader} cannot be run on that",
            (f"run in fp32 on small inputs as fp16 has them, {reader} fails: {missed.failure}",),
        )
    error = f"an error of scaled {missed.scaled:.3g}"
    effect = f"{missed.nonfinite} inf or nan" if missed.nonfinite else error
    lines = [f"run in fp32 on small inputs as fp16 has them, {reader} is wrong already"]
    if missed.cancels:
        lines.append("its terms are one value in fp16: the layers that make them must be in fp32 too")
    return Explanation(f"{zeros} in fp16, and {reader} makes {effect} of that", tuple(lines))


def threshold_decides(failure: Failure) -> Explanation | None:
    if not failure.evidence.threshold_decides:
        return None
    size = "the output has a variable size: rows whose score or overlap lies at a threshold come and go"
    return with_trials(failure, failure.seen, size)


def another_result_each_time(failure: Failure) -> Explanation | None:
    if not failure.evidence.wrong("repeated"):
        return None
    scaled = failure.evidence.trials["repeated"].scaled
    return with_trials(
        failure,
        f"{failure.seen}; a second run on the same inputs gives another result",
        f"two runs differ by scaled {scaled:.3g}",
    )


def shader_did_not_compile(failure: Failure) -> Explanation | None:
    """ncnn does not say of which layer the shader is: not of one whose own values explain the error."""
    shader, evidence = failure.evidence.shader, failure.evidence
    if shader is None or evidence.right("without_arithmetic"):
        return None
    if evidence.integers is not None and evidence.right("fp32_on_device"):
        return None
    return Explanation(f"{failure.seen}; a shader did not compile", (f"stderr: {shader}",))


def int8_taken_for_something_else(failure: Failure) -> Explanation | None:
    blob, layer = failure.evidence.takes_int8, failure.case.layer
    if blob is None or layer is None:
        return None
    return Explanation(
        f"{failure.seen}; what it reads is int8",
        (
            f"{blob} comes from a layer that gives int8 to another: {layer.type} is in between, and its "
            f"kernel on {failure.where} takes int8 for floats",
            "ncnn2int8 puts none there but Split: quantize this network again",
        ),
    )


def cast_takes_fp16_for_fp32(failure: Failure) -> Explanation | None:
    """A Cast from fp32 in a network that is stored in fp16 (src/layer/vulkan/cast_vulkan.cpp)."""
    layer, half = failure.case.layer, failure.case.comparison.half
    on_vulkan = str(failure.evidence.execution).startswith("vulkan")
    if layer is None or layer.type != "Cast" or half is None or not on_vulkan or not failure.collapsed:
        return None
    if not failure.evidence.right("fp32_on_device"):
        return None
    return with_trials(
        failure,
        f"{failure.seen}; ncnn's Cast on Vulkan takes its input for fp32, which is stored in {half}",
        "ncnn converts values by itself: remove the Cast, or mask it with the layers beside it",
    )


def takes_16_bits_for_fp32(failure: Failure) -> Explanation | None:
    """Finite values of a layer stored in fp16 that fp16 does not have."""
    metrics, execution = failure.metrics, str(failure.evidence.execution)
    in_fp16 = failure.case.comparison.half == "fp16" and "fp16 storage" in execution
    too_large = metrics.candidate_absmax >= FP16_OVERFLOW > metrics.reference_absmax
    if not in_fp16 or not too_large or failure.case.layer is None:
        return None
    if not failure.evidence.right("fp32_on_device"):
        return None
    return with_trials(
        failure,
        f"{failure.seen}; its kernel on {failure.where} takes fp16 for fp32",
        f"it gives {wording.number(metrics.candidate_absmax)}, which is no value of fp16, in which it "
        "is stored; the true values fit",
    )


def copies_other_values(failure: Failure) -> Explanation | None:
    """A layer that only copies gives what 16 bits hold of its input, or its kernel takes others."""
    half, layer, evidence = failure.case.comparison.half, failure.case.layer, failure.evidence
    if half is None or layer is None or not copies(layer):
        return None
    if not evidence.right("fp32_on_device") or (evidence.rounding or 0.0) >= failure.metrics.scaled / 2:
        return None
    what = f"its kernel on {failure.where} copies other values than in fp32"
    exact = f"{layer.type} computes nothing, and {half} holds what it is fed: no rounding is involved"
    return with_trials(failure, f"{failure.seen}; {what}", exact)


def rounded_in_fp32(failure: Failure) -> Explanation | None:
    if failure.case.comparison.half is not None or not failure.metrics.is_rounding_of_fp32:
        return None
    return Explanation(
        f"{failure.seen}, in fp32",
        ("rounding in fp32 explains it: sums in another order differ by as much; allow it",),
    )


def wrong_in_fp32(failure: Failure) -> Explanation | None:
    if failure.case.comparison.half is not None or failure.case.comparison.reference.half is not None:
        return None
    packed = failure.evidence.right("without_packing")
    kernel = "; right without packing, so a packed kernel is wrong" if packed else ""
    involved = "no 16-bit format is involved: a kernel or the driver is at fault"
    return with_trials(failure, f"{failure.seen}, in fp32{kernel}", involved)


# -- a 16-bit candidate whose reference values fit the format --------------------------------------

# These add up nothing that could exceed fp16 while the output is finite: an Interp rounds the places
# of its pixels, and an ELU or a sinh what is left of exp(x) - 1 for a small x.
_WITHOUT_SUMS = ELEMENTWISE | {"Interp"}


def among_the_least_of_fp16(failure: Failure) -> Explanation | None:
    """A layer all of whose values are so small that fp16 rounds terms and sums to multiples of 6e-8."""
    metrics, layer = failure.metrics, failure.case.layer
    if layer is None or failure.case.comparison.half != "fp16" or metrics.nan + metrics.inf:
        return None
    largest = max(metrics.candidate_absmax, metrics.reference_absmax)
    if largest >= FP16_NORMAL or not failure.evidence.right("fp32_on_device"):
        return None
    steps = f"its values reach {wording.number(largest)} only, where fp16 has steps of 6e-8"
    mend = "compute with larger values, or mask the region"
    return with_trials(failure, f"{failure.seen}; {steps}", mend)


def sum_inside_overflows(failure: Failure) -> Explanation | None:
    metrics, layer = failure.metrics, failure.case.layer
    if not failure.collapsed or not failure.evidence.right("without_arithmetic"):
        return None
    finite = not metrics.nan + metrics.inf
    # a sum that overflows in front of an output shows in the layer that adds it up
    elsewhere = not failure.unjudged if layer is None else layer.type in _WITHOUT_SUMS
    if finite and elsewhere:
        return None
    fits = f"the true values reach {wording.number(metrics.reference_absmax)} and fit"
    return with_trials(failure, f"{failure.seen}; right without fp16 arithmetic", fits)


def arithmetic_explains_it(failure: Failure) -> Explanation | None:
    if not failure.evidence.right("without_arithmetic"):
        return None
    what = f"{failure.seen}; fp16 arithmetic explains it: right without"
    return with_trials(failure, what, *_of_output(failure))


def makes_nan(failure: Failure) -> Explanation | None:
    return with_trials(failure, failure.seen) if failure.metrics.nan else None


def becomes_0_on_the_way(failure: Failure) -> Explanation | None:
    """Inf in an output although no value overflows: a 0 is divided by, or its logarithm is taken."""
    fits = failure.evidence.fits_up_to_here and failure.case.comparison.half == "fp16"
    if not failure.metrics.inf or not fits:
        return None
    what = "a value on the way becomes 0 in fp16, and is divided by, or its logarithm taken"
    return with_trials(failure, f"{failure.seen}; {what}", "fp16 holds all true values")


def value_inside_overflows(failure: Failure) -> Explanation | None:
    if not failure.metrics.inf:
        return None
    where = "its inputs and true outputs fit fp16; a value inside the layer does not"
    if failure.evidence.whole:
        where = "the true values fit fp16; on the way one does not, or becomes 0 and is divided by"
    return with_trials(failure, failure.seen, where)


def out_of_tolerance(failure: Failure) -> Explanation | None:
    rounding = failure.evidence.rounding or 0.0
    verdict = "explains" if rounding >= failure.metrics.scaled / 2 else "alone does not explain"
    line = f"rounding the true output to 16 bits gives scaled {rounding:.3g}: that {verdict} the error"
    return with_trials(failure, failure.seen, line, *_of_output(failure))


def _of_output(failure: Failure) -> tuple[str, ...]:
    if not failure.evidence.whole:
        return ()
    lost = "no layer judged here is wrong by itself: errors of rounding to 16 bits between layers add up"
    if failure.unjudged:
        lost = f"{failure.unjudged} in this run: judge them too, to see which is wrong"
    noise, perhaps_pictures = failure.evidence.noise, failure.evidence.perhaps_pictures
    said = [lost]
    if noise is not None:
        said.append(
            "terms cancel on the way: the error is what rounding every value to 16 bits makes of it, "
            f"times {noise:.3g}; keep the values that cancel in fp32"
        )
    if perhaps_pictures:
        which = " or ".join(perhaps_pictures)
        said.append(
            f"if {which} is a picture, feed it by `image:`: outputs may then differ by less than a grey "
            "step in each pixel does"
        )
    return tuple(said)
