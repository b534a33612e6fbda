"""Float networks and what ncnn2table and ncnn2int8 make of them (tools/quantize), from seeds.

The tools themselves are not in ncnn's wheels; this is their arithmetic, with faults where wanted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import ncnn
import numpy as np
from network import Network
from quantized import INT8_WEIGHTS, to_int8

from pytest_ncnn_parity.network import weight_tags

FP16_WEIGHTS = np.array([weight_tags.FP16], np.uint32)
BINS, LEVELS = 2048, 128  # of the histogram, and of what it is held against (ncnn2table.cpp)


@dataclass
class Layer:
    """One line of a .param, with its weights in floats as (outputs, ...)."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    params: str
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def six_bits(self) -> bool:
        """Whether ncnn2table keeps its weights to -31..31, for winograd in int8 to add them up."""
        words = dict(word.split("=") for word in self.params.split())
        plain = words.get("1") == "3" and words.get("3", "1") == "1"
        return self.kind == "Convolution" and plain


Spans = list[tuple[int, int]]


class Counting(Network):
    """A `Network` that knows where in the file the weights of each layer stand."""

    @property
    def spans(self) -> Spans:
        ends = [0, *(sum(one.nbytes for one in self._weights[:count]) for count in self._counts)]
        return list(pairwise(ends))

    def layer(self, *args: object, **kwargs: object) -> str:
        first = super().layer(*args, **kwargs)
        self._counts.append(len(self._weights))
        return first

    def __init__(self) -> None:
        super().__init__()
        self._counts: list[int] = []  # for each layer, the arrays up to its end

    def append(self, weights: list[np.ndarray]) -> None:
        """Further weights of the last layer, as they are."""
        self._weights += weights
        self._counts[-1] = len(self._weights)


@dataclass(frozen=True)
class Wrong:
    """What is wrong in one layer: scales are `factor` times what they should be.

    `what`: of `input`, the input's; `weights`, by which these were quantized; `stored`, beside weights
    that were quantized by others; `channel`, of one output's weights; or several of them. `bias`: that
    of the first output is `factor` larger.
    """

    what: tuple[str, ...]
    factor: float = 4.0


@dataclass
class Model:
    """A network in floats, in running order."""

    layers: list[Layer] = field(default_factory=list)

    def add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str] = (),
        params: str = "",
        weights: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        outputs: Sequence[str] = (),
    ) -> str:
        made = list(outputs) or [name]
        self.layers.append(Layer(kind, name, list(inputs), made, params, weights, bias))
        return made[0]

    def split(self, blob: str, count: int) -> list[str]:
        copies = [f"{blob}_{i}" for i in range(count)]
        self.add("Split", f"split_{blob}", [blob], outputs=copies)
        return copies

    def conv(
        self, name: str, blob: str, weights: np.ndarray, params: str, outputs: Sequence[str] = ()
    ) -> str:
        """A Convolution, a ConvolutionDepthWise for a kernel with one input, with a bias."""
        kind = "ConvolutionDepthWise" if weights.shape[1] == 1 else "Convolution"
        count = len(weights)
        bias = np.linspace(-0.1, 0.2, count, dtype=np.float32)
        words = f"0={count} {params} 5=1 6={weights.size}"
        words += f" 7={count}" if kind == "ConvolutionDepthWise" else ""
        return self.add(kind, name, [blob], words, weights.astype(np.float32), bias, outputs)

    def inner(self, name: str, blob: str, weights: np.ndarray, outputs: Sequence[str] = ()) -> str:
        bias = np.linspace(-0.1, 0.2, len(weights), dtype=np.float32)
        words = f"0={len(weights)} 1=1 2={weights.size}"
        return self.add("InnerProduct", name, [blob], words, weights.astype(np.float32), bias, outputs)

    @property
    def quantizable(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.weights is not None]

    def write(self, stem: Path) -> Spans:
        """The network in floats; returns which bytes each layer reads."""
        net = Counting()
        for one in self.layers:
            weights = [] if one.weights is None else [one.weights, one.bias]
            net.layer(one.kind, one.name, one.inputs, one.outputs, one.params, weights)
        net.write(stem)
        return net.spans

    def write_int8(
        self,
        stem: Path,
        scales: dict[str, float],
        wrong: dict[str, Wrong] | None = None,
        in_float: Collection[str] = (),
        requantized: bool = True,
    ) -> Spans:
        """The network in int8, its inputs quantized by `scales`; layers `in_float` are left alone."""
        wrong = wrong or {}
        scales = {
            name: scale * (wrong[name].factor if name in wrong and "input" in wrong[name].what else 1.0)
            for name, scale in scales.items()
        }
        chosen = {one.name for one in self.quantizable} - set(in_float)
        gives = self._requantized(chosen, scales) if requantized else {}
        net = Counting()
        for one in self.layers:
            if one.name not in chosen:
                net.layer(one.kind, one.name, one.inputs, one.outputs, one.params)
                if one.weights is not None:
                    halves = in_half(one.weights).ravel()
                    net.append([FP16_WEIGHTS, np.pad(halves, (0, halves.size % 2)), one.bias])
                continue
            term = (1 if one.kind == "ConvolutionDepthWise" else 2) + 100 * (one.name in gives)
            net.layer(one.kind, one.name, one.inputs, one.outputs, f"{one.params} 8={term}")
            values, by = quantized(one, wrong.get(one.name))
            bias = one.bias.copy()
            if one.name in wrong and "bias" in wrong[one.name].what:
                bias[0] += wrong[one.name].factor
            own = [scales[one.name], *([gives[one.name]] if one.name in gives else [])]
            padded = np.pad(values.ravel(), (0, -values.size % 4))
            net.append([INT8_WEIGHTS, padded, bias, by, np.array(own, np.float32)])
        net.write(stem)
        return net.spans

    def _requantized(self, chosen: Collection[str], scales: dict[str, float]) -> dict[str, float]:
        """By name, the scale of the int8 that a layer gives (fuse_requantize in ncnn2int8.cpp)."""
        convolutions = ("Convolution", "ConvolutionDepthWise")
        gives = {}
        for one in self.layers:
            if one.kind not in convolutions or one.name not in chosen:
                continue
            readers = [other for other in self.layers if one.outputs[0] in other.inputs]
            if len(readers) == 1 and readers[0].kind == "Split":
                readers = [o for o in self.layers if set(readers[0].outputs) & set(o.inputs)]
            fits = [reader.kind in convolutions and reader.name in chosen for reader in readers]
            if readers and all(fits):
                gives[one.name] = scales[readers[0].name]
        return gives

    def calibrated(self, inputs: Sequence[np.ndarray], method: str = "absmax") -> dict[str, float]:
        """By layer, the scale of what it reads, over all `inputs`; `method`: `absmax` or `kl`."""
        values = self._read(inputs)
        scale = by_kl if method == "kl" else by_largest
        return {name: scale(seen) for name, seen in values.items()}

    def _read(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """What each layer with weights reads."""
        with tempfile.TemporaryDirectory() as folder:
            stem = Path(folder) / "net"
            self.write(stem)
            net = ncnn.Net()
            net.opt.lightmode = False
            net.opt.num_threads = 1
            net.load_param(str(stem.with_suffix(".param")))
            net.load_model(str(stem.with_suffix(".bin")))
            seen: dict[str, list[np.ndarray]] = {one.name: [] for one in self.quantizable}
            for array in inputs:
                extractor = net.create_extractor()
                own = np.ascontiguousarray(array, np.float32)
                mat = ncnn.Mat(own).clone()
                extractor.input("in0", mat)
                for one in self.quantizable:
                    value = mat if one.inputs[0] == "in0" else extractor.extract(one.inputs[0])[1]
                    seen[one.name].append(np.array(value).ravel())
        return {name: np.concatenate(arrays) for name, arrays in seen.items()}


def of_files(stem: Path) -> Model:
    """The network of Convolutions and InnerProducts with biases that a .param and a .bin hold."""
    words = [line.split() for line in stem.with_suffix(".param").read_text("utf-8").splitlines()[2:]]
    left = np.fromfile(stem.with_suffix(".bin"), np.float32)
    model = Model()
    for kind, name, n_inputs, n_outputs, *rest in words:
        inputs, blobs = int(n_inputs), int(n_inputs) + int(n_outputs)
        params = dict(word.split("=") for word in rest[blobs:])
        weights = bias = None
        if kind in ("Convolution", "InnerProduct"):
            count, size = int(params["0"]), int(params["6" if kind == "Convolution" else "2"])
            _, weights, bias, left = np.split(left, [1, 1 + size, 1 + size + count])  # behind a flag
            side = int(params.get("1", "1")) if kind == "Convolution" else 1
            weights = weights.reshape(count, -1, *[side] * (2 if kind == "Convolution" else 0))
        own = " ".join(rest[blobs:])
        model.add(kind, name, rest[:inputs], own, weights, bias, rest[inputs:blobs])
    return model


def quantized(layer: Layer, wrong: Wrong | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The int8 weights of a layer, and the scale of each output's."""
    count = len(layer.weights)
    largest = np.abs(layer.weights).reshape(count, -1).max(1)
    with np.errstate(divide="ignore", over="ignore"):  # that of next to nothing is inf
        scales = ((31.0 if layer.six_bits else 127.0) / largest).astype(np.float32)
    by, kept = scales.copy(), scales.copy()
    for what in () if wrong is None else wrong.what:
        if what == "weights":
            by, kept = by * wrong.factor, kept * wrong.factor
        elif what == "stored":
            kept = kept * wrong.factor
        elif what == "channel":
            kept[0] *= wrong.factor
    shape = (count, *[1] * (layer.weights.ndim - 1))
    return to_int8(layer.weights, by.reshape(shape)), kept.astype(np.float32)


def in_half(values: np.ndarray) -> np.ndarray:
    """As ncnn2int8 stores weights in floats: what has no normal number in fp16 is 0 (src/mat.cpp)."""
    return np.where(np.abs(values) < 2.0**-14, np.copysign(0, values), values).astype(np.float16)


def by_largest(values: np.ndarray) -> float:
    return float(127.0 / np.abs(values).max())


def by_kl(values: np.ndarray) -> float:
    """The threshold whose int8 histogram is nearest to that of the values (ncnn2table's method kl)."""
    sizes = np.abs(values[values != 0.0]).astype(np.float64)
    largest = float(sizes.max())
    bins = np.minimum((sizes / largest * BINS).astype(int), BINS - 1)
    shares = np.bincount(bins, minlength=BINS) / sizes.size
    best, least = LEVELS, np.inf
    sums = np.concatenate([[0.0], np.cumsum(shares)])
    for threshold in range(LEVELS, BINS):
        clipped = shares[:threshold] + 1e-4
        clipped[-1] += shares[threshold:].sum()
        edges = np.linspace(0.0, threshold, LEVELS + 1)
        upto = np.interp(edges, np.arange(threshold + 1), sums[: threshold + 1])
        means = np.diff(upto) / np.diff(edges)
        level = np.minimum((np.arange(threshold) + 0.5) / threshold * LEVELS, LEVELS - 1).astype(int)
        expanded = means[level] + 1e-4
        divergence = float(np.sum(clipped * np.log(clipped / expanded)))
        if divergence < least:
            best, least = threshold, divergence
    return float(127.0 / ((best + 0.5) * largest / BINS))


def mobile(seed: int, blocks: int = 4, width: int = 16, side: int = 24) -> Model:
    """Inverted residual blocks, as a mobile network has them, and a classifier, from (3, side, side)."""
    random = np.random.RandomState(seed)
    model = Model()

    def conv(name: str, blob: str, shape: tuple[int, ...], params: str) -> str:
        weights = random.normal(0, (2.0 / np.prod(shape[1:])) ** 0.5, shape)
        return model.conv(name, blob, weights * channel_gains(random, shape[0], weights.ndim), params)

    x = model.add("Input", "in0", params=f"0={side} 1={side} 2=3")
    x = conv("stem", x, (width, 3, 3, 3), "1=3 3=2 4=1 9=1")
    for i in range(blocks):
        a, b = model.split(x, 2)
        y = conv(f"expand{i}", a, (3 * width, width, 1, 1), "1=1 9=1")
        y = conv(f"depthwise{i}", y, (3 * width, 1, 3, 3), "1=3 4=1 9=1")
        y = conv(f"project{i}", y, (width, 3 * width, 1, 1), "1=1")
        x = model.add("BinaryOp", f"add{i}", [b, y], "0=0")
    x = model.add("Pooling", "pool", [x], "0=1 1=2 2=2")
    x = model.add("Flatten", "flatten", [x])
    fan = width * (side // 4) ** 2
    model.inner("classes", x, random.normal(0, fan**-0.5, (10, fan)), ["out0"])
    return model


def plain(seed: int, layers: int = 5, width: int = 16, side: int = 24) -> Model:
    """3x3 convolutions in a row with activations of their own, a branch that is joined, and a head."""
    random = np.random.RandomState(seed)
    model = Model()

    def conv(name: str, blob: str, shape: tuple[int, ...], params: str, out: Sequence[str] = ()) -> str:
        weights = random.standard_t(6, shape) * (1.6 / np.prod(shape[1:])) ** 0.5
        return model.conv(name, blob, weights * channel_gains(random, shape[0], 4), params, out)

    x = model.add("Input", "in0", params=f"0={side} 1={side} 2=3")
    wide = 3
    for i in range(layers):
        x = conv(f"c{i}", x, (width, wide, 3, 3), "1=3 4=1")
        x = model.add("ReLU", f"relu{i}", [x])
        wide = width
    a, b = model.split(x, 2)
    a = conv("left", a, (width, width, 1, 1), "1=1 9=1")
    b = conv("right", b, (width, width, 3, 3), "1=3 4=1 9=1")
    x = model.add("Concat", "join", [a, b], "0=0")
    x = model.add("Pooling", "pool", [x], "0=0 1=2 2=2")
    conv("head", x, (8, 2 * width, 1, 1), "1=1", ["out0"])
    return model


def widen(model: Model, block: int, by: float = 300.0) -> None:
    """Make one channel of a block of `mobile` so many times larger inside, and its output the same.

    No scale for the whole input of its last layer, nor of its ConvolutionDepthWise, keeps the others.
    """
    layers = {one.name: one for one in model.layers}
    first, middle, last = (layers[f"{name}{block}"] for name in ("expand", "depthwise", "project"))
    for weights in (first.weights, first.bias, middle.bias):
        weights[0] *= by
    last.weights[:, 0] /= by


def channel_gains(random: np.random.RandomState, count: int, dims: int) -> np.ndarray:
    """What makes some outputs larger than others, as a folded BatchNorm does."""
    return np.exp(random.normal(0, 0.3, count)).reshape(count, *[1] * (dims - 1))


def noise(seed: int, side: int = 24) -> np.ndarray:
    return np.random.RandomState(seed).normal(0, 1, (3, side, side)).astype(np.float32)
