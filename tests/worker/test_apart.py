"""Values beyond fp16's range, followed one by one: what each does, and how many runs that takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import numpy as np
import pytest
from graphs import network

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.judge.fp16 import apart
from pytest_ncnn_parity.worker.judge.fp16.apart import Apart
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.values.blob import Blob, Made

ROW = 50
DO: dict[str, Callable[..., np.ndarray]] = {
    "Split": lambda x: x,
    "UnaryOp": np.negative,
    "BinaryOp": lambda x, y: x + y,
    "Eltwise": lambda x, y: x - 0.5 * y,
    "Clip": lambda x: np.clip(x, -2e5, 2e5),
    "ReLU": lambda x: 1e-6 * x,
}


class Followed:
    """A network that is stepped through on `value` while all that is beyond fp16 is followed.

    `left_out`: how many of its last layers are not run.
    """

    def __init__(self, graph: Graph, *value: float, left_out: int = 0) -> None:
        self.runs = 0
        self.graph = graph
        blobs: Made = {}
        reference = Reference(
            graph,
            blobs,
            self._run,
            lambda *_: Tolerance(scaled=0.01),
            lambda *_: None,
            frozenset(graph.outputs),
            lambda *_: None,
            frozenset(),
        )
        self.apart = Apart(reference)
        for layer in graph.layers[: len(graph.layers) - left_out]:
            if layer.type == "Input":
                blobs[layer.outputs[0]] = Blob.of(np.array(value, np.float32))
                continue
            blobs |= self._made(layer, blobs)
            beyond = {b: blobs[b].stored() for b in layer.inputs if blobs[b].overflows("fp16")}
            if beyond and layer.type != "Split":
                self.apart.meet("c", layer, beyond)
            self.apart.look("c", layer)

    def _run(self, layer: Layer, values: Made) -> Made:
        self.runs += 1
        return self._made(layer, values)

    def _made(self, layer: Layer, values: Made) -> Made:
        with np.errstate(invalid="ignore"):
            made = DO[layer.type](*(values[blob].array for blob in layer.inputs))
        return {blob: Blob.of(np.asarray(made, np.float32)) for blob in layer.outputs}

    def clears(self, name: str, blob: str) -> bool:
        return self.apart.clears("c", self.graph.names[name], blob, right=True)


def row(last: str, length: int = ROW) -> Graph:
    return network(
        "Split s in0 x0",
        *(f"UnaryOp n{i} x{i} x{i + 1}" for i in range(length)),
        f"{last} last x{length} out0",
    )


def calls(work: Callable[[], object]) -> int:
    """How many functions the module calls while `work` runs, those of Python itself included."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "c_call" and frame.f_code.co_filename == apart.__file__

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(("last", "right"), [("Clip", True), ("ReLU", False)])
def test_in_a_row_of_layers_each_is_run_once_for_its_own_value(last: str, right: bool) -> None:
    row_of = Followed(row(last), 2e5, -3e5, 1.0)
    assert row_of.runs == ROW + 1
    assert {row_of.clears(f"n{i}", f"x{i}") for i in range(ROW)} == {right}


@pytest.mark.parametrize("last", ["Clip", "ReLU"])
def test_each_further_layer_of_a_row_costs_as_much_as_the_one_before(last: str) -> None:
    """It would cost more if every layer walked through all that has been followed before it."""
    short, longer, longest = (
        calls(lambda length=length: Followed(row(last, length), 2e5, -3e5, 1.0))
        for length in (ROW, 2 * ROW, 3 * ROW)
    )
    assert longest - longer == longer - short > 0


def test_where_other_elements_are_inf_a_value_is_followed_by_itself() -> None:
    """The sum is beyond fp16 in a place where neither term is, and the Clip is wrong with inf there."""
    graph = network(
        "Split s in0 a b",
        "UnaryOp n a c",
        "UnaryOp nn c d",
        "BinaryOp add b,d e",
        "Clip last e out0",
    )
    both = Followed(graph, 2e5, 4e4)
    assert both.clears("n", "a")
    assert both.clears("add", "b")
    assert not both.clears("last", "e")


def test_two_that_only_meet_to_cancel_are_each_harmful() -> None:
    graph = network(
        "Split s in0 a b",
        "UnaryOp n a c",
        "BinaryOp add b,c e",
        "Clip last e out0",
    )
    both = Followed(graph, 2e5, 1.0)
    assert both.apart.guilty("c", graph.names["add"]) == {"b", "c"}
    assert not both.clears("n", "a")


@pytest.mark.parametrize("left_out", [1, 2, ROW // 2])
def test_what_has_readers_that_were_not_run_is_not_cleared(left_out: int) -> None:
    few = Followed(row("Clip"), 2e5, 1.0, left_out=left_out)
    assert few.apart.guilty("c", few.graph.names["n0"]) == set()
    assert not few.clears("n0", "x0")


@pytest.mark.parametrize("names", ["ab", "cd", "ef", "gh", "ij", "kl"])
def test_what_comes_back_on_two_ways_is_followed_on_both(names: str) -> None:
    """inf - inf is nan, though the first of the two alone would do no harm."""
    one, other = names
    graph = network(
        "UnaryOp n in0 x",
        f"Split s x {one} {other}",
        f"Eltwise half {one},{other} y",
        "Clip last y out0",
    )
    both = Followed(graph, 4e5, 1.0)
    assert both.apart.guilty("c", graph.names["half"]) == {other}
    assert not both.clears("n", "in0")
