"""Reads a .param file into a graph, or into one error for every line that is wrong. Runs nothing.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import ParityErrors, cut, guess, quoted
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network import param_line
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.masks import ALL_BITS
from pytest_ncnn_parity.network.senseless import senseless

MAGIC = "7767517"
BINARY_MAGIC = int(MAGIC).to_bytes(4, "little").decode("utf-8")  # these bytes happen to be UTF-8
TEXT_WANTED = (
    "expected a text .param file. A binary .param.bin has no names and cannot be checked by layer"
)
BYTE_ORDER_MARK = "\ufeff"
PNNX_INPUT = "pnnx.Input"  # begins the graph that pnnx writes for itself, with the same magic number
MOST_BYTES = 16 << 20  # the size of a .param file with a million layers
MOST_UNUSED = 1_000_000  # blobs that are announced but do not exist; they take 100 MiB


class ParamError(ParityErrors):
    """Every error of a .param file that breaks ncnn's format, each with `file:line`."""


def read(path: str, root: Path | None = None) -> Graph:
    """Read the .param file at `path`, which must lie below `root` if one is given.

    Raises ParamError with everything that is wrong with it.
    """
    try:
        text = read_files.text(Path(path), root, MOST_BYTES, TEXT_WANTED)
    except read_files.Unreadable as error:
        raise ParamError([str(error)]) from None
    return parse(text, path)


def parse(text: str, source: str) -> Graph:
    """Parse the text of a .param file; `source` is the path that errors name. Raises ParamError."""
    lines = param_line.lines(text)
    filled = [n for n, line in enumerate(lines, 1) if line.strip(param_line.SPACE)]
    if text.startswith(BINARY_MAGIC):
        raise _error(source, [(1, f"is binary; {TEXT_WANTED}")])
    magic = param_line.words(lines[filled[0] - 1]) if filled else []
    if magic == [BYTE_ORDER_MARK + MAGIC]:
        what = "begins with a byte order mark, which ncnn refuses: save the file as UTF-8 without it"
        raise _error(source, [(1, what)])
    if magic != [MAGIC]:
        found = f"found {quoted(' '.join(magic))}" if magic else "and the file is empty"
        what = (
            f"expected the magic number {MAGIC}, {found}; "
            "is this an ncnn .param file, written by a current converter?"
        )
        raise _error(source, [(1, what)])
    first = lines[filled[2] - 1] if len(filled) > 2 else ""
    if param_line.words(first)[:1] == [PNNX_INPUT]:
        what = "is the graph that pnnx wrote for itself: name the .ncnn.param that it wrote beside it"
        raise _error(source, [(filled[2], what)])
    layers, problems = _layers(lines, filled[2:])
    if "\0" in text:
        problems.insert(0, (text.count("\n", 0, text.index("\0")) + 1, "a NUL byte in the text"))
    graph = Graph(source, text, layers)
    counts = (filled[1], param_line.words(lines[filled[1] - 1])) if len(filled) > 1 else (2, [])
    if problems:
        raise _error(source, [*_cut_off(len(filled[2:]), *counts), *problems])
    wrong = _error(source, _wrong(graph, *counts))
    if wrong.errors:
        raise wrong
    return graph


def _error(source: str, problems: Iterable[tuple[int, str]]) -> ParamError:
    return ParamError(f"{printable(source)}:{line}: {what}" for line, what in problems)


def _layers(lines: list[str], filled: list[int]) -> tuple[tuple[Layer, ...], list[tuple[int, str]]]:
    """The layers on the `filled` lines, and what is wrong with each line taken alone."""
    layers: list[Layer] = []
    problems: list[tuple[int, str]] = []
    for number, n in enumerate(filled):
        wrong: list[str] = []
        fields = param_line.layer(lines[n - 1], wrong)
        problems.extend((n, what) for what in wrong)
        if fields is not None:
            layers.append(Layer(number, n, *fields[:-1], mask=fields.mask & ALL_BITS))
    return tuple(layers), problems


def _cut_off(lines: int, count_line: int, counts: list[str]) -> Iterator[tuple[int, str]]:
    """That fewer `lines` with a layer follow than the file announces."""
    announced = counts[0] if counts else ""
    if param_line.COUNT.fullmatch(announced) and lines < int(announced):
        yield count_line, f"{announced} layers announced, {lines} found; is the file cut off?"


def _wrong(graph: Graph, count_line: int, counts: list[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with the network as a whole, by line."""
    makers: dict[str, Layer] = {}
    for layer in graph.layers:
        where = f"layer {cut(layer.name)}"
        for blob in layer.inputs:
            if blob not in makers:
                yield layer.line, f"{where} ({cut(layer.type)}) {_unmade(graph, blob, makers)}"
        if reason := senseless(layer):
            yield layer.line, f"{where} ({layer.type}): {reason}"
        for blob in layer.outputs:
            if blob in makers:
                first = f"{cut(makers[blob].name)} (line {makers[blob].line})"
                yield layer.line, f"{where} writes blob {quoted(blob)}, which {first} writes already"
            makers.setdefault(blob, layer)
    if len(counts) != 2 or not all(map(param_line.COUNT.fullmatch, counts)):
        line = quoted(" ".join(counts))
        yield count_line, f"expected the layer count and the blob count, found {line}"
        return
    layer_count, blob_count = map(int, counts)
    if len(graph.layers) < layer_count:
        yield from _cut_off(len(graph.layers), count_line, counts)
    elif len(graph.layers) > layer_count:
        yield count_line, f"{layer_count} layers announced, {len(graph.layers)} found"
    # if too few are announced, ncnn writes past its array; if far too many are, it allocates memory for
    # all
    elif not len(makers) <= blob_count <= len(makers) + MOST_UNUSED:
        yield count_line, f"{blob_count} blobs announced, {len(makers)} found"
    elif not graph.inputs:
        yield count_line + 1, "no Input layer: there is nothing to feed"


def read_twice(graph: Graph) -> Iterator[str]:
    """What is wrong with the blobs that several layers read, by line.

    In light mode, ncnn's default, a blob is freed once a layer has read it (src/net.cpp:
    do_forward_layer). A second layer gets memory that nobody wrote, or the process dies. One layer may
    read a blob twice.
    """
    readers: dict[str, Layer] = {}
    for layer in graph.layers:
        for blob in dict.fromkeys(layer.inputs):
            if blob in readers:
                first = f"{cut(readers[blob].name)} (line {readers[blob].line})"
                yield (
                    f"{printable(graph.source)}:{layer.line}: layer {cut(layer.name)} "
                    f"({cut(layer.type)}) reads blob {quoted(blob)}, which {first} reads already: ncnn "
                    "frees a blob once a layer has read it. Put a Split in front of both, which gives "
                    "each a blob of its own"
                )
            readers.setdefault(blob, layer)


def _unmade(graph: Graph, blob: str, makers: Mapping[str, Layer]) -> str:
    what = f"reads blob {quoted(blob)}, which no layer above it writes"
    below = graph.producer.get(blob)
    if below is None:
        return what + guess(blob, makers)
    return f"{what}, but {cut(below.name)} on line {below.line}: a cycle, or layers out of running order"
