"""What the whole network can go without instead of masks: by what those take from its layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import graphs
import pytest

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.engine.protocol import Timing
from pytest_ncnn_parity.repair.alternatives import MANY, Alternative, measure_cost, ways

pytestmark = pytest.mark.once

VULKAN = Setup("vulkan", "fp16")
ARITHMETIC, WINOGRAD = "use_fp16_arithmetic=False", "use_winograd_convolution=False"


@pytest.mark.parametrize(
    ("masks", "name", "setup"),
    [
        ([1], ARITHMETIC, "vulkan fp16-storage"),
        ([64], WINOGRAD, f"vulkan fp16 {WINOGRAD}"),
        ([65], f"{ARITHMETIC} and {WINOGRAD}", f"vulkan fp16-storage {WINOGRAD}"),
        ([1, 64], f"{ARITHMETIC} and {WINOGRAD}", f"vulkan fp16-storage {WINOGRAD}"),
        ([18], "bf16", "vulkan bf16"),
        ([64, 1, 18], "bf16", "vulkan bf16"),
    ],
    ids=str,
)
def test_an_option_takes_from_all_layers_what_masks_take_from_some(
    masks: list[int], name: str, setup: str
) -> None:
    assert [(way, str(one)) for way, one in ways(VULKAN, dict(enumerate(masks)))] == [(name, setup)]


def test_a_cpu_may_run_in_fp32_as_well() -> None:
    assert [name for name, _ in ways(Setup("cpu", "fp16"), {3: 2})] == ["bf16", "fp32"]


def test_where_masks_are_many_arithmetic_is_asked_about_whatever_they_take() -> None:
    few, many = (dict.fromkeys(range(count), 18) for count in (MANY, MANY + 1))
    assert [name for name, _ in ways(VULKAN, few)] == ["bf16"]
    assert [name for name, _ in ways(VULKAN, many)] == [ARITHMETIC, "bf16"]


def test_a_network_without_fp16_has_no_other_format_to_go_to() -> None:
    assert list(ways(Setup("vulkan"), {3: 16})) == []
    assert list(ways(Setup("vulkan", "bf16"), {3: 20})) == []
    assert [name for name, _ in ways(Setup("vulkan"), {3: 64})] == [WINOGRAD]


def test_the_options_of_the_candidate_stay() -> None:
    candidate = Setup("vulkan", "fp16", {"use_sgemm_convolution": False})
    ((_, setup),) = ways(candidate, {3: 64})
    assert setup.options == {"use_sgemm_convolution": False, "use_winograd_convolution": False}


def test_one_that_cannot_be_timed_has_no_time() -> None:
    network = graphs.network(*graphs.CHAIN)
    timing = Timing((2.0, 1.0, 3.0), ("cpu",) * len(network.layers))
    timings = (timing, timing, timing, Timing(problem="killed by SIGSEGV"))
    plan = SimpleNamespace(spec=SimpleNamespace(inputs={"s": {}}))
    run: Any = SimpleNamespace(plan=plan, time=lambda *_: timings)
    comparison: Any = SimpleNamespace(candidate=VULKAN)
    right = [Alternative(name, Setup("vulkan", name), "", 0.0) for name in ("bf16", "fp32")]
    cost, alternatives = measure_cost(run, comparison, network, right, {})
    assert cost is not None
    assert [one.ms for one in alternatives] == [2.0, None]
