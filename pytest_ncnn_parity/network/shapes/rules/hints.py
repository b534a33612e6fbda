"""Shape hints that contradict the shapes of a run, which matters on Vulkan alone.

An optimizer writes the shapes for one input size into a .param, as -23330. ncnn compiles a layer's
shaders for these shapes (src/layer/vulkan, shape constants), and then uses them whatever the layer is
fed with: its results are silently wrong, in fp32 too. CPU kernels do not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ncnn_parity.base.errors import quoted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param_line import SHAPE_HINT_ID
from pytest_ncnn_parity.network.shapes.rules.reading import Shape

# Their shaders take no shape constants, and they are right with any hint.
WITHOUT_SHAPES = frozenset(
    "Convolution1D Gemm LayerNorm MultiHeadAttention Noop RMSNorm Reduction SDPA Split Unfold".split()
)

REMEDY = (
    f"take {SHAPE_HINT_ID}=... out of the .param, or write it again with the shapes of this size, or "
    "feed the size that it gives"
)


def contradicted(layer: Layer, hints: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> str:
    """The shape hint of a blob of `layer` that differs from the blob's shape. See `REMEDY`.

    It is empty where no hint matters.
    """
    if layer.type in WITHOUT_SHAPES:
        return ""
    for blob in (*layer.inputs, *layer.outputs):
        hint, shape = hints.get(blob), shapes.get(blob)
        if hint is not None and shape is not None and hint != shape:
            return (
                f"the .param's shape hint gives {list(hint)} for {quoted(blob)}, which is "
                f"{list(shape)}; ncnn compiled the Vulkan shader for the hint, and computes "
                "garbage with another shape"
            )
    return ""
