"""The weights that one convolution or product must have to compute what several layers compute.

A BatchNorm, Scale or factor may be folded into the weights of the layer behind it, and convolutions of
one value that are added up become one of them, as RepVGG has it when it is not trained any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import WEIGHTS, is_quantized
from pytest_ncnn_parity.network.operator_kinds import VIEWS, Binary, op_type
from pytest_ncnn_parity.network.parameters import NotANumber, decimals, number
from pytest_ncnn_parity.network.versions.folding import ACTIVATION_ID, is_activation
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.worker.weights.folded import UNFOLDED, Affine, stored_constant, then
from pytest_ncnn_parity.worker.weights.int8_weights import lost_in_half
from pytest_ncnn_parity.worker.weights.kernel import Kernel, Window
from pytest_ncnn_parity.worker.weights.stored import Format, StoredLayer

_SUM = "1"  # op_type of an Eltwise

Source = Callable[[Layer], StoredLayer]


class _Value(Frozen):
    """What is known of a blob. `ended`: whether it is behind an activation, so that nothing follows."""

    made: Affine | Kernel
    ended: bool = False


class Composed(Frozen):
    """Composes what `layers`, in running order, compute to a kernel like that of `like`.

    `same` gives, by blob, the one that it is a copy of. `source` gives the stored numbers of a layer.
    """

    like: Layer
    layers: Sequence[Layer]
    same: Mapping[str, str]
    source: Source
    _values: dict[str, _Value] = field(default_factory=dict)
    _constants: dict[str, Array] = field(default_factory=dict)

    def kernel(self) -> Kernel | None:
        """Return the kernel; None if the layers compute anything else, or if it is not known.

        At their end there may be an activation.
        """
        try:
            window, groups = _window(self.like), _groups(self.like)
            layers = [one for one in self.layers if not is_copy(one)]
            inner = {blob for one in layers for blob in one.outputs}
            read = {self.same[blob] for one in layers for blob in one.inputs} - inner
            if len(read) != 1:
                return None
            self._values.update(dict.fromkeys(read, _Value(UNFOLDED)))
            if not all(self._follow(layer, window) for layer in layers):
                return None
        except NotANumber:
            return None
        last = self._values.get(self.same[self.layers[-1].outputs[0]])
        if last is None or not isinstance(last.made, Kernel) or last.made.groups != groups:
            return None
        return last.made.within(window)

    def _follow(self, layer: Layer, window: Window) -> bool:
        """Take note of what `layer` makes, and return whether that is known."""
        if layer.type == "MemoryData":
            return self._hold(layer)
        fed = [blob for blob in map(self.same.__getitem__, layer.inputs) if blob not in self._constants]
        if len(layer.outputs) != 1 or any(b not in self._values or self._values[b].ended for b in fed):
            return False
        if not fed:
            return self._hold_computed(layer)
        values = [self._values[blob].made for blob in fed]
        made = self._joined(layer, values, window) if len(fed) > 1 else self._made(layer, fed, values)
        ended = layer.params.get(ACTIVATION_ID, "0") != "0" if layer.type in WEIGHTS else False
        if made is not None:
            self._values[layer.outputs[0]] = _Value(made, ended or is_activation(layer))
        return made is not None

    def _hold(self, layer: Layer) -> bool:
        counts = dict.fromkeys((number(self.like, 0), self._inputs))
        stored = (stored_constant(self.source(layer), self.like, count) for count in counts)
        found = next((one for one in stored if one is not None), None)
        if found is not None:
            self._constants.update(dict.fromkeys(layer.outputs, found))
        return found is not None

    def _hold_computed(self, layer: Layer) -> bool:
        """Take note of what `layer` makes of constants alone, and return whether that is known."""
        if not layer.inputs:
            return False
        first, *others = layer.inputs
        constant = self._constants[self.same[first]]
        held = {blob: self._constants[self.same[blob]] for blob in others}
        before = UNFOLDED.then(0.0, constant)
        made = then(before, self.source(layer), {first}, held, len(constant))
        if made is not None:
            self._constants[layer.outputs[0]] = made.offsets
        return made is not None

    @property
    def _inputs(self) -> int:
        count, _ = WEIGHTS[self.like.type]
        taps = _window(self.like)
        each = number(self.like, count) // max(1, number(self.like, 0))
        return each // (len(taps.rows) * len(taps.columns)) * _groups(self.like)

    def _made(
        self, layer: Layer, fed: Sequence[str], values: Sequence[Affine | Kernel]
    ) -> Affine | Kernel | None:
        (value,) = values
        if is_activation(layer):
            return value
        if layer.type in VIEWS:  # of what a product reads, element by element
            return value if self.like.type == "InnerProduct" else None
        if layer.type in WEIGHTS:
            own = _of_layer(self.source(layer))
            return None if own is None else own.behind(value)
        count = len(value.weights) if isinstance(value, Kernel) else self._count(layer)
        held = {b: self._constants[self.same[b]] for b in layer.inputs if self.same[b] not in fed}
        names = {blob for blob in layer.inputs if blob not in held}
        made = then(UNFOLDED, self.source(layer), names, held, count)
        if made is None:
            return None
        if isinstance(value, Kernel):
            return value.then(made)
        return value.then(made.factors, made.offsets)

    def _count(self, layer: Layer) -> int:
        """Return how many numbers `layer` has for its input, of which a product reads each element."""
        own = number(layer, 0) if self.like.type == "InnerProduct" else 0
        return own if own > 0 and self._inputs % own == 0 else self._inputs

    def _joined(self, layer: Layer, values: Iterable[Affine | Kernel], window: Window) -> Kernel | None:
        """Return the sum of `values`, as kernels of the same `window`."""
        factors = _summed(layer)
        if factors is None:
            return None
        total: Kernel | None = None
        for value, factor in zip(values, factors, strict=True):
            kernel = value if isinstance(value, Kernel) else self._identity().behind(value)
            kernel = None if kernel is None else kernel.within(window)
            if kernel is None:
                return None
            kernel = kernel.then(UNFOLDED.then(factor, 0.0))
            total = kernel if total is None else total.plus(kernel)
            if total is None:
                return None
        return total

    def _identity(self) -> Kernel:
        groups, inputs = _groups(self.like), self._inputs
        each = inputs // groups
        weights = np.tile(np.eye(each), (groups, 1))[:, :, None, None]
        zeros = np.zeros(inputs)
        return Kernel(weights, np.zeros(weights.shape), zeros, zeros, Window(), groups)


def _summed(layer: Layer) -> tuple[float, ...] | None:
    """Return by which factors `layer` adds up its inputs; None if it does not. Raises NotANumber."""
    if layer.type == "BinaryOp":
        return {Binary.ADD: (1.0, 1.0), Binary.SUB: (1.0, -1.0)}.get(op_type(layer))
    if layer.type != "Eltwise" or op_type(layer) != _SUM:
        return None
    factors = decimals(layer, 1) or (1.0,) * len(layer.inputs)
    return factors if len(factors) == len(layer.inputs) else None


def _of_layer(stored: StoredLayer) -> Kernel | None:
    """Return the kernel of a convolution or product in floats. Raises NotANumber."""
    layer = stored.layer
    if is_quantized(layer) or layer.params.get("19", "0") != "0":
        return None
    count, biased = (number(layer, key) for key in WEIGHTS[layer.type])
    outputs, window = number(layer, 0), _window(layer)
    taps = len(window.rows) * len(window.columns)
    if outputs <= 0 or count <= 0 or count % (outputs * taps):
        return None
    sizes: list[tuple[int, Format]] = [(count, "tagged"), (outputs, "floats")]
    read = stored.read(sizes if biased else sizes[:1])
    if not read:
        return None
    floats = read[0].astype(np.float64)
    shape = (outputs, -1, len(window.rows), len(window.columns))
    lost = np.broadcast_to(lost_in_half(read[0].astype(np.float32)), floats.shape)
    bias = read[1].astype(np.float64) if biased else np.zeros(outputs)
    return Kernel(floats.reshape(shape), lost.reshape(shape), bias, np.abs(bias), window, _groups(layer))


def _groups(layer: Layer) -> int:
    return number(layer, 7, 1) if layer.type == "ConvolutionDepthWise" else 1


def _window(layer: Layer) -> Window:
    """Return the window of a convolution (src/layer/convolution.cpp), or that of a product."""
    if layer.type == "InnerProduct":
        return Window()
    width, dilation, stride = number(layer, 1), number(layer, 2, 1), number(layer, 3, 1)
    left = number(layer, 4)
    height, high, step = (
        number(layer, key, usual) for key, usual in ((11, width), (12, dilation), (13, stride))
    )
    top = number(layer, 14, left)
    return Window(
        tuple(n * high - top for n in range(height)),
        tuple(n * dilation - left for n in range(width)),
        (step, stride),
    )
