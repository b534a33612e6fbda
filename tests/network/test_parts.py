"""Parts: whose element is whose, behind Concat, Reshape, Permute, Slice and what works on elements.

numpy computes here what an operator does to labels, and ncnn in tests/worker/test_parts_in_ncnn.py.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
from graphs import network

from pytest_ncnn_parity.compare.nature import Nature
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.parts import Parts

Array = npt.NDArray[np.float32]

HEAD = ("Split f in0 a b", "Convolution boxes a boxes 0=4", "Convolution raw b raw 0=1")
SCORED = (*HEAD, "Sigmoid scores raw scores")
SHAPES = {"boxes": (4, 9), "raw": (1, 9), "scores": (1, 9)}


def followed(
    lines: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]],
    operators: Mapping[str, Callable[..., Array]],
    blob: str = "out",
) -> Nature:
    """The nature of `blob`, where each copying layer named in `operators` does that to its inputs."""
    graph = network(*lines)
    parts = Parts(graph)

    def copy(layer: Layer) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
        return lambda arrays: {
            layer.outputs[0]: operators[layer.name](*(arrays[b] for b in layer.inputs))
        }

    for layer in graph.layers:
        parts.follow(layer, shapes, copy(layer))
    return parts.nature(blob, len(shapes[blob]))


def stack(*arrays: Array) -> Array:
    return np.concatenate(arrays)


def units(nature: Nature) -> list[float]:
    """The natural scale of each part, spread over the parts' shape."""
    assert nature.parts is not None
    return [nature.units[int(label)] for label in nature.parts.ravel()]


def test_what_concat_puts_side_by_side_is_distinguished() -> None:
    nature = followed((*SCORED, "Concat c boxes,scores out"), {**SHAPES, "out": (5, 9)}, {"c": stack})
    assert nature.parts is not None
    assert nature.parts.shape == (5, 1)
    assert units(nature) == [0, 0, 0, 0, 1]
    assert len(set(nature.parts[:4].ravel())) == 1


def test_reshape_and_permute_carry_the_parts_along() -> None:
    nature = followed(
        (*SCORED, "Concat c boxes,scores cat", "Permute p cat turned", "Reshape r turned out"),
        {**SHAPES, "cat": (5, 9), "turned": (9, 5), "out": (3, 3, 5)},
        {"c": stack, "p": np.transpose, "r": lambda a: a.reshape(3, 3, 5)},
    )
    assert nature.parts is not None
    assert nature.parts.shape == (1, 1, 5)
    assert units(nature) == [0, 0, 0, 0, 1]


def test_a_slice_of_one_part_is_one_part_again() -> None:
    nature = followed(
        (*SCORED, "Concat c boxes,scores cat", "Crop s cat out"),
        {**SHAPES, "cat": (5, 9), "out": (1, 9)},
        {"c": stack, "s": lambda a: a[4:]},
    )
    assert units(nature) == [1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ReLU e cat out", [0, 0, 0, 0, 1]),
        ("Sigmoid e cat out", [1, 1, 1, 1, 1]),
        ("BinaryOp e cat out 0=2 1=1 2=8.0", [0, 0, 0, 0, 0]),
    ],
)
def test_what_works_on_elements_keeps_the_parts(line: str, expected: list[float]) -> None:
    lines = (*SCORED, "Concat c boxes,scores cat", line)
    nature = followed(lines, {**SHAPES, "cat": (5, 9), "out": (5, 9)}, {"c": stack})
    assert units(nature) == expected


def test_what_mixes_elements_ends_the_parts() -> None:
    lines = (*SCORED, "Concat c boxes,scores cat", "Convolution m cat out 0=4")
    assert followed(lines, {**SHAPES, "cat": (5, 9), "out": (4, 9)}, {}) == Nature()


def test_two_values_of_one_maker_are_one_part() -> None:
    lines = ("Convolution n in0 n", "Split f n a b", "Concat c a,b out")
    assert followed(lines, {"a": (4, 9), "b": (4, 9), "out": (8, 9)}, {"c": stack}) == Nature()


def test_labels_that_a_layer_changes_are_given_up() -> None:
    lines = (*SCORED, "Concat c boxes,scores cat", "Padding p cat out 0=1 5=0.5")
    shapes = {**SHAPES, "cat": (5, 9), "out": (7, 9)}
    pad = {"c": stack, "p": lambda a: np.pad(a, ((1, 1), (0, 0)), constant_values=0.5)}
    assert followed(lines, shapes, pad) == Nature()


def test_a_value_of_one_maker_has_its_natural_scale() -> None:
    assert followed(("Sigmoid s in0 out",), {"out": (3, 4)}, {}) == Nature(1.0)
    assert followed(("Softmax s in0 out 0=1 1=1",), {"out": (3, 4)}, {}) == Nature(
        1.0, sums_to_one=True, along=1
    )


def test_layers_far_from_any_output_are_not_followed() -> None:
    graph = network("Split f in0 a b", "Concat c a,b cat", "Convolution m cat out 0=4")
    parts = Parts(graph)
    assert parts.layers == set()

    def never(_: Mapping[str, Array]) -> Mapping[str, Array]:
        raise AssertionError

    for layer in graph.layers:
        parts.follow(layer, {"a": (4, 9), "b": (4, 9), "cat": (8, 9), "out": (4, 9)}, never)


def test_where_parts_end_in_an_output_its_makers_are_followed() -> None:
    graph = network(*SCORED, "Concat c boxes,scores out")
    assert {graph.layers[n].name for n in Parts(graph).layers} == {"c", "boxes", "scores", "raw"}


def test_integers_are_known_as_such() -> None:
    graph = network("Split f in0 a b", "Embed e a words 0=8 1=100", "ArgMax m words out", "Noop n b c")
    parts = Parts(graph)
    assert parts.nature("c", 1) == Nature(integers=True)
    assert parts.nature("out", 1) == Nature(integers=True)
    assert parts.nature("words", 2) == Nature()


@pytest.mark.parametrize(
    ("params", "dimensions", "along"), [("0=-1", 3, 2), ("0=1", 3, 1), ("0=2", 1, 0)]
)
def test_a_softmax_sums_to_one_along_its_axis(params: str, dimensions: int, along: int) -> None:
    nature = Parts(network(f"Softmax p in0 out {params} 1=1")).nature("out", dimensions)
    assert nature == Nature(1.0, sums_to_one=True, along=along)


def test_a_softmax_without_its_axis_is_of_no_scale() -> None:
    """ncnn hands on what it gets where the value has no such axis."""
    assert Parts(network("Softmax p in0 out 0=5 1=1")).nature("out", 3) == Nature()
