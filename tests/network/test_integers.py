"""Which blobs hold whole numbers."""

from __future__ import annotations

import graphs
import pytest
from written_graphs import fed

from pytest_ncnn_parity.network.integers import (
    computing_readers,
    copying_integers,
    integer_bits,
    integer_reader,
    whole_numbers,
    words,
)

WORDS = (
    "Split fork in0 left right",
    "Reshape shape left flat",
    "Embed tok flat a",
    "Concat join right,right b",
    "Crop crop b c",
    "Embed pos c d",
    "BinaryOp add a,d out0",
)


def test_integers_are_what_an_embed_reads_also_behind_copies() -> None:
    network = graphs.network(*WORDS)
    for blob in ("in0", "left", "right", "flat", "b", "c"):
        assert integer_reader(network, blob) is not None
    assert integer_reader(network, "right").name == "pos"
    for blob in ("a", "d", "out0"):
        assert integer_reader(network, blob) is None


def test_a_layer_between_makes_other_values() -> None:
    network = graphs.network("BinaryOp scale in0 a", "Embed tok a out0")
    assert integer_reader(network, "in0") is None
    assert [layer.name for layer in computing_readers(network, "in0")] == ["scale"]


def test_of_several_embeds_the_smallest_counts() -> None:
    large, small = "Embed large 1 1 a out0 0=4 1=1000", "Embed small 1 1 b out1 0=4 1=10"
    network = fed("Split fork 1 2 in0 a b", large, small)
    reader = integer_reader(network, "in0")
    assert (reader.name, words(reader)) == ("small", 10)


@pytest.mark.parametrize(("params", "count"), [("1=7", 7), ("", None), ("1=x", None), ("1=0", None)])
def test_how_many_words_an_embed_knows(params: str, count: int | None) -> None:
    assert words(fed(f"Embed tok 1 1 in0 out0 0=4 {params}").layers[1]) == count


def test_copies_of_copies_cost_no_more_than_layers() -> None:
    lines = []
    for i in range(60):
        lines += [f"Split s{i} x{i} l{i} r{i}", f"Concat c{i} l{i},r{i} x{i + 1}"]
    network = graphs.network("Reshape first in0 x0", *lines, "Embed tok x60 out0")
    assert integer_reader(network, "in0").name == "tok"
    assert {"in0", "x0", "x60"} <= integer_bits(network)


def test_a_long_chain_of_copies_is_followed_to_its_start() -> None:
    lines = [f"Reshape r{i} x{i} x{i + 1}" for i in range(2000)]
    network = graphs.network("Reshape first in0 x0", *lines, "Embed tok x2000 out0")
    assert {"in0", "x2000"} <= integer_bits(network)


def test_the_bits_that_an_embed_reads_are_integers_wherever_they_are_copied() -> None:
    graph = graphs.network(
        "Split f in0 a b c",
        "Reshape r a row 0=-1",
        "Embed e row words 0=8 1=100",
        "Slice s b head tail",
        "Sigmoid p words out0",
        "Permute t c out1",
    )
    assert integer_bits(graph) == {"in0", "a", "b", "c", "row", "head", "tail", "out1"}
    assert whole_numbers(graph) == set()


def test_what_a_dequantize_reads_are_integers_too() -> None:
    graph = graphs.network("Split f in0 a b", "Dequantize d a out0", "Dequantize e b out1")
    assert integer_bits(graph) == {"in0", "a", "b"}


def test_a_dropout_copies_unless_it_multiplies() -> None:
    for between, copies in (("DeepCopy", True), ("Dropout", True), ("Dropout 0=1.0", True)):
        operator, *params = between.split()
        graph = graphs.network(" ".join([operator, "d in0 a", *params]), "Embed e a out0")
        assert ("in0" in integer_bits(graph)) == copies
    graph = graphs.network("Dropout d in0 a 0=0.5", "Embed e a out0")
    assert integer_bits(graph) == {"a"}


def test_words_that_are_put_side_by_side_are_all_integers() -> None:
    graph = graphs.network(
        "Split f in0 a b", "Sigmoid p b other", "Concat j a,other row", "Embed e row out0"
    )
    assert integer_bits(graph) == {"in0", "a", "other", "row", "b"}


def test_what_is_beside_words_in_a_concat_is_no_copy_of_words_alone() -> None:
    graph = graphs.network(
        "Split f in0 a b c", "Embed e a words", "ReLU r words other", "Concat j b,other out0"
    )
    assert integer_bits(graph) == {"in0", "a", "b", "c"}


def test_the_layers_that_hand_on_integers_do_nothing_else() -> None:
    graph = graphs.network(*WORDS, "ReLU r out0 out1")
    numbers = copying_integers(graph)
    assert {graph.layers[n].name for n in numbers} == {"fork", "shape", "join", "crop"}


def test_a_crop_reads_its_second_input_as_integers() -> None:
    lines = ("Split f in0 a b", "Convolution m a picture", "MemoryData d in0 place")
    crop = "Crop c picture,place out 0={}"
    assert integer_bits(graphs.network(*lines, crop.format("-233"))) == {"place"}
    assert integer_bits(graphs.network(*lines, crop.format("0"))) == set()


def test_an_argmax_gives_whole_numbers_in_floats() -> None:
    graph = graphs.network("ArgMax m in0 best 0=0 1=3", "Split f best a b", "ReLU r b out")
    assert whole_numbers(graph) == {"best", "a", "b"}
    assert integer_bits(graph) == set()
    # the values stand beside their places
    assert whole_numbers(graphs.network("ArgMax m in0 best 0=1 1=3")) == set()
