"""Compares an output with its recording: does the network give what the original framework gave?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.detections import is_list
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.noise import Conditioning
from pytest_ncnn_parity.engine.evidence import Evidence, Infinite, TrialName
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge.not_finite import with_remark
from pytest_ncnn_parity.worker.judge.probes import tried, untried
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.values.inputs import InputError, recorded


class Again(Frozen):
    """Another network that computes the output once more; `name` and `how` are those of the trial."""

    name: TrialName
    how: str
    run: Callable[[], Blob]


def judge(
    case: CaseSpec,
    output: Blob,
    again: Again | None,
    own: Callable[[], Blob] | None,
    measure: Callable[[Array, Array], Metrics],
    forgiving: Callable[[Metrics, Array, Array], Metrics],
    noise: Callable[[Array], Conditioning],
    given_out: bool,
    listed: bool,
) -> Result:
    """Judge `output` by the recording that is the reference of `case`.

    `again` is run where output and recording disagree, to see with which of them it agrees, and so is
    `own`, the spec's own model where `output` is another one's. `measure` compares two arrays.
    `forgiving` marks metrics as agreeing where rounding to int8 explains the error; `noise` tells
    whether the error is what rounding of cancelling terms gives. A recording with nan fails every case,
    and one with inf those of outputs that are `given_out`, that is, read by no other layer. `listed`:
    the output is a list of detections, of which either side may have any number.
    """
    assert case.golden is not None
    evidence = Evidence(blob=case.output, shape=output.shape)
    try:
        expected = recorded(case.golden, may_be_empty=listed)
    except InputError as error:
        return Result(case.id, "failed", evidence=Evidence(unreadable=str(error)))
    if not is_list(expected) if listed else expected.shape != output.shape:
        evidence = replace(evidence, recorded_shape=expected.shape)
        return Result(case.id, "failed", evidence=evidence)
    metrics = forgiving(measure(output.array, expected), output.array, expected)
    if not metrics.agrees:
        rounding = noise(expected)
        if rounding.explains:
            evidence = replace(evidence, noise=rounding.factor)
            metrics = rounding.excused(metrics)
    if metrics.agrees:
        return _as_recorded(case, metrics, expected, evidence, given_out)
    nan = 0 if listed else int(np.count_nonzero(np.isnan(expected) & ~np.isnan(output.array)))
    if nan:
        return Result(case.id, "failed", metrics, evidence=replace(evidence, reference_nan=nan))
    if again is not None:
        try:
            trial = tried(again.how, measure(again.run().array, expected))
        except (StepFailed, Unavailable) as problem:
            trial = untried(again.how, problem)
        evidence = replace(evidence, trials={again.name: trial})
    if own is not None:
        with suppress(StepFailed, Unavailable):  # whose own cases report it
            agrees = measure(own().array, expected).agrees
            evidence = replace(evidence, own_as_recorded=agrees)
    return Result(case.id, "failed", metrics, evidence=evidence)


def _as_recorded(
    case: CaseSpec, metrics: Metrics, expected: Array, evidence: Evidence, given_out: bool
) -> Result:
    """The result of an output that agrees with its recording, which tests nothing if that is broken."""
    nan, inf = (int(np.count_nonzero(found(expected))) for found in (np.isnan, np.isposinf))
    if not nan and not (inf and given_out):
        return Result(case.id, "passed", with_remark(metrics, expected), evidence=evidence)
    recorded_inf = Infinite(inf) if inf else None
    evidence = replace(evidence, reference_nan=nan, reference_inf=recorded_inf)
    return Result(case.id, "failed", metrics, evidence=evidence)
