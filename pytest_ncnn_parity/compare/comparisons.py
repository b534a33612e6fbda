"""How a network is run, and which two ways are compared: setups and comparisons, built in and own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# What each precision switches on; every other flag of this table is switched off. The flags and
# their defaults are ncnn's (src/option.h); `fp16` is what a user gets who sets nothing.
PRECISIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "fp32": frozenset(),
        "fp16": frozenset({"use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"}),
        "fp16-storage": frozenset({"use_fp16_packed", "use_fp16_storage"}),
        "fp16-packed": frozenset({"use_fp16_packed"}),
        "bf16": frozenset({"use_bf16_packed", "use_bf16_storage"}),
    }
)
PRECISION_FLAGS = frozenset().union(*PRECISIONS.values())


@dataclass(frozen=True)
class Setup:
    """A device, a precision, and further ncnn options by name."""

    device: str = "cpu"
    precision: str = "fp32"
    options: Mapping[str, bool | int] = field(default_factory=dict, hash=False)

    @property
    def on_vulkan(self) -> bool:
        return self.device.startswith("vulkan")

    @property
    def half(self) -> str | None:
        """The 16-bit format this setup may store values in: `fp16`, `bf16` or None."""
        return None if self.precision == "fp32" else self.precision[:4]

    def __str__(self) -> str:
        extra = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.device} {self.precision}{extra}"


CPU_FP32 = Setup()


@dataclass(frozen=True)
class Comparison:
    """A named pair of setups. Without a candidate the reference's range is judged, nothing else.

    `recorded`: what the candidate is compared with was recorded elsewhere, and is no run of ncnn.
    """

    name: str
    reference: Setup
    candidate: Setup | None
    recorded: bool = False

    @property
    def precision(self) -> str:
        """The precision whose tolerance applies; a recording has one of its own."""
        if self.recorded:
            return self.name
        if self.candidate is None:
            return "fp16"
        own, other = self.candidate.precision, self.reference.precision
        return other if own == "fp32" else own

    @property
    def half(self) -> str | None:
        return "fp16" if self.candidate is None else self.candidate.half


_VULKAN_FP16 = Setup("vulkan", "fp16")

BUILT_IN: Mapping[str, tuple[Comparison, ...]] = MappingProxyType(
    {
        name: tuple(comparisons)
        for name, *comparisons in (
            ("cpu-vs-vulkan", Comparison("cpu-vs-vulkan", CPU_FP32, Setup("vulkan"))),
            (
                "fp16-vs-fp32",
                Comparison("fp16-vs-fp32-vulkan", Setup("vulkan"), _VULKAN_FP16),
                Comparison("fp16-vs-fp32-cpu", CPU_FP32, Setup("cpu", "fp16")),
            ),
            (
                "fp16-vs-fp32-vulkan",
                Comparison("fp16-vs-fp32-vulkan", Setup("vulkan"), _VULKAN_FP16),
            ),
            ("fp16-vs-fp32-cpu", Comparison("fp16-vs-fp32-cpu", CPU_FP32, Setup("cpu", "fp16"))),
            ("shipped", Comparison("shipped", CPU_FP32, _VULKAN_FP16)),
            ("fp16-range", Comparison("fp16-range", CPU_FP32, None)),
        )
    }
)
# not asked for by name: it is there for the samples that say what they expect
GOLDEN = Comparison("golden", CPU_FP32, CPU_FP32, recorded=True)
DEFAULT_COMPARE = ("cpu-vs-vulkan", "fp16-vs-fp32", "fp16-range")
