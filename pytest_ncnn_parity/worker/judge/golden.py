"""Recorded outputs: whether the network gives what the original framework gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge.probes import told
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.values.inputs import InputError, recorded


def judge(case: CaseSpec, made: Blob, plain: Callable[[], Blob] | None) -> Result:
    """The output `made` against the recording that stands for the reference of `case`.

    `plain` makes the output once more, as plainly as the CPU can compute: asked where they disagree.
    """
    assert case.golden is not None
    evidence: dict[str, Any] = {"blob": case.output, "shape": list(made.array.shape)}
    try:
        expected = recorded(case.golden)
    except InputError as error:
        return Result(case.id, "failed", evidence={"unreadable": str(error)})
    if expected.shape != made.array.shape:
        return Result(case.id, "failed", evidence={**evidence, "recorded_shape": list(expected.shape)})
    allowed: Mapping[str, Any] = case.tolerance
    tolerance = Tolerance(**allowed)
    metrics = compare(made.array, expected, tolerance)
    if metrics.agrees:
        return Result(case.id, "passed", dict(vars(metrics)), evidence=evidence)
    if plain is not None:
        try:
            evidence["plain_cpu"] = told(compare(plain().array, expected, tolerance))
        except (StepFailed, Unavailable) as problem:
            evidence["plain_cpu"] = {"agrees": None, "problem": str(problem)}
    return Result(case.id, "failed", dict(vars(metrics)), evidence=evidence)
