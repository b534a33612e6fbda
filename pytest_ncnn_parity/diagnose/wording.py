"""Puts the symptom of a failed case, and the trials that were run, into words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_OVERFLOW
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result


def seen(metrics: Metrics, where: str) -> str:
    """The symptom in words: what the candidate gave in place of the reference's value."""
    for kind, count in (("nan", metrics.nan), ("inf", metrics.inf)):
        if count:
            return f"{kind} on {where}, {count} of {metrics.total} elements"
    if metrics.mismatched:
        off = whole(metrics.max_abs) if metrics.integers else f"{metrics.max_abs:.4g}"
        return (
            f"off by {off} on {where} (scaled {metrics.scaled:.3g}), "
            f"{metrics.mismatched} of {metrics.total} elements"
        )
    if metrics.failed:
        return f"{'; '.join(metrics.failed)} on {where}"
    return f"equal to the reference on {where}"


def trials(evidence: Evidence) -> Iterator[str]:
    """How the step went with one suspect removed at a time."""
    for trial in evidence.trials.values():
        if trial.agrees is None:
            yield f"tried {trial.how}: {trial.problem}"
        else:
            verdict = "right" if trial.agrees else "wrong"
            count = f", {trial.nonfinite} inf or nan" if trial.nonfinite else ""
            yield f"tried {trial.how}: {verdict}, scaled {trial.scaled:.3g}{count}"


def symptom(result: Result) -> str:
    """The symptom of a failed result in a few words, for the report on a trial of masks."""
    evidence, metrics = result.evidence, result.metrics
    if evidence.misread is not None:
        return f"reads the 16-bit values of {evidence.misread} as fp32"
    if metrics is None:
        detail = "it died before" if evidence.death is None else evidence.death.detail
        return f"could not be run: {detail}"
    count = metrics.nan + metrics.inf
    if count:
        return f"has {count} inf or nan"
    if metrics.mismatched:
        return f"is off by scaled {metrics.scaled:.3g}"
    if evidence.reference_nan:
        return f"has {evidence.reference_nan} nan in the reference itself"
    if evidence.reference_inf is not None:
        return f"has {evidence.reference_inf.count} inf in the reference itself"
    if metrics.failed:
        return f"is off: {'; '.join(metrics.failed)}"
    if evidence.distrust is not None:
        return "depends on a kernel of the CPU that is not believed"
    return "has values that 16 bits cannot hold"


def remark(result: Result) -> str:
    """What is worth knowing about a case that passed: a near overflow, or why an error is forgiven."""
    noise, metrics = result.evidence.noise, result.metrics
    inside = result.evidence.inside
    if inside is not None and inside.bound >= FP16_OVERFLOW and not inside.overflows:
        return (
            f"{inside.kernel}: {inside.what_is_bound} may pass {FP16_MAX:.0f} on the way: added up in "
            f"an unlucky order, its terms make {inside.bound:.6g}; 31={inside.mask} avoids it"
        )
    if noise is not None:
        what = "every value on the way moves" if result.evidence.whole else "its inputs move"
        return (
            f"rounding of terms that cancel: the error is {noise:.3g} times what the reference itself "
            f"moves by when {what} by a unit in the last place"
        )
    return "" if metrics is None else metrics.forgiven


def whole(value: float) -> str:
    """An integer held in a float64, with all its digits."""
    return f"{value:.0f}"


def number(value: float) -> str:
    return f"{value:.10g}"
