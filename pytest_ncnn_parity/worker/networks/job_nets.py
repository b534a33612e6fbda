"""The networks of a worker as one job sees them: by number, each failure reported by one case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import ncnn

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, Judge, Model, NetSpec
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.network.constants import ACTIVATION, Parameter
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.pool import Pool
from pytest_ncnn_parity.worker.networks.rounded import rounded_layer
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.recalled import Trace
from pytest_ncnn_parity.worker.weights.layer_weights import LayerWeights


class JobNets:
    """The pool as one job sees it: networks by number, each failure to load one reported by one case."""

    def __init__(self, pool: Pool, job: Job, inputs: Made | None = None) -> None:
        """`inputs`: what the job feeds, if networks of other files may run on it."""
        self._pool = pool
        self._job = job
        self._inputs = inputs
        self._found: dict[int, Net] = {}
        self._lost_to: dict[tuple[int, int], str | None] = {}
        self._told = set(job.told) if isinstance(job, Judge) else set()

    @property
    def weights(self) -> LayerWeights:
        """The weights of the spec's own files."""
        return self._pool.weights(self._own)

    def weights_of(self, number: int) -> LayerWeights:
        """Return the weights of the files of the network `number`."""
        return self._pool.weights(self._model(number))

    def int8_of(self, number: int) -> Int8Values:
        """Return which values of the network `number` may be int8."""
        return self._pool.int8(self._model(number))

    @property
    def _own(self) -> Model:
        return self._job.models[0]

    def _model(self, number: int) -> Model:
        return self._job.models[self._job.nets[number].model]

    def __getitem__(self, number: int) -> Net:
        if number not in self._found:
            self._found[number] = self._pool.get(self._job, self._job.nets[number], self._inputs)
        return self._found[number]

    def in_trajectory(self, layer: Layer, run: Callable[[], Made]) -> Made:
        """Return the outputs of `layer` in the trajectory: see `KeptTrajectory.get`."""
        return self._pool.trajectory.get(layer, run)

    def trace(self, inputs: Made) -> Trace:
        """Return what earlier trials of this search know of the trajectory on `inputs`."""
        return self._pool.trace(self._job, inputs)

    def lost_to(self, case: CaseSpec) -> str | None:
        """Return the 16-bit format in which the candidate loses what its reference keeps, or None.

        It is None if both hold all values in the same formats, as two versions of ncnn in fp16 do: what
        the format loses is lost on both sides and makes no difference. Raises Skip or StepFailed if a
        network cannot be loaded: see `needed`.
        """
        if case.half is None or case.candidate is None:
            return case.half
        pair = case.reference, case.candidate
        if pair not in self._lost_to:
            self._lost_to[pair] = None if self._holds_alike(*pair) else case.half
        return self._lost_to[pair]

    def _holds_alike(self, *pair: int) -> bool:
        """Return whether both networks are fed with and store every value in the same format."""
        specs = [self._job.nets[number] for number in pair]
        if specs[0].setup.half != specs[1].setup.half or any(spec.other for spec in specs):
            return False
        layers = self._pool.graph(self._own).layers
        reference, candidate = (self.needed(number) for number in pair)
        return all(_held(reference, layer) == _held(candidate, layer) for layer in layers)

    def reads(self, layer: Layer) -> tuple[str, ...]:
        """Return the names of the values needed to run `layer` alone, in any network of the job."""
        read = self._pool.int8(self._own).reads(layer)
        others = {spec.model for spec in self._job.nets if spec.other}
        at = (self._pool.counterparts(self._job, n).of.get(layer.number) for n in others)
        fed = (blob for one in at if one is not None for blob in one.feeds.values())
        return tuple(dict.fromkeys((*read, *fed)))

    def run_before(self, net: Net, layer: Layer, values: Mapping[str, Blob]) -> Collection[Layer]:
        """Return the layers that `net` runs once more in order to run `layer` alone on `values`."""
        if net.spec.other:
            return ()
        int8 = self._pool.int8(self._own)
        return int8.run_before(layer, values, lambda one: net.execution(one).where == "vulkan")

    def in_int8(self, spec: NetSpec) -> bool:
        """Return whether a network runs files other than the spec's own that compute in int8."""
        return spec.other and self._pool.counterparts(self._job, spec.model).in_int8

    def restructured(self, number: int) -> frozenset[int] | None:
        """Return `Counterparts.restructured` if a network runs another model, or else None."""
        spec = self._job.nets[number]
        if not spec.other:
            return None
        return self._pool.counterparts(self._job, spec.model).restructured

    def in_floats(self, layer: Layer, value: Blob) -> Blob | None:
        """Return `value`, which `layer` reads, as floats; None if it can be fed in int8 only."""
        return self._pool.int8(self._own).in_floats(layer, value)

    def other(self, spec: NetSpec) -> Net:
        """Return a network that is not one of the job's, in order to gather evidence."""
        return self._pool.get(self._job, spec, self._inputs)

    def rounded(self, layer: Layer, parameters: Iterable[Parameter], weights: bool) -> ncnn.Net:
        """Return a CPU network of `layer` alone, its `parameters` (and `weights`, if set) as in fp16."""
        path, start, _ = self.weights.in_file(layer)
        return rounded_layer(self.weights.graph, layer, parameters, path, start, weights)

    def without_activation(self, layer: Layer) -> ncnn.Net:
        """Return a CPU network of `layer` alone, which ends before the activation that is part of it."""
        return self.rounded(layer, [Parameter(ACTIVATION, (0.0,), (0.0,))], weights=False)

    def on_a_discrete_gpu(self) -> bool:
        """Return whether there is a Vulkan device and the first one is a discrete GPU."""
        return self._pool.starts_a_discrete_gpu()

    def tell(self, step: Step) -> None:
        """Note that a case reports the failure of `step`."""
        self._told.add(step)

    def has_told(self, death: Death) -> bool:
        """Return whether a case reports `death`."""
        return death.step in self._told

    def refuse(self, failed: StepFailed, why: str) -> None:
        """Raise Skip, with `why` as its reason, if a case has told `failed`; else the next one must."""
        if failed.step in self._told:
            death = replace(failed.death, stderr="", lines=())
            raise Skip(why, Evidence(death=death)) from None

    def needed(self, number: int) -> Net:
        """Return `self[number]`.

        Raises StepFailed if it cannot be loaded, Skip if a case has told of that, and Unavailable if
        the setup cannot be had.
        """
        try:
            return self[number]
        except StepFailed as failed:
            why = f"ncnn could not {failed.step}; the first case that needed it fails and says why"
            if failed.step.kind == "worker":
                why = failed.death.detail
            self.refuse(failed, f"not run: {why}")
            raise


def _held(net: Net, layer: Layer) -> tuple[str | None, str]:
    """Return the formats in which `layer` is fed and stores its values."""
    execution = net.execution(layer)
    return execution.feed, execution.storage
