"""A layer with those that a converter may fold into it, as one that is matched. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from itertools import takewhile

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.versions.directions import BOTH, DIRECTION_ID, in_both_directions
from pytest_ncnn_parity.network.versions.folding import (
    ACTIVATION_ID,
    CHANGED_BY_FOLDING,
    is_activation,
    lasting,
)
from pytest_ncnn_parity.network.versions.products import PRODUCT, Sizes


def is_scalar(layer: Layer) -> bool:
    """Whether `layer` computes with a number of its line."""
    return layer.type == "BinaryOp" and len(layer.inputs) == 1


class Unit(Frozen):
    """A layer, followed by those that may be folded into it, in running order.

    `product`: the sizes of the first one, if it is a product with weights. `joined`: whether the layers
    are recurrent ones, forward and backward, and what joins them.
    """

    layers: tuple[Layer, ...]
    product: Sizes | None = None
    joined: bool = False

    @property
    def core(self) -> Layer:
        return self.layers[0]

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.layers[-1].outputs

    @property
    def types(self) -> list[str]:
        return [layer.type for layer in self.layers]

    @property
    def operator(self) -> Hashable:
        """What the first layer is by itself, whatever it is folded with or written as."""
        if self.product is not None:
            return PRODUCT, self.product
        lasts = lasting(self.core)
        return self.core.type, in_both_directions(lasts) if self.joined else lasts

    @property
    def is_in_both_directions(self) -> bool:
        return self.joined or self.core.params.get(DIRECTION_ID) == BOTH

    @property
    def computed(self) -> tuple[list[str], bool]:
        """The operators without those that change weights alone, and whether it is an activation too."""
        others = [layer.type for layer in self.layers[1:] if layer.type == "BinaryOp"]
        return [self.core.type if self.product is None else PRODUCT, *others], self.activates

    @property
    def without_factor(self) -> Unit:
        """The unit without the factor at its end, if there is one."""
        last = is_scalar(self.layers[-1]) and len(self.layers) > 1
        return replace(self, layers=self.layers[:-1]) if last else self

    @property
    def takes_scalars(self) -> bool:
        """Whether a number of a line may be folded into the weights: no tool does that to a product."""
        return self.core.type in CHANGED_BY_FOLDING and self.core.type != "InnerProduct"

    @property
    def up_to_scalar(self) -> Unit:
        """The unit up to the first number that may be folded into it."""
        return replace(self, layers=tuple(takewhile(lambda one: not is_scalar(one), self.layers)))

    @property
    def _inside(self) -> bool:
        """Whether the activation is one of the first layer's parameters."""
        return self.core.type in CHANGED_BY_FOLDING and self.core.params.get(ACTIVATION_ID, "0") != "0"

    @property
    def activates(self) -> bool:
        return self._inside or (len(self.layers) > 1 and is_activation(self.layers[-1]))

    @property
    def linear(self) -> Layer | None:
        """The last layer before an activation, which may be in another unit; None if it is inside."""
        if self._inside:
            return None
        return self.layers[-2] if self.activates else self.layers[-1]

    @property
    def before_scalars(self) -> Layer | None:
        """Like `linear`, without what is added or multiplied there, which may begin an activation."""
        if self.linear is None:
            return None
        layers = list(self.layers[: self.layers.index(self.linear) + 1])
        while len(layers) > 1 and is_scalar(layers[-1]):
            layers.pop()
        return layers[-1]
