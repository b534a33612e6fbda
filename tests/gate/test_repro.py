"""`--ncnn-parity-repro`: a red layer as files that show its fault with ncnn alone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import quantized
import tree_sitter
import tree_sitter_cpp
from conftest import Gate
from network import Network
from own_layers import affine, project

pytestmark = pytest.mark.once

REPRO = ("--ncnn-parity-repro=found", "--ncnn-parity-fix=off")


def script(folder: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the repro in `folder`, where this package cannot be imported."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code = (
        "import sys, runpy; sys.modules['pytest_ncnn_parity'] = None; "
        "runpy.run_path(sys.argv[1], {}, '__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder / "repro.py")],
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd or folder,
        timeout=300,
        check=False,
    )


def parses(folder: Path) -> bool:
    """Whether the C++ twin in `folder` is C++ without an error, to a parser that knows no types."""
    language = tree_sitter.Language(tree_sitter_cpp.language())
    tree = tree_sitter.Parser(language).parse((folder / "repro.cpp").read_bytes())
    return not tree.root_node.has_error


def check_twin(folder: Path, shown: subprocess.CompletedProcess[str]) -> None:
    """The C++ twin gives the exit status and the lines of the script, as `shown`.

    Built by the line in it, where a compiler and ncnn's headers are had (CPATH, LIBRARY_PATH and
    LD_LIBRARY_PATH name another prefix); with Vulkan if that ncnn has it. Parsed anywhere.
    """
    assert parses(folder)

    def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, **more)

    probe = "#include <ncnn/net.h>\nhas NCNN_VULKAN\n"
    if shutil.which("c++") is None:
        return
    seen = run(["c++", "-E", "-P", "-x", "c++", "-"], input=probe)
    if seen.returncode:
        return
    text = (folder / "repro.cpp").read_text("utf-8")
    (line,) = re.findall(r"^//   (c\+\+ .* -lncnn)$", text, re.M)
    built = run([*shlex.split(line), "-Wall", "-Wextra"])
    assert (built.returncode, built.stderr) == (0, "")
    twin = run([str(folder / "repro")], timeout=300)
    if re.search(r"_device = [0-9]", text) and seen.stdout.split()[-1] == "0":
        assert (twin.returncode, twin.stdout.splitlines()[-1]) == (
            2,
            "cannot be tried: ncnn was built without Vulkan",
        )
        return
    assert twin.returncode == shown.returncode, twin.stdout
    assert shape_of(twin.stdout) == shape_of(shown.stdout)


def shape_of(shown: str) -> list[str]:
    """The lines below the version, with # for each number: another build of ncnn has other digits."""
    return [re.sub(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?", "#", line) for line in shown.splitlines()[1:]]


def test_an_overflow_is_shown_by_the_layer_alone(
    gate: Gate, pytester: pytest.Pytester, example: Callable[[str], Path]
) -> None:
    example("style_decoder")
    run = gate(*REPRO, "-k", "fp16-vs-fp32-vulkan and (sum_15 or out0)")
    folder = pytester.path / "found/style_decoder/fp16-vs-fp32-vulkan/sum_15"
    red = run.cases["face::fp16-vs-fp32-vulkan::sum_15"]
    assert red["repro"] == str(folder)
    assert f"  repro: {folder} (of sample face)" in red["message"].splitlines()
    assert run.cases["other::fp16-vs-fp32-vulkan::sum_15"]["repro"] == str(folder)
    assert run.cases["face::fp16-vs-fp32-vulkan::output:out0"]["repro"] is None
    assert sorted(p.name for p in folder.iterdir()) == [
        "in0.npy",
        "layer.bin",
        "layer.param",
        "repro.cpp",
        "repro.py",
    ]
    assert sorted(p.name for p in folder.parent.iterdir()) == ["sum_15"]
    assert (folder / "layer.param").read_text("utf-8").splitlines()[:3] == [
        "7767517",
        "2 2",
        "Input square_15 0 1 square_15",
    ]
    shown = script(folder)
    assert shown.returncode == 1, shown.stderr
    assert "sum_15: the reference reaches 3000" in shown.stdout
    assert "the fault is there" in shown.stdout
    text = (folder / "repro.py").read_text("utf-8")
    assert f"ncnn {run.report['environment']['ncnn']}, numpy" in text
    check_twin(folder, shown)
    assert run.report["environment"]["devices"][0]["name"] in text
    np.save(folder / "in0.npy", np.load(folder / "in0.npy") / 1000)
    shown = script(folder)
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (0, "the fault is not seen here")


@pytest.mark.since_ncnn("1.0.20260526", "Reduction has no Vulkan kernel")
def test_an_accumulator_is_shown_too(
    gate: Gate, pytester: pytest.Pytester, example: Callable[[str], Path]
) -> None:
    example("accumulate")
    run = gate(*REPRO, "-k", "fp16-vs-fp32-vulkan")
    (name,) = (n for n in run.ids("failed") if "output" not in n)
    folder = Path(run.cases[name]["repro"])
    shown = script(folder)
    assert shown.returncode == 1, shown.stderr
    assert "elements out of tolerance; the worst" in shown.stdout
    check_twin(folder, shown)


def test_what_is_predicted_inside_a_layer_is_run_on_the_device(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The values of each layer here fit fp16: winograd's transform does not, nor do a word's bits."""
    net = Network()
    x = net.layer("Input", "in0", params="0=32 1=32 2=32")
    weights = [np.random.RandomState(0).normal(0, 1 / 17, (32, 32, 3, 3)), np.zeros(32)]
    x = net.layer("Convolution", "conv", [x], params="0=32 1=3 4=1 5=1 6=9216", weights=weights)
    net.layer("ReLU", "relu", [x], ["out0"])
    for reader, words in zip(("tok", "pos"), net.split(net.layer("Input", "ids"), 2), strict=True):
        table = np.random.RandomState(1).normal(0, 1, (90000, 2))
        net.layer("Embed", reader, [words], [reader], "0=2 1=90000 2=0 3=180000", [table])
    net.write(pytester.path / "net")
    np.save(pytester.path / "ids.npy", np.array([80000, 3, 0]))
    sample = "{in0: {random: normal, std: 8000}, ids: {file: ids.npy}}"
    near = "tolerance: {layers: {relu: {headroom: 3}}}\ncompare: [fp16-range, fp16-vs-fp32-vulkan]\n"
    networks.spec(pytester.path, f"inputs:\n  s: {sample}\n{near}")
    run = gate(*REPRO, "-k", "conv or split or (relu and range)")
    assert {case["cause"] for case in run.cases.values() if case["outcome"] == "failed"} == {
        "winograd-overflow",
        "precision",
        "headroom",
    }
    for name in ("fp16-range::conv", "fp16-range::split_ids", "fp16-vs-fp32-vulkan::split_ids"):
        folder = Path(run.cases[f"s::{name}"]["repro"])
        shown = script(folder)
        assert shown.returncode == 1, shown.stdout + shown.stderr
        assert "split" not in name or "0, reference 80000" in shown.stdout
        check_twin(folder, shown)
    headroom = run.cases["s::fp16-range::relu"]
    assert headroom["repro"] is None
    assert "only the headroom is missing" in headroom["message"]


def test_what_kills_the_worker_kills_the_script(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path, "31=2")
    networks.spec(pytester.path, networks.NOISE)
    gate(*REPRO, "-k", "c2 and fp16-vs-fp32-vulkan")
    folder = pytester.path / "found/net/fp16-vs-fp32-vulkan/c2"
    whole = (pytester.path / "net.bin").read_bytes()
    assert (folder / "layer.bin").read_bytes() == whole[len(whole) // 3 : len(whole) * 2 // 3]
    assert (folder / "layer.param").read_text("utf-8").splitlines()[-1].endswith("31=2")
    assert script(folder).returncode == -signal.SIGSEGV


def test_underflow_is_shown_by_the_layer_that_makes_the_value(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.underflow(pytester.path)
    networks.spec(pytester.path, "inputs:\n  zeros: {in0: {constant: -1}}\n")
    run = gate(*REPRO, "-n", "2", "-k", "eps or rsqrt")
    folders = {case["repro"] for case in run.cases.values() if case["outcome"] == "failed"}
    moved = pytester.path / "found/net"
    assert folders == {str(moved / "fp16-vs-fp32-vulkan/eps"), str(moved / "fp16-range/eps")}
    shown = script(moved / "fp16-range/eps")
    assert shown.returncode == 1, shown.stderr
    assert "16 values become 0 in fp16" in shown.stdout
    check_twin(moved / "fp16-range/eps", shown)


def test_a_custom_layer_needs_the_projects_function(
    gate: Gate, pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    affine(pytester.path, "1e6")
    project(pytester.path)
    run = gate(*REPRO, "-k", "own and fp16-range")
    folder = Path(run.cases["noise::fp16-range::own"]["repro"])
    assert not (folder / "repro.cpp").exists(), "its operator is written in Python"
    shown = script(folder, tmp_path_factory.mktemp("elsewhere"))
    assert shown.returncode == 2
    assert "needs nets.ops:register; run this in its project's folder" in shown.stdout
    assert script(folder, pytester.path).returncode == 1


def test_a_network_that_does_not_load_has_none(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.convolution(pytester.path)
    (pytester.path / "net.bin").write_bytes(b"")
    networks.spec(pytester.path, networks.NOISE)
    run = gate(*REPRO, "-k", "c1")
    (red,) = run.ids("failed")
    assert "repro: none: the network does not load" in run.cases[red]["message"]
    assert run.cases[red]["repro"] is None
    assert not (pytester.path / "found").exists()


def test_names_stay_below_the_folder(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.two_branches(pytester.path)
    param = pytester.path / "net.param"
    param.write_text(param.read_text("utf-8").replace(" huge ", " ../../é/huge "), "utf-8")
    networks.spec(pytester.path, "inputs:\n  large: {in0: {constant: 60}}\ncompare: [fp16-range]\n")
    run = gate(*REPRO, "-k", "huge")
    (red,) = run.ids("failed")
    folder = Path(run.cases[red]["repro"])
    assert folder.parent == pytester.path / "found/net/fp16-range"
    shown = script(folder)
    assert shown.returncode == 1
    check_twin(folder, shown)


def test_a_folder_that_cannot_be_made_is_reported_at_the_start(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    (pytester.path / "found").write_text("a file", "utf-8")
    run = gate("--ncnn-parity-repro=found/deep")
    assert run.result.ret == pytest.ExitCode.USAGE_ERROR
    where = pytester.path / "found"
    run.result.stderr.fnmatch_lines([f"*--ncnn-parity-repro={where}/deep: cannot be written: Not a*"])


def test_a_layer_between_int8_is_fed_with_floats_for_the_same(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Without them its input would be quantized twice. Its last digits are made its fault here."""
    quantized.chain(pytester.path)
    tight = "tolerance: {layers: {conv2: {atol: 0.0}}}"
    networks.spec(pytester.path, f"{networks.NOISE}compare: [cpu-vs-vulkan]\n{tight}\n")
    run = gate(*REPRO)
    red = run.cases["noise::cpu-vs-vulkan::conv2"]
    shown = script(Path(red["repro"]))
    assert shown.returncode == 1, shown.stderr
    mismatched, total = (red["metrics"][key] for key in ("mismatched", "total"))
    assert f"out0: {mismatched} of {total} elements out of tolerance" in shown.stdout
    check_twin(Path(red["repro"]), shown)
