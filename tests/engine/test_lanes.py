"""Which samples are judged by two workers at the same time, and which case is whose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from plans import loaded

from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.inputs import ConstantInput, ImageInput, Input, NormalInput, Recording
from pytest_ncnn_parity.engine.lanes import halves
from pytest_ncnn_parity.engine.protocol import Judge
from pytest_ncnn_parity.engine.room import BY_HAND, MIB, Room, room
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan.cases import Plan

WEIGHTS = Path("not there.bin")
ALL = "compare: [cpu-vs-vulkan, fp16-vs-fp32, shipped, fp16-range]"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Plan]:
    return partial(loaded, tmp_path)


def job(plan: Plan) -> Judge:
    cases = [case for one in plan.spec.comparisons for case in plan.cases(one)]
    return jobs.judge(plan, "noise", cases, threads=2)


def test_what_runs_in_16_bits_on_vulkan_is_one_half(load: Callable[..., Plan]) -> None:
    whole = job(load(ALL))
    parted = halves(whole)
    assert parted is not None
    first, second = parted
    assert {case.comparison for case in second.cases} == {"fp16-vs-fp32-vulkan", "shipped"}
    assert {case.comparison for case in first.cases} == {
        "cpu-vs-vulkan",
        "fp16-vs-fp32-cpu",
        "fp16-range",
    }
    assert len(first.cases) + len(second.cases) == len(whole.cases)
    assert (first.nets, second.nets) == (whole.nets, whole.nets)


@pytest.mark.parametrize(
    "compare", ["[cpu-vs-vulkan]", "[fp16-vs-fp32, fp16-range]", "[shipped]", "[fp16-range]"]
)
def test_where_one_half_would_do_next_to_nothing_there_is_one_worker(
    load: Callable[..., Plan], compare: str
) -> None:
    assert halves(job(load(f"compare: {compare}"))) is None


def test_what_has_its_result_needs_no_second_worker(load: Callable[..., Plan]) -> None:
    whole = job(load(ALL))
    done = tuple(case.id for case in whole.cases if case.comparison == "cpu-vs-vulkan")
    assert halves(replace(whole, done=done[1:])) is not None
    assert halves(replace(whole, done=done)) is None


def test_declared_workers_run_one_network_at_a_time(load: Callable[..., Plan]) -> None:
    whole = job(load(ALL))
    there = tuple(replace(net, worker="board") for net in whole.nets)
    assert halves(replace(whole, nets=there)) is None


def chain(layers: int, side: int) -> str:
    """The text of a network whose every value holds side * side floats."""
    lines = [f"Input in0 0 1 x0 0={side} 1={side} 2=1"]
    lines += [f"ReLU r{i} 1 1 x{i} x{i + 1}" for i in range(layers)]
    return "\n".join(["7767517", f"{layers + 1} {layers + 1}", *lines, ""])


@pytest.mark.parametrize(
    ("layers", "side", "two", "trajectory"),
    [
        pytest.param(40, 256, True, True, id="many small values"),  # 41 * 0.25 MiB
        pytest.param(4, 2048, False, True, id="few large values"),  # 32 MiB at each layer, 80 in all
        pytest.param(1, 4096, False, False, id="one layer holds all values"),  # 128 MiB
        pytest.param(100, 2048, True, True, id="a script that keeps all values holds more"),
    ],
)
def test_workers_hold_no_more_than_a_script_that_keeps_all_values(
    layers: int, side: int, two: bool, trajectory: bool
) -> None:
    graph = param.parse(chain(layers, side), "net.param")
    found = room(graph, WEIGHTS, {"x0": ConstantInput(1.0, (1, side, side))}, None)
    assert found[:3] == Room((layers + 1) * 4 * side * side, two, trajectory)[:3]


def test_each_worker_holds_weights(tmp_path: Path) -> None:
    """Of many weights and few values, two workers hold more than the script does."""
    graph = param.parse(chain(4, 256), "net.param")
    inputs: dict[str, Input] = {"x0": ConstantInput(1.0, (1, 256, 256))}
    found = {}
    for size in (20, 100):
        weights = tmp_path / f"{size}.bin"
        with weights.open("wb") as file:
            file.truncate(size * MIB)
        found[size] = room(graph, weights, inputs, None).for_two
    assert found == {20: True, 100: False}
    assert room(graph, tmp_path / "20.bin", inputs, 500 * MIB)[1:3] == (True, True)
    assert room(graph, tmp_path / "20.bin", inputs, 300 * MIB)[1:3] == (False, True)
    assert room(graph, tmp_path / "100.bin", inputs, 300 * MIB)[1:3] == (False, False)


@pytest.mark.parametrize(
    ("layers", "side", "read", "threads"),
    [(4, 16, 0, 1), (4, 16, MIB, 6), (4, 512, 0, 32), (24, 16, MIB, 1)],
    ids=["small layers", "large weights", "large values", "many layers"],
)
def test_a_layer_gets_as_many_threads_as_it_has_work_for(
    tmp_path: Path, layers: int, side: int, read: int, threads: int
) -> None:
    graph = param.parse(chain(layers, side), "net.param")
    weights = tmp_path / "net.bin"
    weights.write_bytes(bytes(read))
    found = room(graph, weights, {"x0": ConstantInput(1.0, (1, side, side))}, None)
    assert found.threads == threads


def test_workers_hold_no_more_than_one_may() -> None:
    graph = param.parse(chain(40, 256), "net.param")
    inputs: dict[str, Input] = {"x0": NormalInput((1, 256, 256), 0, 0.0, 1.0)}
    assert room(graph, WEIGHTS, inputs, BY_HAND)[1:3] == (True, True)
    assert room(graph, WEIGHTS, inputs, 300 * MIB)[1:3] == (False, True)
    assert room(graph, WEIGHTS, inputs, 160 * MIB)[1:3] == (False, False)


@pytest.mark.parametrize(
    ("source", "fits"),
    [
        (ImageInput("a.png", "gray", (256, 256)), True),
        (ImageInput("a.png", "gray"), False),
        (Recording("a.npy"), False),
    ],
    ids=["size", "no size", "array"],
)
def test_a_shape_that_is_not_known_before_it_is_read_leaves_no_room(source: Input, fits: bool) -> None:
    graph = param.parse(chain(40, 256), "net.param")
    found = room(graph, WEIGHTS, {"x0": source}, None)
    assert found == Room(41 * 4 * 256 * 256 if fits else 0, fits, fits, 8 if fits else None)
