"""The networks of a worker: each is loaded once per setup, and a load failure is remembered."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.engine.evidence import WeightSteps
from pytest_ncnn_parity.engine.protocol import Job, Judge, Model, NetSpec
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.counterparts import Counterpart, Counterparts, counterparts
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import int8_blobs, weight_count
from pytest_ncnn_parity.network.units import ACTIVATIONS
from pytest_ncnn_parity.network.winograd import channels
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable, of_network
from pytest_ncnn_parity.worker.far.machines import FarMachines, Listener
from pytest_ncnn_parity.worker.networks import int8_weights, vulkan
from pytest_ncnn_parity.worker.networks.checkpoints import Checkpoints
from pytest_ncnn_parity.worker.networks.custom_layers import Registry
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.here import START_VULKAN, NetHere, release_pools
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.int8_weights import (
    MOST_SPARE,
    Int8Weights,
    folded_factors,
    full_scale,
    is_static,
    least_spare,
)
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.networks.loads import Key, Load, loads, masks_of, used
from pytest_ncnn_parity.worker.networks.mixed import MixedNet
from pytest_ncnn_parity.worker.networks.other import OtherNet
from pytest_ncnn_parity.worker.networks.step_cache import StepCache
from pytest_ncnn_parity.worker.networks.weights import CheckedFiles, read_floats
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.kept_trajectory import KeptTrajectory
from pytest_ncnn_parity.worker.values.recalled import Trace

SEARCH_BYTES = 1 << 30  # of the values that are kept during a search


class Pool:
    """The loaded networks, kept from one job to the next as long as the next one uses them."""

    def __init__(self, enter: Callable[[Step], None], listener: Listener | None = None) -> None:
        self._enter = enter
        self._far = FarMachines(enter, listener or Listener())
        eighth = limits.at_most_a_quarter(SEARCH_BYTES) // 8
        self._cache = StepCache(3 * eighth, eighth)
        self._checkpoints = Checkpoints(4 * eighth)
        self._traces: dict[Hashable, Trace] = {}  # of a search: one for each sample
        self._unpatched: set[Key] = set()  # of the spec's own network, as used by jobs
        self._loaded: dict[Key, LoadedNet | StepFailed | Unavailable] = {}
        self._graphs: dict[Model, Graph] = {}
        self._int8: dict[Model, Int8Values] = {}
        self._counterparts: dict[tuple[Model, Model], Counterparts] = {}
        self._gains: dict[tuple[str, int, int], float] = {}
        self._spare: dict[Model, float] = {}
        self._registry = Registry(enter)
        self.trajectory = KeptTrajectory()
        self.files = CheckedFiles(self._registry, enter)

    def prepare(self, job: Job) -> None:
        """Drop the networks that neither `job` nor the search it belongs to uses.

        Outside of searches the unpatched ones stay if there is room: the next job is about them.
        """
        self._far.prepare(job.workers)
        self.trajectory.prepare(job)
        remember = isinstance(job, Judge) and job.remember
        was_used = bool(self._loaded)
        if remember and self._cache.is_open:
            self._drop_what_trials_left(job)
        else:
            last = isinstance(job, Judge) and job.last
            nets = used(job) if last else job.nets
            named = {load.key: load for spec in nets for load in loads(job, spec, self.graph)}
            here = {key: load for key, load in named.items() if not load.spec.worker}
            self._unpatched |= {key for key, load in here.items() if load.model == job.models[0]}
            may_stay = not (last or remember) and limits.has_held_less_than_half()
            kept = self._unpatched if may_stay else set()
            for key in [key for key in self._loaded if key not in kept | named.keys()]:
                self._drop(self._loaded.pop(key))
            self._graphs = {model: graph for model, graph in self._graphs.items() if model in job.models}
            self._int8 = {model: int8 for model, int8 in self._int8.items() if model in job.models}
            self._counterparts = {
                pair: both for pair, both in self._counterparts.items() if set(pair) <= set(job.models)
            }
        if remember:
            self._cache.open()
            self._checkpoints.open()
        else:
            self._cache.close()
            self._checkpoints.close()
            self._traces.clear()
            if was_used:
                release_pools()
        if was_used:
            gc.collect()  # the last job's values, which may be large, refer to each other

    def _drop_what_trials_left(self, job: Job) -> None:
        """Drop networks of files that `job` does not use, and if room is short all that it does not use.

        A search loads a network for each mask that it tries.
        """
        named = {(model.param, model.bin) for model in job.models}

        def is_named(model: Model) -> bool:
            return (model.param, model.bin) in named

        needed = {load.key for spec in job.nets for load in loads(job, spec, self.graph)}
        much = not limits.has_held_less_than_half()
        for key in [k for k in self._loaded if not is_named(k[0]) or (much and k not in needed)]:
            net = self._loaded.pop(key)
            self._cache.forget(net)
            self._drop(net)
        self._graphs = {model: graph for model, graph in self._graphs.items() if is_named(model)}
        self._int8 = {model: int8 for model, int8 in self._int8.items() if is_named(model)}
        self._counterparts = {
            pair: both for pair, both in self._counterparts.items() if all(map(is_named, pair))
        }

    def trace(self, job: Job, inputs: Made) -> Trace:
        """Return what earlier trials of the search that `job` belongs to know of its trajectory."""
        digests = tuple((blob, value.digest) for blob, value in inputs.items())
        of = job.models[0], job.nets[job.trajectory], digests
        return self._traces.setdefault(of, Trace(self._cache.get))

    def graph(self, model: Model) -> Graph:
        """Return the graph of `model`, read from its text or else from its .param file."""
        if model not in self._graphs:
            self._graphs[model] = (
                param.read(model.param) if model.text is None else param.parse(model.text, model.param)
            )
        return self._graphs[model]

    def int8(self, model: Model) -> Int8Values:
        """Return which values of `model` may be int8. Raises StepFailed if it cannot be loaded."""
        if model not in self._int8:
            graph = self.graph(model)
            weights = self.files.weights(model, graph)
            self._int8[model] = Int8Values(
                graph, int8_blobs(graph), weights.int8_scales, weights.given_scales
            )
        return self._int8[model]

    def counterparts(self, job: Job, number: int) -> Counterparts:
        """Return what corresponds, in the model `number`, to the layers of the first model."""
        pair = (job.models[0], job.models[number])
        if pair not in self._counterparts:
            self._counterparts[pair] = counterparts(*map(self.graph, pair))
        return self._counterparts[pair]

    def convolution_weights(self, model: Model, layer: Layer) -> winograd.Array:
        """Return the weights of a 3x3 convolution, (outputs, inputs, 3, 3). Raises StepFailed."""
        inputs, outputs = channels(layer)
        (weights,) = self.weights(model, layer, 9 * inputs * outputs)
        return weights.reshape(outputs, inputs, 3, 3)

    def weights(self, model: Model, layer: Layer, *counts: int) -> Sequence[winograd.Array]:
        """Return the first tensors that `layer` reads; `counts`: of weights and floats in turn."""
        return read_floats(model.bin, self.span(model, layer)[0], *counts)

    def weight_steps(self, job: Job, number: int, there: Counterpart) -> WeightSteps | None:
        """Return how far the int8 weights of model `number` are from the first model's floats."""
        layer = next(filter(is_static, there.quantized), None)
        core = next((one for one in there.replaced if layer and one.type == layer.type), None)
        if layer is None or core is None or not is_static(core):
            return None
        if weight_count(layer) != weight_count(core):
            return None
        model, own = job.models[number], job.models[0]
        weights = self._int8_weights(model, layer)
        if weights is None:
            return None
        (floats,) = self.weights(own, core, weight_count(core))
        behind = [one for one in there.replaced if one is not core and one.type not in ACTIVATIONS]
        folded = folded_factors(own.bin, [self.span(own, one) for one in behind], behind)
        if folded is not None and folded.size not in (1, len(weights.integers)):
            return None
        steps = weights.against(floats.reshape(weights.integers.shape), folded)
        spare = weights.spare(full_scale(layer))
        wasting = spare > MOST_SPARE * self._least_spare(model)
        return replace(
            steps,
            layer=layer.name,
            wasting=tuple(int(n) for n in np.flatnonzero(wasting)),
            spare=float(np.median(spare[wasting])) if wasting.any() else 1.0,
        )

    def _int8_weights(self, model: Model, layer: Layer) -> Int8Weights | None:
        return int8_weights.read(model.bin, self.span(model, layer), layer)

    def _least_spare(self, model: Model) -> float:
        if model not in self._spare:
            layers = filter(is_static, self.graph(model).layers)
            self._spare[model] = least_spare((x, self._int8_weights(model, x)) for x in layers)
        return self._spare[model]

    def spans(self, model: Model) -> tuple[tuple[int, int], ...]:
        """Return the start and end of the bytes that each layer reads in the weights file."""
        return self.files.weights(model, self.graph(model)).spans

    def span(self, model: Model, layer: Layer) -> tuple[int, int]:
        return self.spans(model)[layer.number]

    def largest_weight(self, model: Model, layer: Layer) -> float:
        """Return the largest absolute value of the fp32 weights of `layer`; 0 if it has none."""
        return self.files.weights(model, self.graph(model)).largest[layer.number]

    def gain(self, model: Model, layer: Layer, side: int) -> float:
        """Return how many times its largest input a value inside a winograd convolution can be."""
        key = (model.bin, layer.number, side)
        if key not in self._gains:
            self._gains[key] = winograd.gain(self.convolution_weights(model, layer), side)
        return self._gains[key]

    def get(self, job: Job, spec: NetSpec) -> Net:
        """Return the network of `spec`. Raises StepFailed or Unavailable if it cannot be loaded."""
        nets = [self._load(job, load) for load in loads(job, spec, self.graph)]
        if spec.other:
            int8 = self.int8(job.models[spec.model])
            return OtherNet(spec, nets[0], self.counterparts(job, spec.model), int8)
        if not spec.mixed:
            return nets[0]
        masks = masks_of(job)
        model = job.models[spec.model]
        own = self.graph(model)
        by_mask = dict(zip(sorted(set(masks)), nets, strict=True))
        return MixedNet(
            spec, model, own.remasked(masks), own, by_mask, self.int8(model), self._checkpoints
        )

    def _load(self, job: Job, load: Load) -> LoadedNet:
        if load.key not in self._loaded:
            try:
                self._loaded[load.key] = self._fresh(job, load)
            except StepFailed as failed:
                if failed.death.kind == "memory":
                    raise  # there may be room in a later job
                self._loaded[load.key] = of_network(failed, load.label)
            except Unavailable as lacking:
                self._loaded[load.key] = lacking
        net = self._loaded[load.key]
        if isinstance(net, LoadedNet):
            return net
        raise net.with_traceback(None)  # the old traceback would keep its frames alive

    def _fresh(self, job: Job, load: Load) -> LoadedNet:
        graph = self.graph(load.model)
        self.files.weights(load.model, graph)
        machine = None if load.spec.worker is None else self._far.of(load.spec.worker)
        net = None if machine else self._registry.net(load.model, graph)
        try:
            return LoadedNet(
                load.spec,
                load.model,
                graph.masks,
                job.threads,
                self._enter,
                self._cache,
                load.label,
                net,
                self.int8(load.model),
                machine,
            )
        except BaseException:
            if net is not None:
                self._registry.abandon(net)
            raise

    def starts_a_discrete_gpu(self) -> bool:
        return self._starts_vulkan() and vulkan.is_discrete(0)

    def devices(self) -> dict[str, str]:
        """Return for each Vulkan device, by index, "gpu", or "cpu" if it is the CPU itself."""
        count = vulkan.count() if self._starts_vulkan() else 0
        return {str(index): "cpu" if vulkan.is_software(index) else "gpu" for index in range(count)}

    def _starts_vulkan(self) -> bool:
        try:
            self._enter(START_VULKAN)
        except StepFailed:  # the driver killed a worker; comparisons on it report that
            return False
        return True

    def _drop(self, net: LoadedNet | StepFailed | Unavailable) -> None:
        if isinstance(net, LoadedNet):
            net.native.drop()
            if isinstance(net.native, NetHere):
                self._registry.release(net.native.net)
