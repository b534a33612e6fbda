"""Real trained networks: healthy, so green by the defaults; and 10 % wrong, so red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, ROOT, Gate

from pytest_ncnn_parity.compare.comparisons import BUILT_IN, Comparison
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine import jobs
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.protocol import Model, Result
from pytest_ncnn_parity.plan import cases, check
from pytest_ncnn_parity.spec import spec as specs

pytestmark = pytest.mark.once

MODELS = {
    "nanodet-m": "{input.1: {random: uniform, shape: [3, 320, 320], low: -2.1, high: 2.6}}",
    "cunet_noise0_model": "{Input1: {random: uniform, shape: [3, 156, 156]}}",
    "upconv7_scale2.0x_model": "{Input1: {random: uniform, shape: [3, 128, 128]}}",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_healthy_network_is_green_by_the_defaults(
    gate: Gate, shared_model: Callable[[str], None], pytester: pytest.Pytester, name: str
) -> None:
    shared_model(name)
    (pytester.path / "model.parity.yaml").write_text(
        f"model: {{param: {name}.param, bin: {name}.bin}}\ninputs:\n  noise: {MODELS[name]}\n"
        "compare: [cpu-vs-vulkan, fp16-vs-fp32, shipped, fp16-range]\n"
    )
    run = gate("--ncnn-parity-require-vulkan")
    assert run.ids("failed") == []
    assert run.result.ret == 0
    layers = len(run.ids("passed", "fp16-range"))
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan", "shipped"):
        assert len(run.ids("passed", comparison)) >= layers
        assert run.ids("skipped", comparison) == []


@pytest.mark.since_ncnn("1.0.20260526", "Reduction has no Vulkan kernel")
def test_a_convolution_and_a_reduction_that_are_10_percent_wrong_are_red(
    pytester: pytest.Pytester, example: Callable[[str], Path]
) -> None:
    """The candidate's own files are wrong: its weights, and the coefficient of its Reduction."""
    path = example("style_decoder")
    planned = check.plan(specs.load(path))
    text = planned.graph.text
    line = planned.graph.line_of(planned.graph.names["sum_3"])
    text = text.replace(line, f"{line} 2=1.1")
    weights = np.fromfile(pytester.path / "style_decoder.bin", np.float32)
    start = _convolution(weights)
    weights[start : start + 16 * 16 * 9] *= 1.1
    weights.tofile(pytester.path / "wrong.bin")
    (pytester.path / "wrong.param").write_text(text, "utf-8")
    for comparison in (BUILT_IN["cpu-vs-vulkan"][0], BUILT_IN["shipped"][0]):
        results = _against_wrong_files(planned, comparison, pytester)
        for name in ("sum_3", "conv_1"):
            result = results[f"{comparison.name}::{name}"]
            assert result.outcome == "failed", result.reason
        assert results[f"{comparison.name}::sum_4"].outcome == "passed"
        assert results[f"{comparison.name}::conv_2"].outcome == "passed"


def _convolution(weights: np.ndarray) -> int:
    """Where conv_1's weights start: they are weight_1's once more, further on in the file."""
    count = 16 * 16 * 9
    first = 16 * 4 * 4 + 1 + 16 * 32 + 16  # behind const and style_1
    memory = weights[first : first + count]
    places = np.flatnonzero(weights == memory[0])
    return next(int(i) for i in places[1:] if np.array_equal(weights[i : i + count], memory))


def _against_wrong_files(
    planned: cases.Plan, comparison: Comparison, pytester: pytest.Pytester
) -> dict[str, Result]:
    """All layer cases, the candidate loaded from wrong.param and wrong.bin."""
    layers = [case for case in planned.cases(comparison) if case.layer is not None]
    job = jobs.judge(planned, "face", layers, 2, probe=False)
    wrong = Model(str(pytester.path / "wrong.param"), str(pytester.path / "wrong.bin"))
    nets = list(job.nets)
    candidate = job.cases[0].candidate
    assert candidate is not None
    nets[candidate] = replace(nets[candidate], model=1)
    engine = Engine(120)
    try:
        ran = engine.run(replace(job, models=(*job.models, wrong), nets=tuple(nets)))
        return {result.id: result for result in ran}
    finally:
        engine.close()


@pytest.mark.parametrize("precision", DEFAULTS)
def test_a_softmax_that_is_10_percent_wrong_is_red(precision: str) -> None:
    logits = np.random.RandomState(0).normal(0, 2, (10, 50))
    softmax = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
    tolerance = DEFAULTS[precision].layer
    assert not compare(softmax * np.float32(1.1), softmax, tolerance).agrees
    assert compare(softmax, softmax, tolerance).agrees


def test_the_docs_give_the_defaults_that_hold() -> None:
    text = (ROOT / "docs" / "tolerances.md").read_text("utf-8")
    for precision, defaults in DEFAULTS.items():
        row = next(row for row in text.splitlines() if row.startswith(f"| `{precision}` |"))
        assert f"{defaults.layer.scaled:g}" in row
        assert f"{defaults.output.scaled:g}" in row


def test_example_models_stay_small() -> None:
    sizes = [p.stat().st_size for p in EXAMPLES.rglob("*") if p.suffix in (".param", ".bin")]
    assert len(sizes) == 8
    assert sum(sizes) < 2_000_000
