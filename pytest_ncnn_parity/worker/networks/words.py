"""The words that layers get: integers, of its table for an Embed, with which no other layer computes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.errors import quoted
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import computes_with_floats
from pytest_ncnn_parity.network.integers import AS_FLOATS, BEYOND_TABLE, keeps_integers, words
from pytest_ncnn_parity.worker.values.blob import Blob

# Sizes of floats. As integers their bits are beyond 800 million, more words than any Embed has.
LEAST, MOST = 1e-4, 1e30


def misread_integers(layer: Layer, given: Mapping[str, Blob]) -> str:
    """Return how `layer` misreads what it is `given`, by blob, as words or as floats; empty if not."""
    if layer.type == "Embed":
        return misread_words(layer, given[layer.inputs[0]])
    return misread_as_floats(layer, given)


def misread_words(layer: Layer, given: Blob) -> str:
    """Return how `layer`, an Embed, misreads what it is `given`; empty if all are words that it has.

    Floats are read bit by bit. For a word that the table does not have, such as a -1 for "none", ncnn
    takes the nearest (src/layer/embed.cpp).
    """
    count = words(layer)
    if count is None:
        return ""
    bits = np.ascontiguousarray(given.array).view(np.int32)
    values = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values)
        floats = (bits >= count) & (sizes > LEAST) & (sizes < MOST) | (bits < 0) & (values < -LEAST)
    if floats.any():
        first = tuple(np.argwhere(floats)[0])
        return (
            f"gets {np.count_nonzero(floats)} of {values.size} words as floats, the first of them "
            f"{values[first]:g}: it reads their bits as integers, {bits[first]}, and takes the "
            f"{_instead(bits[first])} of its {count} words"
        )
    beyond: Array = bits[(bits < 0) | (bits >= count)]
    if not beyond.size:
        return ""
    return (
        f"gets {beyond.size} of {bits.size} words {BEYOND_TABLE}, which has 0 to {count - 1}; the first "
        f"of them is {beyond[0]}, for which ncnn takes the {_instead(beyond[0])}"
    )


def misread_as_floats(layer: Layer, given: Mapping[str, Blob]) -> str:
    """Return how `layer` misreads words that it is `given`, by blob; empty if it computes with none.

    As floats, words below 2^23 are subnormal: a sum or product of them is next to nothing.
    """
    if not computes_with_floats(layer) or keeps_integers(layer):
        return ""
    of_words = (blob for blob in layer.inputs if given[blob].size and given[blob].dtype == np.int32)
    blob = next(of_words, None)
    if blob is None:
        return ""
    bits = given[blob].array
    return (
        f"gets {quoted(blob)}, which holds {AS_FLOATS}: the bits of {bits.flat[0]} are those of "
        f"{bits.view(np.float32).flat[0]:.2g}"
    )


def _instead(word: int) -> str:
    """Which word of the table ncnn takes for one that is not in it."""
    return "first" if word < 0 else "last"
