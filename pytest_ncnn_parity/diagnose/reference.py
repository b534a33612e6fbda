"""Rules for a reference that cannot be trusted: no device is blamed then, and no mask is a fix."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pytest_ncnn_parity.compare.comparisons import CPU_FP32
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials
from pytest_ncnn_parity.engine.evidence import Distrust, KernelFault
from pytest_ncnn_parity.network.int8 import is_quantized

BY_FP32 = "the reference may be at fault: compare either setup with cpu fp32"
_BEYOND = 100.0  # times as far off as the reference is from itself: 16 bits are coarser by 2 ** 13

OF_ANOTHER_SETUP = "the candidate is not to blame: compare the reference's setup with cpu fp32"
# what to do about a file with numbers that are not finite
OF_WEIGHTS = (
    "a weight beyond 65504 is inf if it is stored in fp16; store the weights in fp32, or mend the "
    "training or the conversion that made them"
)
OF_A_TABLE = (
    "ncnn2table gives inf as a scale where all values that it saw are 0; write finite numbers into the "
    "table, and quantize again"
)

# by the fault of a CPU kernel, what it does, and what shows that
_FAULTS: Mapping[KernelFault, tuple[str, str]] = MappingProxyType(
    {
        "": (
            "reads memory that nobody wrote",
            "where fresh memory holds other bytes, {} gives other bits on cpu fp32, from the same "
            "inputs",
        ),
        "uneven": (
            "computes some elements wrongly",
            "on cpu fp32 {} gives other values for the same elements if it gets only 3 of them",
        ),
        "nan": (
            "gives nan where the function has a value",
            "on cpu fp32 {} gives nan for 0 or inf, where IEEE 754 has a number or inf",
        ),
        "overflow": (
            "gives nan or inf where the function has a value",
            "all that {} reads is finite, and so is its function: its kernel on cpu fp32 lets exp "
            "overflow",
        ),
        "number": (
            "gives numbers where its function is nan or inf",
            "{} reads inf, of which its function makes nan or inf, and gives numbers on cpu fp32; what "
            "makes that inf, such as a mask of the wrong sign, is at fault as well",
        ),
        "function": (
            "is far from its function",
            "on cpu fp32 {} is far from what float64 gives for the same inputs, the candidate is not: "
            "kernels for x86 end exp at 2.4e38 and know no inf",
        ),
        "shape": (
            "gives another shape than its inputs make, so that it reads past one of them",
            "without packing, winograd and sgemm {} gives the right shape on cpu fp32",
        ),
        "sums": (
            "rounds after each of many summands",
            "on cpu fp32 {} is far from what float64 gives for the same inputs",
        ),
    }
)


def is_not_believed(failure: Failure) -> Explanation | None:
    distrust = failure.evidence.distrust
    if distrust is None or _died_without_it(failure, distrust):
        return None
    kernel = f"{distrust.layer} ({distrust.type})"
    own = failure.case.layer is not None and failure.case.layer.name == distrust.layer
    fault, shown = _FAULTS[distrust.fault]
    what = f"the CPU's kernel {fault}"
    if not own:
        what = f"the reference depends on {kernel}, whose CPU kernel {fault}"
    metrics = failure.result.metrics
    compared = metrics is not None and not metrics.agrees
    if compared or failure.death is not None or failure.evidence.recorded_shape is not None:
        what = f"{failure.seen}; {what}"
    to_do = "no mask can fix it: report the kernel to ncnn"
    of_devices = _of_devices(failure, own and distrust.fault != "number")  # there nan is right
    return Explanation(what, (shown.format(kernel), f"{of_devices}; {to_do}"))


def _of_devices(failure: Failure, own: bool) -> str:
    """What is known of a device where the CPU is wrong: nothing, unless it gives nan by itself.

    `own`: the layer that is judged is the one whose CPU kernel is wrong; others read what that gave.
    """
    metrics, setup = failure.result.metrics, failure.case.comparison.reference
    nan, where = (0, "") if metrics is None else (metrics.nan, failure.where)
    if setup != CPU_FP32 and failure.evidence.reference_nan:
        nan, where = failure.evidence.reference_nan, str(setup)
    if nan and own:
        return f"{where} gives {nan} nan from the same inputs, so it may be wrong as well"
    return "this is no evidence against a device"


def _died_without_it(failure: Failure, distrust: Distrust) -> bool:
    """Whether the candidate crashed, and the layer that is not trusted made none of what it was fed."""
    death, layer = failure.death, failure.case.layer
    if death is None or death.kind != "crash" or death.step is None:
        return False
    fed = layer is not None and layer.name != distrust.layer
    return death.step.label != str(CPU_FP32) and not fed


def has_another_shape_when_plain(failure: Failure) -> Explanation | None:
    plain = failure.evidence.trials.get("plain_cpu")
    if plain is None or plain.agrees is not False or not plain.problem:
        return None
    return Explanation(
        f"{failure.seen}; the CPU in fp32 does not agree with itself on the shape",
        (f"{plain.how} the shape is another: {plain.problem}; a CPU kernel is wrong",),
    )


def has_weights_that_are_not_finite(failure: Failure) -> Explanation | None:
    count, layer = failure.evidence.not_finite, failure.case.layer
    if not count:
        return None
    in_int8 = layer is not None and is_quantized(layer)
    numbers, remedy = ("weights and scales", OF_A_TABLE) if in_int8 else ("weights", OF_WEIGHTS)
    what = f"{count} of its {numbers} {'is' if count == 1 else 'are'} inf or nan in the file"
    metrics = failure.result.metrics
    harmless = metrics is not None and metrics.agrees and not failure.evidence.reference_nan
    return Explanation(
        what if harmless else f"{failure.nan_or_seen}; {what}",
        (f"the file is at fault: {remedy}",),
    )


def makes_nan_when_packed(failure: Failure) -> Explanation | None:
    return disagrees_with_itself(failure) if failure.evidence.reference_nan else None


def makes_nan(failure: Failure) -> Explanation | None:
    count, setup = failure.evidence.reference_nan, failure.case.comparison.reference
    if count and setup != CPU_FP32:
        return Explanation(f"the reference itself has {count} nan on {setup}", (OF_ANOTHER_SETUP,))
    if not count or failure.evidence.wrong("fp32_on_device"):
        return None
    return Explanation(
        f"the fp32 reference itself has {count} nan",
        ("none of its inputs holds nan: the model or its input is at fault, not the device",),
    )


def gives_out_inf(failure: Failure) -> Explanation | None:
    inf, setup = failure.evidence.reference_inf, failure.case.comparison.reference
    if inf is not None and setup != CPU_FP32:
        what = f"the reference itself has {inf.count} inf on {setup}"
        return Explanation(what, (OF_ANOTHER_SETUP,))
    if inf is None or failure.evidence.wrong("fp32_on_device"):
        return None
    maker = "" if inf.maker is None else f", which {inf.maker} computed from values without inf"
    return Explanation(
        f"the fp32 reference itself has {inf.count} inf{maker}",
        (
            "a comparison with inf tests nothing: the model or its input is at fault, not "
            "the device; if inf is intended, list the output under known",
        ),
    )


def has_less_precision(failure: Failure) -> Explanation | None:
    reference, candidate = failure.case.comparison.reference, failure.case.comparison.candidate
    if reference.half is None or candidate is None or candidate.half is not None:
        return None
    swapped = (
        f"the reference stores values in {reference.half}, the candidate does not: are they swapped?"
    )
    return Explanation(f"{failure.seen}; {swapped}", (OF_ANOTHER_SETUP,))


def is_unlike_fp32(failure: Failure) -> Explanation | None:
    half, evidence = failure.case.comparison.reference.half, failure.evidence
    if half is None or not evidence.wrong("fp32_on_device") or evidence.right("without_arithmetic"):
        return None
    unlike = f"the reference stores values in {half}, and fp32 differs from it as well"
    return with_trials(failure, f"{failure.seen}; {unlike}", BY_FP32)


def disagrees_with_itself(failure: Failure) -> Explanation | None:
    plain = failure.evidence.trials.get("plain_cpu")
    if plain is None or failure.evidence.behind_int8:  # where rounding alone changes an output
        return None
    of_16_bits = failure.evidence.noise is not None  # rounding explains it, because terms cancel
    if of_16_bits and failure.metrics.scaled > _BEYOND * plain.scaled:
        return None
    return Explanation(
        f"{failure.seen}; the CPU in fp32 does not agree with itself here",
        (
            f"without packing, winograd and sgemm it is off by scaled {plain.scaled:.3g}: terms "
            "cancel, or a CPU kernel is wrong",
        ),
    )
