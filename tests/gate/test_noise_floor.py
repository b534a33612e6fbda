"""Terms that cancel in fp32: no layer, output or recording is red for their rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

from pytest_ncnn_parity.engine.settings import Settings
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec

pytestmark = pytest.mark.once

CHANNELS, PLACES, OUTPUTS = 64, 36, 6
SEEDS = range(2)
LARGE = 3e4  # times what the terms add up to


def weights(seed: int, wrong: float = 0.0) -> np.ndarray:
    """Rows that add up to nothing, in fp32; one weight is off by `wrong` of its size."""
    rows = np.random.default_rng(seed).normal(0, LARGE, (OUTPUTS, CHANNELS))
    rows = (rows - rows.mean(1, keepdims=True)).astype(np.float32).astype(np.float64)
    rows[seed % OUTPUTS, 5] *= 1 + wrong
    return rows


def flat(seed: int) -> np.ndarray:
    """A picture that is nearly flat."""
    values = 1.0 + 1e-5 * np.random.default_rng((seed, 1)).normal(0, 1, (CHANNELS, 6, 6))
    return values.astype(np.float32)


def cancelled(seed: int, wrong: float) -> np.ndarray:
    values = flat(seed).astype(np.float64).reshape(CHANNELS, PLACES)
    return (weights(seed, wrong) @ values).reshape(OUTPUTS, 6, 6)


def at_the_end(net: Network, x: str, seed: int) -> None:
    _convolution(net, x, seed, "out0")


def in_the_middle(net: Network, x: str, seed: int) -> None:
    x = _convolution(net, x, seed, "cancelling")
    x = net.layer("UnaryOp", "negative", [x], params="0=1")
    net.layer("BinaryOp", "out0", [x], params="0=2 1=1 2=3.0")


def in_a_branch(net: Network, x: str, seed: int) -> None:
    a, b = net.split(x, 2)
    a = _convolution(net, a, seed, "cancelling")
    b = net.layer("Slice", "first", [b], ["b0", "b1"], f"-23300=2,{OUTPUTS},-233")
    net.layer("Concat", "out0", [a, b])


def _convolution(net: Network, x: str, seed: int, name: str) -> str:
    own = [weights(seed), np.zeros(OUTPUTS)]
    return net.layer(
        "Convolution", name, [x], params=f"0={OUTPUTS} 1=1 5=1 6={own[0].size}", weights=own
    )


def truth(kind: str, seed: int, wrong: float) -> np.ndarray:
    """In float64; `wrong` is the fault of whoever recorded it."""
    values = cancelled(seed, wrong)
    if kind == "in_the_middle":
        return -3 * values
    return values if kind == "at_the_end" else np.concatenate([values, flat(seed)[:OUTPUTS]])


KINDS = {one.__name__: one for one in (at_the_end, in_the_middle, in_a_branch)}


def project(folder: Path, wrong: float) -> None:
    for kind, build in KINDS.items():
        for seed in SEEDS:
            name = f"{kind}_{seed}"
            net = Network()
            build(net, net.layer("Input", "in0"), seed)
            net.write(folder / name)
            np.save(folder / f"{name}_in.npy", flat(seed))
            np.save(folder / f"{name}_out.npy", truth(kind, seed, wrong).astype(np.float32))
            sample = f"{{in0: {{file: {name}_in.npy}}, expect: {{out0: {{file: {name}_out.npy}}}}}}"
            text = f"inputs:\n  flat: {sample}\ncompare: [cpu-vs-vulkan]\n"
            networks.spec(folder, text, name)


@pytest.mark.parametrize("wrong", [0.0, 0.02])
def test_rounding_of_terms_that_cancel_is_green_and_a_wrong_weight_is_red(
    wrong: float, gate: Gate, pytester: pytest.Pytester
) -> None:
    """2 % of one weight in 64 is thirty times what rounding leaves of the sum."""
    project(pytester.path, wrong)
    run = gate("--ncnn-parity-fix=off")
    cases = [case for model in run.report["models"] for case in model["cases"]]
    excused = [case for case in cases if "terms that cancel" in case["message"]]
    red = {case["nodeid"].partition(".")[0] for case in cases if case["outcome"] == "failed"}
    if wrong:
        assert red == {f"{kind}_{seed}" for kind in KINDS for seed in SEEDS}
        assert {case["comparison"] for case in cases if case["outcome"] == "failed"} == {"golden"}
    else:
        assert red == set()
        assert {case["comparison"] for case in excused} == {"cpu-vs-vulkan", "golden"}
        assert len(excused) >= len(SEEDS)


def test_what_was_excused_is_not_run_again_by_a_cache(
    gate: Gate, started: Callable[[], int], pytester: pytest.Pytester
) -> None:
    """An excuse rests on a reference that was trusted, which takes two workers: once, not each time."""
    net = Network()
    at_the_end(net, net.layer("Input", "in0"), 0)
    net.write(pytester.path / "net")
    for seed in SEEDS:
        np.save(pytester.path / f"{seed}.npy", flat(seed))
    samples = "".join(f"  s{seed}: {{in0: {{file: {seed}.npy}}}}\n" for seed in SEEDS)
    networks.spec(pytester.path, f"inputs:\n{samples}compare: [cpu-vs-vulkan]\n")
    first = gate("--ncnn-parity-cache=cache")
    assert first.ids("failed") == []
    assert any("terms that cancel" in case["message"] for case in first.cases.values())
    assert started() == 2
    again = gate("--ncnn-parity-cache=cache")
    assert [case["message"] for case in again.cases.values()] == [
        case["message"] for case in first.cases.values()
    ]
    assert started() == 0


GREYS = {"one": [0.3], "colours": [0.3, 0.71, 0.55], "levels": [103.3, 127.3, 210.7]}


@pytest.mark.parametrize("greys", GREYS.values(), ids=GREYS)
@pytest.mark.parametrize("side", [16, 48])
def test_a_mean_that_is_subtracted_is_rounded_by_as_much_as_its_terms_are_many(
    greys: list[float], side: int, gate: Gate, pytester: pytest.Pytester
) -> None:
    """A norm by hand over flat grey leaves the rounding of a sum, of which the CPU has more."""
    net = Network()
    x, again = net.split(net.layer("Input", "in0", params=f"0={side} 1={side} 2={len(greys)}"), 2)
    mean = net.layer("Reduction", "mean", [x], params="0=3 1=0 -23303=2,1,2 4=1 5=1")
    x, again = net.split(net.layer("BinaryOp", "centred", [again, mean], params="0=1"), 2)
    x = net.layer("UnaryOp", "squares", [x], params="0=4")
    x = net.layer("Reduction", "variance", [x], params="0=3 1=0 -23303=2,1,2 4=1 5=1")
    x = net.layer("BinaryOp", "epsilon", [x], params="0=0 1=1 2=1e-05")
    x = net.layer("UnaryOp", "root", [x], params="0=6")
    net.layer("BinaryOp", "norm", [again, x], ["out0"], "0=2")
    net.write(pytester.path / "net")
    flat = np.array(greys, np.float32).reshape(-1, 1, 1) * np.ones((1, side, side), np.float32)
    np.save(pytester.path / "in0.npy", flat)
    spec = "inputs:\n  s: {in0: {file: in0.npy}}\ncompare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, spec)
    run = gate()
    assert run.ids("failed", "cpu-vs-vulkan") == []
    assert "device" not in {case["cause"] for case in run.cases.values()}


def sharp(net: Network) -> None:
    """A step of a sigmoid at the rounding of a sum: "out0" from 4,000 random numbers."""
    x = net.layer("Input", "in0", params="0=4000")
    x = net.layer("BinaryOp", "plus", [x], params="0=0 1=1 2=1.0")
    x = net.layer("BinaryOp", "minus", [x], params="0=1 1=1 2=1.0")
    x = net.layer("BinaryOp", "times", [x], params="0=2 1=1 2=1100.0")
    net.layer("Sigmoid", "sharp", [x], ["out0"])


def test_a_list_on_another_branch_does_not_withdraw_it(gate: Gate, pytester: pytest.Pytester) -> None:
    """A list has another number of rows when values move, so nothing is known of how it moves."""
    net = Network()
    sharp(net)
    picture = net.layer("Input", "in1", params="0=24 1=24 2=16")
    anchors = np.random.RandomState(3).normal(0, 0.3, (24, 16))
    head = net.layer(
        "Convolution",
        "head",
        [picture],
        params=f"0=24 1=1 5=1 6={anchors.size}",
        weights=[anchors, np.zeros(24)],
    )
    net.layer("Yolov3DetectionOutput", "boxes", [head], ["out1"], networks.FOUR_ANCHORS)
    net.write(pytester.path / "net")
    samples = (
        f"  s{n}: {{in0: {{random: normal, seed: {n}}}, in1: {{random: normal, seed: {n}}}}}\n"
        for n in range(4)
    )
    text = f"inputs:\n{''.join(samples)}compare: [fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, text)
    run = gate("-k", "output:out0")
    assert run.ids("failed") == []
    excused = [name for name, case in run.cases.items() if case["metrics"]["mismatched"]]
    assert excused
    assert [name for name in gate().ids("failed") if name.endswith("output:out0")] == []


STRICT = """\
inputs: {s: {in0: {random: normal, seed: 3}INPUT}}
compare: [{name: storage, candidate: {device: vulkan, precision: fp16-storage}}OTHERS]
tolerance: {layers: {plus: {scaled: 1.0e-9}}}
"""


def test_an_output_behind_a_red_layer_stays_red_when_it_runs_again(tmp_path: Path) -> None:
    net = Network()
    sharp(net)
    net.write(tmp_path / "net")
    path = networks.spec(tmp_path, STRICT.replace("INPUT", "").replace("OTHERS", ""))
    plan = check.plan(spec.load(path))
    cases = [case for one in plan.spec.comparisons for case in plan.cases(one)]
    run = SpecRun(plan, Settings(120.0, 1), {"s": cases})
    try:
        (output,) = (case for case in cases if case.output is not None)
        assert run.result("s", output).outcome == "failed"
        assert run.result_of_rerun("s", output).outcome == "failed"
    finally:
        run.close()


@pytest.mark.since_ncnn("1.0.20260526", "a mask of 2 kills the worker")
@pytest.mark.parametrize("mask", ["", " 31=2"], ids=["all is well", "a worker dies"])
def test_behind_a_red_layer_it_is_withdrawn_whichever_worker_judged_it(
    gate: Gate, pytester: pytest.Pytester, mask: str
) -> None:
    """The layer on another branch kills the worker once `plus` was found to be red."""
    net = Network()
    sharp(net)
    x = net.layer("Input", "in1", params="0=16 1=16 2=8")
    x = net.layer("BinaryOp", "before", [x], params="0=2 1=1 2=3.0")
    net.layer("BinaryOp", "fatal", [x], ["out1"], f"0=2 1=1 2=2.0{mask}")
    net.write(pytester.path / "net")
    second = STRICT.replace("INPUT", ", in1: {random: normal}").replace("OTHERS", ", shipped")
    networks.spec(pytester.path, second)
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed", "storage")[:1] == ["s::storage::plus"]
    assert "s::storage::output:out0" in run.ids("failed", "storage")
    died = [name for name, case in run.cases.items() if "killed by" in case["message"]]
    assert bool(died) == bool(mask)


def copies_cancel(
    folder: Path, behind: bool, channels: int, wrong: float = 0.0, width: int = 8, side: int = 13
) -> None:
    """A Convolution of whose outputs the first `channels` cancel, w and -w on copies of one blob.

    In the other file one weight of the first channel is `wrong`.
    """
    rng = np.random.default_rng(5)
    own = rng.normal(0, 0.3, (7, 2 * width, 3, 3))
    own[:channels, width:] = -own[:channels, :width]
    for name, error in (("net", 0.0), ("other", wrong)):
        net = Network()
        x = net.layer("Input", "in0", params=f"0={side} 1=12 2=3")
        stem = [np.random.default_rng(6).normal(0, 0.3, (width, 3, 3, 3)), np.zeros(width)]
        params = f"0={width} 1=3 4=1 5=1 6={27 * width}"
        x = net.layer("Convolution", "stem", [x], params=params, weights=stem)
        x = net.layer("Sigmoid", "act", [x])
        x = net.layer("Concat", "both", list(net.split(x, 2)))
        weights = own.copy()
        weights[0, 0, 1, 1] += error
        params = f"0=7 1=3 4=1 5=1 6={own.size}"
        last = ["cancelled" if behind else "out0"]
        x = net.layer("Convolution", "cancel", [x], last, params, [weights, np.zeros(7)])
        if behind:
            net.layer("Swish", "swish", [x], ["out0"])
        net.write(folder / name)


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize("behind", [False, True], ids=["output", "behind"])
def test_an_output_whose_terms_are_copies_that_cancel_is_green(
    behind: bool, channels: int, gate: Gate, pytester: pytest.Pytester
) -> None:
    copies_cancel(pytester.path, behind, channels)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan, fp16-vs-fp32-vulkan]\n")
    run = gate()
    assert run.ids("failed") == []
    message = run.cases["noise::fp16-vs-fp32-vulkan::output:out0"]["message"]
    assert "rounding of terms that cancel" in message


def test_sums_of_thousands_of_terms_that_cancel_are_green(gate: Gate, pytester: pytest.Pytester) -> None:
    """3,456 terms, added in fp16, whose partial sums are larger in some places than in others."""
    copies_cancel(pytester.path, False, 7, width=192, side=300)
    networks.spec(pytester.path, f"{networks.NOISE}compare: [fp16-vs-fp32-vulkan]\n")
    assert gate().ids("failed") == []


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_where_copies_do_not_cancel_quite_the_output_is_red(
    precision: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    copies_cancel(pytester.path, True, 1, wrong=0.3)
    candidate = (
        f"{{device: vulkan, precision: {precision}, model: {{param: other.param, bin: other.bin}}}}"
    )
    networks.spec(pytester.path, f"{networks.NOISE}compare: [{{name: other, candidate: {candidate}}}]\n")
    assert gate().ids("failed") == [f"noise::other::{name}" for name in ("cancel", "output:out0")]
