"""A value that is a batch: what is derived of it is one as well."""

from __future__ import annotations

import ncnn
import numpy as np
import pytest

from pytest_ncnn_parity.worker.values.blob import Blob

pytestmark = pytest.mark.since_ncnn("1.0.20261020", "it has no batches inside a network")


def test_what_is_derived_of_a_batch_is_one() -> None:
    pictures = np.random.RandomState(0).normal(size=(3, 4, 5)).astype(np.float32)
    pictures[2, 1, 1], pictures[1, 0, 0] = 70000.0, 1e-9
    value = Blob.of(pictures[0])
    assert (value.batch, value.picture_shape) == (False, (4, 5))
    batch = Blob(ncnn.Mat(pictures, batch_index=0))
    assert (batch.batch, batch.shape, batch.picture_shape) == (True, (3, 4, 5), (4, 5))
    assert (batch.absmax, batch.tiny) == (70000.0, 1)
    assert batch.digest != Blob(ncnn.Mat(pictures[:2], batch_index=0)).digest
    for made in (batch.rounded("fp16"), batch.stored(), batch.with_tiny_stored()):
        assert made.batch
        assert np.array_equal(Blob(made.mat).array, made.array)
    assert batch.stored().inf == batch.rounded("fp16").inf == 1
