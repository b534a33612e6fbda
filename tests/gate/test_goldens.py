"""Recorded outputs of the original framework, against the network on the CPU in fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from conftest import Gate, fresh_python
from network import Network
from plans import loaded

from pytest_ncnn_parity.compare.comparisons import CPU_FP32, GOLDEN
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, Tolerance
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Recorded
from pytest_ncnn_parity.spec import spec
from pytest_ncnn_parity.spec.spec import SpecError

CASE = "recorded::golden::output:l2"
INPUT = np.linspace(-1, 1, 8, dtype=np.float32)


@pytest.fixture
def chain(pytester: pytest.Pytester) -> Callable[..., None]:
    """A network that adds 0.5 to 8 values, with `array` for the recording of its output."""

    def recorded_as(array: np.ndarray, text: str = "", keys: str = "file: out.npy") -> None:
        networks.chain(pytester.path, 2)
        np.save(pytester.path / "in.npy", INPUT)
        np.save(pytester.path / "out.npy", array)
        expect = f"expect: {{l2: {{{keys}}}}}"
        inputs = f"inputs:\n  recorded:\n    in0: {{file: in.npy}}\n    {expect}\n"
        networks.spec(pytester.path, f"{inputs}compare: [fp16-range]\n{text}")

    return recorded_as


# -- a run ---------------------------------------------------------------------------------------


def test_a_converted_network_gives_what_pytorch_gave(gate: Gate, example: Callable[[str], Path]) -> None:
    example("digits")
    run = gate("-k", "golden")
    assert run.ids("passed") == [f"image{i}::golden::output:out0" for i in range(3)]
    case = run.cases["image0::golden::output:out0"]
    assert case["tolerance"]["scaled"] == 1e-4
    assert 0 < case["metrics"]["scaled"] < 1e-5
    assert case["golden"] == "recorded.npz[image0.out0]"
    assert (case["execution"], case["device"]) == ("cpu fp32", "cpu")


def transposed(folder: Path) -> None:
    """The last layer's weights, 10 x 32, in the order of their transposition; then 10 biases."""
    values = np.fromfile(folder / "digits.bin", np.float32)
    values[-330:-10] = values[-330:-10].reshape(10, 32).T.ravel()
    values.tofile(folder / "digits.bin")


def wrong_mean(folder: Path) -> None:
    recorded = dict(np.load(folder / "recorded.npz"))
    recorded |= {key: array - 0.5 for key, array in recorded.items() if key.endswith("in0")}
    np.savez(folder / "recorded.npz", **recorded)


@pytest.mark.once
@pytest.mark.parametrize("mistake", [transposed, wrong_mean])
def test_a_wrong_conversion_is_red_where_all_else_is_green(
    mistake: Callable[[Path], None],
    gate: Gate,
    example: Callable[[str], Path],
    pytester: pytest.Pytester,
) -> None:
    example("digits")
    mistake(pytester.path)
    run = gate("-k", "image1")
    assert run.ids("failed") == ["image1::golden::output:out0"]
    case = run.cases["image1::golden::output:out0"]
    assert case["cause"] == "conversion"
    assert "no mask can fix it" in case["message"]
    assert "with blobs on the way to it under `expect` as well" in case["message"]
    assert "compared: recorded.npz[image1.out0] -> cpu fp32" in case["message"]
    assert run.fixes == {}, "no search was started"
    assert len(run.ids("passed")) == 10 + 11 + 10


def test_a_recording_that_cannot_fit_says_how_it_would(gate: Gate, chain: Callable[..., None]) -> None:
    chain(INPUT[None] + 0.5)
    case = gate().cases[CASE]
    assert (case["outcome"], case["cause"]) == ("failed", "conversion")
    assert "out.npy holds (1, 8), the network gives (8,)" in case["message"]
    assert "ncnn has no batch dimension: save the array's [0], (8,)" in case["message"]


def test_nan_must_stand_where_it_was_recorded(gate: Gate, chain: Callable[..., None]) -> None:
    array = INPUT + 0.5
    array[3] = np.nan
    chain(array)
    case = gate().cases[CASE]
    assert (case["outcome"], case["cause"]) == ("failed", "conversion")
    assert case["metrics"]["mismatched"] == 1
    assert "out.npy itself holds 1 nan where the network has none" in case["message"]
    assert "at fault: record it again" in case["message"]


def test_what_is_not_finite_on_both_sides_is_no_agreement(gate: Gate, pytester: pytest.Pytester) -> None:
    """nan is red, and inf that is given out; -inf is what masks hold, inf in between may be meant."""
    net = Network()
    values = np.arange(8, dtype=np.float32)
    blobs = net.split(net.layer("Input", "in0", params="0=8"), 4)
    net.layer("BinaryOp", "hidden", [blobs[0]], params="0=2 1=1 2=-1e38")
    net.layer("BinaryOp", "endless", [blobs[1]], params="0=2 1=1 2=1e38")
    less = net.layer("BinaryOp", "less", [blobs[2]], params="0=1 1=1 2=3.0")
    net.layer("UnaryOp", "root", [less], params="0=5")
    large = net.layer("BinaryOp", "large", [blobs[3]], params="0=2 1=1 2=1e38")
    net.layer("BinaryOp", "bounded", [large], params="0=5 1=1 2=9.0")
    net.write(pytester.path / "net")
    with np.errstate(all="ignore"):
        recorded = {
            "hidden": values * np.float32(-1e38),
            "endless": values * np.float32(1e38),
            "root": np.sqrt(values - 3),
            "large": values * np.float32(1e38),
            "bounded": np.minimum(values * np.float32(1e38), 9),
        }
    np.savez(pytester.path / "r.npz", x=values, **recorded)
    expect = ", ".join(f"{name}: {{file: r.npz, key: {name}}}" for name in recorded)
    inputs = f"{{in0: {{file: r.npz, key: x}}, expect: {{{expect}}}}}"
    networks.spec(pytester.path, f"inputs:\n  s: {inputs}\ncompare: [cpu-vs-vulkan]\n")
    run = gate()
    red = {name.partition("::")[2]: run.cases[name] for name in run.ids("failed")}
    assert {name: case["cause"] for name, case in red.items()} == {
        "golden::output:root": "nan",
        "golden::output:endless": "inf",
        "cpu-vs-vulkan::root": "nan",
        "cpu-vs-vulkan::output:root": "nan",
        "cpu-vs-vulkan::output:endless": "inf",
    }
    assert "4 inf, which endless computed" in red["cpu-vs-vulkan::output:endless"]["message"]
    assert "r.npz[root] itself holds 3 nan" in red["golden::output:root"]["message"]
    for comparison in ("golden", "cpu-vs-vulkan"):
        case = run.cases[f"s::{comparison}::output:hidden"]
        assert "4 of 8 values are inf or -inf on both sides" in case["message"]
    assert {name: fix["masks"] for name, fix in run.fixes.items()} == {"cpu-vs-vulkan": {}}


def test_a_recording_that_cannot_be_read_costs_its_case_alone(
    gate: Gate, chain: Callable[..., None], pytester: pytest.Pytester
) -> None:
    chain(INPUT)
    (pytester.path / "out.npy").write_bytes(b"no array")
    run = gate()
    assert run.ids("failed") == [CASE]
    message = run.cases[CASE]["message"]
    assert "net.parity.yaml:5:14: inputs.recorded.expect.l2: " in message
    assert "out.npy: cannot be read as .npy or .npz without pickles" in message
    assert len(run.ids("passed")) == 3


def test_a_sample_that_cannot_be_fed_is_no_recordings_fault(
    gate: Gate, chain: Callable[..., None], pytester: pytest.Pytester
) -> None:
    chain(INPUT + 0.5)
    (pytester.path / "in.npy").write_bytes(b"no array")
    case = gate("-k", "golden").cases[CASE]
    assert (case["outcome"], case["cause"]) == ("failed", None)
    assert "net.parity.yaml:4:5: inputs.recorded.in0: " in case["message"]
    assert ".expect." not in case["message"]


@pytest.mark.once
def test_a_known_difference_is_expected_and_strict(
    gate: Gate, chain: Callable[..., None], pytester: pytest.Pytester
) -> None:
    known = "known: [{output: l2, comparison: golden, reason: other padding}]\n"
    chain(INPUT, known)
    run = gate("-k", "golden")
    assert (run.result.ret, run.cases[CASE]["known"]) == (0, True)
    np.save(pytester.path / "out.npy", INPUT + 0.5)
    assert gate("-k", "golden").result.ret == 1


def test_where_the_plain_cpu_gives_the_recording_its_kernels_are_to_blame(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.convolution(pytester.path)
    rng = np.random.RandomState(0)
    np.save(pytester.path / "in.npy", rng.normal(size=(8, 24, 24)).astype(np.float32))
    code = """
import os, sys
import numpy as np
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
spec = NetSpec(0, "cpu", "fp32", probes.PLAIN)
net = LoadedNet(spec, Model("net.param", "net.bin"), (0,) * 4, 1, lambda step: None)
made = net.run({"in0": Blob.of(np.load("in.npy"))}, ["c3"])["c3"]
np.save("out.npy", made.array)
print("done", flush=True)
os._exit(0)
"""
    assert fresh_python(code).stdout == "done\n"
    inputs = "inputs:\n  recorded: {in0: {file: in.npy}, expect: {c3: {file: out.npy}}}\n"
    networks.spec(
        pytester.path, f"{inputs}compare: [fp16-range]\ntolerance: {{golden: {{atol: 1e-9}}}}\n"
    )
    case = gate("-k", "golden").cases["recorded::golden::output:c3"]
    assert (case["outcome"], case["cause"]) == ("failed", "reference")
    assert "without packing, winograd and sgemm the CPU gives what was recorded" in case["message"]


def test_a_redundant_mask_is_looked_for_beside_recordings(
    gate: Gate, chain: Callable[..., None]
) -> None:
    chain(INPUT + 0.5, "masks: {l1: 18}\n")
    text = Path("net.parity.yaml").read_text("utf-8").replace("fp16-range", "cpu-vs-vulkan")
    Path("net.parity.yaml").write_text(text, "utf-8")
    run = gate()
    assert run.ids("failed") == []
    assert [notice["kind"] for notice in run.report["models"][0]["masks"]] == ["redundant"]


# -- the cases -----------------------------------------------------------------------------------


def test_the_cases_are_the_outputs_a_sample_expects(tmp_path: Path) -> None:
    expect = "expect: {out1: {file: a.npz, key: y}}"
    plan = loaded(tmp_path)
    path = tmp_path / "net.parity.yaml"
    path.write_text(path.read_text("utf-8").replace("normal}}", f"normal}}, {expect}}}"), "utf-8")
    plan = type(plan)(spec.load(path), plan.graph)
    (case,) = plan.cases(GOLDEN, "noise")
    assert (case.id, case.layer, case.output) == ("golden::output:out1", None, "out1")
    assert case.golden == Recorded(f"{tmp_path}/a.npz", "y")
    assert (case.comparison.candidate, case.comparison.half) == (CPU_FP32, None)
    assert case.tolerance == DEFAULTS["golden"].output
    assert plan.cases(GOLDEN, "flat") == []


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [
        ("golden: {scaled: 1e-5}", Tolerance(scaled=1e-5)),
        ("fp32: {scaled: 1e-5}", DEFAULTS["golden"].output),
        ("golden: {atol: 1}, outputs: {'*': {scaled: 0.5}}", Tolerance(scaled=0.5)),
    ],
)
def test_a_recording_has_a_tolerance_of_its_own(text: str, tolerance: Tolerance, tmp_path: Path) -> None:
    (case,) = planned(tmp_path, "{file: out.npy}", f"tolerance: {{{text}}}\n").cases(GOLDEN, "s")
    assert case.tolerance == tolerance


# -- the spec ------------------------------------------------------------------------------------


def planned(folder: Path, expect: str, more: str = "", blob: str = "l2") -> Any:
    networks.chain(folder, 2)
    (folder / "out.npy").write_bytes(b"")
    inputs = f"inputs:\n  s: {{in0: {{constant: 1}}, expect: {{{blob}: {expect}}}}}\n"
    return check.plan(spec.load(networks.spec(folder, inputs + more)))


@pytest.mark.parametrize(
    ("expect", "more", "message"),
    [
        ("{fil: out.npy}", "", "3:41: unknown key 'fil'; did you mean 'file'"),
        ("{random: normal}", "", "3:41: unknown key 'random'"),
        (
            "{file: 3}",
            "",
            "3:47: .*expected text: put quotes around it, '3'; found 3",
        ),
        ("{file: oot.npy}", "", "3:36: inputs.s.expect.l2: .*oot.npy does not exist; .*'out.npy'"),
        ("out.npy", "", "3:40: inputs.s.expect.l2: "),
        (
            "{file: out.npy}",
            "known: [{output: l2, comparison: goldn, reason: x}]",
            "did you mean 'golden'",
        ),
        (
            "{file: out.npy}",
            "compare: [{name: golden, candidate: {device: vulkan}}]",
            "'golden' is a comparison with a sample's 'expect'; take another name",
        ),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(
    expect: str, more: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=message):
        planned(tmp_path, expect, more)


def test_an_output_that_does_not_exist_is_reported_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError,
        match=r"3:36: inputs\.s\.expect\.l22: .*such blob; did you mean .l2.; its outputs are l2",
    ):
        planned(tmp_path, "{file: out.npy}", blob="l22")


def test_nothing_expected_is_an_error(tmp_path: Path) -> None:
    path = networks.spec(tmp_path, "inputs: {s: {in0: {constant: 1}, expect: {}}}\n")
    with pytest.raises(SpecError, match=r"2:42: inputs\.s\.expect: "):
        spec.load(path)


@pytest.mark.parametrize(
    ("value", "blobs", "expected"),
    [
        ("{file: a.npy}", {"in0", "expect"}, set()),
        ("{random: normal}", {"in0", "expect"}, set()),
        ("{constant: 1}", {"in0", "expect"}, set()),
        ("{image: a.png}", {"in0", "expect"}, set()),
        ("{out0: {file: a.npy}}", {"in0"}, {"out0"}),
        ("{file: {file: a.npy}, out0: {file: b.npy}}", {"in0"}, {"file", "out0"}),
    ],
)
def test_expect_is_an_input_where_its_value_is_a_source(
    value: str, blobs: set[str], expected: set[str], tmp_path: Path
) -> None:
    path = networks.spec(tmp_path, f"inputs: {{s: {{in0: {{constant: 1}}, expect: {value}}}}}\n")
    sample = spec.load(path).samples["s"]
    assert (set(sample.blobs), set(sample.expect)) == (blobs, expected)
