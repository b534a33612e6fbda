"""Compares the options that ncnn has kept with those of the setup: what was dropped, what is lacking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pytest_ncnn_parity.compare.comparisons import PRECISIONS, Setup
from pytest_ncnn_parity.network.masks import NO_VULKAN
from pytest_ncnn_parity.worker.networks.native import Readback

# these run on Vulkan in any network and compute nothing
_NO_WORK = frozenset({"Input", "Split", "Noop"})


def dropped(setup: Setup, read: Readback) -> tuple[str, ...]:
    """Return the requested options that ncnn dropped as the Vulkan device lacks them (src/net.cpp)."""
    if not setup.on_vulkan:
        return ()
    # a device may offer bf16 packed, storage or both, and either gives the same precision
    flags = PRECISIONS[setup.precision] if setup.half == "fp16" else ()
    asked: Mapping[str, bool | int] = {**dict.fromkeys(sorted(flags), True), **setup.options}
    return tuple(name for name, value in asked.items() if read.options[name] != value)


def stores_half(
    setup: Setup, read: Readback, cpu_fp16: Sequence[bool], cpu_bf16: Sequence[bool]
) -> bool:
    """Return whether any value is kept in 16 bits.

    `cpu_fp16` and `cpu_bf16` say of each layer whether its CPU kernel can store that format.
    """
    if not setup.on_vulkan:  # only Vulkan has packed without storage; on the CPU, kernels are needed
        fp16 = read.on("use_fp16_storage") and any(cpu_fp16)
        bf16 = read.on("use_bf16_storage") and any(cpu_bf16)
        return bool(fp16 or bf16)
    names = ("use_fp16_storage", "use_fp16_packed", "use_bf16_storage", "use_bf16_packed")
    return any(map(read.on, names))


def left_on_cpu(
    types: Sequence[str], on_vulkan: Sequence[bool], masks: Sequence[int], integers: Collection[int]
) -> bool:
    """Return whether no layer that computes runs on Vulkan although no mask forbids it.

    `integers` holds the numbers of the layers that copy integers. They count as computing, because
    Vulkan may store integers in 16 bits.
    """
    layers = enumerate(zip(types, on_vulkan, strict=True))
    works = (there for n, (kind, there) in layers if kind not in _NO_WORK or n in integers)
    return not any(works) and not any(mask & NO_VULKAN for mask in masks)
