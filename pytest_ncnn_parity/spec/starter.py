"""A .param file -> the text of a first spec for it. Knows nothing that the file does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.param import Graph, Layer
from pytest_ncnn_parity.spec import yaml12

SCHEMA = "parity.schema.json"
PIXELS = (1, 3, 4)  # channels of a picture
AXES = {1: "w", 2: "h, w", 3: "c, h, w", 4: "c, d, h, w"}


class StarterError(ParityError):
    """A file no spec can be made for."""


def starter(path: Path, folder: Path) -> str:
    """A spec for the model at `path`, to stand in `folder`.

    StarterError or ParamError where there is no such model.
    """
    graph = param.read(str(path))
    absolute = folder / path
    shown = absolute.relative_to(folder) if absolute.is_relative_to(folder) else path
    try:
        str(shown).encode("utf-8")
    except UnicodeEncodeError:
        raise StarterError(
            f"{str(path)!a}: a name that is not UTF-8 cannot stand in a spec: rename the file"
        ) from None
    weights = absolute.with_suffix(".bin").is_file()
    return "\n".join([*_head(shown, weights), *_inputs(graph), *_rest(graph), ""])


def _head(path: Path, weights: bool) -> Iterator[str]:
    missing = "" if weights else "  # it is not there: put it there, or name the weights"
    yield f"# yaml-language-server: $schema={SCHEMA}"
    yield f"# (for editors; make that file with: pytest --ncnn-parity-schema=spec > {SCHEMA})"
    yield ""
    yield "model:"
    yield f"  param: {yaml12.quoted(path.as_posix())}"
    yield f"  bin: {yaml12.quoted(path.with_suffix('.bin').as_posix())}{missing}"


def _inputs(graph: Graph) -> Iterator[str]:
    yield ""
    yield "# Samples: each has a source for every input. Values such as the model meets find the most:"
    yield "# record some, {file: in0.npy}."
    yield "inputs:"
    yield "  noise:"
    for blob in graph.inputs:
        yield from (f"    {line}" for line in _input(graph, blob))


def _input(graph: Graph, blob: str) -> Iterator[str]:
    shape = graph.shapes.get(blob)
    readers = list(_readers(graph, blob))
    if shape is not None:
        yield f"# The .param tells the shape, ({AXES[len(shape)]}): {list(shape)}."
        yield from _pair(blob, "{random: normal}")
        channels, size = shape[0] if len(shape) == 3 else None, f"[{shape[-1]}, {shape[-2:][0]}]"
    else:
        channels, size = next(filter(None, map(_channels, readers)), None), "[WIDTH, HEIGHT]"
        yield "# The .param does not tell the shape: write numbers here. It may be [WIDTH] alone,"
        yield "# [HEIGHT, WIDTH] or [CHANNELS, DEPTH, HEIGHT, WIDTH] as well. No batch."
        yield from _pair(blob, f"{{random: normal, shape: [{channels or 'CHANNELS'}, HEIGHT, WIDTH]}}")
    if channels in PIXELS:
        yield "# It may be a picture. A real one, as (pixel - mean) * norm, tests more:"
        yield f"#   {{image: picture.png, color: rgb, size: {size}, mean: [...], norm: [...]}}"
    if any(reader.type == "Embed" for reader in readers):
        yield "# An Embed reads it: these must be whole numbers, recorded as {file: words.npy}, int32."


def _pair(name: str, value: str) -> list[str]:
    """A mapping's line; two where the key is long."""
    return f"{yaml12.key(name)} {value}".split("\n")


def _readers(graph: Graph, blob: str) -> Iterator[Layer]:
    for layer in graph.consumers[blob]:
        yield layer
        if layer.type == "Split":
            for copy in layer.outputs:
                yield from _readers(graph, copy)


def _channels(layer: Layer) -> int | None:
    """What a convolution's weights say of its input (ids: src/layer/convolution.cpp)."""
    width = layer.params.get("1", "0")
    written = [layer.params.get(i, width if i == "11" else "0") for i in ("6", "0", "1", "11")]
    if layer.type != "Convolution" or not all(size.isascii() and size.isdigit() for size in written):
        return None
    size, outputs, *kernel = map(int, written)
    each = outputs * kernel[0] * kernel[1]
    return size // each if each and size % each == 0 and size >= each else None


def _rest(graph: Graph) -> Iterator[str]:
    last = graph.layers[-1]
    yield ""
    yield "compare: [cpu-vs-vulkan, fp16-vs-fp32, fp16-range]  # the default; also shipped, and own ones"
    yield ""
    yield "# What else may stand here; take the '# ' away:"
    yield "# tolerance:"
    yield "#   fp16: {scaled: 5.0e-2}  # by precision, as a share of the largest value"
    yield "#   layers:  # by name, with *, or by type"
    yield from (f"#     {line}" for line in _pair(f"type:{last.type}", "{scaled: 5.0e-2}"))
    for output in graph.outputs[:1]:
        yield "#   outputs:"
        yield from (f"#     {line}" for line in _pair(output, "{cosine: 0.999}"))
    yield '# layers: {include: ["*"], exclude: []}  # which get cases'
    yield "# masks:  # 31= on top of the .param's, in memory; a red run says which"
    yield from (f"#   {line}" for line in _pair(last.name, "18"))
    yield "# known:  # failures to live with"
    yield f"#   - layer: {yaml12.quoted(last.name)}"
    yield "#     comparison: fp16-range"
    yield "#     reason: why it may fail"
