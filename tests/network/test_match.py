"""Layers of two exports of a network find each other: by name, by structure, by place."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import graphs
import pytest
import reports
from conftest import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.baseline.reported import ReportedNetwork
from pytest_ncnn_parity.network import param, param_line
from pytest_ncnn_parity.network.versions.match import match

Layers = Sequence[dict[str, Any]]


def lines(*written: str) -> Layers:
    return reports.layers(graphs.network(*written))


def renumbered(layers: Layers) -> Layers:
    """As pnnx names things: layers by operator and number, blobs by number."""
    blobs: dict[str, str] = {}
    return [
        {
            **layer,
            "name": f"{layer['type'].lower()}_{number}",
            "inputs": [blobs[blob] for blob in layer["inputs"]],
            "outputs": [blobs.setdefault(blob, str(len(blobs))) for blob in layer["outputs"]],
        }
        for number, layer in enumerate(layers)
    ]


def inserted(layers: Layers, after: int, type_: str = "Dropout", params: str = "0=0.5") -> Layers:
    """`layers` with one more behind the layer `after`, on its first output."""
    blob = layers[after]["outputs"][0]
    first = [dict(layer) for layer in layers[: after + 1]]
    first[-1] = {**first[-1], "outputs": [f"{blob}'", *first[-1]["outputs"][1:]]}
    new = {"name": "new", "type": type_, "inputs": [f"{blob}'"], "outputs": [blob], "params": params}
    return [*first, new, *layers[after + 1 :]]


def matched(old: Layers, new: Layers) -> dict[int, int]:
    return {o: n for o, (n, _) in match(ReportedNetwork(old), ReportedNetwork(new)).items()}


def by_names(old: Layers, new: Layers) -> dict[str, str]:
    return {old[o]["name"]: new[n]["name"] for o, n in matched(old, new).items()}


STYLE_DECODER = reports.layers(param.read(str(EXAMPLES / "style_decoder" / "style_decoder.param")))


@pytest.mark.parametrize("at", [0, 1, 40, 121, 200, 243])
def test_a_renumbered_export_with_one_more_layer_finds_all_others(at: int) -> None:
    new = renumbered(inserted(STYLE_DECODER, at))
    assert matched(STYLE_DECODER, new) == {n: n + (n > at) for n in range(len(STYLE_DECODER))}


def test_two_more_layers_far_from_each_other() -> None:
    new = renumbered(inserted(inserted(STYLE_DECODER, 200), 50))
    want = {n: n + (n > 50) + (n > 200) for n in range(len(STYLE_DECODER))}
    assert matched(STYLE_DECODER, new) == want


def test_a_renumbered_export_with_a_layer_less() -> None:
    new = renumbered(STYLE_DECODER)
    old = inserted(STYLE_DECODER, 100)
    assert matched(old, new) == {n: n - (n > 101) for n in range(len(old)) if n != 101}


def test_numbers_that_moved_on_are_not_believed() -> None:
    old = lines(
        "Convolution conv_0 in0 a", "ReLU relu_0 a b", "Convolution conv_1 b c", "ReLU relu_1 c d"
    )
    new = lines(
        "Convolution conv_0 in0 x",  # the new one has the name of the first
        "Convolution conv_1 x a",
        "ReLU relu_0 a b",
        "Convolution conv_2 b c",
        "ReLU relu_1 c d",
    )
    new[1]["params"] = "0=3"
    want = {"conv_0": "conv_1", "relu_0": "relu_0", "conv_1": "conv_2", "relu_1": "relu_1"}
    assert by_names(old, new) == {"in0": "in0", **want}


def test_names_decide_where_structure_cannot() -> None:
    old = lines("ReLU a in0 1", "ReLU b 1 2", "ReLU c 2 3", "ReLU d 3 4")
    new = lines("ReLU a in0 1", "ReLU c 1 3", "ReLU d 3 4")
    assert by_names(old, new) == {"in0": "in0", "a": "a", "c": "c", "d": "d"}


def test_names_hold_where_all_parameters_changed() -> None:
    old = [{**layer, "params": "0=64"} for layer in lines(*graphs.RESIDUAL)]
    new = [{**layer, "params": "0=96"} for layer in old]
    assert by_names(old, new) == {layer["name"]: layer["name"] for layer in old}


def test_a_layer_with_other_parameters_is_found_by_its_place() -> None:
    old = lines(*graphs.RESIDUAL)
    new = renumbered([{**x, "params": "0=9" if x["name"] == "conv" else x["params"]} for x in old])
    pairs = match(ReportedNetwork(old), ReportedNetwork(new))
    assert {o: n for o, (n, _) in pairs.items()} == {n: n for n in range(len(old))}
    assert [how for n, (_, how) in pairs.items() if old[n]["name"] == "conv"] == ["place"]


def test_between_two_changes_a_layer_is_found_by_its_own_parameters() -> None:
    old = lines("Pooling p in0 1", "Convolution c 1 2", "Pooling q 2 3")
    new = lines("Pooling a in0 1", "Convolution b 1 2", "Convolution d 2 3", "Pooling e 3 4")
    for number, params in ((1, "0=2"), (2, "0=5"), (4, "0=2")):
        new[number]["params"] = params
    assert by_names(old, new)["c"] == "d"


def test_twins_in_another_order_are_distinguished_by_what_reads_them() -> None:
    old = lines("Split s in0 1 2", "ReLU a 1 3", "ReLU b 1 4", "Softmax c 3 5", "Sigmoid d 4 6")
    new = lines("Split s in0 1 2", "ReLU x 1 4", "ReLU y 1 3", "Softmax c 3 5", "Sigmoid d 4 6")
    assert by_names(old, new) == {"in0": "in0", "s": "s", "a": "y", "b": "x", "c": "c", "d": "d"}


def test_shape_hints_and_masks_are_no_part_of_a_layer() -> None:
    old = lines(*graphs.CHAIN)
    hint = f"{param_line.SHAPE_HINT_ID}=4,1,8,0,0"
    new = [{**layer, "params": hint, "mask": 18} for layer in renumbered(old)]
    pairs = match(ReportedNetwork(old), ReportedNetwork(new))
    assert {matched_by for _, matched_by in pairs.values()} == {"structure"}


def test_a_long_network_with_everything_changed_takes_no_minutes() -> None:
    def network(width: int, length: int, prefix: str) -> Layers:
        kinds = [f"Convolution {prefix}{n}" if n % 2 else f"ReLU {prefix}{n}" for n in range(length)]
        chain = lines(*(f"{kind} {n or 'in0'} {n + 1}" for n, kind in enumerate(kinds)))
        return [{**x, "params": f"0={width}" if x["type"] == "Convolution" else ""} for x in chain]

    old, new = network(64, 2000, "a"), network(96, 2002, "b")
    began = time.process_time()
    assert len(matched(old, new)) == len(old)
    assert time.process_time() - began < 20  # 1 s; it takes minutes when done with difflib alone


@st.composite
def dags(draw: st.DrawFn) -> Layers:
    """A network with every layer unlike the others, so that one reading is right."""
    count = draw(st.integers(1, 25))
    written = []
    for number in range(count):
        ready = ["in0", *(f"b{m}" for m in range(number))]
        inputs = draw(st.lists(st.sampled_from(ready), min_size=1, max_size=3, unique=True))
        written.append(f"Op{number} n{number} {','.join(inputs)} b{number}")
    return lines(*written)


@given(dags(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_renamed_network_is_found_again(old: Layers, dice: random.Random, more: bool) -> None:
    at = dice.randrange(len(old))
    new = renumbered(inserted(old, at) if more else old)
    names = [layer["name"] for layer in old]
    dice.shuffle(names)  # names that were other layers'
    if not more:
        new = [{**layer, "name": name} for layer, name in zip(new, names, strict=True)]
    assert matched(old, new) == {n: n + (more and n > at) for n in range(len(old))}


@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_pairs_are_one_to_one_and_of_one_operator(kinds: list[str], data: st.DataObject) -> None:
    def chain(ops: Sequence[str], prefix: str) -> Layers:
        return lines(*(f"{op} {prefix}{n} {n or 'in0'} {n + 1}" for n, op in enumerate(ops)))

    other = data.draw(st.lists(st.sampled_from("ABC"), min_size=1, max_size=30))
    old, new = chain(kinds, "l"), chain(other, data.draw(st.sampled_from("lm")))
    pairs = matched(old, new)
    assert len(set(pairs.values())) == len(pairs)
    assert all(old[o]["type"] == new[n]["type"] for o, n in pairs.items())
