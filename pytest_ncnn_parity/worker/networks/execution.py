"""The interface of a network, and where and how each of its layers runs, as read back from ncnn."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.engine.protocol import NetSpec
from pytest_ncnn_parity.engine.steps import RunOn
from pytest_ncnn_parity.network import masks
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8
from pytest_ncnn_parity.network.parameters import NotANumber, number
from pytest_ncnn_parity.network.versions.counterparts import Counterpart
from pytest_ncnn_parity.worker.failures import Unavailable
from pytest_ncnn_parity.worker.networks import capabilities
from pytest_ncnn_parity.worker.networks.native import Machine, Readback
from pytest_ncnn_parity.worker.values.blob import Blob, Made

# x86 kernels without 16 bits of their own that hold layers made with the network's options, which may
# have them (src/layer/x86/convolutiondepthwise_x86.cpp, deformableconv2d_x86.cpp)
GROUPED = frozenset({"ConvolutionDepthWise", "DeconvolutionDepthWise"})


def holds_layers(layer: Layer) -> bool:
    """Return whether the x86 kernel of `layer` makes layers of its own: not where it is depthwise."""
    if layer.type not in GROUPED:
        return layer.type == "DeformableConv2D"
    try:
        outputs, width = number(layer, 0), number(layer, 1)
        weights_of_depthwise = outputs * width * number(layer, 11, width)
        return number(layer, 7, 1) != outputs or number(layer, 6) != weights_of_depthwise
    except NotANumber:
        return True


def holds_weights(layer: Layer) -> bool:
    """Return whether the x86 kernel of `layer` keeps weights in fp16, as it does if there is F16C.

    See src/layer/x86/innerproduct_x86.cpp.
    """
    return layer.type == "InnerProduct" and not computes_in_int8(layer)


def is_x86(architecture: str) -> bool:
    """Return whether `architecture`, from `platform.machine`, is an x86 processor."""
    return re.fullmatch(r"x86_64|AMD64|i[3-6]86|x86", architecture) is not None


def is_arm(architecture: str) -> bool:
    """Return whether `architecture`, from `platform.machine`, is an Arm processor."""
    return re.match(r"arm|aarch64", architecture) is not None


class Execution(Frozen):
    """Where and how one layer runs in a loaded network, as read back, not as requested.

    `worker`: the name of the declared worker that it runs on, or None. `format_inside`:
    the format in which its kernel may hold weights, or layers that it makes values, if that is another.
    """

    where: str  # "cpu" or "vulkan"
    storage: str  # format of the values: "fp32", "fp16" or "bf16"
    arithmetic: str  # "fp32" or "fp16"
    feed: str | None  # the 16-bit format to which its inputs are rounded, or None
    options: tuple[tuple[str, Any], ...]
    model: int = 0  # index in the job; other files are a different computation wherever they run
    worker: str | None = None
    format_inside: str | None = None

    def __str__(self) -> str:
        if self.format_inside is not None:
            return f"{self.where} fp32, {self.format_inside} storage inside"
        if self.storage == "fp32" and self.arithmetic == "fp32":
            return f"{self.where} fp32"
        return f"{self.where}, {self.storage} storage, {self.arithmetic} arithmetic"


class Misread(Frozen):
    """An input that a layer with this `mask` takes for fp32."""

    blob: str
    mask: int


class Executed(Protocol):
    """What tells how each layer of its own graph runs."""

    @property
    def setup(self) -> Setup: ...

    def execution(self, layer: Layer) -> Execution: ...


class Net(Protocol):
    """What runs single layers or the whole network: a `LoadedNet`, or several that act as one."""

    spec: NetSpec
    setup: Setup
    label: str

    @property
    def device_name(self) -> str: ...

    @property
    def dropped(self) -> tuple[str, ...]: ...

    def counterpart(self, layer: Layer) -> Counterpart | None: ...

    def execution(self, layer: Layer) -> Execution: ...

    def misread(self, layer: Layer, graph: Graph) -> Misread | None: ...

    def run_layer(
        self, layer: Layer, inputs: Mapping[str, Blob], feed: str | None = None, on: RunOn = ""
    ) -> Made: ...

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str], on: RunOn = "") -> Made: ...

    def run_one(self, inputs: Mapping[str, Blob], output: str) -> Made: ...

    def time(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> float: ...


def misread(net: Executed, layer: Layer, graph: Graph) -> Misread | None:
    """Return the input whose 16-bit values this CPU layer takes for fp32 because of its mask, or None.

    ncnn's convert_layout casts back only where the layer's masked options still include the format.
    The masks are those of `graph`, which `net` runs.
    """
    if net.execution(layer).where != "cpu":
        return None
    if net.setup.half is None or not layer.mask & masks.NO_STORAGE[net.setup.half]:
        return None
    for blob in layer.inputs:
        maker = graph.producer[blob]
        if maker.type == "Input":
            continue  # an Input layer never runs: its value is fed
        upstream = net.execution(maker)
        if upstream.where == "cpu" and upstream.storage == net.setup.half:
            return Misread(blob, layer.mask)
    return None


class Executions:
    """Where and how each layer of a loaded network runs.

    `integers` is explained at `capabilities.left_on_cpu`; `in_int8`: some layers compute in int8. Raises
    Unavailable if ncnn did not apply the setup, so that nothing would be tested.
    """

    def __init__(
        self,
        read: Readback,
        machine: Machine,
        spec: NetSpec,
        masks: Sequence[int],
        device_name: str,
        integers: Collection[int] = (),
        in_int8: bool = False,
    ) -> None:
        self._read = read
        self._machine = machine
        self._setup = spec.setup
        self._masks = masks
        self._known: dict[int, Execution] = {}
        layers = read.layers
        self._x86, arm = is_x86(machine.architecture), is_arm(machine.architecture)
        able = not self._x86 and (machine.has_half_kernels or not arm)
        self._on_vulkan = [read.on("use_vulkan_compute") and one.on_vulkan for one in layers]
        self._cpu_fp16 = [one.fp16_storage and able for one in layers]
        self._cpu_bf16 = [one.bf16_storage for one in layers]
        if spec.setup.on_vulkan and not read.on("use_vulkan_compute"):
            raise Unavailable(self._why_on_cpu(device_name, in_int8), no_vulkan=True)
        self._refuse_another_setup([one.type for one in layers], device_name, integers)

    def _refuse_another_setup(
        self, types: Sequence[str], device_name: str, integers: Collection[int]
    ) -> None:
        setup, read = self._setup, self._read
        if setup.half is not None and not capabilities.stores_half(
            setup, read, self._cpu_fp16, self._cpu_bf16
        ):
            raise Unavailable(
                f"{setup}: the device lacks it and ncnn dropped the option, so nothing would be tested",
                no_vulkan=setup.on_vulkan,
            )
        if setup.on_vulkan and capabilities.left_on_cpu(types, self._on_vulkan, self._masks, integers):
            raise Unavailable(self._all_on_cpu(device_name), no_vulkan=True)

    def _why_on_cpu(self, device_name: str, in_int8: bool) -> str:
        """Why ncnn loaded the network without Vulkan: old versions do so if layers are in int8."""
        if in_int8:
            return self._all_on_cpu(device_name, ", as this version does where some are in int8")
        return "ncnn fell back to the CPU: the Vulkan device is not valid"

    def _all_on_cpu(self, device_name: str, why: str = "") -> str:
        return (
            f"no layer runs on {device_name}: ncnn {self._machine.version} runs all of them on the CPU, "
            f"though no mask asks for it{why}, so nothing would be tested"
        )

    def of(self, layer: Layer) -> Execution:
        """Return how `layer` runs (src/net.cpp: get_masked_option, convert_layout, record_upload)."""
        if layer.number not in self._known:
            self._known[layer.number] = self._execution(layer)
        return self._known[layer.number]

    def _execution(self, layer: Layer) -> Execution:
        mask = self._masks[layer.number]
        vulkan = self._on_vulkan[layer.number]
        net_storage = self._net_storage(vulkan)
        storage = self._storage(net_storage, layer.number)
        reduced = self._read.on("use_fp16_arithmetic") and not mask & masks.NO_FP16_ARITHMETIC
        arithmetic = "fp16" if reduced and (vulkan or storage == "fp16") else "fp32"
        # an upload casts by the network's options, regardless of the layer's mask
        arrives = net_storage if vulkan else storage
        return Execution(
            "vulkan" if vulkan else "cpu",
            storage,
            arithmetic,
            None if arrives == "fp32" else arrives,
            tuple(sorted(self._setup.options.items())),
            worker=self._machine.name,
            format_inside=None if vulkan or storage != "fp32" else self._format_inside(layer),
        )

    def _format_inside(self, layer: Layer) -> str | None:
        """Return the 16-bit format of what `layer`, which stores none, may hold on the CPU."""
        mask, storage = self._masks[layer.number], self._net_storage(False)
        if not self._x86 or mask & masks.NO_STORAGE.get(storage, 0):
            return None
        holds = {"bf16": holds_layers, "fp16": holds_weights}.get(storage)
        return storage if holds is not None and holds(layer) else None

    def _net_storage(self, vulkan: bool) -> str:
        """Return the format in which a layer stores its values by the network's options alone."""
        on = self._read.on
        if on("use_bf16_storage") or (vulkan and on("use_bf16_packed")):
            return "bf16"
        return "fp16" if on("use_fp16_storage") or (vulkan and on("use_fp16_packed")) else "fp32"

    def _storage(self, storage: str, number: int) -> str:
        """Return `storage`, or fp32 if the layer's mask or its kernel does not allow that format."""
        if self._masks[number] & masks.NO_STORAGE.get(storage, 0):
            return "fp32"
        if self._on_vulkan[number]:
            return storage
        able = {"fp16": self._cpu_fp16, "bf16": self._cpu_bf16}.get(storage)
        return storage if able is not None and able[number] else "fp32"
