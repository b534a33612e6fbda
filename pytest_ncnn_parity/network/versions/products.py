"""Products of rows with weights of the file, in whatever operator a converter writes them. Pure.

A fully connected layer is an InnerProduct, a Gemm, a MatMul with a MemoryData, or a Convolution of 1x1
where there is one place.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.versions.folding import lasting

PRODUCT = "product"  # in place of the operator
Sizes = tuple[int, int]  # how many outputs and inputs a product has
# what a Gemm that takes rows and gives rows does not do: src/layer/gemm.cpp
_OTHERWISE = (2, 4, 11, 12, 13, 14)
_TO_COLUMNS = (-1, 0, 4)  # its constant C is none, one number, or one for each column


def product_of(layer: Layer, constants: Mapping[str, Layer]) -> Sizes | None:
    """The sizes of `layer` as a product with weights; None if it is none.

    `constants`: by blob, the MemoryData that nothing else reads.
    """
    try:
        if layer.type == "Gemm":
            return _of_gemm(layer)
        if layer.type == "MatMul":
            return _of_matmul(layer, constants)
        if layer.type == "InnerProduct":
            return _sizes(number(layer, 0), number(layer, 2))
        # a window of one element that moves by one states nothing else
        if layer.type == "Convolution" and number(layer, 1) == 1:
            stated = {key for key, _ in lasting(layer)}
            return _sizes(number(layer, 0), number(layer, 6)) if stated == {"0", "1", "6"} else None
    except NotANumber:
        pass
    return None


def _of_gemm(layer: Layer) -> Sizes | None:
    outputs, inputs = number(layer, 8), number(layer, 9)
    added = not number(layer, 6) or number(layer, 10) in _TO_COLUMNS
    otherwise = any(number(layer, key) for key in _OTHERWISE) or number(layer, 5) != 1
    if otherwise or not added or len(layer.inputs) != 1:
        return None
    return _sizes(outputs, outputs * inputs)


def _of_matmul(layer: Layer, constants: Mapping[str, Layer]) -> Sizes | None:
    weights = constants.get(layer.inputs[-1])
    if weights is None or len(layer.inputs) != 2 or number(weights, 11) or number(weights, 2):
        return None
    columns, rows = number(weights, 0), number(weights, 1)
    return _sizes(rows if number(layer, 0) else columns, rows * columns)


def _sizes(outputs: int, weights: int) -> Sizes | None:
    fits = outputs > 0 and weights > 0 and not weights % outputs
    return (outputs, weights // outputs) if fits else None
