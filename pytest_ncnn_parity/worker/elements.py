"""Finds operators that compute an element otherwise among many than alone, which is a fault of theirs.

ncnn's kernels for a CPU compute four elements or more at a time by approximations of their own, and what
is left over by the C library. pow(x, y) as exp(y * log(x)) is 2.4e38 where x is 0 or negative
(src/layer/x86/sse_mathfun.h, avx_mathfun.h); of three elements each is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.values.blob import Blob, Made

ELEMENTWISE = frozenset(
    "AbsVal BNLL BinaryOp CELU ELU Erf Exp GELU HardSigmoid HardSwish Log Mish Power SELU Sigmoid "
    "Softplus Swish TanH UnaryOp".split()
)
AT_ONCE = 3  # elements; kernels take four and more at a time
OFF = 0.1  # of the largest output: approximations are off by far less
NEAR_END = 1e37  # where exp is clipped, or inf, as kernels choose


def are_uneven(layer: Layer, inputs: Made, outputs: Made, run: Callable[[Layer, Made], Made]) -> bool:
    """Whether some `outputs` of elementwise `layer` are far from what it gives for their inputs alone.

    `run` runs the layer on other values. A layer that is not elementwise is not uneven.
    """
    if layer.type not in ELEMENTWISE or len(layer.outputs) != 1:
        return False
    values = [inputs[blob] for blob in layer.inputs]
    whole = outputs[layer.outputs[0]]
    sizes = {value.array.size for value in values} - {1}
    if (
        not all(value.floating for value in (*values, whole))
        or sizes != {whole.array.size}
        or whole.array.size <= AT_ONCE
    ):
        return False
    return any(_is_off(layer, values, whole, places, run) for places in _places(values, whole))


def _places(values: list[Blob], whole: Blob) -> Iterator[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Flat indices of elements at which a function may break: extremes, and what is nearest to 0."""
    extremes = {
        int(pick(value.array.reshape(-1)))
        for value in (*values, whole)
        if value.array.size > 1
        for pick in (np.argmin, np.argmax, lambda array: np.argmin(np.abs(array)))
    }
    chosen = np.array(sorted(extremes))
    for start in range(0, len(chosen), AT_ONCE):
        yield chosen[start : start + AT_ONCE]


def _is_off(
    layer: Layer,
    values: list[Blob],
    whole: Blob,
    places: np.ndarray[tuple[int], np.dtype[np.intp]],
    run: Callable[[Layer, Made], Made],
) -> bool:
    few = {
        blob: Blob.of(value.array.reshape(-1)[places] if value.array.size > 1 else value.array)
        for blob, value in zip(layer.inputs, values, strict=True)
    }
    try:
        alone = run(layer, few)[layer.outputs[0]].array.reshape(-1)
    except StepFailed:
        return False
    among = whole.array.reshape(-1)[places]
    if alone.shape != among.shape:
        return False
    finite = np.abs(whole.array[np.isfinite(whole.array)])
    with np.errstate(all="ignore"):
        at_the_end = (np.abs(alone) >= NEAR_END) & (np.sign(alone) == np.sign(among))
        far = ~(np.abs(alone - among) <= OFF * finite.max(initial=0.0))  # nan among them is far
    return bool((np.isfinite(alone) & ~at_the_end & far).any())
