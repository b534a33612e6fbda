"""Puts some layers of an int8 model back in floats: the lines of its .param, and its weights. Pure.

The result is what ncnn2int8 writes from a table without these layers (tools/quantize/ncnn2int8.cpp):
where one of them read int8 from another layer, that layer outputs floats again. Their weights are in
fp16, as ncnn2int8 stores those of all layers in floats.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import field

import numpy as np

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.network import param_line
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import (
    REQUANTIZES,
    computes_in_int8,
    gives_int8,
    int8_blobs,
    is_quantized,
    weight_count,
)
from pytest_ncnn_parity.network.param import MAGIC
from pytest_ncnn_parity.network.versions.counterparts import Counterpart, Counterparts
from pytest_ncnn_parity.network.versions.folding import is_activation
from pytest_ncnn_parity.network.versions.half import flushed, ties_to_even
from pytest_ncnn_parity.network.versions.units import is_copy
from pytest_ncnn_parity.network.weight_tags import FP16, FP32, SIZES, TAG_BYTES, end_of_weights

SCALE_BYTES = 4

Spans = Sequence[tuple[int, int]]


class LayerBytes(Frozen):
    """The bytes of a weights file, and by layer number the range that each layer reads."""

    content: bytes
    spans: Spans

    _halves: dict[int, bytes] = field(default_factory=dict, compare=False)

    def of(self, layer: Layer) -> bytes:
        start, end = self.spans[layer.number]
        return self.content[start:end]

    def in_half(self, layer: Layer) -> bytes:
        """Like `of`, with the weights in fp16, if they are in fp32 and fp16 can hold them."""
        if layer.number not in self._halves:
            self._halves[layer.number] = _in_half(layer, self.of(layer))
        return self._halves[layer.number]


def _in_half(layer: Layer, content: bytes) -> bytes:
    """`content` with weights in fp16, 0 in place of those that would be subnormal."""
    count = weight_count(layer)
    if not count or len(content) < TAG_BYTES:
        return content
    (tag,) = struct.unpack_from("<I", content)
    size = SIZES[tag] if tag in (FP32, FP16) else 0
    if not size or len(content) < TAG_BYTES + size * count:
        return content
    if tag == FP16:
        half = flushed(np.frombuffer(content, "<u2", count, TAG_BYTES))
    else:
        floats = np.frombuffer(content, "<f4", count, TAG_BYTES)
        half = ties_to_even(floats)
        if np.any(np.abs(floats[np.isfinite(floats)]) >= FP16_OVERFLOW):
            return content
    behind = content[end_of_weights(content, 0, count) :]
    return b"".join([struct.pack("<I", FP16), half.tobytes(), bytes(-half.nbytes % 4), behind])


def quantized_layer(counterpart: Counterpart) -> Layer | None:
    """The single int8 layer of `counterpart`, if it can be put back in floats on its own; else None."""
    own = [layer for layer in counterpart.layers if not is_copy(layer)]
    quantized = [layer for layer in own if is_quantized(layer)]
    others = [layer for layer in own if not is_quantized(layer)]
    if len(quantized) != 1 or not all(map(is_activation, others)):
        return None
    (layer,) = quantized
    (first, *more) = counterpart.replaced
    plain = len(layer.inputs) == 1 or (not more and len(first.inputs) == len(layer.inputs))
    fed = counterpart.feeds.keys() >= set(layer.inputs)
    return layer if plain and fed and not any(map(is_copy, counterpart.replaced)) else None


def spliced(
    models: Counterparts, weights: LayerBytes, floats: LayerBytes, in_float: Collection[int]
) -> tuple[str, bytes]:
    """The .param and weights of the int8 model, with the layers `in_float` as in the float model.

    `weights` are those of the int8 model, `floats` those of the other model. `in_float`: numbers of
    layers of the model in floats, each of whose counterparts has a `quantized_layer`.
    """
    placed: dict[int, Counterpart] = {}
    gone: set[int] = set()
    for number in in_float:
        counterpart = models.of[number]
        layer = quantized_layer(counterpart)
        assert layer is not None
        placed[layer.number] = counterpart
        gone |= {one.number for one in counterpart.layers if not is_copy(one)}
    giving_floats = _giving_floats(models.there, gone)
    lines: list[str] = []
    content: list[bytes] = []
    blobs = 0
    for layer in models.there.layers:
        if layer.number in placed:
            for line, one in _put_back(models, placed[layer.number], layer):
                lines.append(line)
                content.append(floats.in_half(one))
                blobs += len(one.outputs)
        elif layer.number not in gone:
            line, own = models.there.line_of(layer), weights.of(layer)
            if layer.number in giving_floats:
                line, own = _without_requantizing(line), own[:-SCALE_BYTES]
            lines.append(line)
            content.append(own)
            blobs += len(layer.outputs)
    text = "\n".join([MAGIC, f"{len(lines)} {blobs}", *lines, ""])
    return text, b"".join(content)


def _put_back(
    models: Counterparts, counterpart: Counterpart, layer: Layer
) -> Iterator[tuple[str, Layer]]:
    """The lines in floats that replace `layer`, each with the layer it comes from."""
    known = dict(counterpart.outputs)
    if len(layer.inputs) > 1:  # those of the one layer that it replaces, each in its place
        known.update(zip(counterpart.replaced[0].inputs, layer.inputs, strict=True))
    values = {counterpart.feeds[fed]: fed for fed in layer.inputs}
    for one in counterpart.replaced:
        for blob in one.inputs:
            if models.sources[blob] in values and blob not in known:
                known[blob] = values[models.sources[blob]]
        for blob in one.outputs:
            known.setdefault(blob, f"{layer.name}_in_floats_{blob}")
    for one in counterpart.replaced:
        if is_copy(one):
            continue
        words = param_line.words(models.here.line_of(one))
        named = [known[blob] for blob in (*one.inputs, *one.outputs)]
        yield " ".join([*words[:4], *named, *words[4 + len(named) :]]), one


def _giving_floats(graph: Graph, gone: Collection[int]) -> set[int]:
    """The layers that may no longer output int8, because a reader or a part of it is `gone`."""
    may_be = int8_blobs(graph)
    makers = {layer.number for layer in graph.layers if gives_int8(layer)} - set(gone)
    dropped: set[int] = set()
    while True:
        alive = _makers_behind(graph, makers - dropped)
        more: set[int] = set()
        for layer in graph.layers:
            read = [alive.get(blob, frozenset()) for blob in layer.inputs]
            mixed = not computes_in_int8(layer) and any(
                blob in may_be and not makers_of
                for blob, makers_of in zip(layer.inputs, read, strict=True)
            )
            if layer.number in gone or mixed:
                more.update(*read)
        if not more:
            return dropped
        dropped |= more


def _makers_behind(graph: Graph, makers: Collection[int]) -> dict[str, frozenset[int]]:
    """By int8 blob, the layers of `makers` whose values reach it unchanged."""
    behind: dict[str, frozenset[int]] = {}
    for layer in graph.layers:
        if layer.number in makers:
            own = frozenset({layer.number})
        elif computes_in_int8(layer):
            continue
        else:
            own = frozenset().union(*(behind.get(blob, frozenset()) for blob in layer.inputs))
        if own:
            behind.update(dict.fromkeys(layer.outputs, own))
    return behind


def _without_requantizing(line: str) -> str:
    """The `line` of a convolution, changed to output floats."""
    words = param_line.words(line)
    at = max(n for n, word in enumerate(words) if word.startswith("8="))
    words[at] = f"8={int(words[at][2:]) - REQUANTIZES}"
    return " ".join(words)
