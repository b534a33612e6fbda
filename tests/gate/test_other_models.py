"""A candidate that runs other files: optimized or exported anew it is green, with a fault it is not."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import optimized
import pytest
from conftest import Gate

from pytest_ncnn_parity.network import param

COMPARED = """\
compare:
  - name: opt
    reference: {device: cpu}
    candidate: {device: DEVICE, precision: PRECISION, model: {param: opt.param, bin: opt.bin}}
"""
FOLDED = [f"noise::opt::{name}" for name in ("c1_relu", "c2_relu", "sum", "c3_relu", "fc_relu")]
OUTPUT = "noise::opt::output:out0"


def compared(folder: Path, device: str = "cpu", precision: str = "fp32") -> None:
    text = COMPARED.replace("DEVICE", device).replace("PRECISION", precision)
    networks.spec(folder, networks.NOISE + text)


def folded(folder: Path, wrong: str = "", device: str = "cpu", precision: str = "fp32") -> None:
    """A network, its optimized twin, where one layer may be `wrong`, and a spec that compares them."""
    optimized.export(folder)
    optimized.optimized(folder, wrong=wrong)
    compared(folder, device, precision)


def test_folded_layers_are_judged_at_the_last_they_replace(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path)
    run = gate()
    assert run.ids("passed") == [*FOLDED, OUTPUT]
    assert run.ids("failed") == run.ids("skipped") == []
    for case in run.cases.values():
        assert case["accumulated"] is not None  # beside its own error
    (model,) = run.report["models"]
    assert "opt: 5 layers have a counterpart in opt.param" in model["notes"]
    assert any("c1, c1_norm at c1_relu" in note for note in model["notes"])
    (comparison,) = model["comparisons"]
    assert comparison["candidate"] == "cpu fp32 of opt.param"
    for kind in ("param", "bin"):
        content = (pytester.path / f"opt.{kind}").read_bytes()
        assert comparison[f"{kind}_sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.once
@pytest.mark.parametrize("wrong", ["c1", "c2", "c3"])
def test_one_other_weight_is_one_red_layer(gate: Gate, pytester: pytest.Pytester, wrong: str) -> None:
    folded(pytester.path, wrong)
    run = gate("--ncnn-parity-repro=repro")
    assert run.ids("failed") == [f"noise::opt::{wrong}_relu", OUTPUT]
    red = run.cases[f"noise::opt::{wrong}_relu"]
    assert red["cause"] == run.cases[OUTPUT]["cause"] == "model"
    place = f"compared with {wrong} (Convolution), matched by name, in place of"
    assert any(place in line for line in red["evidence"])
    assert red["repro"] is None
    assert run.fixes == {}


@pytest.mark.once
def test_on_a_device_the_folded_layer_gets_what_the_first_of_them_gets(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path, device="vulkan", precision="fp16")
    spec = pytester.path / "net.parity.yaml"
    text = spec.read_text("utf-8")
    same_device = text[text.index("  - name") :].replace("opt\n", "same\n").replace("cpu", "vulkan")
    spec.write_text(text + same_device, "utf-8")
    run = gate()
    assert run.ids("failed") == []
    assert set(run.ids("passed")) >= {*FOLDED, OUTPUT, OUTPUT.replace("opt", "same")}
    # the device's own fp32 runs beside other files, so nothing stands in for it
    assert {run.cases[name]["stand_in"] for name in run.ids("passed", "same")} == {None}
    spec.write_text(text, "utf-8")
    optimized.optimized(pytester.path, wrong="c2")
    run = gate()
    assert run.cases["noise::opt::c2_relu"]["cause"] == "model"
    assert [name for name in FOLDED if run.cases[name]["outcome"] == "failed"] == [FOLDED[1]]


@pytest.mark.once
def test_a_kept_verdict_is_not_taken_for_one_of_other_weights(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path)
    gate("--ncnn-parity-cache=cache")
    again = gate("--ncnn-parity-cache=cache")
    assert all(case["cached"] for case in again.cases.values())
    optimized.optimized(pytester.path, wrong="c3")
    assert gate("--ncnn-parity-cache=cache").ids("failed") == ["noise::opt::c3_relu", OUTPUT]


@pytest.mark.once
def test_an_export_with_other_names_is_matched_by_structure(
    gate: Gate, pytester: pytest.Pytester, example: Callable[[str], Path]
) -> None:
    path = example("style_decoder")
    source = path.with_name("style_decoder.param")
    optimized.renumbered(source, pytester.path / "opt.param")
    shutil.copy(source.with_suffix(".bin"), pytester.path / "opt.bin")
    text = path.read_text("utf-8")
    own = COMPARED.replace("DEVICE", "cpu").replace("PRECISION", "fp32")
    head = text[: text.index("compare:")] if "compare:" in text else text
    path.write_text(head + own, "utf-8")
    run = gate()
    assert run.ids("failed") == run.ids("skipped") == []
    assert len(run.ids("passed")) >= 220
    for case in run.cases.values():
        assert case["metrics"]["max_abs"] == 0.0  # the very same weights
    weights = np.fromfile(pytester.path / "opt.bin", np.float32)
    weights[5] += 0.5  # of the first layer that has any, behind the flag in front of them
    weights.tofile(pytester.path / "opt.bin")
    run = gate()
    layers = [name for name in run.ids("failed") if "output:" not in name]
    assert {name.rpartition("::")[2] for name in layers} == {"const"}  # of each sample
    assert all(run.cases[name]["cause"] == "model" for name in layers)


@pytest.mark.once
@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp32"), ("vulkan", "fp16")])
def test_the_other_model_is_held_against_recordings_as_well(
    gate: Gate,
    pytester: pytest.Pytester,
    example: Callable[[str], Path],
    device: str,
    precision: str,
) -> None:
    """On a device as well, the other files are at fault that are as wrong in fp32 on the CPU."""
    path = example("digits")
    optimized.renumbered(path.with_name("digits.param"), pytester.path / "opt.param")
    weights = np.fromfile(path.with_name("digits.bin"), np.float32)
    weights[-1] += 20.0  # of the last layer's bias
    weights.tofile(pytester.path / "opt.bin")
    own = COMPARED.replace("DEVICE", device).replace("PRECISION", precision)
    path.write_text(path.read_text("utf-8") + own, "utf-8")
    run = gate()
    recorded = {one for one in run.cases if "::golden" in one}
    assert recorded == {
        f"image{n}::{name}::output:out0" for n in range(3) for name in ("golden", "golden-opt")
    }
    for name in recorded:
        right = "golden-opt" not in name
        assert run.cases[name]["outcome"] == ("passed" if right else "failed")
        assert run.cases[name]["cause"] == (None if right else "model")


@pytest.mark.once
def test_a_blob_that_the_other_model_has_folded_away_is_compared_with_its_recording_here_alone(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path)
    inner = param.read(str(pytester.path / "net.param")).names["c1"].outputs[0]
    np.save(pytester.path / "inner.npy", np.zeros((8, 10, 10), np.float32))
    np.save(pytester.path / "out0.npy", np.zeros(4, np.float32))
    recorded = f"expect: {{{inner}: {{file: inner.npy}}, out0: {{file: out0.npy}}}}"
    text = networks.NOISE.replace("normal}}", f"normal}}, {recorded}}}")
    networks.spec(pytester.path, text + COMPARED.replace("DEVICE", "cpu").replace("PRECISION", "fp32"))
    run = gate()
    assert run.ids("passed", "opt") == [*FOLDED, OUTPUT]
    assert run.ids("failed", "golden") == [f"noise::golden::output:{b}" for b in (inner, "out0")]
    assert run.ids("failed", "golden-opt") == ["noise::golden-opt::output:out0"]
    said = run.cases["noise::golden-opt::output:out0"]
    assert said["cause"] == "conversion"
    assert said["headline"].endswith("and neither is what the spec's own model gives")
    assert run.ids("skipped") == []


@pytest.mark.once
def test_an_output_that_one_of_them_lacks_is_an_error_only_where_it_is_compared(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path)
    (pytester.path / "net.param").replace(pytester.path / "one.param")
    text = (pytester.path / "one.param").read_text("utf-8")
    two = re.sub(r"\n(\d+) (\d+)\n", lambda n: f"\n{int(n[1]) + 2} {int(n[2]) + 3}\n", text, count=1)
    two = (
        two.replace(" out0", " both").rstrip() + "\nSplit s 1 2 both out0 x\nSigmoid head 1 1 x scores\n"
    )
    (pytester.path / "net.param").write_text(two, "utf-8")
    lacking = (
        "'scores' is compared, and opt.param has no counterpart of it; 'outputs:' in the spec names"
    )
    assert lacking in gate().output
    chosen = (pytester.path / "net.parity.yaml").read_text("utf-8") + "outputs: [out0]\n"
    (pytester.path / "net.parity.yaml").write_text(chosen, "utf-8")
    run = gate()
    assert run.ids("failed") == []
    assert OUTPUT in run.ids("passed")


@pytest.mark.once
def test_masks_for_the_other_model_stand_in_its_own_file(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.two_branches(pytester.path)
    net, opt = pytester.path / "net.param", pytester.path / "opt.param"
    optimized.renumbered(net, opt)
    shutil.copy(net.with_suffix(".bin"), opt.with_suffix(".bin"))
    text = COMPARED.replace("DEVICE", "vulkan").replace("PRECISION", "fp16")
    samples = "inputs:\n  s: {in0: {constant: 5.0, shape: [16]}}\n"
    networks.spec(pytester.path, samples + text)
    names = dict(zip(*(_names(path) for path in (net, opt)), strict=True))
    run = gate("--ncnn-parity-fix=write", "--ncnn-parity-repro=repro")
    repro = run.cases["s::opt::huge"]["repro"]
    assert names["huge"] in (Path(repro) / "layer.param").read_text("utf-8")
    assert pytester.run(sys.executable, Path(repro) / "repro.py").ret == 1  # the fault is there
    fix = run.fixes["opt"]
    assert fix["verified"], fix["how"]
    assert (fix["param"], fix["minimal"]) == ("opt.param", True)
    assert fix["masks"] == {names["huge"]: 18, names["down"]: 18}
    assert "masks: {" not in run.output  # the spec's own are not for this file
    pytester.run("git", "init", "-q")
    (patch,) = (path for path in fix["written"] if path.endswith(".patch"))
    assert pytester.run("git", "apply", patch).ret == 0
    assert "31=18" in opt.read_text("utf-8")
    assert gate("--ncnn-parity-fix=off").ids("failed") == []


@pytest.mark.once
def test_masks_that_make_it_agree_with_itself_alone_are_not_verified(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """The layer that overflows is 30 % too large as well, which no mask mends."""
    networks.two_branches(pytester.path)
    net, opt = pytester.path / "net.param", pytester.path / "opt.param"
    opt.write_text(net.read_text("utf-8").replace("2=30000.0", "2=39000.0"), "utf-8")
    shutil.copy(net.with_suffix(".bin"), opt.with_suffix(".bin"))
    text = COMPARED.replace("DEVICE", "vulkan").replace("PRECISION", "fp16")
    networks.spec(pytester.path, f"inputs:\n  s: {{in0: {{constant: 5.0, shape: [16]}}}}\n{text}")
    run = gate()
    assert run.cases["s::opt::huge"]["cause"] == "storage-overflow"
    fix = run.fixes["opt"]
    assert (fix["verified"], fix["minimal"], fix["param"]) == (False, False, "opt.param")
    assert "beside net.param, it is wrong still" in fix["how"]
    assert "masks: {" not in run.output
    assert "instead:" not in run.output


def _names(path: Path) -> list[str]:
    return [line.split()[1] for line in path.read_text("utf-8").splitlines()[2:]]


@pytest.mark.once
def test_files_that_cannot_be_compared_are_reported_in_words(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    optimized.export(pytester.path)
    compared(pytester.path)
    run = gate()
    for kind, name in (("model file", "opt.param"), ("weights file", "opt.bin")):
        assert re.search(rf"{kind} \S*{name} does not exist", run.output), kind
    networks.chain(pytester.path, name="opt")
    output = gate().output
    assert "no layer of opt.param matches one of this model" in output
    assert "net.parity.yaml:7:" in output
    optimized.optimized(pytester.path)
    other = (pytester.path / "opt.param").read_text("utf-8")
    (pytester.path / "opt.param").write_text(other.replace("in0", "data"), "utf-8")
    assert gate().ids("failed") == []  # the one input, whatever it is called
    more = other.replace("\n7 8\n", "\n8 9\n").rstrip() + "\nInput more 0 1 more\n"
    (pytester.path / "opt.param").write_text(more, "utf-8")
    assert "opt.param has other inputs: 'in0', 'more', where this model has 'in0'" in gate().output
    (pytester.path / "opt.param").write_text(other, "utf-8")
    (pytester.path / "net.bin").unlink()
    assert re.search(r"net.parity.yaml:1:\d+: weights file \S*net.bin does not exist", gate().output)


@pytest.mark.once
def test_weights_of_another_size_fail_where_the_spec_names_them(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path)
    whole = (pytester.path / "opt.bin").read_bytes()
    (pytester.path / "opt.bin").write_bytes(whole[:-400])
    run = gate()
    (red,) = run.ids("failed")
    assert run.cases[red]["cause"] == "load"
    assert run.cases[red]["place"]["line"] == 7
    assert "opt.bin: too short" in run.cases[red]["message"]
    (pytester.path / "opt.bin").write_bytes(whole)
    own = (pytester.path / "net.bin").read_bytes()
    (pytester.path / "net.bin").write_bytes(own[:-400])
    run = gate()
    (red,) = run.ids("failed")
    assert run.cases[red]["place"]["line"] == 1
    assert "net.bin: too short" in run.cases[red]["message"]


def test_the_failure_to_load_is_placed_where_a_recording_alone_meets_it(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path)
    (pytester.path / "opt.bin").write_bytes((pytester.path / "opt.bin").read_bytes()[:-400])
    np.save(pytester.path / "out0.npy", np.zeros(4, np.float32))
    spec = pytester.path / "net.parity.yaml"
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("normal}}", "normal}, expect: {out0: {file: out0.npy}}}"), "utf-8")
    run = gate("-k", "golden-opt")
    (red,) = run.ids("failed")
    assert (run.cases[red]["cause"], run.cases[red]["place"]["line"]) == ("load", 7)
    assert "opt.bin: too short" in run.cases[red]["message"]


@pytest.mark.once
@pytest.mark.parametrize(("mask", "safe"), [(3, 19), (2, 18)])
def test_an_unsafe_mask_of_the_other_model_is_called_that(
    mask: int, safe: int, gate: Gate, pytester: pytest.Pytester
) -> None:
    folded(pytester.path, device="vulkan", precision="fp16")
    path = pytester.path / "opt.param"
    lines = path.read_text("utf-8").splitlines()
    lines = [f"{line} 31={mask}" if line.split()[1:2] == ["c3"] else line for line in lines]
    path.write_text("\n".join([*lines, ""]), "utf-8")
    run = gate("--ncnn-parity-fix=off")
    red = run.cases["noise::opt::c3_relu"]
    assert (red["outcome"], red["cause"]) == ("failed", "unsafe-mask")
    assert f"31={mask} takes fp16 storage from a layer that stays on Vulkan" in red["message"]
    assert re.search(rf"[Ww]rite (31=)?{safe}\b", red["message"])
