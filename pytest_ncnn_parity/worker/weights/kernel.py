"""A convolution or a product as the numbers that it multiplies by, and what becomes of two of them."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.worker.weights.folded import Affine


class Window(Frozen):
    """Which inputs an output is computed from: their places beside its own, and its stride, (h, w)."""

    rows: tuple[int, ...] = (0,)
    columns: tuple[int, ...] = (0,)
    strides: tuple[int, int] = (1, 1)

    @property
    def is_point(self) -> bool:
        return self == Window()

    def holds(self, other: Window) -> bool:
        inside = set(other.rows) <= set(self.rows) and set(other.columns) <= set(self.columns)
        return inside and self.strides == other.strides


class Kernel(Frozen):
    """The weights, (outputs, inputs per output, rows, columns), and biases, (outputs,), in float64.

    `lost`: how far each weight may be off because a file has it in fp16. `sizes`: of the numbers that
    add up to the biases, of which rounding leaves a share. `groups`: of inputs and outputs.
    """

    weights: Array
    lost: Array
    bias: Array
    sizes: Array
    window: Window
    groups: int

    def then(self, made: Affine) -> Kernel:
        """Return this kernel with what is made of its outputs."""
        factors = made.factors.reshape(-1, 1, 1, 1)
        of_bias = Affine(np.ones(1), self.bias, self.sizes).then(made.factors, made.offsets)
        return Kernel(
            self.weights * factors,
            self.lost * np.abs(factors),
            np.broadcast_to(of_bias.offsets, self.bias.shape),
            np.broadcast_to(of_bias.sizes, self.bias.shape),
            self.window,
            self.groups,
        )

    def behind(self, first: Affine | Kernel) -> Kernel | None:
        """Return what this kernel makes of what `first` makes; None if that is no kernel."""
        if isinstance(first, Kernel):
            return self._behind_kernel(first)
        counts = (len(first.factors), len(first.offsets), len(first.sizes))
        if any(self._inputs % count for count in counts):
            return None
        factors, offsets, sizes = (
            self._of_inputs(np.repeat(one, self._inputs // len(one)))
            for one in (first.factors, first.offsets, first.sizes)
        )
        weights = np.abs(self.weights)
        return Kernel(
            self.weights * factors,
            self.lost * np.abs(factors),
            self.bias + (self.weights * offsets).sum((1, 2, 3)),
            self.sizes + (weights * sizes).sum((1, 2, 3)),
            self.window,
            self.groups,
        )

    @property
    def _inputs(self) -> int:
        return int(self.weights.shape[1]) * self.groups

    def _of_inputs(self, numbers: Array) -> Array:
        """Return `numbers`, (inputs,), as those of each output's inputs, (outputs, each, 1, 1)."""
        outputs = len(self.weights)
        rows = np.repeat(numbers.reshape(self.groups, -1), outputs // self.groups, axis=0)
        return rows[:, :, None, None]

    def _behind_kernel(self, first: Kernel) -> Kernel | None:
        if self.groups != 1 or first.groups != 1 or self._inputs != len(first.weights):
            return None
        if not (self.window.is_point or first.window.is_point):
            return None
        path = "om,mihw->oihw" if self.window.is_point else "omhw,mi->oihw"
        own, its = (
            [one[:, :, 0, 0] if kernel.window.is_point and point else one for one in parts]
            for kernel, point, parts in (
                (self, self.window.is_point, (self.weights, self.lost)),
                (first, not self.window.is_point, (first.weights, first.lost)),
            )
        )
        sizes = np.abs(self.weights).sum((2, 3))
        return Kernel(
            np.einsum(path, own[0], its[0]),
            np.einsum(path, np.abs(own[0]), its[1]) + np.einsum(path, own[1], np.abs(its[0])),
            self.bias + self.weights.sum((2, 3)) @ first.bias,
            self.sizes + sizes @ first.sizes,
            first.window if self.window.is_point else self.window,
            1,
        )

    def within(self, window: Window) -> Kernel | None:
        """Return this kernel with zeros for the further places of `window`; None if it has others."""
        if not window.holds(self.window):
            return None
        rows, columns = np.ix_(
            [window.rows.index(row) for row in self.window.rows],
            [window.columns.index(column) for column in self.window.columns],
        )
        shape = (*self.weights.shape[:2], len(window.rows), len(window.columns))
        weights, lost = np.zeros(shape), np.zeros(shape)
        weights[..., rows, columns], lost[..., rows, columns] = self.weights, self.lost
        return Kernel(weights, lost, self.bias, self.sizes, window, self.groups)

    def plus(self, other: Kernel) -> Kernel | None:
        """Return the sum of both, which have the same window; None if they are of other sizes."""
        if self.weights.shape != other.weights.shape or self.groups != other.groups:
            return None
        return Kernel(
            self.weights + other.weights,
            self.lost + other.lost,
            self.bias + other.bias,
            self.sizes + other.sizes,
            self.window,
            self.groups,
        )
