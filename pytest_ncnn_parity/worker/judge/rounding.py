"""Measures how far the reference itself moves under rounding, to distinguish rounding from a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.noise import DRAWS, NO_EXCUSE, Conditioning, Moves, moved
from pytest_ncnn_parity.compare.residues import may_explain, residues
from pytest_ncnn_parity.compare.tolerance import is_default
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import Reduction, copies, op_type
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.fp16.kernels.resized import moved_places
from pytest_ncnn_parity.worker.judge.fp16.kernels.summed import moved_sums
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import fed, walk

_ADD_NOTHING = frozenset((Reduction.MAX, Reduction.MIN, Reduction.PROD))

# by operator: how far its output moves with the places it looks up in its input, or with its sums
_INSIDE = {"Interp": moved_places, "Softmax": moved_sums}

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
            inside = () if case.half or output.batch else self._moved_inside(layer, inputs, name)
            for draw in range(DRAWS):
                values = {blob: _moved(blob, value, case.half, draw) for blob, value in inputs.items()}
                answer = self._run(layer, values)[name].array
                moves.add(answer + inside[draw % len(inside)] if inside else answer)
            if not moves.repeats(self._run(layer, inputs)[name].array):
                return NO_EXCUSE
        except (StepFailed, ValueError):  # for example, the number of rows may depend on the values
            return NO_EXCUSE
        scale = self._natures.scale(name, reference.array, case.tolerance, whole=False)
        return moves.against(output.array, reference.array, case.tolerance, scale)

    def _moved_inside(self, layer: Layer, inputs: Made, name: str) -> tuple[Array, ...]:
        """By how much an output moves with what a kernel for fp32 rounds inside, if that is known."""
        of = _INSIDE.get(layer.type)
        if of is None:
            return ()
        return of(layer, inputs[layer.inputs[0]].array, self._run(layer, inputs)[name].array)


class OutputRounding:
    """For a whole run: what each layer reads, and the outputs, are moved by a unit in the last place.

    Layers that only copy values do not round. Two copies of a value move each by itself, because a sum
    rounds its terms where it adds them. `run` runs a layer of the trajectory.
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
        self._peaks: dict[str, float] = {}  # by blob, its largest value if nothing is moved

    def of(self, case: CaseSpec, name: str, output: Blob, reference: Array) -> Conditioning:
        """Whether rounding explains the error of output `name` against an fp32 run or a recording."""
        if not self._is_comparable(case, name, output, reference):
            return NO_EXCUSE
        moves = self._moves_of(name, case.half)
        if moves is None:
            return NO_EXCUSE
        scale = self._natures.scale(name, reference, case.tolerance, whole=True)
        return moves.against(output.array, reference, case.tolerance, scale)

    def without_residues(self, case: CaseSpec, name: str, output: Blob, reference: Array) -> Blob | None:
        """`output`, with the reference's values in rows that are nothing but rounding, in fp32 as well.

        None if there is no such row, or the error is larger there than rounding to 16 bits explains.
        """
        if not self._is_comparable(case, name, output, reference):
            return None
        scale = self._natures.scale(name, reference, case.tolerance, whole=True)
        if not may_explain(output.array, reference, case.tolerance, scale):
            return None
        moves, in_fp32 = self._moves_of(name, case.half), self._moves_of(name, None)
        if moves is None or in_fp32 is None:
            return None
        found = residues(output.array, reference, moves, in_fp32, self._largest(name))
        if not found.any():
            return None
        return output.with_elements(np.where(found, reference, output.array))

    def _is_comparable(self, case: CaseSpec, name: str, output: Blob, reference: Array) -> bool:
        """Whether rounding may excuse anything: no list of detections, nor beyond what a user allows."""
        comparable = output.shape == reference.shape and output.floating
        return comparable and is_default(case.tolerance) and not self._natures.is_listed(name)

    def _largest(self, name: str) -> float:
        """The largest value on the way to output `name`, in the run whose values are not moved."""
        way = (self._graph.layers[number] for number in self._graph.ancestors([name]))
        peaks = (self._peaks.get(blob, 0.0) for layer in way for blob in layer.outputs if blob != name)
        return max(peaks, default=0.0)

    def _moves_of(self, name: str, half: str | None) -> Moves | None:
        """How output `name` moves with rounding to `half`; None if it cannot be computed."""
        if half not in self._moves:
            self._moves[half] = self._gathered(half)
        return self._moves[half].get(name)

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
            values = blobs if draw is None else _as_read(layer, blobs, half, draw)
            try:
                outputs = fed(layer, self._inputs) if layer.type == "Input" else self._run(layer, values)
            except StepFailed:
                continue
            if draw is None:
                self._peaks |= {blob: value.absmax for blob, value in outputs.items()}
            elif (units := _units(layer, half, blobs, outputs)) > 1.0:
                outputs = {b: _moved(b, value, half, draw, units) for b, value in outputs.items()}
            blobs.update(outputs)
        made = {name: blobs[name] for name in self._outputs if name in blobs}
        if draw is not None:
            made = {name: _moved(name, value, half, draw) for name, value in made.items()}
        return {name: value.array for name, value in made.items()}


def _as_read(layer: Layer, blobs: Made, half: str | None, draw: int) -> Made:
    """The values of `blobs` that `layer` reads, each moved by itself, unless it only copies them."""
    if copies(layer):
        return blobs
    return {blob: _moved(f"{layer.name} {blob}", blobs[blob], half, draw) for blob in layer.inputs}


def _moved(name: str, value: Blob, half: str | None, draw: int, units: float = 1.0) -> Blob:
    """`value` with its elements moved; integers and int8 are exact, so they stay as they are."""
    if not value.floating:
        return value
    return value.with_elements(moved(value.array, half, draw, name, units))


def _units(layer: Layer, half: str | None, blobs: Made, outputs: Made) -> float:
    """By how many units in the last place of fp32 the output of `layer` may be rounded.

    Kernels add up thousands of values one after the other or in parts. Seen: the mean of 2,304 pixels
    is off by 24 units on the CPU and by 1 on llvmpipe, which matters once the mean is subtracted.
    """
    adds = layer.type == "Reduction" and op_type(layer) not in _ADD_NOTHING
    if half is not None or not (adds or (layer.type == "Pooling" and layer.params.get("0") == "1")):
        return 1.0
    terms = blobs[layer.inputs[0]].size / max(1, outputs[layer.outputs[0]].size)
    return max(1.0, 0.5 * math.sqrt(terms))
