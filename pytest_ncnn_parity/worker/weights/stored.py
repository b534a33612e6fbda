"""Reads the weights of single layers from a file that has been checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import ncnn
import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.weights.checked_files import Reader

# How a tensor is stored: behind a word that says in which format it is, as most weights are; in fp32; or
# as bytes without such a word. With the type that ModelBin has for it.
Format = Literal["tagged", "floats", "bytes"]
TYPES: Mapping[Format, int] = {"tagged": 0, "floats": 1}


class StoredLayer(Frozen):
    """A `layer`, and where its weights are: the bytes `span`, (start, end), of the file `path`."""

    layer: Layer
    path: str
    span: tuple[int, int]

    def read(self, sizes: Iterable[tuple[int, Format]]) -> Sequence[Array]:
        """Return all that the layer reads; nothing if the layout is another, as of another version."""
        start, end = self.span
        read, at = read_tensors(self.path, start, sizes)
        return read if at == end else ()


def read_tensors(path: str, start: int, sizes: Iterable[tuple[int, Format]]) -> tuple[list[Array], int]:
    """Return the first tensors that a layer reads, from byte `start` on, and the byte behind them.

    They are flat arrays of fp32, or of int8 where the file has that, and empty where it ends before.
    `sizes`: how many numbers each has, and how it is stored.
    """
    with Path(path).open("rb") as file:
        file.seek(start)
        reader = Reader(file)  # keeps the reader alive, because ncnn holds no reference to it
        bin_ = ncnn.ModelBinFromDataReader(reader)
        read = [
            reader.take(count) if format_ == "bytes" else _array(bin_.load(count, TYPES[format_]))
            for count, format_ in sizes
        ]
        return read, reader.at


def _array(mat: ncnn.Mat) -> Array:
    # ncnn's binding ends the process if it is asked for the array of an empty Mat
    return np.zeros(0) if mat.empty() else np.array(mat)
