"""What an Embed is given: words of its table, words beyond it, and floats."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from failed_cases import case

from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network.integers import AS_FLOATS
from pytest_ncnn_parity.worker.networks.words import misread_as_floats, misread_words
from pytest_ncnn_parity.worker.values.blob import Blob

TABLE = "Embed tok in0 out0 0=8 1=100"


def misread(words: list[int] | np.ndarray, line: str = TABLE) -> str:
    bits = np.asarray(words, np.int32).view(np.float32)
    return misread_words(graphs.network(line).names["tok"], Blob.of(bits))


@pytest.mark.parametrize("words", [[0, 99, 5], [0]])
def test_words_of_the_table_are_read(words: list[int]) -> None:
    assert misread(words) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [3, 153, 249],
            "gets 2 of 3 words beyond its table, which has 0 to 99; the first of them is 153",
        ),
        ([100, 1], "gets 1 of 2 words beyond its table, which has 0 to 99; the first of them is 100"),
        ([-1, 1], "is -1, for which ncnn takes the first"),
        ([2**31 - 1], "is 2147483647, for which ncnn takes the last"),
    ],
)
def test_words_beyond_the_table_are_named(words: list[int], said: str) -> None:
    assert said in misread(words)


def test_a_table_of_unknown_size_takes_any_word() -> None:
    assert misread([153], "Embed tok in0 out0 0=8") == ""


def test_floats_are_named_before_words() -> None:
    floats = np.array([1.0, 2.0], np.float32).view(np.int32)
    assert "gets 2 of 3 words as floats" in misread(np.append(floats, 153))


@pytest.mark.parametrize(
    ("line", "misreads"),
    [
        ("BinaryOp f ids y 0=0 1=1 2=1.0", True),
        ("BinaryOp f x,ids y 0=2", True),
        ("Gemm f ids y 5=1", True),
        ("Reduction f ids y 0=0 1=1", True),
        ("BinaryOp f x,ids y 0=4", False),
        ("Reduction f ids y 0=4 1=1", False),
        ("Clip f ids y 0=0 1=99", False),
        ("Reshape f ids y 0=-1", False),
        ("Split f ids y z", False),
        ("Crop f x,ids y 0=-233", False),
        ("Embed f ids y 0=8 1=100", False),
    ],
)
def test_a_layer_that_computes_with_words_is_named(line: str, misreads: bool) -> None:
    layer = graphs.network("ReLU a in0 x", "ReLU b in0 ids", line).names["f"]
    given = {"x": Blob.of(np.ones(3, np.float32)), "ids": Blob.of(np.array([3, 42, 7], np.int32))}
    said = "gets 'ids', which holds integers where it reads floats: the bits of 3 are those of 4.2e-45"
    assert misread_as_floats(layer, given) == (said if misreads else "")
    of_none = Blob.of(np.zeros(0, np.int32))
    for ids in (given["x"], of_none):
        assert misread_as_floats(layer, {**given, "ids": ids}) == ""


def test_what_to_do_depends_on_what_is_wrong() -> None:
    floats = np.array([1.0], np.float32).view(np.int32)
    for words, advice in (([153], "feed only words that the table has"), (floats, "feed integers")):
        death = Death("words", misread(words), Step("layer", "cpu fp32", 1, "tok"))
        result = Result("s::cpu-vs-vulkan::tok", "failed", evidence=Evidence(death=death))
        diagnosis = diagnose(case("tok", "Embed"), result)
        assert diagnosis.cause == "shape"
        assert advice in diagnosis.evidence[-1]
    of_sum = Death("words", f"gets 'ids', which holds {AS_FLOATS}", Step("layer", "cpu fp32", 1, "f"))
    failed = Result("s::cpu-vs-vulkan::f", "failed", evidence=Evidence(death=of_sum))
    assert "has an input of its own" in diagnose(case("f", "BinaryOp"), failed).evidence[-1]
