"""A network loaded in ncnn, which runs one layer alone or the whole network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import ncnn

from pytest_ncnn_parity.base.errors import guess, quoted
from pytest_ncnn_parity.compare.comparisons import NCNN_OPTIONS, PRECISION_FLAGS, PRECISIONS
from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.engine.steps import Death, RunOn, Step
from pytest_ncnn_parity.network.detectors import DETECTORS, EMPTY_IS_REFUSED
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import misreads_int8, rounds_to_int8
from pytest_ncnn_parity.network.integers import copying_integers, integer_bits
from pytest_ncnn_parity.network.shapes.rules.table import misshaped, unfit
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable, failed, given
from pytest_ncnn_parity.worker.networks import capabilities
from pytest_ncnn_parity.worker.networks.execution import (
    Execution,
    Executions,
    Misread,
    Net,
    is_x86,
    misread,
)
from pytest_ncnn_parity.worker.networks.here import Here
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.native import Fed, Machine, NativeNet, Wanted
from pytest_ncnn_parity.worker.networks.step_cache import StepCache
from pytest_ncnn_parity.worker.networks.words import misread_integers
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class LoadedNet:
    """A network that is loaded and ready to run.

    `masks` are those of its layers in the model's text. `enter` announces each native step before it
    begins, and `label` names this network in the steps. `net` is the Net to load it into, `int8` says
    which of its values may be int8. `machine` is the ncnn that loads it; None: that of this process.
    Raises StepFailed if it cannot be loaded, Unavailable if the setup cannot be had.
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
        machine: Machine | None = None,
    ) -> None:
        self.spec = spec
        self.setup = spec.setup
        self.threads = threads
        self._enter = enter
        self._cache = cache or StepCache(0, 0)
        self.label = label or str(self.setup)
        self._machine = machine or Here(enter, net)
        self._int8 = int8
        self._check_available()
        graph = None if int8 is None else int8.graph
        on_vulkan = self.setup.device_index if self.setup.on_vulkan else None
        load, options = self._load_step, self._options(threads)
        self.native: NativeNet = self._machine.load(load, model, graph, options, on_vulkan)
        read = self.native.read
        # ncnn searches all blobs for a name, so each name is looked up only once
        self._index = {blob: i for i, blob in enumerate(read.blobs)}
        self._detections = {
            read.blobs[top]: layer.type
            for layer in read.layers
            if layer.type in DETECTORS
            for top in layer.tops
        }
        self._integers = frozenset() if graph is None else integer_bits(graph)
        copying = () if graph is None else copying_integers(graph)
        in_int8 = graph is not None and any(map(rounds_to_int8, graph.layers))
        where = self.device_name
        self._executions = Executions(read, self._machine, spec, masks, where, copying, in_int8)

    def _check_available(self) -> None:
        architecture = self._machine.architecture
        if self.setup.on_vulkan:
            self._machine.require_vulkan(self.setup.device_index)
        elif self.setup.half == "fp16" and is_x86(architecture):
            raise Unavailable(
                # The result would be bitwise that of fp32. The message is short, because terminals show
                # each reason in one line.
                f"ncnn ignores fp16 on {architecture}; use ARM or Vulkan",
                lasting=True,
            )

    @property
    def _load_step(self) -> Step:
        return Step("load", self.label, patched=self.spec.patched)

    def _options(self, threads: int) -> dict[str, bool | int]:
        """Return the options for loading.

        Raises Unavailable if this ncnn lacks one of them, and StepFailed if all versions do.
        """
        options: dict[str, bool | int] = {
            "num_threads": self._machine.threads(threads),
            "openmp_blocktime": 0,  # idle OpenMP threads that spin take cores from those that work
            "use_vulkan_compute": self.setup.on_vulkan,
        }
        for flag in sorted(PRECISION_FLAGS):
            wanted = flag in PRECISIONS[self.spec.precision]
            if wanted or self._machine.has_option(flag):
                options[flag] = wanted
        options.update(self.spec.options)
        lacking = [name for name in options if not self._machine.has_option(name)]
        for name in lacking:
            if name not in NCNN_OPTIONS:
                problem = f"ncnn {self._machine.version} has no option {name}{guess(name, NCNN_OPTIONS)}"
                death = Death("refused", problem, self._load_step, key=("options", name))
                raise StepFailed(self._load_step, death)
        if lacking:
            raise Unavailable(f"ncnn {self._machine.version} has no option {lacking[0]}", lasting=True)
        return options

    @property
    def dropped(self) -> tuple[str, ...]:
        return capabilities.dropped(self.setup, self.native.read)

    @property
    def device_name(self) -> str:
        return self._machine.device_name(self.setup.device_index) if self.setup.on_vulkan else "cpu"

    def counterpart(self, layer: Layer) -> None:
        """Return None: the layers are the spec's own, so that none has a counterpart."""

    def execution(self, layer: Layer) -> Execution:
        """Return where and how `layer` runs, as read back from ncnn."""
        return self._executions.of(layer)

    def misread(self, layer: Layer, graph: Graph) -> Misread | None:
        return misread(self, layer, graph)

    def run_layer(
        self,
        layer: Layer,
        inputs: Mapping[str, Blob],
        feed: str | None = None,
        on: RunOn = "",
        among: Net | None = None,
    ) -> Made:
        """Run `layer` alone on `inputs` rounded to `feed`, and return its outputs.

        `on`: what the inputs are. `among`: the network for which the layer is run, if it is not this
        one. Raises StepFailed.
        """
        step = Step("layer", self.label, layer.number, layer.name, feed, on)
        self._refuse_misfit(step, layer, inputs)
        values = {blob: inputs[blob] for blob in dict.fromkeys(layer.inputs)}
        if self._int8 is not None and any(value.int8 for value in values.values()):
            values = self._int8.fed(layer, inputs, lambda one: _on_vulkan(among or self, one))
            self._refuse_upload(step, layer, values)
        fed = {blob: value.rounded(feed) for blob, value in values.items()}
        try:
            made = self._run(step, fed, layer.outputs)
        except StepFailed as refused:
            if refused.death.kind != "refused":
                raise
            if not self.native.decides_itself(layer.type):
                raise given(refused, layer, {blob: one.shape for blob, one in values.items()}) from None
            detail = f"{layer.type}, a layer of your own, failed: {refused.death.detail}"
            raise StepFailed(step, Death("raised", detail, step, key=("setup",))) from None
        self._refuse_misshaped(step, layer, values, made)
        return made

    def run_between(
        self,
        step: Step,
        layers: Sequence[Layer],
        inputs: Mapping[str, Blob],
        outputs: Iterable[str],
        feed: str | None,
    ) -> Made:
        """Run `layers`, in running order, on `inputs` rounded to `feed`. Raises StepFailed."""
        for layer in layers:
            if inputs and all(blob in inputs for blob in layer.inputs):
                self._refuse_misfit(step, layer, inputs)
        return self._run(step, {blob: value.rounded(feed) for blob, value in inputs.items()}, outputs)

    def _refuse_upload(self, step: Step, layer: Layer, values: Mapping[str, Blob]) -> None:
        """Raise StepFailed if ncnn cannot upload int8: it would go on without it, and may crash."""
        int8 = next((blob for blob, value in values.items() if value.int8), None)
        if (
            int8 is None
            or not _on_vulkan(self, layer)
            or self._machine.takes_int8(self.setup.device_index)
        ):
            return
        detail = f"{int8} is int8 from the CPU, which ncnn cannot upload to {self.device_name}"
        raise failed(step, "refused", detail)

    def _refuse_misfit(self, step: Step, layer: Layer, inputs: Mapping[str, Blob]) -> None:
        """Raise StepFailed for inputs that do not fit and may corrupt memory.

        A custom layer judges its inputs itself.
        """
        if self.native.decides_itself(layer.type):
            return
        reason = unfit(layer, [inputs[blob].picture_shape for blob in layer.inputs])
        if reason:
            raise failed(step, "misfit", reason)
        int8 = next((blob for blob in layer.inputs if inputs[blob].int8), None)
        if int8 is not None and misreads_int8(layer):
            reason = f"gets {quoted(int8)}, which is int8, and reads {misreads_int8(layer)}"
            raise failed(step, "int8", reason)
        reason = misread_integers(layer, inputs)
        if reason:
            raise failed(step, "words", reason)

    def _refuse_misshaped(self, step: Step, layer: Layer, read: Made, made: Made) -> None:
        """Raise StepFailed if inputs do not fit after all, as the shapes tell that were made of them."""
        if self.native.decides_itself(layer.type):
            return
        if not read.keys() >= set(layer.inputs):  # what is made again of floats has other inputs
            return
        shapes = [read[blob].picture_shape for blob in layer.inputs]
        reason = misshaped(layer, shapes, [made[blob].picture_shape for blob in layer.outputs])
        if reason:
            raise failed(step, "misfit", reason)

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str], on: RunOn = "") -> Made:
        """Run the whole network as users do: one extractor, lightmode on. Raises StepFailed."""
        return self._run(Step("network", self.label, on=on), inputs, outputs)

    def run_one(self, inputs: Mapping[str, Blob], output: str) -> Made:
        """Like `run` for one of several outputs: a step of its own, which may end otherwise."""
        return self._run(Step("network", self.label, name=output), inputs, [output])

    def _run(self, step: Step, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> Made:
        wanted = tuple(outputs)
        return self._cache.get(
            lambda: (self, step, *(blob.digest for blob in inputs.values()), *wanted),
            lambda: self._extract(step, inputs, wanted),
            whole=step.kind == "network",
        )

    def followed(self, inputs: Mapping[str, Blob]) -> Callable[[Layer], Made] | None:
        """Begin a run of the whole network from which the outputs of each layer can be taken.

        Returns a function that gives the outputs of a layer and must be called in running order, or
        None if values cannot be taken out of a run.
        """
        run = self.native.begin(self._fed(inputs))

        def outputs(layer: Layer) -> Made:
            assert run is not None
            step = Step("layer", self.label, layer.number, layer.name, on="own")
            return self._named(layer.outputs, run.values(step, self._wanted(layer.outputs)))

        return None if run is None else outputs

    def _extract(self, step: Step, inputs: Mapping[str, Blob], outputs: Sequence[str]) -> Made:
        return self._named(outputs, self.native.run(step, self._fed(inputs), self._wanted(outputs)))

    def _named(self, outputs: Sequence[str], values: Sequence[Blob]) -> Made:
        return {
            blob: Blob.of_integers(value.mat) if blob in self._integers and value.floating else value
            for blob, value in zip(outputs, values, strict=True)
        }

    def time(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> float:
        """Return the milliseconds of a run of the whole network.

        Raises StepFailed, or Unavailable if they would mean nothing.
        """
        return self.native.time(
            Step("network", self.label), self._fed(inputs), self._wanted(tuple(outputs))
        )

    def _fed(self, inputs: Mapping[str, Blob]) -> list[Fed]:
        return [Fed(blob, self._index[blob], value) for blob, value in inputs.items()]

    def _wanted(self, outputs: Sequence[str]) -> list[Wanted]:
        int8 = frozenset() if self._int8 is None else self._int8.blobs
        return [
            Wanted(
                blob,
                self._index[blob],
                blob in int8,
                blob in self._detections,
                self._detections.get(blob) in EMPTY_IS_REFUSED,
            )
            for blob in outputs
        ]


def _on_vulkan(net: Net, layer: Layer) -> bool:
    return net.execution(layer).where == "vulkan"
