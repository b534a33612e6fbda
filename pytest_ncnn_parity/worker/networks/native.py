"""The interface of the ncnn that loads a network: that of this process, or of a declared worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker.values.blob import Blob


class NativeLayer(Frozen):
    """A layer as ncnn has loaded it: what it supports, and the indices of its output blobs."""

    type: str
    tops: tuple[int, ...]
    on_vulkan: bool
    fp16_storage: bool
    bf16_storage: bool


class Readback(Frozen):
    """A loaded network as read back from ncnn: its blobs, its layers and the options in effect."""

    blobs: tuple[str, ...]
    layers: tuple[NativeLayer, ...]
    options: Mapping[str, bool | int]

    def on(self, option: str) -> bool:
        """Return whether this ncnn has the option and it is on."""
        return bool(self.options.get(option, False))


class Wanted(Frozen):
    """A blob to extract, by name and index.

    `maybe_int8`: its values may be int8. `maybe_empty`: if it is empty, that is not a failure, nor, with
    `empty_is_refused`, if ncnn refuses to make an empty one.
    """

    blob: str
    index: int
    maybe_int8: bool = False
    maybe_empty: bool = False
    empty_is_refused: bool = False


class Fed(Frozen):
    """A value to feed to a blob, which is given by name and index."""

    blob: str
    index: int
    value: Blob


class NativeRun(Protocol):
    """A run of a network in ncnn from which values are taken in running order."""

    def values(self, step: Step, outputs: Sequence[Wanted]) -> list[Blob]:
        """Return the values of `outputs`. Raises StepFailed with `step`."""


class NativeNet(Protocol):
    """A network that is loaded in ncnn."""

    @property
    def read(self) -> Readback: ...

    def decides_itself(self, operator: str) -> bool:
        """Return whether the project's own code runs `operator`, and thus judges its inputs itself."""

    def drop(self) -> None:
        """Release the network."""

    def run(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> list[Blob]:
        """Extract `outputs` with one extractor fed with `inputs`. Raises StepFailed with `step`."""

    def begin(self, inputs: Sequence[Fed]) -> NativeRun | None:
        """Begin a run from which values can be taken; None if that is not possible."""

    def time(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> float:
        """Return the milliseconds of such a run. Raises Unavailable if they would mean nothing."""


class Machine(Protocol):
    """An ncnn and the machine on which it runs: this process, or a declared worker."""

    @property
    def name(self) -> str | None:
        """The name of the declared worker, or None for this process."""

    @property
    def version(self) -> str:
        """The version of ncnn."""

    @property
    def architecture(self) -> str: ...

    @property
    def has_half_kernels(self) -> bool:
        """Whether this CPU has the features that ncnn's 16-bit kernels for ARM need."""

    def has_option(self, name: str) -> bool: ...

    def require_vulkan(self, index: int) -> None:
        """Start Vulkan. Raises Unavailable if there is no device `index`."""

    def device_name(self, index: int) -> str: ...

    def takes_int8(self, index: int) -> bool:
        """Return whether int8 values can be uploaded to the Vulkan device `index`."""

    def threads(self, share: int) -> int:
        """Return how many threads a network gets; `share` is what it gets in this process."""

    def load(
        self,
        step: Step,
        model: Model,
        graph: Graph | None,
        options: Mapping[str, bool | int],
        vulkan: int | None,
    ) -> NativeNet:
        """Load `model` with `options`, on the Vulkan device with index `vulkan`. Raises StepFailed."""
