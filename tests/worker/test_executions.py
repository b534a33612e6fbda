"""Why ncnn runs a network that was asked for on Vulkan on the CPU alone."""

from __future__ import annotations

import pytest

from pytest_ncnn_parity.engine.protocol import NetSpec
from pytest_ncnn_parity.worker.failures import Unavailable
from pytest_ncnn_parity.worker.networks.execution import Executions
from pytest_ncnn_parity.worker.networks.here import Here
from pytest_ncnn_parity.worker.networks.native import Readback

ALL_ON_CPU = "no layer runs on gpu: ncnn .+ runs all of them on the CPU, though no mask asks for it"
REASONS = [
    (True, f"^{ALL_ON_CPU}, as this version does where some are in int8, so nothing would be tested$"),
    (False, "^ncnn fell back to the CPU: the Vulkan device is not valid$"),
]


@pytest.mark.parametrize(("in_int8", "reason"), REASONS)
def test_a_network_that_ncnn_loads_without_vulkan(in_int8: bool, reason: str) -> None:
    read = Readback((), (), {"use_vulkan_compute": False})
    spec = NetSpec(0, "vulkan", "fp32")
    with pytest.raises(Unavailable, match=reason) as found:
        Executions(read, Here(lambda _: None), spec, (), "gpu", in_int8=in_int8)
    assert found.value.no_vulkan
