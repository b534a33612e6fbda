"""The text of a .param file: its graph and its masks. Reads and edits bytes; runs nothing.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pytest_ncnn_parity.errors import ParityError

MAGIC = "7767517"
MASK_ID = "31"
SHAPE_HINT_ID = "-23330"

NO_FP16_ARITHMETIC = 1
NO_FP16_STORAGE = 2
NO_BF16_STORAGE = 4
NO_VULKAN = 16
ALL_BITS = 255  # ncnn ignores what lies beyond

# Operators whose outputs are copies of their inputs: they neither make a value nor spoil one.
COPYING = frozenset(
    "Split Reshape Flatten Squeeze ExpandDims Permute Concat Slice Crop Noop Dropout Reorg "
    "PixelShuffle ShuffleChannel Padding Tile Flip Unfold".split()
)

# ASCII throughout: ncnn scans as C does, where a no-break space is a part of a name
_SPACE = " \t\n\r\f\v"
_WORD = re.compile(r"\S+", re.ASCII)
_PAIR = re.compile(r'(?<!\S)(-?\d+)=("[^"]*"|\S*)', re.ASCII)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_MASK = re.compile(r"-?\d{1,9}", re.ASCII)


class ParamError(ParityError):
    """A .param file that cannot be what ncnn expects; carries `file:line`."""


@dataclass(frozen=True)
class Layer:
    """One layer line. `number` counts layers from 0, `line` counts lines from 1."""

    number: int
    line: int
    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, str] = field(repr=False)
    mask: int


def unsafe_on_vulkan(mask: int) -> bool:
    """fp16 storage is masked while the layer may stay on Vulkan: the shader reads fp16 as fp32."""
    return bool(mask & NO_FP16_STORAGE) and not mask & NO_VULKAN


def loses_fp16(mask: int) -> bool:
    """Whether a layer with this mask keeps its values in fp32 wherever the network runs."""
    return bool(mask & NO_FP16_STORAGE)


@dataclass(frozen=True)
class Graph:
    """The network of a .param file. Layers stand in the file's order, which is a running order."""

    source: str
    text: str = field(repr=False)
    layers: tuple[Layer, ...] = field(repr=False)

    @cached_property
    def producer(self) -> dict[str, Layer]:
        return {blob: layer for layer in self.layers for blob in layer.outputs}

    @cached_property
    def consumers(self) -> dict[str, list[Layer]]:
        found: dict[str, list[Layer]] = {blob: [] for blob in self.producer}
        for layer in self.layers:
            for blob in dict.fromkeys(layer.inputs):
                found[blob].append(layer)
        return found

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The blobs a user feeds."""
        return tuple(b for layer in self.layers if layer.type == "Input" for b in layer.outputs)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The blobs nothing consumes: what ncnn calls the network's outputs."""
        return tuple(blob for blob, readers in self.consumers.items() if not readers)

    @cached_property
    def names(self) -> dict[str, Layer]:
        """Layers by name; of several with one name the first."""
        return {layer.name: layer for layer in reversed(self.layers)}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes the file tells, in numpy's order: (w,), (h, w), (c, h, w) or (c, d, h, w)."""
        known: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            known.update(_shape_hints(layer))
        return known

    def ancestors(self, blobs: Iterable[str]) -> set[int]:
        """Numbers of the layers that must run to make `blobs`."""
        needed: set[int] = set()
        waiting = list(blobs)
        while waiting:
            layer = self.producer[waiting.pop()]
            if layer.number not in needed:
                needed.add(layer.number)
                waiting.extend(layer.inputs)
        return needed

    @cached_property
    def masks(self) -> tuple[int, ...]:
        """The mask of every layer, by number."""
        return tuple(layer.mask for layer in self.layers)

    def with_masks(self, masks: Mapping[str, int]) -> Graph:
        """This network with `masks` OR-ed onto the named layers' own; every other byte stays."""
        return self.remasked([layer.mask | masks.get(layer.name, 0) for layer in self.layers])

    def remasked(self, masks: Sequence[int]) -> Graph:
        """This network with a mask for every layer, by number; every other byte stays."""
        lines = _lines(self.text)
        for layer, mask in zip(self.layers, masks, strict=True):
            if mask != layer.mask:
                lines[layer.line - 1] = _masked_line(lines[layer.line - 1], layer, mask)
        return parse("".join(lines), self.source)

    def line_of(self, layer: Layer) -> str:
        return _lines(self.text)[layer.line - 1].rstrip("\r\n")

    def diff(self, changed: Graph, path: str) -> str:
        """A unified diff from this text to `changed`, with `path` as `git apply` wants it."""
        before, after = (_lines(g.text) for g in (self, changed))
        lines = difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", n=1)
        return "".join(
            line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
        )


def read(path: str) -> Graph:
    """Read the .param file at `path`; bytes that are not UTF-8 are an error."""
    raw = Path(path).read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ParamError(
            f"{path}:{line}: not UTF-8 text (byte {raw[error.start]:#04x}); expected a text .param "
            "file. A binary .param.bin has no names and cannot be checked by layer"
        ) from None
    return parse(text, path)


def parse(text: str, source: str) -> Graph:
    """Parse .param text. `source` is the path that errors name."""
    raw_lines = _lines(text)
    lines = [(n, _WORD.findall(line)) for n, line in enumerate(raw_lines, 1)]
    lines = [(n, words) for n, words in lines if words]
    if not lines or lines[0][1] != [MAGIC]:
        found = " ".join(lines[0][1])[:40] if lines else "an empty file"
        raise ParamError(
            f"{source}:1: expected the magic number {MAGIC}, found {found!r}; "
            "is this an ncnn .param file, written by a current converter?"
        )
    if len(lines) < 2 or len(lines[1][1]) != 2 or not all(map(_COUNT.fullmatch, lines[1][1])):
        raise ParamError(
            f"{source}:{lines[1][0] if len(lines) > 1 else 2}: expected the layer count and the "
            "blob count"
        )
    layers = tuple(
        _layer(i, n, words, raw_lines[n - 1], source) for i, (n, words) in enumerate(lines[2:])
    )
    graph = Graph(source, text, layers)
    layer_count, blob_count = map(int, lines[1][1])
    _check(graph, layer_count, blob_count, lines[1][0])
    return graph


def _layer(number: int, line: int, words: list[str], raw: str, source: str) -> Layer:
    where = f"{source}:{line}"
    if len(words) < 4 or not all(map(_COUNT.fullmatch, words[2:4])):
        raise ParamError(
            f"{where}: expected 'Type name n_inputs n_outputs blobs... id=value...', "
            f"found {raw.strip()[:60]!r}"
        )
    n_inputs, n_outputs = int(words[2]), int(words[3])
    end = 4 + n_inputs + n_outputs
    if len(words) < end:
        raise ParamError(
            f"{where}: layer {words[1]} announces {n_inputs} inputs and {n_outputs} outputs, "
            f"but names {len(words) - 4} blobs; is the line cut off?"
        )
    params = {pair[1]: pair[2] for pair in _pairs(raw, end)}
    mask = params.get(MASK_ID, "0")
    if not _MASK.fullmatch(mask):
        raise ParamError(
            f"{where}: layer {words[1]}: mask 31={mask[:20]} is not a whole number; ncnn would refuse "
            f"the file. Write 31={int(float(mask))}"
            if re.fullmatch(r"\d{1,9}\.\d*", mask)
            else f"{where}: layer {words[1]}: mask 31={mask[:20]} is not a whole number"
        )
    return Layer(
        number,
        line,
        words[0],
        words[1],
        tuple(words[4 : 4 + n_inputs]),
        tuple(words[4 + n_inputs : end]),
        params,
        int(mask) & ALL_BITS,
    )


def _check(graph: Graph, layer_count: int, blob_count: int, count_line: int) -> None:
    if len(graph.layers) != layer_count:
        raise ParamError(
            f"{graph.source}:{count_line}: {layer_count} layers announced, {len(graph.layers)} "
            "found; is the file cut off?"
        )
    made: dict[str, Layer] = {}
    for layer in graph.layers:
        where = f"{graph.source}:{layer.line}"
        for blob in layer.inputs:
            if blob not in made:
                near = difflib.get_close_matches(blob, made, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ParamError(
                    f"{where}: layer {layer.name} ({layer.type}) reads blob {blob!r}, which no "
                    f"layer above it makes{hint}"
                )
        for blob in layer.outputs:
            if blob in made:
                raise ParamError(
                    f"{where}: layer {layer.name} makes blob {blob!r}, which "
                    f"{made[blob].name} (line {made[blob].line}) makes already"
                )
            made[blob] = layer
    if len(made) > blob_count:  # ncnn writes past its array then
        raise ParamError(f"{graph.source}:{count_line}: {blob_count} blobs announced, {len(made)} found")
    if not graph.inputs:
        raise ParamError(f"{graph.source}:{count_line + 1}: no Input layer: there is nothing to feed")


def _lines(text: str) -> list[str]:
    """Lines with their ends. Only CR and LF end a line here; str.splitlines knows eight others."""
    return list(io.StringIO(text, newline=""))


def _pairs(line: str, words: int) -> list[re.Match[str]]:
    """The `id=value` of a layer line: they come after its first `words` words."""
    start = [word.end() for word in _WORD.finditer(line)][words - 1]
    return list(_PAIR.finditer(line, start))


def _masked_line(line: str, layer: Layer, mask: int) -> str:
    """`line` with its effective mask set: the last `31=` counts in ncnn, so that one is edited."""
    body = line.rstrip(_SPACE)
    tail = line[len(body) :]
    words = 4 + len(layer.inputs) + len(layer.outputs)
    present = [pair for pair in _pairs(body, words) if pair[1] == MASK_ID]
    if present:
        start, end = present[-1].span(2)
        return f"{body[:start]}{mask}{body[end:]}{tail}"
    return f"{body} {MASK_ID}={mask}{tail}"


def _shape_hints(layer: Layer) -> dict[str, tuple[int, ...]]:
    if layer.type == "Input":
        order = ["2", "11", "1", "0"]  # c, d, h, w (src/layer/input.cpp)
        written = [layer.params.get(k, "0") for k in order]
        sizes = [int(size) for size in written if _COUNT.fullmatch(size)]
        shape = tuple(size for size in sizes if size > 0)
        if layer.outputs and shape:
            return {layer.outputs[0]: shape}
    hint = layer.params.get(SHAPE_HINT_ID)
    if hint is None or not layer.outputs:
        return {}
    numbers = [int(v) for v in hint.split(",")[1:] if _COUNT.fullmatch(v)]
    step = len(numbers) // len(layer.outputs)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, blob in enumerate(layer.outputs):
        dims, *sizes = numbers[i * step : (i + 1) * step] or [0]
        if 0 < dims <= len(sizes):
            shapes[blob] = tuple(reversed(sizes[:dims]))
    return shapes
