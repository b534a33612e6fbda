"""The network around a red layer as a drawing: who makes what it reads, and who reads what it makes."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.report.html.neighbourhood import Neighbour, Neighbours
from pytest_ncnn_parity.report.text.line_width import cut, cut_middle

MOST = 4  # layers on each side; the table lists six, and the number of the others
BOX_WIDTH, BOX_HEIGHT, GAP, ROW = 190.0, 44.0, 130.0, 60.0
MARGIN = 2.0
NAME, TYPE, BLOB = 24, 26, 18  # how many characters fit into a box, and on an edge


class Box(Frozen):
    """A layer at a place: its name, and its operator with where it ran."""

    x: float
    y: float
    name: str
    runs: str
    red: bool = False


class Edge(Frozen):
    """A blob from one box to another: the line's path, its arrow's head, and its words at a place.

    `beyond`: its largest value is beyond fp16.
    """

    path: str
    head: str
    x: float
    y: float
    anchor: str
    blob: str
    largest: str
    beyond: bool


class Drawing(Frozen):
    """Boxes and edges in a frame, and the same in words."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    words: str


def drawn(name: str, operator: str, runs: str, around: Neighbours) -> Drawing | None:
    """The drawing of a layer and its neighbours; None where it has none."""
    reads, readers = around.reads[:MOST], around.readers[:MOST]
    if not reads and not readers:
        return None
    height = ROW * max(len(reads), len(readers), 1)
    left = MARGIN
    middle = left + (BOX_WIDTH + GAP if reads else 0)
    right = middle + BOX_WIDTH + GAP
    self_box = Box(middle, _row(0, 1, height), cut_middle(name, NAME), _below(operator, runs), red=True)
    makers = [_box(left, n, len(reads), height, one) for n, one in enumerate(reads)]
    takers = [_box(right, n, len(readers), height, one) for n, one in enumerate(readers)]
    edges = [_edge(box, self_box, one, box.y, "start") for box, one in zip(makers, reads, strict=True)]
    edges += [_edge(self_box, box, one, box.y, "end") for box, one in zip(takers, readers, strict=True)]
    return Drawing(
        width=(right + BOX_WIDTH if readers else middle + BOX_WIDTH) + MARGIN,
        height=height,
        boxes=(*makers, self_box, *takers),
        edges=tuple(edges),
        words=". ".join(_words(name, around)),
    )


def _row(number: int, count: int, height: float) -> float:
    """The upper edge of a box in a column of `count` boxes, centred."""
    return height / 2 + (number - count / 2) * ROW + (ROW - BOX_HEIGHT) / 2


def _box(x: float, number: int, count: int, height: float, one: Neighbour) -> Box:
    return Box(x, _row(number, count, height), cut_middle(one.layer, NAME), _below(one.type, one.runs))


def _below(operator: str, runs: str) -> str:
    """The operator and where it ran, as `vulkan fp16`; the table beside the drawing has all of it."""
    place, _, how = runs.partition(",")
    precision = next((one for one in ("fp16", "bf16", "int8") if one in how), "")
    return cut(" · ".join(filter(None, (operator, f"{place} {precision}".strip()))), TYPE)


def _edge(start: Box, end: Box, one: Neighbour, y: float, anchor: str) -> Edge:
    x1, y1 = start.x + BOX_WIDTH, start.y + BOX_HEIGHT / 2
    x2, y2 = end.x - 6, end.y + BOX_HEIGHT / 2
    bend = GAP * 0.55
    level = y + BOX_HEIGHT / 2
    return Edge(
        path=f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}",
        head=f"M{x2 + 6:g} {y2:g}l-7 -4v8z",
        x=x1 + 6 if anchor == "start" else x2 - 4,
        y=level,
        anchor=anchor,
        blob=cut_middle(one.blob, BLOB),
        largest=one.largest,
        beyond=bool(one.largest) and abs(float(one.largest)) >= FP16_OVERFLOW,
    )


def _words(name: str, around: Neighbours) -> Iterator[str]:
    if around.reads:
        yield f"{name} reads {', '.join(one.blob for one in around.reads)}"
    if around.readers:
        yield f"{name} is read by {', '.join(one.layer for one in around.readers)}"
