"""The report that started it all, with the real engine: what people tried by hand, and why it failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Gate

SPEC = """
model: {{param: style_decoder.param, bin: style_decoder.bin}}
inputs:
  face: {{in0: {{random: normal, seed: 1}}}}
compare: [{compare}]
masks: {{{masks}}}
"""
FP16 = "fp16-vs-fp32-vulkan"
PACKED = (
    "{name: storage-off-packed-on, reference: {device: cpu},"
    " candidate: {device: vulkan, precision: fp16-packed}}"
)
# by what was tried: masks, and what is compared
TRIED = {
    "off": ("", f"cpu-vs-vulkan, {PACKED}"),
    "reduction": ("sum_15: 18", FP16),
    "region": ("sum_15: 18, eps_15: 18, rsqrt_15: 18", f"cpu-vs-vulkan, {FP16}, {PACKED}"),
    "manual": ("sum_15: 3, eps_15: 3, rsqrt_15: 3", FP16),
}


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "Reduction has no Vulkan kernel, so its own blob is finite")
def test_only_the_region_in_fp32_makes_the_output_right(
    gate: Gate, example: Callable[[str], Path]
) -> None:
    example("style_decoder").unlink()
    for name, (masks, compare) in TRIED.items():
        Path(f"{name}.parity.yaml").write_text(SPEC.format(masks=masks, compare=compare), "utf-8")
    models = gate("--ncnn-parity-fix=off").report["models"]
    seen = {
        model["spec"].partition(".")[0]: {
            case["nodeid"].rpartition("face::")[2]: (
                case["outcome"],
                case["cause"],
                float(case["metrics"]["scaled"]) if case["metrics"] else -1.0,
            )
            for case in model["cases"]
        }
        for model in models
    }
    # storage in fp16 off and packed left on is right on the CPU, and inf on Vulkan
    assert seen["off"]["storage-off-packed-on::sum_15"] == ("failed", "storage-overflow", float("inf"))
    assert seen["off"]["storage-off-packed-on::output:out0"][0] == "failed"
    # all fp16 off is right on both
    assert seen["off"]["cpu-vs-vulkan::sum_15"][0] == "passed"
    assert seen["off"]["cpu-vs-vulkan::output:out0"][0] == "passed"
    # a mask on the reduction alone makes its own result right, but its reader takes it in fp16
    assert seen["reduction"][f"{FP16}::sum_15"] == ("failed", "storage-overflow", 0.0)
    outcome, _, scaled = seen["reduction"][f"{FP16}::output:out0"]
    assert (outcome, scaled > 0.9) == ("failed", True)
    # 31=3, as the manual says, is garbage on Vulkan
    assert seen["manual"][f"{FP16}::output:out0"][0] == "failed"
    assert "unsafe-mask" in {cause for _, cause, _ in seen["manual"].values()}
    # masks on the region make everything right
    assert [name for name, (outcome, *_) in seen["region"].items() if outcome == "failed"] == []
    assert seen["region"][f"{FP16}::output:out0"][0] == "passed"
