"""What quantizing a layer keeps: its activation, and the parameters that say what it computes. Pure.

Files may say the same in several ways: two spellings differ only if that is certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import INT8_MAX
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import RECURRENT
from pytest_ncnn_parity.network.parameters import NotANumber, decimal, decimals, number
from pytest_ncnn_parity.network.versions.folding import ACTIVATION_ID, CHANGED_BY_FOLDING, is_activation
from pytest_ncnn_parity.network.versions.units import is_copy

SAME = 1e-4  # the share by which two texts of one number may differ
UNBOUNDED = 1e30  # an end of a Clip beyond it is none: by default they are -FLT_MAX and FLT_MAX
ACTIVATION_PARAMETERS = 10
_FOLDED = frozenset("BatchNorm Scale Dropout BinaryOp".split())
_NONE, _LEAKY, _CLIP, _SIGMOID, _MISH, _HARD_SWISH = 0, 2, 3, 4, 5, 6  # types (fused_activation.h)
_LAYERS = {"Sigmoid": _SIGMOID, "Mish": _MISH, "HardSwish": _HARD_SWISH}
_NAMES = {_SIGMOID: "Sigmoid", _MISH: "Mish", _HARD_SWISH: "HardSwish"}

# By operator, its parameters by name: the id and the default, or the name of the one that it repeats;
# None: a default that depends on others (load_param in src/layer).
_CONVOLUTION: Mapping[str, tuple[int, float | str | None]] = {
    "kernel_w": (1, 0.0),
    "kernel_h": (11, "kernel_w"),
    "dilation_w": (2, 1.0),
    "dilation_h": (12, "dilation_w"),
    "stride_w": (3, 1.0),
    "stride_h": (13, "stride_w"),
    "pad_left": (4, 0.0),
    "pad_right": (15, "pad_left"),
    "pad_top": (14, "pad_left"),
    "pad_bottom": (16, "pad_top"),
    "pad_value": (18, 0.0),
}
_PARAMETERS: Mapping[str, Mapping[str, tuple[int, float | str | None]]] = {
    "Convolution": _CONVOLUTION,
    "ConvolutionDepthWise": {**_CONVOLUTION, "group": (7, 1.0)},
    "Gemm": {"alpha": (0, 1.0), "beta": (1, 1.0), "output_transpose": (14, 0.0)},
    "MultiHeadAttention": {"num_heads": (1, 1.0), "attn_mask": (5, 0.0), "scale": (6, None)},
    "SDPA": {"attn_mask": (5, 0.0), "scale": (6, None)},
    **{kind: {"direction": (2, 0.0)} for kind in RECURRENT},
}


class Difference(Frozen):
    """`what` a layer and its counterpart have that is not the same, and in words, `here` and `there`."""

    what: str
    here: str
    there: str


class Activation(Frozen):
    """A function by its type, as `9=` states it, and its numbers. A ReLU is a Clip from 0 to inf."""

    type: int
    numbers: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.type == _NONE:
            return "none"
        if self.type == _LEAKY:
            return f"ReLU with slope {self.numbers[0]:.6g}"
        if self.type == _CLIP:
            least, most = self.numbers
            return "ReLU" if self.numbers == (0.0, math.inf) else f"Clip from {least:.6g} to {most:.6g}"
        return " ".join([_NAMES[self.type], *(f"{one:.6g}" for one in self.numbers)])

    def is_same(self, other: Activation, end: float) -> bool:
        """Whether both give the same where int8 clips the result to -`end` and `end`."""
        if math.isfinite(end) and {self.type, other.type} <= {_NONE, _CLIP}:
            ends = zip(self._ends(end), other._ends(end), strict=True)
            return all(abs(one - two) <= end / INT8_MAX for one, two in ends)
        return self.type == other.type and all(map(_is_same, self.numbers, other.numbers))

    def _ends(self, end: float) -> tuple[float, float]:
        """The least and the largest that remain of a Clip, or of no activation."""
        least, most = self.numbers if self.type == _CLIP else (-math.inf, math.inf)
        return max(least, -end), min(most, end)


def differences(
    core: Layer,
    replaced: Sequence[Layer],
    other: Layer,
    layers: Sequence[Layer],
    end: float = math.inf,
) -> Iterator[Difference]:
    """Yield what `core`, one of `replaced`, and `other` in int8, one of `layers`, do not have in common.

    `end`: the largest value that the other one gives, where its int8 is clipped.
    """
    own, its = activation(core, replaced), activation(other, layers)
    if own is not None and its is not None and not own.is_same(its, end):
        yield Difference("activation", str(own), str(its))
    own, its = _in_front(core, replaced), _in_front(other, layers)
    if own is not None and its is not None and not own.is_same(its, math.inf):
        yield Difference("input's activation", str(own), str(its))
    padded = any(one.type == "Padding" for one in (*replaced, *layers))
    here, there = stated(core), stated(other)
    for name in (one for one in here if one in there and core.type == other.type):
        if _is_same(here[name], there[name]) or (padded and name.startswith("pad_")):
            continue
        key, _ = _PARAMETERS[core.type][name]
        yield Difference(f"{name} ({key}=)", f"{here[name]:.6g}", f"{there[name]:.6g}")


def activation(core: Layer, layers: Sequence[Layer]) -> Activation | None:
    """Return the function at the end of `layers`, in running order, behind `core`, one of them.

    It may be a layer, or a parameter of the core. None if it is not known.
    """
    constants: set[str] = set()
    try:
        found = _inside(core)
        for layer in layers:
            if layer.type == "MemoryData":
                constants.update(layer.outputs)
            elif layer.number <= core.number or is_copy(layer):
                continue
            elif found != Activation(_NONE):
                return None
            elif is_activation(layer):
                found = _of_layer(layer)
            elif layer.type not in _FOLDED or len(set(layer.inputs) - constants) != 1:
                return None
    except NotANumber:
        return None
    return found


def _in_front(core: Layer, layers: Sequence[Layer]) -> Activation | None:
    """Return the function of the only layer in front of `core`, if there is one; None if not known."""
    found: Activation | None = Activation(_NONE)
    value: set[str] = set()
    try:
        for layer in (one for one in layers if one.number < core.number and one.type != "MemoryData"):
            if is_copy(layer):
                value.update(layer.outputs if layer.inputs[0] in value else ())
            elif is_activation(layer) and not value:
                found, value = _of_layer(layer), set(layer.outputs)
            else:
                return None
    except NotANumber:
        return None
    return found if not value or value.intersection(core.inputs) else None


def _inside(core: Layer) -> Activation | None:
    if core.type not in CHANGED_BY_FOLDING:
        return Activation(_NONE)
    kind = number(core, int(ACTIVATION_ID))
    numbers = decimals(core, ACTIVATION_PARAMETERS)
    if kind == 1:
        return _leaky(0.0)
    if kind == _LEAKY and numbers:
        return _leaky(numbers[0])
    if kind == _CLIP and len(numbers) >= 2:
        return _clip(*numbers[:2])
    if kind == _HARD_SWISH and len(numbers) >= 2:
        return Activation(kind, numbers[:2])
    return Activation(kind) if kind in (_NONE, _SIGMOID, _MISH) else None


def _of_layer(layer: Layer) -> Activation | None:
    """The function of a layer of its own; None of a PReLU, whose slope stands with the weights."""
    if layer.type == "ReLU":
        return _leaky(decimal(layer, 0, 0.0))
    if layer.type == "Clip":
        return _clip(decimal(layer, 0, -math.inf), decimal(layer, 1, math.inf))
    if layer.type == "HardSwish":
        return Activation(_HARD_SWISH, (decimal(layer, 0, 0.2), decimal(layer, 1, 0.5)))
    return Activation(_LAYERS[layer.type]) if layer.type in _LAYERS else None


def _leaky(slope: float) -> Activation:
    if slope == 0.0:
        return Activation(_CLIP, (0.0, math.inf))
    return Activation(_NONE) if slope == 1.0 else Activation(_LEAKY, (slope,))


def _clip(least: float, most: float) -> Activation:
    ends = (
        -math.inf if least <= -UNBOUNDED else least + 0.0,
        math.inf if most >= UNBOUNDED else most,
    )
    return Activation(_NONE) if ends == (-math.inf, math.inf) else Activation(_CLIP, ends)


def stated(layer: Layer) -> dict[str, float]:
    """The parameters of `layer` by name, without those of unknown or no effect."""
    found: dict[str, float] = {}
    for name, (key, default) in _PARAMETERS.get(layer.type, {}).items():
        usual = found.get(default) if isinstance(default, str) else default
        try:
            value = decimal(layer, key, math.nan if usual is None else usual)
        except NotANumber:
            continue
        if not math.isnan(value):
            found[name] = value
    pads = [value for name, value in found.items() if name.startswith("pad_") and name != "pad_value"]
    gone = [f"dilation_{side}" for side in "wh" if found.get(f"kernel_{side}") == 1.0]
    if any(pad < 0.0 for pad in pads):  # computed from the size of the input
        gone += [name for name in found if name.startswith("pad_")]
    elif not any(pads):
        gone.append("pad_value")
    return {name: value for name, value in found.items() if name not in gone}


def _is_same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME)
