"""What a loaded network needs of the ncnn that it is loaded in: in this process, or in a worker's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.values.blob import Blob


@dataclass(frozen=True)
class NativeLayer:
    """A layer as ncnn has loaded it: what it can do, and the numbers of its output blobs."""

    type: str
    tops: tuple[int, ...]
    on_vulkan: bool
    fp16_storage: bool
    bf16_storage: bool


@dataclass(frozen=True)
class Readback:
    """What ncnn made of a network and of the options that it was asked for."""

    blobs: tuple[str, ...]
    layers: tuple[NativeLayer, ...]
    options: Mapping[str, bool | int]

    def on(self, option: str) -> bool:
        """Whether there is such an option, and it is on."""
        return bool(self.options.get(option, False))


@dataclass(frozen=True)
class Wanted:
    """A blob to extract, by name and number, which may be int8, or empty without being a failure."""

    blob: str
    index: int
    maybe_int8: bool = False
    maybe_empty: bool = False


@dataclass(frozen=True)
class Fed:
    """A value that a blob is fed with."""

    blob: str
    index: int
    value: Blob


class NativeRun(Protocol):
    """A run of a network in ncnn, out of which values are taken in running order."""

    def values(self, step: Step, outputs: Sequence[Wanted]) -> list[Blob]:
        """The next values. Raises StepFailed with `step`."""


class NativeNet(Protocol):
    """A network in ncnn."""

    @property
    def read(self) -> Readback: ...

    def decides_itself(self, operator: str) -> bool:
        """Whether the project's own code runs `operator`, and judges what it is fed."""

    def drop(self) -> None:
        """Forget the network."""

    def run(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> list[Blob]:
        """What one extractor gives. Raises StepFailed with `step`."""

    def begin(self, inputs: Sequence[Fed]) -> NativeRun | None:
        """One run of the network that is followed; None: values cannot be taken out of one."""

    def time(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> float:
        """The milliseconds of such a run. Raises Unavailable where they would mean nothing."""


class Machine(Protocol):
    """An ncnn, and the machine that it runs on."""

    @property
    def name(self) -> str | None:
        """The worker's; None: this process."""

    @property
    def version(self) -> str:
        """Of ncnn."""

    @property
    def architecture(self) -> str: ...

    @property
    def has_half_kernels(self) -> bool:
        """Whether this CPU has what ncnn's kernels for 16-bit values on ARM need."""

    def has_option(self, name: str) -> bool: ...

    def require_vulkan(self, index: int) -> None:
        """Start Vulkan. Unavailable where there is no device `index`."""

    def device_name(self, index: int) -> str: ...

    def takes_int8(self, index: int) -> bool:
        """Whether int8 can be brought to the Vulkan device."""

    def threads(self, share: int) -> int:
        """How many threads a network gets; `share` is that of this process."""

    def load(
        self,
        step: Step,
        model: Model,
        graph: Graph | None,
        options: Mapping[str, bool | int],
        vulkan: int | None,
    ) -> NativeNet:
        """Load `model` under `options`, on Vulkan's device of that number. Raises StepFailed."""
