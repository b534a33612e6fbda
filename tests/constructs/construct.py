"""What a construct is, and how one is written as a model with a spec and a recording of numpy's."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import networks
import numpy as np
import numpy.typing as npt
from network import Network
from quantized import INT8_WEIGHTS

Array = npt.NDArray[np.float64]

FLAG = np.zeros(1, np.float32)  # stands in front of each further tensor that may be in another format


class Draft(Network):
    """A network whose inputs and weights are drawn as it is built, from the seed of its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._random = np.random.RandomState(zlib.crc32(name.encode()))
        self.inputs: dict[str, Array] = {}

    def draw(self, *shape: int, size: float = 1.0) -> Array:
        """Normal noise of `size` that fp32 holds exactly."""
        return self._random.normal(0, size, shape).astype(np.float32).astype(np.float64)

    def uniform(self, *shape: int, low: float, high: float) -> Array:
        return self._random.uniform(low, high, shape).astype(np.float32).astype(np.float64)

    def feed(self, *shape: int, values: Array | None = None) -> Array:
        """One more input, `in0`, `in1`, ...: normal noise of `shape`, or `values`. Returns it."""
        name = f"in{len(self.inputs)}"
        self.layer("Input", name)
        self.inputs[name] = self.draw(*shape) if values is None else values
        return self.inputs[name]

    def int8_weights(self, steps: np.ndarray, rest: list[np.ndarray]) -> None:
        """The weights of the layer before, in int8, and what follows them in floats."""
        self._weights += [INT8_WEIGHTS, np.pad(steps.ravel(), (0, -steps.size % 4))]
        self._weights += [tensor.astype(np.float32) for tensor in rest]

    def operators(self) -> list[str]:
        """What it consists of, but for inputs and copies, in running order and each once."""
        kinds = dict.fromkeys(line.split()[0] for line in self._lines)
        return [kind for kind in kinds if kind not in ("Input", "Split")]

    def spoil(self) -> None:
        """Turn the largest tensor of weights around, as a wrong conversion may."""
        largest = max(range(len(self._weights)), key=lambda i: self._weights[i].size)
        self._weights[largest] = self._weights[largest].ravel()[::-1].copy()


Build = Callable[[Draft], Mapping[str, Array]]  # adds the layers; gives each output as it should be


@dataclass(frozen=True)
class Fault:
    """What ncnn itself does wrong, from a version on: the layer is red, and masks fix it."""

    layer: str
    comparison: str
    cause: str
    since: str
    why: str


@dataclass(frozen=True)
class Construct:
    """One row: what is built, the first ncnn with its operators, and what that gets wrong."""

    name: str
    family: str
    build: Build
    since: str
    fault: Fault | None

    def draft(self) -> tuple[Draft, Mapping[str, Array]]:
        """The network, and its outputs as they should be."""
        draft = Draft(self.name)
        return draft, self.build(draft)

    def write(self, folder: Path, spoilt: bool = False) -> str:
        """Write model, inputs, recordings and spec, and return the model's name."""
        draft, expected = self.draft()
        name = f"{self.name}_spoilt" if spoilt else self.name
        if spoilt:
            draft.spoil()
        draft.write(folder / name)
        arrays = {**draft.inputs, **expected}
        np.savez(folder / f"{name}.npz", **{blob: recorded(array) for blob, array in arrays.items()})
        inputs = ", ".join(f"{blob}: {_source(name, blob)}" for blob in draft.inputs)
        golden = ", ".join(f"{blob}: {_source(name, blob)}" for blob in expected)
        lines = [
            f"inputs: {{x: {{{inputs}, expect: {{{golden}}}}}}}",
            "tolerance: {golden: {scaled: 5.0e-4}}",
        ]
        if spoilt:
            lines.append("compare: [fp16-range]")
        networks.spec(folder, "\n".join([*lines, ""]), name)
        return name


def recorded(array: Array) -> np.ndarray:
    """In fp32, and words as whole numbers."""
    return array.astype(np.int32 if array.dtype.kind == "i" else np.float32)


def _source(name: str, blob: str) -> str:
    return f"{{file: {name}.npz, key: {blob}}}"


@dataclass
class Table:
    """The constructs of one family."""

    family: str
    rows: list[Construct]

    def __iter__(self) -> Iterator[Construct]:
        return iter(self.rows)

    def row(self, since: str = "", fault: Fault | None = None) -> Callable[[Build], Build]:
        """Take the decorated function as a construct of its name."""

        def take(build: Build) -> Build:
            self.rows.append(Construct(build.__name__, self.family, build, since, fault))
            return build

        return take
