"""Networks loaded in ncnn: what was asked for, what came of it, and how a layer or all of it runs."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ncnn

from pytest_ncnn_parity.compare.comparisons import PRECISION_FLAGS, PRECISIONS, Setup
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, NO_STORAGE
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks import capabilities
from pytest_ncnn_parity.worker.networks import vulkan as driver
from pytest_ncnn_parity.worker.networks.custom_layers import blamed
from pytest_ncnn_parity.worker.networks.step_cache import Memo
from pytest_ncnn_parity.worker.networks.weights import load_param
from pytest_ncnn_parity.worker.values.blob import Blob, Made

X86 = re.fullmatch(r"x86_64|AMD64|i[3-6]86|x86", platform.machine()) is not None
START_VULKAN = "start Vulkan"  # the step so named
_ARM = re.match(r"arm|aarch64", platform.machine()) is not None


@dataclass(frozen=True)
class Execution:
    """Where and how one layer runs in a loaded network, as read back, not as asked for."""

    where: str  # "cpu" or "vulkan"
    storage: str  # what it keeps values in: "fp32", "fp16" or "bf16"
    arithmetic: str  # "fp32" or "fp16"
    feed: str | None  # the 16-bit format its inputs arrive in, or None
    options: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        if self.storage == "fp32" and self.arithmetic == "fp32":
            return f"{self.where} fp32"
        return f"{self.where}, {self.storage} storage, {self.arithmetic} arithmetic"


class Net(Protocol):
    """What runs layers, or all of them: a `LoadedNet`, or several that stand for one."""

    spec: NetSpec
    setup: Setup
    label: str

    @property
    def device_name(self) -> str: ...

    @property
    def dropped(self) -> tuple[str, ...]: ...

    def execution(self, layer: param.Layer) -> Execution: ...

    def run_layer(
        self, layer: param.Layer, inputs: Mapping[str, Blob], feed: str | None = None, own: bool = False
    ) -> Made: ...

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made: ...


def misread(net: Net, layer: param.Layer, graph: param.Graph) -> str | None:
    """The input whose 16-bit values a mask makes this CPU layer take for fp32, or None.

    convert_layout casts back only where the layer's masked options still ask for the format. The
    masks are those of `graph`.
    """
    if net.execution(layer).where != "cpu":
        return None
    if net.setup.half is None or not layer.mask & NO_STORAGE[net.setup.half]:
        return None
    for blob in layer.inputs:
        maker = graph.producer[blob]
        if maker.type == "Input":
            continue  # never run: what is fed stays as it is
        made = net.execution(maker)
        if made.where == "cpu" and made.storage == net.setup.half:
            return blob
    return None


class LoadedNet:
    """A network ready to run.

    `masks` are its layers' as they stand in the model's text; `enter` announces each native step
    before it is taken; `label` tells of this network there. `net` is what to load it into.
    """

    def __init__(
        self,
        spec: NetSpec,
        model: Model,
        masks: Sequence[int],
        threads: int,
        enter: Callable[[str], None],
        memo: Memo | None = None,
        label: str = "",
        net: ncnn.Net | None = None,
    ) -> None:
        self.spec = spec
        self.setup = Setup(spec.device, spec.precision, spec.options)
        self._masks = masks
        self._enter = enter
        self._memo = memo or Memo()
        self.label = label or str(self.setup)
        self._executions: dict[int, Execution] = {}
        self._model = model
        self._check_available()
        self.net = net or ncnn.Net()
        self._set_options(threads)
        self._load(model)
        self._read_back()

    def _check_available(self) -> None:
        if self.setup.on_vulkan:
            self._enter(START_VULKAN)
            driver.require(self._device_index())
        elif self.setup.half == "fp16" and X86:
            raise Unavailable(
                f"ncnn on a {platform.machine()} CPU ignores fp16: the result is bit-identical to "
                "fp32, so nothing would be tested; run this comparison on ARM, or on Vulkan"
            )

    def _device_index(self) -> int:
        _, _, index = self.spec.device.partition(":")
        return int(index or 0)

    def _set_options(self, threads: int) -> None:
        opt = self.net.opt
        opt.num_threads = threads
        opt.openmp_blocktime = 0  # idle OpenMP threads that spin starve the others
        opt.use_vulkan_compute = self.setup.on_vulkan
        for flag in PRECISION_FLAGS:
            wanted = flag in PRECISIONS[self.spec.precision]
            if hasattr(opt, flag):
                setattr(opt, flag, wanted)
            elif wanted:
                raise Unavailable(f"ncnn {ncnn.__version__} has no option {flag}")
        for name, value in self.spec.options.items():
            if not hasattr(opt, name):
                raise Unavailable(f"ncnn {ncnn.__version__} has no option {name}")
            try:
                setattr(opt, name, value)
            except (AttributeError, TypeError):
                detail = f"the option {name} does not take {value!r}"
                raise StepFailed(
                    f"load on {self.label}", {"kind": "refused", "detail": detail}
                ) from None
        if self.setup.on_vulkan:
            self.net.set_vulkan_device(self._device_index())

    def _load(self, model: Model) -> None:
        step = f"load on {self.label}"
        self._enter(step)
        with blamed(model, step):
            rc = load_param(self.net, model)
            if rc != 0:
                raise StepFailed(step, {"kind": "refused", "detail": f"{model.param}: load_param: {rc}"})
            rc = self.net.load_model(model.bin)
        if rc != 0:
            raise StepFailed(step, {"kind": "refused", "detail": f"{model.bin}: load_model: {rc}"})

    def _read_back(self) -> None:
        opt = self.net.opt
        # a name lookup in ncnn walks all blobs: look each up once
        self._index = {blob.name: i for i, blob in enumerate(self.net.blobs())}
        layers = self.net.layers()
        self._on_vulkan = [bool(opt.use_vulkan_compute and layer.support_vulkan) for layer in layers]
        arm = not X86 and (ncnn.cpu_support_arm_vfpv4() or ncnn.cpu_support_arm_asimdhp())
        self._cpu_fp16 = [layer.support_fp16_storage and (arm or not (X86 or _ARM)) for layer in layers]
        self._cpu_bf16 = [layer.support_bf16_storage for layer in layers]
        if self.setup.on_vulkan and not opt.use_vulkan_compute:
            raise Unavailable("ncnn fell back to the CPU: the Vulkan device is not valid", True)
        if self.setup.half is not None and not capabilities.stores_half(
            self.setup, opt, self._cpu_fp16, self._cpu_bf16
        ):
            raise Unavailable(
                f"{self.setup}: the device lacks it and ncnn dropped the option, so nothing would "
                "be tested",
                self.setup.on_vulkan,
            )
        types = [layer.type for layer in layers]
        if self.setup.on_vulkan and capabilities.left_on_cpu(types, self._on_vulkan, self._masks):
            raise Unavailable(
                f"no layer runs on {self.device_name}: ncnn {ncnn.__version__} runs all of them on the "
                "CPU, though no mask asks for it, so nothing would be tested",
                True,
            )

    @property
    def dropped(self) -> tuple[str, ...]:
        return capabilities.dropped(self.setup, self.net.opt)

    @property
    def device_name(self) -> str:
        return driver.name(self._device_index()) if self.setup.on_vulkan else "cpu"

    def execution(self, layer: param.Layer) -> Execution:
        """How `layer` runs here (src/net.cpp: get_masked_option, convert_layout, record_upload)."""
        if layer.number not in self._executions:
            self._executions[layer.number] = self._execution(layer)
        return self._executions[layer.number]

    def _execution(self, layer: param.Layer) -> Execution:
        opt, mask, n = self.net.opt, self._masks[layer.number], layer.number
        vulkan = self._on_vulkan[n]
        fp16 = bool(opt.use_fp16_storage or (vulkan and opt.use_fp16_packed))
        bf16 = bool(
            getattr(opt, "use_bf16_storage", False)
            or (vulkan and getattr(opt, "use_bf16_packed", False))
        )
        net_storage = "bf16" if bf16 else "fp16" if fp16 else "fp32"
        storage = "fp32" if mask & NO_STORAGE.get(net_storage, 0) else net_storage
        if not vulkan:
            able = {"fp16": self._cpu_fp16, "bf16": self._cpu_bf16}.get(storage)
            storage = storage if able is not None and able[n] else "fp32"
        reduced = opt.use_fp16_arithmetic and not mask & NO_FP16_ARITHMETIC
        arithmetic = "fp16" if reduced and (vulkan or storage == "fp16") else "fp32"
        # an upload casts by the network's options, whatever the layer's mask
        arrives = net_storage if vulkan else storage
        return Execution(
            "vulkan" if vulkan else "cpu",
            storage,
            arithmetic,
            None if arrives == "fp32" else arrives,
            tuple(sorted(self.spec.options.items())),
        )

    def run_layer(
        self, layer: param.Layer, inputs: Mapping[str, Blob], feed: str | None = None, own: bool = False
    ) -> Made:
        """`layer` alone, fed with `inputs` rounded to `feed`. `own`: they are what this network made."""
        fed = {blob: inputs[blob].rounded(feed) for blob in dict.fromkeys(layer.inputs)}
        step = f"layer {layer.number} {layer.name} on {self.label}"
        if feed:
            step += f", {feed} inputs"
        if own:  # a step of another name: that it dies says nothing of the layer on other values
            step += ", its own inputs"
        return self._run(step, fed, layer.outputs)

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        """The whole network as its users run it: one extractor, lightmode on."""
        return self._run(f"network on {self.label}", inputs, outputs)

    def _run(self, step: str, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        wanted = tuple(outputs)
        return self._memo.get(
            lambda: (self, step, *(blob.digest for blob in inputs.values()), *wanted),
            lambda: self._extract(step, inputs, wanted),
        )

    def _extract(self, step: str, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        self._enter(step)
        extractor = self.net.create_extractor()
        for blob, value in inputs.items():
            rc = extractor.input(self._index[blob], value.mat)
            if rc != 0:
                raise StepFailed(step, {"kind": "refused", "detail": f"input {blob}: {rc}"})
        made = {}
        for blob in outputs:
            with blamed(self._model, step):
                rc, mat = extractor.extract(self._index[blob])
            if rc != 0 or mat.empty():
                raise StepFailed(step, limits.refused(f"extract {blob}", rc))
            made[blob] = Blob(mat)
        return made
