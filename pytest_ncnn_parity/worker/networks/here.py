"""Loads and runs networks with the ncnn of this process."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Container, Mapping, Sequence

import ncnn

from pytest_ncnn_parity.engine.protocol import Model
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.custom_layers import CustomNet, blamed
from pytest_ncnn_parity.worker.failures import failed
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.native import Fed, NativeLayer, Readback, Wanted
from pytest_ncnn_parity.worker.networks.pools import POOLS
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.weights.checked_files import load_param

START_VULKAN = Step("vulkan")
NOTHING = ncnn.Mat()
AS_IT_IS = 1  # the `type` with which Extractor.extract neither converts int8 to floats nor unpacks


class Here:
    """The ncnn of this process, as a `native.Machine`.

    `enter` announces each native step. `net` is the Net to load a network into; None: a new one.
    """

    name = None
    version = str(ncnn.__version__)
    architecture = platform.machine()

    def __init__(self, enter: Callable[[Step], None], net: ncnn.Net | None = None) -> None:
        self._enter = enter
        self._net = net

    @property
    def has_half_kernels(self) -> bool:
        return bool(ncnn.cpu_support_arm_vfpv4() or ncnn.cpu_support_arm_asimdhp())

    def has_option(self, name: str) -> bool:
        return hasattr(ncnn.Option, name)

    def require_vulkan(self, index: int) -> None:
        self._enter(START_VULKAN)
        vulkan.require(index)

    def device_name(self, index: int) -> str:
        return vulkan.name(index)

    def takes_int8(self, index: int) -> bool:
        return vulkan.takes_int8(index)

    def threads(self, share: int) -> int:
        return share

    def load(
        self,
        step: Step,
        model: Model,
        graph: Graph | None,  # noqa: ARG002
        options: Mapping[str, bool | int],
        vulkan: int | None,
    ) -> NetHere:
        net = self._net or ncnn.Net()
        for name, value in options.items():
            try:
                setattr(net.opt, name, value)
            except (AttributeError, TypeError):
                raise failed(step, "refused", f"the option {name} does not take {value!r}") from None
        POOLS.serve(net.opt)
        if vulkan is not None:
            net.set_vulkan_device(vulkan)
        self._enter(step)
        with blamed(model, step):
            rc = load_param(net, model)
            if rc != 0:
                raise failed(step, "refused", f"{model.param}: load_param: {rc}")
            rc = net.load_model(os.fsencode(model.bin))
        if rc != 0:
            raise failed(step, "refused", f"{model.bin}: load_model: {rc}")
        return NetHere(net, model, self._enter)


class NetHere:
    """A network that this process has loaded, as a `native.NativeNet`."""

    def __init__(self, net: ncnn.Net, model: Model, enter: Callable[[Step], None]) -> None:
        self.net = net
        self._model = model
        self._enter = enter
        self.read = Readback(
            tuple(blob.name for blob in net.blobs()),
            tuple(
                NativeLayer(
                    one.type,
                    tuple(one.tops),
                    bool(one.support_vulkan),
                    bool(one.support_fp16_storage),
                    bool(one.support_bf16_storage),
                )
                for one in net.layers()
            ),
            _plain(net.opt),
        )
        # A new extractor has a slot for each blob of the network. With thousands of blobs, creating one
        # takes as long as running a small layer, so it is reused for single layers on the CPU.
        self._spare: ncnn.Extractor | None = None
        on_cpu = () if self.read.on("use_vulkan_compute") else net.layers()
        self._bottoms = {frozenset(one.tops): frozenset(one.bottoms) for one in on_cpu}

    def drop(self) -> None:
        self._spare = None  # no extractor may outlive what the network has loaded

    def decides_itself(self, operator: str) -> bool:
        return isinstance(self.net, CustomNet) and operator in self.net.registered

    def run(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> list[Blob]:
        self._enter(step)
        slots = self._slots(inputs, outputs)
        spare, self._spare = self._spare, None  # one that fails or raises is not reused
        extractor = spare if slots and spare is not None else self.net.create_extractor()
        for fed in inputs:
            rc = extractor.input(fed.index, fed.value.mat)
            if rc != 0:
                raise failed(step, "refused", f"input {fed.blob}: {rc}")
        values = [self._extracted(step, extractor, wanted) for wanted in outputs]
        for index in slots:
            extractor.input(index, NOTHING)
        self._spare = extractor if slots else spare
        del extractor  # so that the pools have what it alone held
        POOLS.after(sum(fed.value.size for fed in inputs) + sum(value.size for value in values))
        return values

    def _slots(self, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> frozenset[int]:
        """Return the slots that a run fills if it runs a single layer on the CPU; otherwise none."""
        fed, tops = (frozenset(one.index for one in side) for side in (inputs, outputs))
        return fed | tops if tops in self._bottoms and self._bottoms[tops] <= fed else frozenset()

    def begin(self, inputs: Sequence[Fed]) -> RunHere:
        extractor = self.net.create_extractor()
        for fed in inputs:
            extractor.input(fed.index, fed.value.mat)
        on_device = frozenset(top for one in self.read.layers if one.on_vulkan for top in one.tops)
        return RunHere(self._enter, extractor, on_device, self._extracted)

    def time(self, step: Step, inputs: Sequence[Fed], outputs: Sequence[Wanted]) -> float:
        before = time.perf_counter()
        self.run(step, inputs, outputs)
        return 1000.0 * (time.perf_counter() - before)

    def _extracted(self, step: Step, extractor: ncnn.Extractor, wanted: Wanted) -> Blob:
        with blamed(self._model, step):
            rc, mat = extractor.extract(wanted.index)
        if rc == 0 and mat.empty() and wanted.maybe_empty:
            return Blob.of_nothing()
        if rc != 0 or mat.empty():
            kind, detail = limits.refused(f"extract {wanted.blob}", rc)
            if kind == "refused" and rc == limits.NO_BLOB and wanted.empty_is_refused:
                return Blob.of_nothing()
            raise failed(step, kind, detail)
        if wanted.maybe_int8:
            _, packed = extractor.extract(wanted.index, AS_IT_IS)
            if packed.elemsize == packed.elempack:  # one byte per element, so int8
                return Blob.of_int8(packed)
        return Blob(mat)


class RunHere:
    """A run on Vulkan whose values are taken out step by step.

    `on_device` holds the indices of the blobs that are computed on the device.
    """

    def __init__(
        self,
        enter: Callable[[Step], None],
        extractor: ncnn.Extractor,
        on_device: Container[int],
        extracted: Callable[[Step, ncnn.Extractor, Wanted], Blob],
    ) -> None:
        self._enter = enter
        self._extractor = extractor
        self._on_device = on_device
        self._extracted = extracted

    def values(self, step: Step, outputs: Sequence[Wanted]) -> list[Blob]:
        self._enter(step)
        values = []
        for wanted in outputs:
            values.append(self._extracted(step, self._extractor, wanted))
            if wanted.index in self._on_device:
                # The extractor would keep the copy that it made here, and feed it to a layer on the CPU
                # instead of making a copy as in an ordinary run.
                self._extractor.input(wanted.index, ncnn.Mat())
        return values


def _plain(options: ncnn.Option) -> dict[str, bool | int]:
    """Return, by name, the options that are bools or ints."""
    values = {name: getattr(options, name) for name in dir(options) if not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, bool | int)}
