"""The networks of a worker: each is loaded once per setup, and a load failure is remembered."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable
from pathlib import Path

from pytest_ncnn_parity.engine.protocol import Job, Judge, Model, NetSpec, TakeFingerprint
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.int8 import int8_blobs
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.find_counterparts import counterparts
from pytest_ncnn_parity.worker import limits
from pytest_ncnn_parity.worker.custom_layers import Registry
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable, of_network
from pytest_ncnn_parity.worker.far.machines import FarMachines, Listener
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.checkpoints import Checkpoints
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.here import START_VULKAN, NetHere
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.networks.loads import Key, Load, loads, masks_of, used
from pytest_ncnn_parity.worker.networks.mixed import MixedNet
from pytest_ncnn_parity.worker.networks.other import OtherNet
from pytest_ncnn_parity.worker.networks.pools import POOLS
from pytest_ncnn_parity.worker.networks.step_cache import StepCache
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.kept_trajectory import KeptTrajectory
from pytest_ncnn_parity.worker.values.recalled import Trace
from pytest_ncnn_parity.worker.weights.checked_files import CheckedFiles
from pytest_ncnn_parity.worker.weights.layer_weights import LayerWeights
from pytest_ncnn_parity.worker.weights.unchanged import Unchanged

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
        self._registry = Registry(enter)
        self.trajectory = KeptTrajectory()
        self.files = CheckedFiles(self._registry, enter)
        self._unchanged = Unchanged()
        self._weights: dict[tuple[str, str], LayerWeights] = {}  # by .param and .bin

    def prepare(self, job: Job) -> None:
        """Drop the networks that neither `job` nor the search it belongs to uses.

        Outside of searches the unpatched ones stay if there is room: the next job is about them. Raises
        ParityError if a file has changed since it was first used.
        """
        for model in job.models:
            self._unchanged.check(model)
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
            for key in self._loaded.keys() - kept - named.keys():
                self._drop(self._loaded.pop(key))
            self._keep_models(lambda model: model in job.models)
        if remember:
            self._cache.open()
            self._checkpoints.open()
        else:
            self._cache.close()
            self._checkpoints.close()
            self._traces.clear()
        if isinstance(job, TakeFingerprint):
            self._drop_what_has_other_threads(job)
        if was_used:
            gc.collect()  # the last job's values, which may be large, refer to each other
        if was_used and not remember:
            POOLS.release()

    def _drop_what_trials_left(self, job: Job) -> None:
        """Drop networks of files that `job` does not use, and if room is short all that it does not use.

        A search loads a network for each mask that it tries.
        """
        named = {(model.param, model.bin) for model in job.models}

        def is_named(model: Model) -> bool:
            return (model.param, model.bin) in named

        kept = {k for k, net in self._loaded.items() if is_named(k[0]) and not _lacked_memory(net)}
        if not limits.has_held_less_than_half():
            kept &= {load.key for spec in job.nets for load in loads(job, spec, self.graph)}
        for key in self._loaded.keys() - kept:
            net = self._loaded.pop(key)
            self._cache.forget(net)
            self._drop(net)
        self._keep_models(is_named)

    def _drop_what_has_other_threads(self, job: Job) -> None:
        """Drop the networks of `job` that an earlier job has loaded for another number of threads.

        A kernel that shares a sum among its threads gives other bits with another number of them.
        """
        for load in (load for spec in job.nets for load in loads(job, spec, self.graph)):
            net = self._loaded.get(load.key)
            if isinstance(net, LoadedNet) and net.threads != job.threads:
                self._drop(self._loaded.pop(load.key))

    def _keep_models(self, stays: Callable[[Model], bool]) -> None:
        """Forget what is known of all other models."""
        self._graphs = {model: graph for model, graph in self._graphs.items() if stays(model)}
        self._int8 = {model: int8 for model, int8 in self._int8.items() if stays(model)}
        self._counterparts = {
            pair: both for pair, both in self._counterparts.items() if all(map(stays, pair))
        }

    def trace(self, job: Job, inputs: Made) -> Trace:
        """Return what earlier trials of the search that `job` belongs to know of its trajectory."""
        digests = tuple((blob, value.digest) for blob, value in inputs.items())
        key = job.models[0], job.nets[job.trajectory], digests
        return self._traces.setdefault(key, Trace(self._cache.get))

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

    def weights(self, model: Model) -> LayerWeights:
        """Return the weights of `model`, which are the same whatever the masks of its layers are."""
        files = model.param, model.bin
        if files not in self._weights:
            self._weights[files] = LayerWeights(self.files, model, self.graph(model))
        return self._weights[files]

    def counterparts(self, job: Job, number: int) -> Counterparts:
        """Return what corresponds, in the model `number`, to the layers of the first model."""
        pair = (job.models[0], job.models[number])
        if pair not in self._counterparts:
            files = Path(pair[0].bin), Path(pair[1].bin)
            here, there = map(self.graph, pair)
            self._counterparts[pair] = counterparts(here, there, files)
        return self._counterparts[pair]

    def get(self, job: Job, spec: NetSpec, inputs: Made | None = None) -> Net:
        """Return the network of `spec`. Raises StepFailed or Unavailable if it cannot be loaded.

        `inputs`: what is fed, from which another model's shapes follow.
        """
        nets = [self._load(job, load) for load in loads(job, spec, self.graph)]
        if spec.other:
            int8 = self.int8(job.models[spec.model])
            there = self.counterparts(job, spec.model)
            return OtherNet(spec, nets[0], there, int8, {b: v.shape for b, v in (inputs or {}).items()})
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
                self._loaded[load.key] = of_network(failed, load.label)
            except Unavailable as lacking:
                self._loaded[load.key] = lacking
        net = self._loaded[load.key]
        if isinstance(net, LoadedNet):
            return net
        raise net.with_traceback(None)  # the old traceback would keep its frames alive

    def _fresh(self, job: Job, load: Load) -> LoadedNet:
        graph = self.graph(load.model)
        self._unchanged.check(load.model)
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


def _lacked_memory(net: LoadedNet | StepFailed | Unavailable) -> bool:
    """Whether `net` lacked memory when it was to be loaded; there may be more in a later trial."""
    return isinstance(net, StepFailed) and net.death.kind == "memory"
