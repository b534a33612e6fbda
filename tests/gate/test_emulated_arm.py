"""An emulated ARM64 machine, made as users make it: faults that no x86 CPU shows, and their fixes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate
from network import Network

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="qemu-user emulates programs of Linux, on Linux"),
]

FP16 = "fp16-vs-fp32-cpu-on-arm"
THERE = "compare: [{on: arm, compare: [fp16-vs-fp32-cpu]}]\n"
INPUTS = {
    "accumulate": "inputs: {noise: {in0: {random: uniform, seed: 3}}}\n",
    "style_decoder": "inputs: {noise: {in0: {random: normal, seed: 1}}}\n",
    "depthwise": "inputs: {noise: {in0: {random: normal}}}\n",
}
GREY = """\
inputs:
  flat: {in0: {random: uniform, shape: [16, 12]}}
  deep: {in0: {random: uniform, shape: [1, 16, 12]}}
compare:
  - {name: arm, candidate: {worker: arm}}
"""


@pytest.fixture(scope="session")
def arm(request: pytest.FixtureRequest) -> str:
    """The line that declares an emulated ARM64 Python, kept in pytest's cache for the next run."""
    folder = Path(request.config.cache.mkdir("arm64"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--ncnn-parity-arm64={folder}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"no ARM64 Python could be made: {done.stdout}{done.stderr}"
    line = done.stdout.strip()
    assert line == f"arm: command={folder}/python emulated"
    return line


def test_what_arm_cpus_get_wrong_is_red_there_and_fixed_there(
    gate: Gate, pytester: pytest.Pytester, example: Callable[..., Path], arm: str
) -> None:
    folder = pytester.path
    (folder / "pytest.ini").write_text(f"[pytest]\nncnn_parity_workers =\n    {arm}\n", "utf-8")
    networks.depthwise(folder, 12, "depthwise")
    networks.grey(folder, "grey")
    for name in ("accumulate", "style_decoder"):
        example(name)
    for name, inputs in INPUTS.items():
        networks.spec(folder, inputs + THERE, name)
    networks.spec(folder, GREY, "grey")
    run = gate("--ncnn-parity-require-workers", "-p", "no:cacheprovider")

    cases = {case["nodeid"]: case for model in run.report["models"] for case in model["cases"]}
    red = {name: case["cause"] for name, case in cases.items() if case["outcome"] == "failed"}
    blamed = {
        ("accumulate", "average"): "accumulator-overflow",
        ("depthwise", "depthwise"): "device",
        ("style_decoder", "sum_15"): "storage-overflow",
    }
    layers = {f"{model}.parity.yaml::noise::{FP16}::{layer}": c for (model, layer), c in blamed.items()}
    outputs = {f"{name.rpartition('::')[0]}::output:out0": cause for name, cause in layers.items()}
    flat = {name for name in cases if "::flat::" in name}
    assert len(flat) == 2
    assert {name: cause for name, cause in red.items() if name not in flat} == layers | outputs
    # memory past the input is read: garbage, which may differ from run to run, or a crash
    assert {red.get(name) for name in flat} <= {"device", "nondeterministic", "crash"}
    garbage = [cases[name] for name in flat if red[name] != "crash" and cases[name]["layer"]]
    assert all("tried without packing: right" in case["message"] for case in garbage)
    deep = [case for name, case in cases.items() if "::deep::" in name]
    assert [case["outcome"] for case in deep] == ["passed"] * 2
    assert (
        "right without packing" in cases[f"depthwise.parity.yaml::noise::{FP16}::depthwise"]["message"]
    )

    fixes = [(model["spec"], fix) for model in run.report["models"] for fix in model["fixes"]]
    fixed = {spec: (fix["masks"], fix["verified"]) for spec, fix in fixes}
    assert fixed == {
        "accumulate.parity.yaml": ({"average": 1}, True),
        "depthwise.parity.yaml": ({"depthwise": 1}, True),
        "style_decoder.parity.yaml": ({"eps_15": 2, "rsqrt_15": 2}, True),
    }
    worker = run.report["environment"]["workers"]["arm"]
    assert worker["machine"] == "aarch64"
    assert worker["ncnn"] == run.report["environment"]["ncnn"]


def test_what_an_arm_makes_of_an_epsilon_that_is_0_is_not_its_references_fault(
    gate: Gate, pytester: pytest.Pytester, arm: str
) -> None:
    """rsqrt(0) is nan there in fp32 as well, where x86 gives inf."""
    folder = pytester.path
    (folder / "pytest.ini").write_text(f"[pytest]\nncnn_parity_workers =\n    {arm}\n", "utf-8")
    net = Network()
    a, b, c = net.split(net.layer("Input", "in0", params="0=16 1=4"), 3)
    x = net.layer("BinaryOp", "squares", [a, b], params="0=2")
    x = net.layer("Reduction", "sum", [x], params="0=0 1=0 -23303=1,1 4=1 5=1")
    x = net.layer("BinaryOp", "epsilon", [x], params="0=0 1=1 2=1e-8")
    x = net.layer("UnaryOp", "root", [x], params="0=6")
    net.layer("BinaryOp", "normed", [c, x], ["out0"], "0=2")
    net.write(folder / "net")
    values = np.random.RandomState(0).normal(size=(4, 16))
    values[2] = 0.0
    networks.fed(folder, THERE, in0=values)
    run = gate("--ncnn-parity-require-workers", "-p", "no:cacheprovider")
    red = {name.rpartition("::")[2]: run.cases[name]["cause"] for name in run.ids("failed")}
    assert red == {"epsilon": "underflow", "output:out0": "underflow"}
    assert "made by epsilon, which fails itself" in run.cases[f"s::{FP16}::root"]["message"]
    fix = run.fixes[FP16]
    assert (fix["verified"], fix["minimal"], fix["masks"]) == (True, True, {"epsilon": 2, "root": 2})
