"""How networks are run, and which of these ways are compared: setups and comparisons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import ClassVar

from pytest_ncnn_parity.base.frozen import Frozen

# those of ncnn.Option from 1.0.20240410 to 1.0.20261020 that a spec may set
NCNN_OPTIONS = frozenset(
    "kvcache_max_seqlen_hint lightmode num_threads openmp_blocktime use_bf16_packed use_bf16_storage"
    " use_fp16_arithmetic use_fp16_packed use_fp16_storage use_image_storage use_int8_arithmetic"
    " use_int8_inference use_int8_packed use_int8_storage use_packing_layout use_sgemm_convolution"
    " use_shader_pack8 use_subgroup_ballot use_subgroup_basic use_subgroup_ops use_subgroup_shuffle"
    " use_subgroup_vote use_tensor_storage use_vulkan_compute use_winograd23_convolution"
    " use_winograd43_convolution use_winograd63_convolution use_winograd_convolution".split()
)
MOST_THREADS = 1024  # of one network

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

RECORDED = "golden"  # recordings count as a precision, because they have a tolerance of their own

WORKER_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,39}"


class OtherFiles(Frozen):
    """The files of another model of the same network, relative to the spec that names them."""

    param: str
    bin: str


class Setup(Frozen):
    """A device, a precision, and further ncnn options by name.

    `model`: files that are run in place of the spec's own. `worker`: the name of the declared worker
    that runs the network, with another ncnn or on another machine; None for the ncnn of this machine.
    """

    device: str = "cpu"
    precision: str = "fp32"
    options: Mapping[str, bool | int] = field(default_factory=dict, hash=False)
    model: OtherFiles | None = None
    worker: str | None = None

    @property
    def on_vulkan(self) -> bool:
        return self.device.startswith("vulkan")

    @property
    def device_index(self) -> int:
        """The index of the Vulkan device; 0 if none is named."""
        return int(self.device.partition(":")[2] or 0)

    @property
    def half(self) -> str | None:
        """The 16-bit format this setup may store values in: `fp16`, `bf16` or None."""
        return None if self.precision == "fp32" else self.precision.partition("-")[0]

    def __str__(self) -> str:
        extra = "".join(f" {name}={value}" for name, value in self.options.items())
        files = f" of {self.model.param}" if self.model else ""
        there = f" at {self.worker}" if self.worker else ""
        return f"{self.device} {self.precision}{extra}{there}{files}"


CPU_FP32 = Setup()


class Comparison(Frozen, ABC):
    """A reference, and what is compared with it. Each kind of comparison is a class of its own.

    `kind` is the name by which the worker knows it. `candidate`: the setup that is judged, if there is
    one.
    """

    name: str
    reference: Setup = CPU_FP32
    candidate: Setup | None = None

    kind: ClassVar[str]
    judges_outputs: ClassVar[bool] = True  # in addition to layers
    of_recordings: ClassVar[bool] = False  # this comparison exists for the samples that have `expect`
    masks_can_fix: ClassVar[bool] = True
    judges_headroom: ClassVar[bool] = False

    @property
    @abstractmethod
    def precision(self) -> str:
        """The precision whose tolerance applies."""

    @property
    def half(self) -> str | None:
        """The 16-bit format in which values may be held: `fp16`, `bf16` or None."""
        return None if self.candidate is None else self.candidate.half

    @property
    def other_files(self) -> OtherFiles | None:
        """The files that the candidate runs in place of the spec's own, if it does."""
        return None if self.candidate is None else self.candidate.model

    @property
    def reference_name(self) -> str:
        return str(self.reference)

    @property
    def candidate_name(self) -> str:
        """What is judged, in words."""
        return str(self.candidate)

    @property
    def verified_as(self) -> Comparison:
        """The comparison in which the masks of a fix are run."""
        return self

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of the workers that its networks run on; none if all run on this machine's ncnn."""
        setups = [self.reference] if self.candidate is None else [self.reference, self.candidate]
        return tuple(dict.fromkeys(setup.worker for setup in setups if setup.worker is not None))

    def on(self, worker: str) -> Comparison:
        """The same comparison with both networks run on `worker`."""
        candidate = None if self.candidate is None else replace(self.candidate, worker=worker)
        name = f"{self.name}-on-{worker}"
        return replace(
            self, name=name, reference=replace(self.reference, worker=worker), candidate=candidate
        )


class Pair(Comparison):
    """Two setups: does the candidate compute what the reference computes?"""

    kind = "pair"

    @property
    def precision(self) -> str:
        assert self.candidate is not None
        own, other = self.candidate.precision, self.reference.precision
        return other if own == "fp32" else own


class OtherModel(Pair):
    """Like `Pair`, with a candidate that runs other files: optimized, converted or exported anew.

    Its layers are counterparts of the spec's layers, so masks by the names of those do not fit it.
    """

    masks_can_fix = False


class Fp16Range(Comparison):
    """No candidate: can fp16 hold what the reference computes? Fixes are verified by `shipped`."""

    kind = "range"
    judges_headroom = True
    judges_outputs = False
    precision = "fp16"
    half = "fp16"
    candidate_name = "fp16, predicted"

    @property
    def verified_as(self) -> Comparison:
        return SHIPPED


class Golden(Comparison):
    """Compares outputs with those that the original framework computed from the same inputs."""

    kind = "golden"
    of_recordings = True
    masks_can_fix = False
    reference_name = "recorded"

    @property
    def precision(self) -> str:
        assert self.candidate is not None
        return self.candidate.precision if self.candidate.half else RECORDED

    @staticmethod
    def of(comparison: Comparison) -> Golden:
        """The golden comparison of the other model that `comparison` runs, with the same recordings."""
        return Golden(f"{RECORDED}-{comparison.name}", CPU_FP32, comparison.candidate)


_VULKAN_FP16 = Setup("vulkan", "fp16")
_FP16_ON_VULKAN = Pair("fp16-vs-fp32-vulkan", Setup("vulkan"), _VULKAN_FP16)
_FP16_ON_CPU = Pair("fp16-vs-fp32-cpu", CPU_FP32, Setup("cpu", "fp16"))
SHIPPED = Pair("shipped", CPU_FP32, _VULKAN_FP16)

BUILT_IN: Mapping[str, tuple[Comparison, ...]] = MappingProxyType(
    {
        name: tuple(comparisons)
        for name, *comparisons in (
            ("cpu-vs-vulkan", Pair("cpu-vs-vulkan", CPU_FP32, Setup("vulkan"))),
            ("fp16-vs-fp32", _FP16_ON_VULKAN, _FP16_ON_CPU),
            ("fp16-vs-fp32-vulkan", _FP16_ON_VULKAN),
            ("fp16-vs-fp32-cpu", _FP16_ON_CPU),
            ("shipped", SHIPPED),
            ("fp16-range", Fp16Range("fp16-range")),
        )
    }
)
# nobody asks for it by name: it exists for the samples that have `expect`
GOLDEN = Golden(RECORDED, CPU_FP32, CPU_FP32)
DEFAULT_COMPARE = ("cpu-vs-vulkan", "fp16-vs-fp32", "fp16-range")
