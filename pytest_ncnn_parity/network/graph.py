"""A network as a graph: who writes and who reads each blob, shapes, masks. Edits text; runs nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network import param_line
from pytest_ncnn_parity.network.masks import ALL_BITS
from pytest_ncnn_parity.network.param_line import MASK_ID, SHAPE_HINT_ID


class Layer(Frozen):
    """One layer line. `number` counts layers from 0; `line` counts lines from 1."""

    number: int
    line: int
    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, str] = field(repr=False)
    mask: int


class Graph(Frozen):
    """The network of a .param file. Layers are in the file's order, which is a running order."""

    source: str
    text: str = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)

    @cached_property
    def producer(self) -> dict[str, Layer]:
        return {blob: layer for layer in self.layers for blob in layer.outputs}

    @cached_property
    def consumers(self) -> dict[str, list[Layer]]:
        readers: dict[str, list[Layer]] = {blob: [] for blob in self.producer}
        for layer in self.layers:
            for blob in dict.fromkeys(layer.inputs):
                readers[blob].append(layer)
        return readers

    @property
    def file(self) -> str:
        """The name of the .param file, as messages show it."""
        return printable(Path(self.source).name)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The blobs that a user feeds."""
        return tuple(b for layer in self.layers if layer.type == "Input" for b in layer.outputs)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The blobs nothing consumes: what ncnn calls the network's outputs."""
        return tuple(blob for blob, readers in self.consumers.items() if not readers)

    @cached_property
    def has_volumes(self) -> bool:
        """Whether some layer computes on volumes: blobs of (c, d, h, w)."""
        return any("3D" in layer.type for layer in self.layers)

    @cached_property
    def names(self) -> dict[str, Layer]:
        """Layers by name; of several layers with one name, the first."""
        return {layer.name: layer for layer in reversed(self.layers)}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes that the file gives, in numpy's order: (w,), (h, w), (c, h, w) or (c, d, h, w)."""
        known = dict(self.hints)
        for layer in self.layers:
            if layer.type == "Input":
                known.update(_input_line(layer))
        return known

    @cached_property
    def hints(self) -> dict[str, tuple[int, ...]]:
        """The shapes that a -23330 states, for which ncnn compiles its Vulkan shaders."""
        return {blob: shape for layer in self.layers for blob, shape in _shape_hints(layer).items()}

    @cached_property
    def depending(self) -> frozenset[str]:
        """The blobs whose values depend on the values of the inputs, and not only on their shapes."""
        depending = set(self.inputs)
        for layer in self.layers:
            if layer.type != "PriorBox" and depending.intersection(layer.inputs):
                depending.update(layer.outputs)
        return frozenset(depending)

    def makers(self, layer: Layer) -> list[Layer]:
        """The layers that make what `layer` reads."""
        return [self.producer[blob] for blob in layer.inputs]

    def readers(self, layer: Layer) -> list[Layer]:
        """The layers that read what `layer` makes; one that reads several of its outputs, as often."""
        return [reader for blob in layer.outputs for reader in self.consumers[blob]]

    def readers_behind(self, blob: str, passes: Callable[[Layer], bool]) -> Iterator[Layer]:
        """Yield the layers that read `blob`, or what those of them that `passes` accepts make of it."""
        waiting, seen = [blob], {blob}
        while waiting:
            for layer in self.consumers[waiting.pop(0)]:
                yield layer
                if passes(layer):
                    waiting.extend(output for output in layer.outputs if output not in seen)
                    seen.update(layer.outputs)

    def connected(self, numbers: Iterable[int]) -> Iterator[set[int]]:
        """Yield the layers of `numbers` in groups that are connected through layers of the group."""
        left = set(numbers)
        while left:
            group, reached = set(), {left.pop()}
            while reached:
                layer = self.layers[reached.pop()]
                group.add(layer.number)
                beside = {one.number for one in (*self.makers(layer), *self.readers(layer))}
                reached |= beside & left
                left -= beside
            yield group

    def ancestors(self, blobs: Iterable[str]) -> set[int]:
        """The numbers of the layers that must run to compute `blobs`."""
        needed: set[int] = set()
        waiting = list(blobs)
        while waiting:
            layer = self.producer[waiting.pop()]
            if layer.number not in needed:
                needed.add(layer.number)
                waiting.extend(layer.inputs)
        return needed

    def running(self, blobs: Iterable[str]) -> list[Layer]:
        """The layers that must run to compute `blobs`, in running order."""
        needed = self.ancestors(blobs)
        return [layer for layer in self.layers if layer.number in needed]

    def fed(self, blobs: Container[str]) -> Graph:
        """This network as it runs if `blobs` are fed, inner blobs too: their producer becomes an Input.

        Layers keep their numbers. Layers that led only to these blobs are no longer ancestors of
        anything.
        """
        layers = tuple(
            replace(layer, type="Input", inputs=(), params={})
            if layer.type != "Input" and any(blob in blobs for blob in layer.outputs)
            else layer
            for layer in self.layers
        )
        return self if layers == self.layers else Graph(self.source, self.text, layers)

    @cached_property
    def masks(self) -> tuple[int, ...]:
        """The mask of every layer, by number."""
        return tuple(layer.mask for layer in self.layers)

    def with_masks(self, masks: Mapping[str, int]) -> Graph:
        """This network with `masks` ORed into the masks of the named layers; every other byte stays."""
        return self.remasked([layer.mask | masks.get(layer.name, 0) for layer in self.layers])

    def remasked(self, masks: Sequence[int]) -> Graph:
        """This network with a new mask for every layer, by number; every other byte stays."""
        lines = param_line.lines(self.text)
        layers = list(self.layers)
        for layer, mask in zip(self.layers, masks, strict=True):
            if mask != layer.mask:
                line, before = lines[layer.line - 1], 4 + len(layer.inputs) + len(layer.outputs)
                lines[layer.line - 1] = param_line.with_mask(line, before, mask)
                params = {**layer.params, MASK_ID: str(mask)}
                layers[layer.number] = replace(layer, params=params, mask=mask & ALL_BITS)
        return Graph(self.source, "".join(lines), tuple(layers))

    def text_under(self, mask: int) -> str:
        """The text of this network with `mask` on every layer, computed once."""
        if mask not in self._texts:
            self._texts[mask] = self.remasked([mask] * len(self.layers)).text
        return self._texts[mask]

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    def line_of(self, layer: Layer) -> str:
        return param_line.lines(self.text)[layer.line - 1].rstrip("\r\n")

    def diff(self, changed: Graph, path: str) -> str:
        """A unified diff from this text to `changed`, with `path` as `git apply` expects it."""
        before, after = (param_line.lines(g.text) for g in (self, changed))
        lines = difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", n=1)
        return "".join(
            line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
        )


def _input_line(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shape that an Input line states (src/layer/input.cpp)."""
    written = [layer.params.get(key, "0") for key in ("2", "11", "1", "0")]  # the ids of c, d, h and w
    sizes = [int(size) for size in written if param_line.COUNT.fullmatch(size)]
    shape = tuple(size for size in sizes if size > 0)
    return {layer.outputs[0]: shape} if layer.outputs and shape else {}


def _shape_hints(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of a line's -23330: for each output dimensions, w, h and c, or w, h, d and c."""
    hint = layer.params.get(SHAPE_HINT_ID)
    if hint is None or not layer.outputs:
        return {}
    numbers = [int(v) for v in hint.split(",")[1:] if param_line.COUNT.fullmatch(v)]
    step = len(numbers) // len(layer.outputs)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, blob in enumerate(layer.outputs):
        dims, *sizes = numbers[i * step : (i + 1) * step] or [0]
        if dims == 3 and len(sizes) == 4:
            del sizes[2]  # a blob of three dimensions has no depth
        if 0 < dims <= len(sizes):
            shapes[blob] = tuple(reversed(sizes[:dims]))
    return shapes
