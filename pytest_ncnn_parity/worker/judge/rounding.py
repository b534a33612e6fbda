"""Measures how far the reference itself moves under rounding, to distinguish rounding from a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.noise import DRAWS, NO_EXCUSE, Conditioning, Moves, moved
from pytest_ncnn_parity.compare.tolerance import is_default
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import COPYING, Graph, Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import fed, walk

_EXTREMES = frozenset({"4", "5"})  # the operations maximum and minimum (src/layer/reduction.h)

Run = Callable[[Layer, Made], Made]


class LayerRounding:
    """For one layer, whose inputs move by a unit in the last place. `run` runs it in the trajectory."""

    def __init__(self, run: Run, natures: Natures) -> None:
        self._run = run
        self._natures = natures

    def of(
        self, case: CaseSpec, layer: Layer, inputs: Made, outputs: Made, expected: Made, name: str
    ) -> Conditioning:
        """Whether rounding explains the error of blob `name`, which `layer` computed from `inputs`."""
        output, reference = outputs[name], expected[name]
        comparable = output.shape == reference.shape and output.floating
        if not is_default(case.tolerance) or not comparable:
            return NO_EXCUSE
        if not all(value.floating for value in inputs.values()):
            return NO_EXCUSE
        try:
            moves = Moves(self._run(layer, inputs)[name].array)
            for draw in range(DRAWS):
                values = {blob: _moved(blob, value, case.half, draw) for blob, value in inputs.items()}
                moves.add(self._run(layer, values)[name].array)
            if not moves.repeats(self._run(layer, inputs)[name].array):
                return NO_EXCUSE
        except (StepFailed, ValueError):  # for example, the number of rows may depend on the values
            return NO_EXCUSE
        scale = self._natures.scale(name, reference.array, case.tolerance, whole=False)
        return moves.against(output.array, reference.array, case.tolerance, scale)


class OutputRounding:
    """For a whole run: inputs and the outputs of each layer are moved by a unit in the last place.

    Layers that only copy values do not round. `run` runs a layer of the trajectory.
    """

    def __init__(
        self, graph: Graph, inputs: Made, outputs: Sequence[str], run: Run, natures: Natures
    ) -> None:
        self._graph = graph
        self._inputs = inputs
        self._outputs = [name for name in outputs if not natures.is_listed(name)]
        self._run = run
        self._natures = natures
        self._moves: dict[str | None, Mapping[str, Moves]] = {}  # by the candidate's 16-bit format

    def of(self, case: CaseSpec, name: str, output: Blob, reference: Array) -> Conditioning:
        """Whether rounding explains the error of output `name` against an fp32 run or a recording."""
        comparable = output.shape == reference.shape and output.floating
        if not is_default(case.tolerance) or not comparable or self._natures.is_listed(name):
            return NO_EXCUSE
        if case.half not in self._moves:
            self._moves[case.half] = self._gathered(case.half)
        moves = self._moves[case.half].get(name)
        if moves is None:
            return NO_EXCUSE
        scale = self._natures.scale(name, reference, case.tolerance, whole=True)
        return moves.against(output.array, reference, case.tolerance, scale)

    def _gathered(self, half: str | None) -> Mapping[str, Moves]:
        """How the outputs move. Left out are those that cannot be computed, or change their shape."""
        moves = {name: Moves(array) for name, array in self._answers(half, None).items()}
        for draw in range(DRAWS):
            answers = self._answers(half, draw)
            for name in list(moves):
                try:
                    moves[name].add(answers[name])
                except (KeyError, ValueError):
                    del moves[name]
        again = self._answers(half, None)
        return {name: one for name, one in moves.items() if name in again and one.repeats(again[name])}

    def _answers(self, half: str | None, draw: int | None) -> Mapping[str, Array]:
        """The outputs of one run, whose values are moved if there is a `draw`.

        Layers that cannot be run, and those behind them, say nothing of outputs on other branches.
        """
        blobs: Made = {}
        for layer in walk(self._graph.running(self._outputs), blobs, self._outputs):
            if not blobs.keys() >= set(layer.inputs):
                continue
            try:
                outputs = fed(layer, self._inputs) if layer.type == "Input" else self._run(layer, blobs)
            except StepFailed:
                continue
            if draw is not None and layer.type not in COPYING:
                units = _units(layer, half, blobs, outputs)
                outputs = {b: _moved(b, value, half, draw, units) for b, value in outputs.items()}
            blobs.update(outputs)
        return {name: blobs[name].array for name in self._outputs if name in blobs}


def _moved(name: str, value: Blob, half: str | None, draw: int, units: float = 1.0) -> Blob:
    """`value` with its elements moved; integers and int8 are exact, so they stay as they are."""
    return Blob.of(moved(value.array, half, draw, name, units)) if value.floating else value


def _units(layer: Layer, half: str | None, blobs: Made, outputs: Made) -> float:
    """By how many units in the last place of fp32 the output of `layer` may be rounded.

    Kernels add up thousands of values one after the other or in parts. Seen: the mean of 2,304 pixels
    is off by 24 units on the CPU and by 1 on llvmpipe, which matters once the mean is subtracted.
    """
    adds = layer.type == "Reduction" and layer.params.get("0", "0") not in _EXTREMES
    if half is not None or not (adds or (layer.type == "Pooling" and layer.params.get("0") == "1")):
        return 1.0
    terms = blobs[layer.inputs[0]].size / max(1, outputs[layer.outputs[0]].size)
    return max(1.0, 0.5 * math.sqrt(terms))
