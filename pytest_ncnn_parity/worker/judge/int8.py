"""Accepts errors that rounding to int8 explains, in layers that read int8 and in outputs behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.int8 import moved, own_moves, with_list_forgiven
from pytest_ncnn_parity.compare.list_moves import list_moves
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.detectors import thresholds
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8, rounds_to_int8
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# how often inputs are moved slightly; if packed and plain kernels agree, only this shows an error
DRAWS = 2


def takes_int8(layer: Layer, values: Made) -> str | None:
    """The first int8 input of `layer`, if its operator does not compute in int8; else None."""
    if computes_in_int8(layer):
        return None
    return next((blob for blob in layer.inputs if values[blob].int8), None)


class Int8Outputs:
    """How far one sample's outputs move, measured when the first of them is out of tolerance.

    `run` gives the outputs of a network for the sample.
    """

    def __init__(self, sample: SampleRun, run: Callable[[Net], Made]) -> None:
        self._sample = sample
        self._run = run
        self._runs: list[Made] | None = None  # the usual run, and those that should equal it

    def forgiving(self, case: CaseSpec, metrics: Metrics, candidate: Array, reference: Array) -> Metrics:
        """`metrics` of an output, marked as agreeing if rounding to int8 explains its error."""
        assert case.output is not None
        if metrics.agrees or not case.tolerance.moves or not self.is_behind_int8(case.output):
            return metrics
        runs = [outputs[case.output].array for outputs in self._all_runs()]
        if not runs:
            return metrics
        still, *others = runs
        kept = thresholds(self._sample.graph.producer[case.output])
        if kept is not None:
            own = list_moves(still, others, kept)
            return with_list_forgiven(metrics, own, candidate, reference, case.tolerance)
        moves = own_moves(still, others)
        return metrics if moves is None else moves.forgiving(metrics, case.tolerance)

    def is_behind_int8(self, output: str) -> bool:
        """Whether layers on the way to `output` round to int8."""
        return any(
            rounds_to_int8(self._sample.graph.layers[n]) for n in self._sample.graph.ancestors([output])
        )

    def _all_runs(self) -> list[Made]:
        """The runs on the CPU; none if one of them fails, which its own case reports."""
        if self._runs is None:
            try:
                self._runs = list(self._tried())
            except (StepFailed, Unavailable):
                self._runs = []
        return self._runs

    def _tried(self) -> Iterator[Made]:
        usual = self._sample.trajectory
        outputs = self._run(usual)
        yield outputs
        yield self._run(self._sample.nets.other(probes.plain_cpu(self._sample.job)))
        for draw in range(DRAWS):
            inputs = {
                blob: Blob.of(moved(value.array, draw)) if value.floating else value
                for blob, value in self._sample.inputs.items()
            }
            yield usual.run(inputs, outputs, "changed")
