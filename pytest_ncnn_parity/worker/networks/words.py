"""The words that an Embed gets: integers, whose bits a float does not have."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.integers import words
from pytest_ncnn_parity.worker.values.blob import Blob

# Sizes of floats. As integers their bits are beyond 800 million, more words than any Embed has.
LEAST, MOST = 1e-4, 1e30


def taken_for_words(layer: Layer, given: Blob) -> str:
    """Return how `layer`, an Embed, misreads the floats among what it is `given`; empty if none are.

    Words that the table does not have, such as a -1 for "none", are not floats: ncnn takes the nearest.
    """
    count = words(layer)
    if count is None:
        return ""
    bits = np.ascontiguousarray(given.array).view(np.int32)
    values = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values)
        floats = (bits >= count) & (sizes > LEAST) & (sizes < MOST) | (bits < 0) & (values < -LEAST)
    if not floats.any():
        return ""
    first = tuple(np.argwhere(floats)[0])
    instead = "first" if bits[first] < 0 else "last"
    return (
        f"gets {np.count_nonzero(floats)} of {values.size} words as floats, the first of them "
        f"{values[first]:g}: it reads their bits as integers, {bits[first]}, and takes the {instead} of "
        f"its {count} words"
    )
