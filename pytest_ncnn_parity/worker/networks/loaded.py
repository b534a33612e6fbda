"""A network loaded in ncnn: runs one layer alone, or all of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence

import ncnn

from pytest_ncnn_parity.base.errors import quoted
from pytest_ncnn_parity.compare.comparisons import PRECISION_FLAGS, PRECISIONS
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.detectors import DETECTORS
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import misreads_int8
from pytest_ncnn_parity.network.integers import copying_integers, integer_bits
from pytest_ncnn_parity.network.shape_rules.table import unfit
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.failures import Unavailable, failed
from pytest_ncnn_parity.worker.networks import capabilities, vulkan
from pytest_ncnn_parity.worker.networks.custom_layers import CustomNet, blamed
from pytest_ncnn_parity.worker.networks.execution import X86, Execution, Executions, Net
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.step_cache import StepCache
from pytest_ncnn_parity.worker.networks.weights import load_param
from pytest_ncnn_parity.worker.values.blob import Blob, Made

START_VULKAN = Step("vulkan")
AS_IT_IS = 1  # the `type` of Extractor.extract that makes no floats of int8, and unpacks nothing


class LoadedNet:
    """A network ready to run.

    `masks` are its layers' as they stand in the model's text; `enter` announces each native step
    before it is taken; `label` tells of this network there. `net` is what to load it into; `int8`: what
    of its values may be int8.
    """

    def __init__(
        self,
        spec: NetSpec,
        model: Model,
        masks: Sequence[int],
        threads: int,
        enter: Callable[[Step], None],
        cache: StepCache | None = None,
        label: str = "",
        net: ncnn.Net | None = None,
        int8: Int8Values | None = None,
    ) -> None:
        self.spec = spec
        self.setup = spec.setup
        self._enter = enter
        self._cache = cache or StepCache()
        self.label = label or str(self.setup)
        self._model = model
        self._int8 = int8
        self._check_available()
        self.net = net or ncnn.Net()
        self._set_options(threads)
        self._load(model)
        # a name lookup in ncnn walks all blobs: look each up once
        self._index = {blob.name: i for i, blob in enumerate(self.net.blobs())}
        self._detections = {
            self.net.blobs()[top].name
            for layer in self.net.layers()
            if layer.type in DETECTORS
            for top in layer.tops
        }
        graph = None if int8 is None else int8.graph
        self._integers = frozenset() if graph is None else integer_bits(graph)
        copying = () if graph is None else copying_integers(graph)
        self._executions = Executions(self.net, spec, masks, self.device_name, copying)

    def _check_available(self) -> None:
        if self.setup.on_vulkan:
            self._enter(START_VULKAN)
            vulkan.require(self._device_index())
        elif self.setup.half == "fp16" and X86:
            raise Unavailable(
                # bit for bit what fp32 gives; short, for terminals give each reason one line
                f"ncnn ignores fp16 on {platform.machine()}; use ARM or Vulkan",
                lasting=True,
            )

    def _device_index(self) -> int:
        _, _, index = self.spec.device.partition(":")
        return int(index or 0)

    @property
    def _load_step(self) -> Step:
        return Step("load", self.label, patched=self.spec.patched)

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
                raise Unavailable(f"ncnn {ncnn.__version__} has no option {flag}", lasting=True)
        for name, value in self.spec.options.items():
            if not hasattr(opt, name):
                raise Unavailable(f"ncnn {ncnn.__version__} has no option {name}", lasting=True)
            try:
                setattr(opt, name, value)
            except (AttributeError, TypeError):
                detail = f"the option {name} does not take {value!r}"
                raise failed(self._load_step, "refused", detail) from None
        if self.setup.on_vulkan:
            self.net.set_vulkan_device(self._device_index())

    def _load(self, model: Model) -> None:
        step = self._load_step
        self._enter(step)
        with blamed(model, step):
            rc = load_param(self.net, model)
            if rc != 0:
                raise failed(step, "refused", f"{model.param}: load_param: {rc}")
            rc = self.net.load_model(model.bin)
        if rc != 0:
            raise failed(step, "refused", f"{model.bin}: load_model: {rc}")

    @property
    def dropped(self) -> tuple[str, ...]:
        return capabilities.dropped(self.setup, self.net.opt)

    @property
    def device_name(self) -> str:
        return vulkan.name(self._device_index()) if self.setup.on_vulkan else "cpu"

    def counterpart(self, layer: Layer) -> None:
        """None: the layers are the spec's own."""

    def execution(self, layer: Layer) -> Execution:
        """How `layer` runs here, as read back."""
        return self._executions.of(layer)

    def run_layer(
        self,
        layer: Layer,
        inputs: Mapping[str, Blob],
        feed: str | None = None,
        own: bool = False,
        among: Net | None = None,
    ) -> Made:
        """`layer` alone, fed with `inputs` rounded to `feed`. `own`: they are what this network made.

        `among`: the network that this one runs the layer for, if it is not this one.
        """
        # of `own` inputs a step of its own: that it dies says nothing of the layer on other values
        step = Step("layer", self.label, layer.number, layer.name, feed, own)
        self._refuse_misfit(step, layer, inputs)
        values = {blob: inputs[blob] for blob in dict.fromkeys(layer.inputs)}
        if self._int8 is not None and any(value.int8 for value in values.values()):
            values = self._int8.fed(layer, inputs, lambda one: _on_vulkan(among or self, one))
            self._refuse_upload(step, layer, values)
        fed = {blob: value.rounded(feed) for blob, value in values.items()}
        return self._run(step, fed, layer.outputs)

    def run_between(
        self,
        step: Step,
        layers: Sequence[Layer],
        inputs: Mapping[str, Blob],
        outputs: Iterable[str],
        feed: str | None,
    ) -> Made:
        """What `layers`, in running order, make of `inputs` rounded to `feed`."""
        for layer in layers:
            if inputs and all(blob in inputs for blob in layer.inputs):
                self._refuse_misfit(step, layer, inputs)
        return self._run(step, {blob: value.rounded(feed) for blob, value in inputs.items()}, outputs)

    def _refuse_upload(self, step: Step, layer: Layer, values: Mapping[str, Blob]) -> None:
        """Refuse to upload int8 where ncnn cannot: it would go on without the value, and may crash."""
        int8 = next((blob for blob, value in values.items() if value.int8), None)
        if int8 is None or not _on_vulkan(self, layer) or vulkan.takes_int8(self._device_index()):
            return
        detail = f"{int8} is int8 from the CPU, which ncnn cannot upload to {self.device_name}"
        raise failed(step, "refused", detail)

    def _refuse_misfit(self, step: Step, layer: Layer, inputs: Mapping[str, Blob]) -> None:
        """Refuse inputs that do not fit and may corrupt memory. Custom layers decide themselves."""
        if isinstance(self.net, CustomNet) and layer.type in self.net.registered:
            return
        reason = unfit(layer, [inputs[blob].array.shape for blob in layer.inputs])
        if reason:
            raise failed(step, "misfit", reason)
        int8 = next((blob for blob in layer.inputs if inputs[blob].int8), None)
        if int8 is not None and misreads_int8(layer):
            reason = f"gets {quoted(int8)}, which is int8, and reads {misreads_int8(layer)}"
            raise failed(step, "int8", reason)

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        """The whole network as its users run it: one extractor, lightmode on."""
        return self._run(Step("network", self.label), inputs, outputs)

    def _run(self, step: Step, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        wanted = tuple(outputs)
        return self._cache.get(
            lambda: (self, step, *(blob.digest for blob in inputs.values()), *wanted),
            lambda: self._extract(step, inputs, wanted),
        )

    def _extract(self, step: Step, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        self._enter(step)
        extractor = self.net.create_extractor()
        for blob, value in inputs.items():
            rc = extractor.input(self._index[blob], value.mat)
            if rc != 0:
                raise failed(step, "refused", f"input {blob}: {rc}")
        return {blob: self._extracted(step, extractor, blob) for blob in outputs}

    def _extracted(self, step: Step, extractor: ncnn.Extractor, blob: str) -> Blob:
        index = self._index[blob]
        with blamed(self._model, step):
            rc, mat = extractor.extract(index)
        if rc == 0 and mat.empty() and blob in self._detections:
            return Blob.of_nothing()
        if rc != 0 or mat.empty():
            raise failed(step, *limits.refused(f"extract {blob}", rc))
        if self._int8 is not None and blob in self._int8.blobs:
            _, packed = extractor.extract(index, AS_IT_IS)
            if packed.elemsize == packed.elempack:  # a byte for each of them
                return Blob.of_int8(packed)
        return Blob.of_integers(mat) if blob in self._integers else Blob(mat)


def _on_vulkan(net: Net, layer: Layer) -> bool:
    return net.execution(layer).where == "vulkan"
