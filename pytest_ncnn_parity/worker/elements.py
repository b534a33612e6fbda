"""Finds operators whose result for an element depends on how many others are computed with it: a bug.

ncnn's CPU kernels compute four or more elements at a time with their own approximations, and the
remaining elements with the C library. For example, pow(x, y) computed as exp(y * log(x)) gives 2.4e38
where x is 0 or negative (src/layer/x86/sse_mathfun.h, avx_mathfun.h), but a blob of only three elements
is computed correctly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.values.blob import Blob, Made

APPROXIMATED = frozenset(
    "AbsVal BNLL BinaryOp CELU ELU Erf Exp GELU HardSigmoid HardSwish Log Mish Power SELU Sigmoid "
    "Softplus Swish TanH UnaryOp".split()
)
AT_ONCE = 3  # elements per run: the approximating kernels need at least four
OFF = 0.1  # as a share of the largest output; approximations deviate by far less
LEAST = 1e-30  # a Swish of -100 is -4e-42, and -9e-34 where exp ends at 88; both are 0 to any layer
NEAR_END = 1e37  # from here on kernels differ in whether exp is clipped or gives inf


def are_uneven(layer: Layer, inputs: Made, outputs: Made, run: Callable[[Layer, Made], Made]) -> bool:
    """Return whether elements of `outputs` are far from what `layer` gives for a few elements alone.

    `run` runs the layer on other inputs. False if the layer is not elementwise, if a value is not
    fp32, or if there are too few elements to compare.
    """
    if layer.type not in APPROXIMATED or len(layer.outputs) != 1:
        return False
    values = [inputs[blob] for blob in layer.inputs]
    whole = outputs[layer.outputs[0]]
    sizes = {value.size for value in values} - {1}
    if (
        not all(value.floating for value in (*values, whole))
        or sizes != {whole.size}
        or whole.size <= AT_ONCE
    ):
        return False
    return any(_is_off(layer, values, whole, places, run) for places in _places(values, whole))


def _places(values: list[Blob], whole: Blob) -> Iterator[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Yield flat indices of elements at which a function may break: extremes and those nearest to 0."""
    extremes = {
        int(pick(value.array.reshape(-1)))
        for value in (*values, whole)
        if value.size > 1
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
        blob: Blob.of(value.array.reshape(-1)[places] if value.size > 1 else value.array)
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
        most = max(OFF * finite.max(initial=0.0), LEAST)
        far = ~(np.abs(alone - among) <= most)  # a NaN counts as far
    return bool((np.isfinite(alone) & ~at_the_end & far).any())
