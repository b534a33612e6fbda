"""Says which Reductions have lost their axes in the conversion: on that, all devices agree."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parameters import NotANumber, number, numbers

REDUCED = (
    "reduces no axis, for its line has 1=0 and names none in -23303: its output has the shape of its "
    "input. Convert the network again, or name the axes: pnnx 20261020 leaves them out where it "
    "converts a ReduceSum of one axis from ONNX"
)


def notes(layers: Iterable[Layer]) -> list[str]:
    """Return a line for each Reduction that reduces no axis."""
    return [printable(f"{one.name} ({one.type}) {REDUCED}") for one in layers if _reduces_nothing(one)]


def _reduces_nothing(layer: Layer) -> bool:
    """Whether ncnn takes `layer` for a Reduction of some axes, and none is named (reduction.cpp)."""
    if layer.type != "Reduction":
        return False
    try:
        return not number(layer, 1, 1) and not numbers(layer, 3)
    except NotANumber:
        return False
