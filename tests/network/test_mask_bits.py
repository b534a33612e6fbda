"""The bits of a mask: which are safe, and which a candidate needs."""

import pytest

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.network.masks import stays_in_fp32, strong_mask, unsafe_on_vulkan, weak_mask


@pytest.mark.parametrize("mask", range(32))
def test_a_mask_is_unsafe_where_storage_goes_and_vulkan_stays(mask: int) -> None:
    assert unsafe_on_vulkan(mask, "fp16") == (mask in (2, 3, 6, 7, 10, 11, 14, 15))
    assert unsafe_on_vulkan(mask, "bf16") == (mask in (*range(4, 8), *range(12, 16)))
    assert stays_in_fp32(mask) == (mask // 2 % 2 == 1)


@pytest.mark.parametrize(
    ("setup", "strong", "weak"),
    [
        (Setup("vulkan", "fp16"), 18, 1),
        (Setup("vulkan:1", "fp16"), 18, 1),
        (Setup("vulkan", "fp16-storage"), 18, None),
        (Setup("vulkan", "fp16-packed"), 18, None),
        (Setup("vulkan", "bf16"), 20, None),
        (Setup("vulkan"), 16, None),
        (Setup("cpu", "fp16"), 2, 1),
        (Setup("cpu", "fp16-storage"), 2, None),
        (Setup("cpu", "bf16"), 4, None),
        (Setup("cpu"), 0, None),
        (None, 18, None),  # fp16 wherever it may run
    ],
    ids=str,
)
def test_the_masks_that_take_a_layer_out_of_16_bits(
    setup: Setup | None, strong: int, weak: int | None
) -> None:
    assert (strong_mask(setup), weak_mask(setup)) == (strong, weak)
