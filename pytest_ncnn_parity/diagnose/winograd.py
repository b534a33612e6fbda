"""Rules for convolutions that ncnn computes by winograd: predicted, or shown by a run without it."""

from __future__ import annotations

from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials
from pytest_ncnn_parity.network.masks import NO_WINOGRAD


def beyond_fp16(failure: Failure) -> Explanation | None:
    inside = failure.evidence.inside
    if inside is None or not inside.overflows or not failure.evidence.predicted:
        return None
    if inside.mask != NO_WINOGRAD:
        return None
    return Explanation(
        f"{inside.kernel}: {inside.what_is_stored} reaches {inside.stored:.6g} > {FP16_MAX:.0f}: inf in "
        "fp16, predicted",
        (
            f"its results end at {wording.number(failure.metrics.reference_absmax)} and fit; ncnn's "
            f"kernel on Vulkan computes by {inside.kernel} and keeps in fp16 what it makes on the way",
            _without_winograd(failure),
        ),
    )


def overflows_inside(failure: Failure) -> Explanation | None:
    """The predicted overflow was seen on the device; other faults of the layer may hide it."""
    inside = failure.evidence.inside
    if inside is None or not inside.overflows or failure.evidence.predicted:
        return None
    if inside.mask != NO_WINOGRAD:
        return None
    reaches = (
        f"{inside.kernel}: {inside.what_is_stored} reaches {inside.stored:.6g}; fp16 ends at "
        f"{FP16_MAX:.0f}"
    )
    if failure.evidence.right("without_winograd"):
        return with_trials(
            failure, f"{failure.seen}; right without winograd", reaches, _without_winograd(failure)
        )
    more = "31=64 on this layer switches winograd off, which is not all that it takes"
    return with_trials(failure, f"{failure.seen}; a value inside winograd overflows", reaches, more)


def overflows_in_fp16_alone(failure: Failure) -> Explanation | None:
    """It makes inf or nan of what the device's fp32, wrong as it is, makes finite values of."""
    fp32 = failure.evidence.trials.get("fp32_on_device")
    breaks = failure.metrics.nan + failure.metrics.inf > 0
    if not breaks or fp32 is None or fp32.problem or fp32.nonfinite:
        return None
    return overflows_inside(failure)


def overflows(failure: Failure) -> Explanation | None:
    if not failure.collapsed or not failure.evidence.right("without_winograd"):
        return None
    fits = (
        f"the true values reach {wording.number(failure.metrics.reference_absmax)} and fit; winograd "
        "multiplies what it reads, and its transforms do not"
    )
    return with_trials(
        failure, f"{failure.seen}; right without winograd", fits, _without_winograd(failure)
    )


def explains_it(failure: Failure) -> Explanation | None:
    if not failure.evidence.right("without_winograd"):
        return None
    what = f"{failure.seen}; winograd in fp16 explains it"
    return with_trials(failure, what, _without_winograd(failure))


def _without_winograd(failure: Failure) -> str:
    if failure.evidence.whole:
        return "31=64 switches winograd off for a layer: the search says for which"
    return "31=64 on this layer switches winograd off and fixes it"
