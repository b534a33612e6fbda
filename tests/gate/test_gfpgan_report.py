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
compare:
  - cpu-vs-vulkan
  - fp16-vs-fp32-vulkan
  - name: storage-off-packed-on
    reference: {{device: cpu}}
    candidate: {{device: vulkan, precision: fp16-packed}}
masks: {{{masks}}}
"""


@pytest.fixture
def report(
    gate: Gate, example: Callable[[str], Path]
) -> Callable[[str], dict[str, tuple[str, str | None, float]]]:
    spec = example("style_decoder")

    def run(masks: str) -> dict[str, tuple[str, str | None, float]]:
        spec.write_text(SPEC.format(masks=masks), "utf-8")
        cases = gate("--ncnn-parity-fix=off").cases
        return {
            name.removeprefix("face::"): (
                case["outcome"],
                case["cause"],
                float(case["metrics"]["scaled"]) if case["metrics"] else -1.0,
            )
            for name, case in cases.items()
        }

    return run


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "Reduction has no Vulkan kernel, so its own blob is finite")
def test_storage_off_and_packed_left_on_is_right_on_the_cpu_and_inf_on_vulkan(report) -> None:
    seen = report("")
    assert seen["storage-off-packed-on::sum_15"][:2] == ("failed", "storage-overflow")
    assert seen["storage-off-packed-on::sum_15"][2] == float("inf")
    assert seen["storage-off-packed-on::output:out0"][0] == "failed"


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "Reduction has no Vulkan kernel, so its own blob is finite")
def test_everything_fp16_off_is_right_on_both(report) -> None:
    seen = report("")
    assert seen["cpu-vs-vulkan::sum_15"][0] == "passed"
    assert seen["cpu-vs-vulkan::output:out0"][0] == "passed"


@pytest.mark.once
def test_a_mask_on_the_reduction_alone_makes_its_blob_right_and_the_output_wrong(report) -> None:
    seen = report("sum_15: 18")
    outcome, cause, scaled = seen["fp16-vs-fp32-vulkan::sum_15"]
    assert scaled == 0.0, "in fp32 on the CPU its own result is right"
    assert (outcome, cause) == ("failed", "storage-overflow"), "but its reader takes it in fp16"
    assert seen["fp16-vs-fp32-vulkan::output:out0"][0] == "failed"
    assert seen["fp16-vs-fp32-vulkan::output:out0"][2] > 0.9


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "what is uploaded in packs of 16 is lost", on="avx512f")
def test_masks_on_the_region_make_the_output_right(report) -> None:
    seen = report("sum_15: 18, eps_15: 18, rsqrt_15: 18")
    assert [name for name, (outcome, *_) in seen.items() if outcome == "failed"] == []
    assert seen["fp16-vs-fp32-vulkan::output:out0"][0] == "passed"


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "the Reduction and its readers do not all run on Vulkan")
def test_31_3_as_the_manual_says_is_garbage_on_vulkan_and_seen(report) -> None:
    seen = report("sum_15: 3, eps_15: 3, rsqrt_15: 3")
    assert seen["fp16-vs-fp32-vulkan::output:out0"][0] == "failed"
    causes = {cause for name, (_, cause, _) in seen.items() if name.startswith("fp16-vs")}
    assert "unsafe-mask" in causes
