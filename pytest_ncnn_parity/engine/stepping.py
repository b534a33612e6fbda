"""Layers in running order, with the values between them held no longer than somebody reads them."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from pytest_ncnn_parity.engine.blob import Made
from pytest_ncnn_parity.param import Layer


def walk(layers: Sequence[Layer], blobs: Made, kept: Container[str] = ()) -> Iterator[Layer]:
    """Each of `layers` in turn; once it is dealt with, `blobs` loses what none of the rest reads."""
    last_reader = {blob: layer.number for layer in layers for blob in layer.inputs}
    for layer in layers:
        yield layer
        for blob in (*layer.inputs, *layer.outputs):
            if last_reader.get(blob, -1) <= layer.number and blob not in kept:
                blobs.pop(blob, None)
