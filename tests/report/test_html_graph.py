"""The drawing of the network around a red layer: what is drawn where, and with which words."""

from __future__ import annotations

import pytest

from pytest_ncnn_parity.report.html.graph import BOX_WIDTH, MOST, drawn
from pytest_ncnn_parity.report.html.neighbourhood import Neighbour, Neighbours

FP16 = "vulkan, fp16 storage, fp16 arithmetic"


def neighbour(name: str, largest: str = "3.25", runs: str = FP16) -> Neighbour:
    return Neighbour(f"blob_{name}", name, "ReLU", runs, largest)


def test_makers_stand_to_the_left_and_readers_to_the_right() -> None:
    around = Neighbours((neighbour("a"), neighbour("b", runs="cpu")), (neighbour("c", "70000"),))
    drawing = drawn("sum_15", "Reduction", FP16, around)
    assert drawing is not None
    a, b, own, c = drawing.boxes
    assert [box.name for box in drawing.boxes] == ["a", "b", "sum_15", "c"]
    assert [box.runs for box in (own, b)] == ["Reduction · vulkan fp16", "ReLU · cpu"]
    assert [box.red for box in drawing.boxes] == [False, False, True, False]
    assert a.x == b.x < own.x < c.x
    assert a.y < own.y == c.y < b.y
    assert c.x + BOX_WIDTH <= drawing.width
    assert [(edge.blob, edge.largest, edge.beyond) for edge in drawing.edges] == [
        ("blob_a", "3.25", False),
        ("blob_b", "3.25", False),
        ("blob_c", "70000", True),
    ]
    assert drawing.words == "sum_15 reads blob_a, blob_b. sum_15 is read by c"


@pytest.mark.parametrize("count", [1, MOST, 40])
def test_all_that_is_drawn_is_inside_the_frame(count: int) -> None:
    many = tuple(neighbour(f"layer_with_a_long_name_{n}") for n in range(count))
    for around in (Neighbours(many, ()), Neighbours((), many), Neighbours(many, many)):
        drawing = drawn("l" * 80, "ReLU", "", around)
        assert drawing is not None
        for box in drawing.boxes:
            assert 0 <= box.x <= drawing.width - BOX_WIDTH
            assert 0 <= box.y <= drawing.height - 44
            assert len(box.name) <= 24
        assert len(drawing.boxes) <= 2 * MOST + 1


def test_without_neighbours_there_is_nothing_to_draw() -> None:
    assert drawn("l1", "ReLU", FP16, Neighbours()) is None
