"""A candidate that ncnn2int8 made: green where it was quantized well, else the layer at fault is red."""

from __future__ import annotations

import shutil
from pathlib import Path

import calibrated
import numpy as np
import optimized
import pytest
from calibrated import Model, Wrong
from conftest import Gate, Run
from quantized import INT8_WEIGHTS, to_int8

SPEC = """\
model: {{param: {0}.param, bin: {0}.bin}}
inputs:
  noise: {{in0: {{file: noise.npy}}}}
compare:
  - name: int8
    candidate: {{device: {1}, model: {{param: {0}-int8.param, bin: {0}-int8.bin}}}}
"""
SIDE = 12


def write(
    folder: Path,
    name: str,
    model: Model,
    wrong: dict[str, Wrong] | None = None,
    method: str = "absmax",
    device: str = "cpu",
) -> None:
    """The float files, those in int8, and a spec that compares them, all called after `name`."""
    inputs = [calibrated.noise(seed, SIDE) for seed in range(100, 103)]
    np.save(folder / "noise.npy", inputs[0])
    model.write(folder / name)
    model.write_int8(folder / f"{name}-int8", model.calibrated(inputs, method), wrong)
    (folder / f"{name}.parity.yaml").write_text(SPEC.format(name, device), "utf-8")


def write_gemm(folder: Path, name: str) -> None:
    """A Gemm with one scale for all weights, one of which is 200 times the others, and of little use."""
    random = np.random.RandomState(0)
    weights, bias = random.normal(0, 0.25, (16, 16)).astype(np.float32), np.zeros(16, np.float32)
    weights[0, 0] = 50.0
    value = random.normal(0, 1, (8, 16)).astype(np.float32)
    value[:, 0] *= 0.001
    np.save(folder / "gemm.npy", value)
    scale = np.float32(127.0) / weights.max()
    int8 = np.concatenate([INT8_WEIGHTS.view(np.uint8), to_int8(weights, scale).view(np.uint8).ravel()])
    for stem, term, content in ((name, "", weights), (f"{name}-int8", " 18=2", int8)):
        net = calibrated.Counting()
        net.layer("Input", "in0", params="0=16 1=8")
        words = f"10=4 2=0 3=1 4=0 5=1 6=1 7=8 8=16 9=16{term}"
        net.layer("Gemm", "gemm", ["in0"], ["out0"], words, [content] if not term else [])
        flagged = [np.zeros(1, np.uint32), bias]
        net.append([*([int8] if term else []), *flagged, *([np.array([scale])] if term else [])])
        net.write(folder / stem)
    text = SPEC.format(name, "cpu").replace("noise.npy", "gemm.npy")
    (folder / f"{name}.parity.yaml").write_text(text, "utf-8")


def mobile(seed: int) -> Model:
    return calibrated.mobile(seed, blocks=2, width=8, side=SIDE)


def plain(seed: int) -> Model:
    return calibrated.plain(seed, layers=3, width=8, side=SIDE)


def write_folded(folder: Path, name: str, wrong: dict[str, Wrong] | None = None) -> None:
    """Like `write`, with layers of their own for what the one in int8 has folded: BatchNorm and ReLU."""
    optimized.export(folder, name)
    optimized.optimized(folder, f"{name}-int8")
    inputs = [np.random.RandomState(seed).normal(0, 1, (8, 10, 10)) for seed in range(3)]
    np.save(folder / "folded.npy", inputs[0].astype(np.float32))
    model = calibrated.of_files(folder / f"{name}-int8")
    model.write_int8(folder / f"{name}-int8", model.calibrated(inputs), wrong)
    text = SPEC.format(name, "cpu").replace("noise.npy", "folded.npy")
    (folder / f"{name}.parity.yaml").write_text(text, "utf-8")


def red(run: Run) -> dict[str, list[str]]:
    """By spec, the red cases."""
    return {
        model["spec"].partition(".")[0]: [
            case["layer"] or case["output"] for case in model["cases"] if case["outcome"] == "failed"
        ]
        for model in run.report["models"]
    }


@pytest.mark.once
def test_what_is_quantized_well_is_green(gate: Gate, pytester: pytest.Pytester) -> None:
    for seed in range(4):
        write(pytester.path, f"mobile{seed}", mobile(seed))
        write(pytester.path, f"plain{seed}", plain(seed), method=("absmax", "kl")[seed % 2])
    write_folded(pytester.path, "folded")
    write(pytester.path, "small", mobile(4), {"expand1": Wrong(("input",), 0.25)})  # it costs little
    # a quantizer may correct a bias by what rounding has shifted the output by
    write(pytester.path, "corrected", mobile(5), {"classes": Wrong(("bias",), 0.01)})
    run = gate()
    assert {spec: cases for spec, cases in red(run).items() if cases} == {}
    assert run.ids("skipped") == []
    for model in run.report["models"]:
        unused = [note for note in model["notes"] if "of int8's 127 steps" in note]
        assert len(unused) == (model["spec"] == "small.parity.yaml"), unused
        assert all(" in expand1 of int8's 127 steps" in note for note in unused)
        kinds = {case["type"] for case in model["cases"] if case["metrics"]["sqnr_db"] != "inf"}
        judged_at = "ReLU" if model["spec"].startswith("folded") else "Convolution"
        assert judged_at in kinds  # what is in int8 is not the same
        assert all(case["accumulated"] is not None for case in model["cases"] if case["layer"])


FAULTS = [
    ("depthwise1", Wrong(("input",)), "the scale of its input is wrong"),
    ("expand1", Wrong(("input",), 0.0), "the scale of its input is wrong"),
    ("expand0", Wrong(("weights",)), "its weights are clipped"),
    ("classes", Wrong(("stored",), 1e-44), "its weights are not those in floats"),  # it gives inf
    ("project1", Wrong(("weights",), 0.25), "the scales of its weights are too small"),
    ("project0", Wrong(("stored",)), "its weights are not those in floats"),
    ("classes", Wrong(("channel",)), "its weights are not those in floats"),
    ("classes", Wrong(("bias",), 1.0), "its biases are not those in floats"),
    ("depthwise0", Wrong(("bias",), 0.7), "its biases are not those in floats"),
    (
        "expand1",
        Wrong(("input", "stored")),
        "the scale of its input is wrong and its weights are not those in floats",
    ),
]


@pytest.mark.once
def test_the_layer_with_a_wrong_scale_is_red_and_the_scale_is_named(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    for number, (layer, wrong, _) in enumerate(FAULTS):
        write(pytester.path, f"net{number}", mobile(number), {layer: wrong})
    hard = mobile(0)
    calibrated.widen(hard, 1)
    write(pytester.path, "hard", hard)
    write_folded(pytester.path, "folded", {"c2": Wrong(("stored",), 0.25)})
    run = gate("--ncnn-parity-fix=off")
    layers = {spec: [one for one in cases if one != "out0"] for spec, cases in red(run).items()}
    assert layers.pop("hard") == ["project1"]
    assert layers.pop("folded") == ["c2_relu"]  # the last layer that c2 in int8 replaces
    assert layers == {f"net{number}": [layer] for number, (layer, *_) in enumerate(FAULTS)}
    for model in run.report["models"]:
        failed = [case for case in model["cases"] if case["outcome"] == "failed"]
        assert {case["cause"] for case in failed} == {"quantization"}
        headline = next(case["headline"] for case in failed if case["layer"])
        words_of = {f"net{number}": words for number, (*_, words) in enumerate(FAULTS)}
        words_of |= {
            "hard": "no scale fits all of its input",
            "folded": "its weights are not those in floats",
        }
        expected = words_of[model["spec"].partition(".")[0]]
        assert headline.endswith(expected)


@pytest.mark.once
def test_the_layers_to_leave_in_floats_are_found_and_fix_the_model(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    models = {"wide": mobile(0), "narrow": mobile(1), "short": plain(2)}
    calibrated.widen(models["wide"], 1)
    wrong = {
        "wide": {},
        "narrow": {"depthwise0": Wrong(("input",))},
        "short": {"c1": Wrong(("input",), 8.0)},
    }
    for name, model in models.items():
        write(pytester.path, name, model, wrong[name])
    write_gemm(pytester.path, "gemm")
    strict = "tolerance: {outputs: {out0: {sqnr_db: 33}}}\n"  # more than healthy layers leave it
    for name in ("wide", "narrow"):
        spec = pytester.path / f"{name}.parity.yaml"
        spec.write_text(spec.read_text("utf-8") + (strict if name == "narrow" else ""), "utf-8")
    few = gate("-k", "narrow", "--ncnn-parity-fix-runs=2").report["models"][0]["fixes"][0]
    assert (few["verified"], few["in_float"], few["runs"]) == (False, [], 2)
    assert "; best so far, with depthwise0 in floats: out0 sqnr " in few["how"]
    run = gate("--ncnn-parity-fix=write")
    fixes = {model["spec"].partition(".")[0]: model["fixes"][0] for model in run.report["models"]}
    assert fixes["wide"]["in_float"] == ["depthwise1", "project1"]
    assert fixes["short"]["in_float"] == ["c1"]
    gemm = fixes.pop("gemm")  # which no table leaves in floats, so only the files are of use
    assert (gemm["in_float"], gemm["verified"], gemm["lines"]) == (["gemm"], True, [])
    for path, suffix in zip(gemm["written"], ("param", "bin"), strict=True):
        shutil.copy(path, pytester.path / f"gemm-int8.{suffix}")
    fewer, costliest, *_ = fixes["narrow"]["notes"]
    assert "the red layers and the n costliest others in floats, by n: 0: " in fewer
    assert costliest.startswith("depthwise0 alone in floats: output sqnr ")
    for name, model in models.items():
        fix = fixes[name]
        assert fix["verified"], fix["how"]
        assert fix["minimal"]
        assert set(wrong[name]) <= set(fix["in_float"])
        assert fix["lines"] == [f"#{key}" for one in fix["in_float"] for key in (f"{one}_param_0", one)]
        assert fix["masks"] == {}
        assert float(fix["errors"][1]) < float(fix["errors"][0])
        inputs = [calibrated.noise(seed, SIDE) for seed in range(100, 103)]
        scales = model.calibrated(inputs)
        model.write_int8(pytester.path / f"{name}-int8", scales, wrong[name], fix["in_float"])
        for path, suffix in zip(fix["written"], ("param", "bin"), strict=True):
            made = (pytester.path / f"{name}-int8.{suffix}").read_bytes().split()
            assert Path(path).read_bytes().split() == made
    mended = gate("--ncnn-parity-fix=off")
    assert mended.ids("failed") == []


@pytest.mark.once
def test_on_vulkan_it_is_judged_as_on_the_cpu(gate: Gate, pytester: pytest.Pytester) -> None:
    device = "vulkan, precision: fp16"
    write(pytester.path, "good", mobile(0), device=device)
    write(pytester.path, "wrong", mobile(0), {"depthwise1": Wrong(("input",))}, device=device)
    dead = mobile(0)
    kernel = next(one for one in dead.layers if one.name == "depthwise1")
    kernel.params = kernel.params.replace(" 9=1", "")  # or its ReLU would hide what comes
    kernel.weights[3] = 1e-42  # whose scale is infinite: the CPU makes 0 of it, and Vulkan -127
    write(pytester.path, "dead", dead, {"classes": Wrong(("stored",))}, device=device)
    run = gate()
    layers = {spec: [one for one in cases if one != "out0"] for spec, cases in red(run).items()}
    assert layers == {"good": [], "wrong": ["depthwise1"], "dead": ["depthwise1", "classes"]}
    failed = {
        (model["spec"].partition(".")[0], case["layer"]): case["cause"]
        for model in run.report["models"]
        for case in model["cases"]
        if case["layer"] and case["outcome"] == "failed"
    }
    assert failed == {
        ("wrong", "depthwise1"): "quantization",  # the CPU is wrong with the same files
        ("dead", "depthwise1"): "device",
        ("dead", "classes"): "quantization",
    }
    fixes = {model["spec"].partition(".")[0]: model["fixes"] for model in run.report["models"]}
    (in_floats,), (masks,) = fixes["wrong"], fixes["dead"]
    assert (in_floats["in_float"], in_floats["verified"]) == (["depthwise1"], True)  # on Vulkan as well
    assert "no output is wrong with these layers in int8" in in_floats["notes"][0]
    assert "tolerance: {layers: {depthwise1: {sqnr_db: 9}}}" in in_floats["notes"][0]
    assert masks["verified"], masks["how"]
    assert masks["masks"]["depthwise1"] == 18
    assert "wrong on the CPU as well: output:out0" in masks["how"]
    assert any(note.startswith("no mask fixes what classes loses in int8") for note in masks["notes"])


@pytest.mark.once
def test_a_model_in_int8_is_no_reference(gate: Gate, pytester: pytest.Pytester) -> None:
    write(pytester.path, "net", mobile(0))
    text = SPEC.format("net", "cpu").replace("net.", "swap.").replace("net-int8.", "net.")
    (pytester.path / "net.parity.yaml").write_text(text.replace("swap.", "net-int8."), "utf-8")
    output = gate().output
    assert "of this model computes in int8" in output
    assert "net.parity.yaml:6:" in output


@pytest.mark.once
def test_what_layers_cost_is_measured_on_all_samples_whatever_is_selected(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    write(pytester.path, "net", mobile(1), {"depthwise0": Wrong(("input",))})
    np.save(pytester.path / "flat.npy", np.zeros_like(np.load(pytester.path / "noise.npy")) + 0.01)
    spec = pytester.path / "net.parity.yaml"
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("  noise:", "  flat: {in0: {file: flat.npy}}\n  noise:"), "utf-8")
    whole, few = gate(), gate("-k", "noise and depthwise0")
    assert few.ids("failed") == ["noise::int8::depthwise0"]
    assert any("alone in floats" in note for note in whole.fixes["int8"]["notes"])
    for key in ("notes", "how", "in_float"):
        assert few.fixes["int8"][key] == whole.fixes["int8"][key]


@pytest.mark.once
def test_a_table_made_from_other_inputs_is_told_that_and_no_layers_to_leave_in_floats(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    """Every scale is 40 times what it should be, as of pictures from 0 to 1 where 0 to 255 are fed."""
    model = plain(0)
    wrong = {layer.name: Wrong(("input",), 40.0) for layer in model.quantizable}
    write(pytester.path, "plain", model, wrong)
    run = gate()
    (fix,) = run.report["models"][0]["fixes"]
    assert (fix["verified"], fix["in_float"]) == (False, [])
    assert "which leaves nothing in int8" in fix["how"]
    assert "Another mean, norm or order of the colours puts every scale off" in fix["how"]
