"""What a declared worker answers is decoded or refused: whatever it is, nothing else comes of it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.worker.far import answers
from pytest_ncnn_parity.worker.far.answers import Malformed

pytestmark = pytest.mark.once

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FEW = settings(max_examples=60, deadline=None)
GREETING = {
    "ncnn": "1",
    "python": "3",
    "machine": "arm",
    "system": "Linux",
    "cores": 4,
    "features": ["neon"],
    "options": ["use_fp16_packed"],
}
LOADED = {
    "blobs": ["a", "b"],
    "layers": [["ReLU", [1], False, True, False]],
    "options": {"num_threads": 1, "use_fp16_packed": True},
}
RUN = {"outputs": [[0, [2, 3], "f"], [-100, None, "f"]], "ms": 1.5}


@FEW
@given(st.sampled_from(sorted(GREETING)), ANYTHING)
def test_any_greeting_is_read_or_refused(key: str, value: Any) -> None:
    with suppress(Malformed):
        greeting = answers.greeting({**GREETING, key: value})
        assert all(text.isprintable() and len(text) <= 1000 for text in greeting.shown.values())
        assert greeting.cores >= 1


@FEW
@given(st.sampled_from(sorted(LOADED)), ANYTHING)
def test_any_loaded_network_is_read_or_refused(key: str, value: Any) -> None:
    with suppress(Malformed):
        read = answers.readback({**LOADED, key: value}, 1)
        assert len(read.layers) == 1
        assert all(top < len(read.blobs) for layer in read.layers for top in layer.tops)


@FEW
@given(ANYTHING)
def test_any_device_is_read_or_refused(value: Any) -> None:
    with suppress(Malformed):
        assert all(one.name.isprintable() for one in answers.devices({"devices": value}))


SHAPES = st.lists(st.integers(-2, 1 << 40) | st.integers(1, 4), max_size=5)
OUTPUTS = st.lists(st.tuples(st.integers(), st.none() | SHAPES | ANYTHING, st.sampled_from("fbx")))


@FEW
@given(OUTPUTS | ANYTHING, ANYTHING)
def test_any_run_has_the_values_that_it_says_or_is_refused(outputs: Any, more: Any) -> None:
    plain = outputs
    if isinstance(outputs, list):
        plain = [list(one) if isinstance(one, tuple) else one for one in outputs]
    message = {**RUN, "outputs": plain}
    if isinstance(more, float):
        message["ms"] = more
    with suppress(Malformed, ValueError):
        size = answers.size(message, 3)
        assert 0 <= size <= answers.MOST_BYTES
        if size > 1 << 20:
            return
        run = answers.run(message, bytearray(size))
        assert sum(array.nbytes for _, array in run.outputs if array is not None) == size
        assert 0 <= run.milliseconds < math.inf


def test_what_a_worker_writes_is_read() -> None:
    assert answers.size(RUN, 2) == 24
    run = answers.run(RUN, bytearray(np.arange(6, dtype=np.float32).tobytes()))
    assert run.outputs[0][1] is not None
    assert run.outputs[0][1].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert run.outputs[1] == (-100, None)
    assert answers.run({"input": -1, "index": 3}, bytearray()).refused_input == 3


@pytest.mark.parametrize("blob", [-1, 2, 1 << 70, True, "0"])
def test_a_layer_with_a_blob_that_is_not_there_is_refused(blob: object) -> None:
    with pytest.raises(Malformed):
        answers.readback({**LOADED, "layers": [["ReLU", [blob], False, True, False]]}, 1)


def test_a_network_without_a_blob_or_an_option_that_was_asked_for_is_refused() -> None:
    assert answers.readback(LOADED, 1, ["a", "b"], ["num_threads"]).on("use_fp16_packed")
    for layers, names, asked in [(2, ["a"], []), (1, ["c"], []), (1, ["a"], ["use_bf16_storage"])]:
        with pytest.raises(Malformed):
            answers.readback(LOADED, layers, names, asked)


def test_more_outputs_than_asked_for_and_too_many_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="more outputs"):
        answers.size(RUN, 1)
    with pytest.raises(ValueError, match="bytes"):
        answers.size({"outputs": [[0, [1 << 20, 1 << 20], "f"]]}, 1)


@pytest.mark.parametrize("shape", [[], [1] * 5, [2, 0], [-1, 3], ["2"], [True]])
def test_a_shape_that_no_value_of_ncnn_has_is_refused(shape: list[object]) -> None:
    with pytest.raises(ValueError, match=r"is not an? (output|shape|number)"):
        answers.size({"outputs": [[0, shape, "f"]]}, 1)
