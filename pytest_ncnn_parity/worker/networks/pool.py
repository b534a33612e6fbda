"""The networks of a worker: each is loaded once per setup, and a failure to load is reported once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import ncnn

from pytest_ncnn_parity.compare import winograd
from pytest_ncnn_parity.engine.protocol import CaseSpec, Isolate, Job, Judge, Model, NetSpec
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.counterparts import Counterparts, counterparts
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.int8 import int8_blobs
from pytest_ncnn_parity.network.winograd import channels
from pytest_ncnn_parity.worker.failures import Skip, StepFailed, Unavailable
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.custom_layers import Registry
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.loaded import START_VULKAN, LoadedNet
from pytest_ncnn_parity.worker.networks.mixed import MixedNet
from pytest_ncnn_parity.worker.networks.other import OtherNet
from pytest_ncnn_parity.worker.networks.rounded import rounded_layer
from pytest_ncnn_parity.worker.networks.step_cache import StepCache
from pytest_ncnn_parity.worker.networks.weights import CheckedFiles, read_floats
from pytest_ncnn_parity.worker.values.blob import Blob


@dataclass(frozen=True)
class _Load:
    """One network to be loaded; `label` is what native steps of it are told by."""

    spec: NetSpec
    model: Model
    label: str

    @property
    def key(self) -> str:
        options = sorted(self.spec.options.items())
        return repr((self.model, self.spec.device, self.spec.precision, options))


class Pool:
    """Loaded networks, kept from one job to the next as long as the next one names them."""

    def __init__(self, enter: Callable[[Step], None]) -> None:
        self._enter = enter
        self._cache = StepCache()
        self._loaded: dict[str, LoadedNet | StepFailed | Unavailable] = {}
        self._graphs: dict[Model, Graph] = {}
        self._int8: dict[Model, Int8Values] = {}
        self._counterparts: dict[tuple[Model, Model], Counterparts] = {}
        self._gains: dict[tuple[str, int, int], float] = {}
        self._registry = Registry(enter)
        self.files = CheckedFiles(self._registry, enter)

    def prepare(self, job: Job) -> None:
        """Drop the networks that neither `job` nor the search it belongs to names."""
        remember = isinstance(job, Judge) and job.remember
        if not (remember and self._cache.is_open):
            named = {load.key for spec in job.nets for load in self._loads(job, spec)}
            for key in [key for key in self._loaded if key not in named]:
                self._drop(self._loaded.pop(key))
            self._graphs = {model: graph for model, graph in self._graphs.items() if model in job.models}
            self._int8 = {model: int8 for model, int8 in self._int8.items() if model in job.models}
        if remember:
            self._cache.open()
        else:
            self._cache.close()

    def graph(self, model: Model) -> Graph:
        """The network of `model`, as its text has it."""
        if model not in self._graphs:
            self._graphs[model] = (
                param.read(model.param) if model.text is None else param.parse(model.text, model.param)
            )
        return self._graphs[model]

    def int8(self, model: Model) -> Int8Values:
        """What of the values of `model` may be int8. StepFailed where its files cannot be loaded."""
        if model not in self._int8:
            graph = self.graph(model)
            scales = self.files.weights(model, graph).int8_scales
            self._int8[model] = Int8Values(graph, int8_blobs(graph), scales)
        return self._int8[model]

    def counterparts(self, job: Job, number: int) -> Counterparts:
        """What of the model of that number stands for the layers of the first."""
        pair = (job.models[0], job.models[number])
        if pair not in self._counterparts:
            self._counterparts[pair] = counterparts(*map(self.graph, pair))
        return self._counterparts[pair]

    def convolution_weights(self, model: Model, layer: Layer) -> winograd.Array:
        """The weights of a 3x3 convolution, (outputs, inputs, 3, 3). StepFailed as with `int8`."""
        inputs, outputs = channels(layer)
        return self.weights(model, layer, 9 * inputs * outputs).reshape(outputs, inputs, 3, 3)

    def weights(self, model: Model, layer: Layer, count: int) -> winograd.Array:
        """The first `count` weights that `layer` reads."""
        return read_floats(model.bin, self.span(model, layer)[0], count)

    def span(self, model: Model, layer: Layer) -> tuple[int, int]:
        """From and up to which byte of the weights file `layer` reads."""
        return self.files.weights(model, self.graph(model)).spans[layer.number]

    def largest_weight(self, model: Model, layer: Layer) -> float:
        """The largest magnitude among the weights of `layer` that the file holds in fp32."""
        return self.files.weights(model, self.graph(model)).largest[layer.number]

    def gain(self, model: Model, layer: Layer, side: int) -> float:
        """How many times its largest input any value inside a convolution by winograd can be."""
        key = (model.bin, layer.number, side)
        if key not in self._gains:
            self._gains[key] = winograd.gain(self.convolution_weights(model, layer), side)
        return self._gains[key]

    def get(self, job: Job, spec: NetSpec) -> Net:
        """The network of `spec`. Raises StepFailed or Unavailable where it could not be loaded."""
        nets = [self._load(job, load) for load in self._loads(job, spec)]
        if spec.other:
            return OtherNet(spec, nets[0], self.counterparts(job, spec.model))
        if not spec.mixed:
            return nets[0]
        masks = _masks(job)
        graph = self.graph(job.models[spec.model]).remasked(masks)
        by_mask = dict(zip(sorted(set(masks)), nets, strict=True))
        return MixedNet(spec, graph, by_mask, self.int8(job.models[spec.model]))

    def _loads(self, job: Job, spec: NetSpec) -> Iterator[_Load]:
        """What is loaded for `spec`: itself, or for each of its masks a network with just that one."""
        model = job.models[spec.model]
        setup = spec.setup
        if not spec.mixed:
            files = f" of {model.name}" if spec.other else ""
            yield _Load(spec, model, f"{setup}{' (patched)' if spec.patched else files}")
            return
        graph = self.graph(model)
        for mask in sorted(set(_masks(job))):
            uniform = graph.remasked([mask] * len(graph.layers))
            if uniform.text == graph.text:  # the network as it is
                yield _Load(replace(spec, mixed=False), model, str(setup))
            else:
                own = replace(model, text=uniform.text)
                yield _Load(replace(spec, mixed=False), own, f"{setup} with 31={mask}")

    def _load(self, job: Job, load: _Load) -> LoadedNet:
        if load.key not in self._loaded:
            try:
                self._loaded[load.key] = self._fresh(job, load)
            except (StepFailed, Unavailable) as problem:
                self._loaded[load.key] = problem
        net = self._loaded[load.key]
        if isinstance(net, LoadedNet):
            return net
        raise net

    def _fresh(self, job: Job, load: _Load) -> LoadedNet:
        graph = self.graph(load.model)
        self.files.weights(load.model, graph)
        net = self._registry.net(load.model, graph)
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
            )
        except BaseException:
            self._registry.abandon(net)
            raise

    def starts_a_discrete_gpu(self) -> bool:
        try:
            self._enter(START_VULKAN)
        except StepFailed:  # a driver that killed a worker: comparisons on the device tell of it
            return False
        return vulkan.is_discrete(0)

    def _drop(self, net: LoadedNet | StepFailed | Unavailable) -> None:
        if isinstance(net, LoadedNet):
            self._registry.release(net.net)


def _masks(job: Job) -> tuple[int, ...]:
    """The masks that a job's mixed networks run under."""
    assert isinstance(job, Judge)
    assert job.masks is not None
    return job.masks


class JobNets:
    """The pool as one job sees it: by number, and with one case to tell of a load that failed."""

    def __init__(self, pool: Pool, job: Job) -> None:
        self._pool = pool
        self._job = job
        self._found: dict[int, Net] = {}
        cases = _cases(job)
        self._teller: dict[int, str] = {job.trajectory: cases[0].id} if cases else {}
        self._tells = not isinstance(job, Judge) or job.tells_load_failures
        self._first = cases[0].id if cases else ""
        for case in cases:
            for number in (case.reference, case.candidate):
                if number is not None:
                    self._teller.setdefault(number, case.id)

    def __getitem__(self, number: int) -> Net:
        if number not in self._found:
            self._found[number] = self._pool.get(self._job, self._job.nets[number])
        return self._found[number]

    def reads(self, layer: Layer) -> tuple[str, ...]:
        """The values that must be there to run `layer` alone, in whichever network."""
        read = self._pool.int8(self._job.models[0]).reads(layer)
        others = {spec.model for spec in self._job.nets if spec.other}
        at = (self._pool.counterparts(self._job, n).of.get(layer.number) for n in others)
        fed = (blob for one in at if one is not None for blob in one.feeds.values())
        return tuple(dict.fromkeys((*read, *fed)))

    def run_before(self, net: Net, layer: Layer, values: Mapping[str, Blob]) -> Collection[Layer]:
        """The layers that `net` runs again where it is to run `layer` alone on `values`."""
        if net.spec.other:
            return ()
        int8 = self._pool.int8(self._job.models[0])
        return int8.run_before(layer, values, lambda one: net.execution(one).where == "vulkan")

    def in_floats(self, layer: Layer, value: Blob) -> Blob | None:
        """`value`, which `layer` reads, as floats; None where there are none for it."""
        return self._pool.int8(self._job.models[0]).in_floats(layer, value)

    def other(self, spec: NetSpec) -> Net:
        """A network the job does not name: one for evidence."""
        return self._pool.get(self._job, spec)

    def convolution_weights(self, layer: Layer) -> winograd.Array:
        """The weights of a 3x3 convolution, (outputs, inputs, 3, 3)."""
        return self._pool.convolution_weights(self._job.models[0], layer)

    def weights(self, layer: Layer, count: int) -> winograd.Array:
        """The first `count` weights that `layer` reads."""
        return self._pool.weights(self._job.models[0], layer, count)

    def largest_weight(self, layer: Layer) -> float:
        """The largest magnitude among the weights of `layer` that the file holds in fp32."""
        return self._pool.largest_weight(self._job.models[0], layer)

    def weights_file(self, layer: Layer) -> tuple[str, int, int]:
        """The weights file, and from and up to which byte of it `layer` reads."""
        model = self._job.models[0]
        return (model.bin, *self._pool.span(model, layer))

    def rounded(self, layer: Layer, parameters: Mapping[int, float], weights: bool) -> ncnn.Net:
        """`layer` alone on the CPU, with `parameters` and, if asked, `weights` as fp16 has them."""
        model = self._job.models[0]
        path, start, _ = self.weights_file(layer)
        return rounded_layer(self._pool.graph(model), layer, parameters, path, start, weights)

    def gain(self, layer: Layer, side: int) -> float:
        """How many times its largest input any value inside a convolution by winograd can be."""
        return self._pool.gain(self._job.models[0], layer, side)

    def on_a_discrete_gpu(self) -> bool:
        """Whether the first Vulkan device is there, and is a discrete GPU."""
        return self._pool.starts_a_discrete_gpu()

    def of(self, case: CaseSpec, number: int) -> Net:
        """Like [number]; but a load that failed is raised to one case only, and a Skip to others."""
        try:
            return self[number]
        except StepFailed as failed:
            # what is wrong with the files is wrong with all networks: one case tells
            of_all = failed.step.of_files and not self._job.nets[number].other
            teller = self._first if of_all else self._teller[number]
            if self._tells and teller == case.id:
                raise
            raise Skip(
                f"not run: ncnn could not {failed.step}; the first case of the first sample fails "
                "and tells why"
            ) from None


def _cases(job: Job) -> tuple[CaseSpec, ...]:
    if isinstance(job, Isolate):
        return () if job.case is None else (job.case,)
    return job.cases if isinstance(job, Judge) else ()
