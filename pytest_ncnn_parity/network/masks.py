"""The bits of a layer feature mask (`31=`), and what each of them switches off. Pure.

What each bit switches off: src/net.cpp, get_masked_option.
"""

from __future__ import annotations

from pytest_ncnn_parity.compare.comparisons import Setup

NO_FP16_ARITHMETIC = 1
NO_FP16_STORAGE = 2
NO_BF16_STORAGE = 4
NO_VULKAN = 16
NO_WINOGRAD = 64
ALL_BITS = 255  # ncnn ignores higher bits

# the storage bit of each 16-bit format, as Setup.half names it
NO_STORAGE = {"fp16": NO_FP16_STORAGE, "bf16": NO_BF16_STORAGE}


def unsafe_on_vulkan(mask: int, half: str) -> bool:
    """Whether `mask` takes storage in `half` but not Vulkan: the shader then reads it as fp32."""
    return bool(mask & NO_STORAGE[half]) and not mask & NO_VULKAN


def stays_in_fp32(mask: int) -> bool:
    """Whether a layer with this mask keeps its values in fp32 wherever the network runs."""
    return bool(mask & NO_FP16_STORAGE)


def has_no_fp16_kernel(mask: int) -> bool:
    """Whether a layer with this mask is off Vulkan, or keeps its values in fp32 there."""
    return bool(mask & (NO_VULKAN | NO_FP16_STORAGE))


def strong_mask(candidate: Setup | None) -> int:
    """The bits that take a layer out of the candidate's 16 bits or off its device; 0 if none do.

    18 for fp16 on Vulkan, where 2 without 16 gives garbage; 2 for fp16 on a CPU; 16 for fp32 on Vulkan.
    Without a candidate, in a prediction, they are those of fp16 on Vulkan.
    """
    if candidate is None:
        return NO_VULKAN | NO_FP16_STORAGE
    storage = NO_STORAGE[candidate.half] if candidate.half else 0
    return storage | (NO_VULKAN if candidate.on_vulkan else 0)


def weak_mask(candidate: Setup | None) -> int | None:
    """The bit that takes only fp16 arithmetic from a layer, if the candidate uses it."""
    return NO_FP16_ARITHMETIC if candidate is not None and candidate.precision == "fp16" else None
