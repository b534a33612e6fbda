"""Outputs of the reference with some layers computed in another way: by Vulkan's formula, or in float64.

Vulkan computes GELU by the tanh formula whatever the .param says, which is off the exact one, by erf, by
up to 4.8e-4 (src/layer/vulkan/shader/gelu.comp). The tolerance of a layer knows that, but dozens of such
layers may add up to more than a whole network is allowed in fp32. And the CPU may lose the mean of a
norm, or end a power of e below inf, so that not the candidate's output is wrong, but the reference's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, is_default
from pytest_ncnn_parity.engine.evidence import Distrust, KernelFault
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.ieee import FUNCTIONS, function_in_float64
from pytest_ncnn_parity.worker.judge.exact import SHARE, in_float64
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.norms import NORMS
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import stepped

REMARK = "agrees with GELU by the tanh formula, by which Vulkan computes it"
LEAST_OFF = DEFAULTS["fp32"].layer.scaled  # of a norm that is blamed
MOST = 0.5  # of the difference of two outputs, what the reference is off by that is to blame for it


class RecomputedOutputs:
    """Compares the `wanted` outputs of one sample with what the reference gives in these other ways."""

    def __init__(self, sample: SampleRun, wanted: Sequence[str], natures: Natures) -> None:
        self._sample = sample
        self._natures = natures
        self._by_tanh = _Recomputed(sample, wanted, _by_tanh)
        self._in_float64 = _Recomputed(sample, wanted, self._exactly)

    def forgiving(self, case: CaseSpec, candidate: Net, output: Blob, metrics: Metrics) -> Metrics:
        """`metrics` of an output in fp32, marked as agreeing if Vulkan's GELU explains its error."""
        if metrics.agrees or case.half is not None or not is_default(case.tolerance):
            return metrics
        on_vulkan = [
            layer
            for layer in self._upstream(case)
            if _is_exact_gelu(layer) and candidate.execution(layer).where == "vulkan"
        ]
        own = self._measured(case, output, self._by_tanh) if on_vulkan else None
        if own is None or not own.agrees:
            return metrics
        return metrics.forgiven_by(REMARK, own.used)

    def distrust(
        self, case: CaseSpec, reference: Net, output: Blob, expected: Blob, metrics: Metrics
    ) -> Distrust | None:
        """The layer that `reference` computes on the CPU and that is to blame for a failed `output`.

        It is if the candidate is right. The sums of a norm are as well if what is `expected` is wrong by
        as much as both differ: what has no kernel for Vulkan is computed on the CPU on both sides.
        """
        known = NORMS if case.half else NORMS | FUNCTIONS
        doubted = [layer for layer in self._upstream(case) if layer.type in known]
        doubted = [layer for layer in doubted if _runs_here_in_fp32(layer, reference)]
        own = self._measured(case, output, self._in_float64) if doubted else None
        if own is None:
            return None
        off = self._in_float64.off
        worst = max(doubted, key=lambda layer: off.get(layer.number, 0.0))
        if off.get(worst.number, 0.0) <= LEAST_OFF:
            return None
        fault: KernelFault = "sums" if worst.type in NORMS else "function"
        if not (own.agrees or own.scaled <= SHARE * metrics.scaled):
            theirs = self._measured(case, expected, self._in_float64) if fault == "sums" else None
            if theirs is None or theirs.agrees or theirs.max_abs < MOST * metrics.max_abs:
                return None
        return Distrust(worst.name, worst.type, fault)

    def _upstream(self, case: CaseSpec) -> list[Layer]:
        return self._sample.graph.running([str(case.output)])

    def _measured(self, case: CaseSpec, output: Blob, other: _Recomputed) -> Metrics | None:
        name = str(case.output)
        true = other.outputs.get(name)
        if true is None or true.shape != output.shape:
            return None
        return self._natures.compare(name, output.array, true.array, case.tolerance, whole=True)

    def _exactly(self, layer: Layer, blobs: Made) -> Made | None:
        """A norm, or a function that may go beyond fp32, as float64 gives it."""
        true = function_in_float64(layer, blobs) if layer.type in FUNCTIONS else None
        if true is not None:
            return {layer.outputs[0]: Blob.of(np.ascontiguousarray(true))}
        return in_float64(layer, blobs, self._sample.nets)


class _Recomputed:
    """The `wanted` outputs, computed when they are first asked for.

    `other` gives a layer's outputs in another way, or None. `off`: by layer, how far the reference is
    from that on the same inputs, as a share of the largest value.
    """

    def __init__(
        self, sample: SampleRun, wanted: Sequence[str], other: Callable[[Layer, Made], Made | None]
    ) -> None:
        self._sample = sample
        self._wanted = wanted
        self._other = other
        self.off: dict[int, float] = {}

    @cached_property
    def outputs(self) -> Made:
        """Those that can be computed in this way."""
        found: Made = {}
        layers = self._sample.graph.running(self._wanted)
        for _, made in stepped(layers, self._sample.inputs, {}, self._run):
            found.update({blob: value for blob, value in made.items() if blob in self._wanted})
        return found

    def _run(self, layer: Layer, blobs: Made) -> Made:
        usual, made = self._sample.run_reference(layer, blobs), self._other(layer, blobs)
        if made is None:
            return usual
        (blob,) = made
        before, now = usual[blob].array, made[blob].array
        with np.errstate(invalid="ignore"):  # of inf on both sides
            error = np.where((before == now) | np.isnan(now), 0.0, np.abs(before - now)).max(initial=0.0)
        self.off[layer.number] = float(error) / max(made[blob].absmax, float(np.finfo(np.float32).tiny))
        return made


def _by_tanh(layer: Layer, blobs: Made) -> Made | None:
    """GELU by the tanh formula."""
    if not _is_exact_gelu(layer) or not blobs[layer.inputs[0]].floating:
        return None
    read = blobs[layer.inputs[0]]
    x = read.array.astype(np.float64)
    with np.errstate(invalid="ignore"):  # of inf
        made: Array = 0.5 * x * (1.0 + np.tanh(0.79788452 * (x + 0.044715 * x**3)))
    return {layer.outputs[0]: read.with_elements(np.ascontiguousarray(made, np.float32))}


def _runs_here_in_fp32(layer: Layer, net: Net) -> bool:
    """Whether `net` runs `layer` on the CPU of this machine."""
    execution = net.execution(layer)
    return str(execution) == "cpu fp32" and execution.worker is None


def _is_exact_gelu(layer: Layer) -> bool:
    return layer.type == "GELU" and layer.params.get("0", "0") == "0"
