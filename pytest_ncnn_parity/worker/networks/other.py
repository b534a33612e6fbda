"""Runs another model of the network as if it had the spec's layers: see `network.counterparts`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from pytest_ncnn_parity.engine.protocol import NetSpec
from pytest_ncnn_parity.engine.steps import RunOn, Step
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.shapes.flow import flow
from pytest_ncnn_parity.network.shapes.rules.reading import Shape
from pytest_ncnn_parity.network.versions.counterparts import Counterpart, Counterparts
from pytest_ncnn_parity.worker.failures import as_failure, failed
from pytest_ncnn_parity.worker.networks.differing_values import DifferingValues
from pytest_ncnn_parity.worker.networks.execution import Execution, Misread, misread
from pytest_ncnn_parity.worker.networks.int8 import Int8Values
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import Chain


class OtherNet:
    """Presents `net`, which has other files, as a `Net` with the names of the spec's own model."""

    def __init__(
        self,
        spec: NetSpec,
        net: LoadedNet,
        counterparts: Counterparts,
        int8: Int8Values,
        inputs: Mapping[str, Shape],
    ) -> None:
        """`inputs`: the shapes that are fed, by the spec's names."""
        self.spec = spec
        self.setup = net.setup
        self.label = net.label
        self._net = net
        self._counterparts = counterparts
        self._int8 = int8
        self._inputs = inputs

    @property
    def device_name(self) -> str:
        return self._net.device_name

    @property
    def dropped(self) -> tuple[str, ...]:
        return self._net.dropped

    def counterpart(self, layer: Layer) -> Counterpart | None:
        """Return what corresponds to `layer` alone in the other model, or None."""
        return self._counterparts.of.get(layer.number)

    def execution(self, layer: Layer) -> Execution:
        """Return how the counterpart of `layer` runs, or of the layer into which it is folded."""
        there = self._counterparts
        at = there.of.get(layer.number)
        if at is None and layer.number in there.judged_at:
            at = there.of[there.judged_at[layer.number].number]
        stands_in = there.there.layers[0] if at is None else at.last
        return replace(self._net.execution(stands_in), model=self.spec.model)

    def differing_values(self) -> DifferingValues:
        return DifferingValues(self._net, self._counterparts, self._in_floats, self._as_there)

    @cached_property
    def _shapes(self) -> Mapping[str, Shape]:
        """The shapes that the other model's values have, as far as they follow from the inputs'."""
        fed = {self._blob(here): shape for here, shape in self._inputs.items()}
        return flow(self._counterparts.there.fed(fed), fed).shapes

    def _as_there(self, there: str, value: Blob) -> Blob:
        """Return a value of the reference in the shape in which the other model has it.

        A row of a matrix in one is a vector in the other, which another operator reads.
        """
        return value.in_shape(self._shapes.get(there, value.shape))

    def misread(self, layer: Layer, _: Graph) -> Misread | None:
        """Return the input that the counterpart of `layer` misreads, by the masks of the other model."""
        at, there = self.counterpart(layer), self._counterparts.there
        found = (misread(self._net, one, there) for one in (() if at is None else at.layers))
        return next(filter(None, found), None)

    def run_layer(
        self, layer: Layer, inputs: Mapping[str, Blob], feed: str | None = None, on: RunOn = ""
    ) -> Made:
        """Run the counterpart of `layer` on `inputs`, and return the outputs by the spec's names.

        Without a counterpart only those outputs are returned that are copies of an input. Raises
        StepFailed.
        """
        at = self.counterpart(layer)
        if at is None:
            sources = self._counterparts.sources
            return {b: inputs[sources[b]] for b in layer.outputs if sources[b] in inputs}
        step = Step("layer", self.label, layer.number, layer.name, feed, on)
        lost = next((here for here in at.feeds.values() if here not in inputs), None)
        # only this network's run fails; in the trajectory, everything downstream would be lost too
        if lost is not None:
            raise failed(step, "refused", f"there is no value for {lost}")
        fed = {there: self._as_there(there, inputs[here]) for there, here in at.feeds.items()}
        blobs = self._net.run_between(step, at.layers, fed, list(at.outputs.values()), feed)
        return {here: self._in_floats(there, blobs[there]) for here, there in at.outputs.items()}

    def own_run(self, inputs: Mapping[str, Blob], layers: Iterable[Layer]) -> Callable[[Layer], Made]:
        """Begin a run of the whole network, layer by layer, on the values that it computes itself.

        Returns a function that gives, by the spec's names, the values equivalent to the outputs of one
        of `layers` of the spec's model. It raises StepFailed if one could not be computed.
        """
        counters = {blob: self._counterparts.blob(blob) for layer in layers for blob in layer.outputs}
        equal = {here: there for here, there in counters.items() if there is not None}
        waiting = Counter(equal.values())  # how often each value is still asked for
        fed = {self._blob(here): value for here, value in inputs.items()}

        def run(layer: Layer, blobs: Made) -> Made:
            with as_failure(Step("layer", self.label, layer.number, layer.name)):
                return self._net.run_layer(layer, blobs, on="own")

        chain = Chain(
            self._counterparts.there.fed(fed).running(waiting),
            fed,
            run,
            kept=(kept := set(waiting)),
            reads=self._int8.reads,
        )
        steps = chain.steps()

        def values(layer: Layer) -> Made:
            made: Made = {}
            for here in layer.outputs:
                if (blob := equal.get(here)) is None:
                    continue
                while blob not in chain.blobs and blob not in chain.lost:
                    next(steps)
                if blob in chain.lost:
                    raise chain.lost[blob].with_traceback(None)
                made[here] = self._in_floats(blob, chain.blobs[blob])
                waiting[blob] -= 1
                if not waiting[blob]:
                    kept.discard(blob)
            return made

        return values

    def _in_floats(self, there: str, value: Blob) -> Blob:
        """Return `value` as the floats that its readers take it for, or as it is if it is not int8."""
        scale = self._int8.taken_by(there) if value.int8 else None
        return value if scale is None else value.dequantized(scale)

    def run(self, inputs: Mapping[str, Blob], outputs: Iterable[str], on: RunOn = "") -> Made:
        """Run the whole network as users do, with the spec's names. Raises StepFailed.

        Of the `outputs`, recorded blobs without a counterpart are left out.
        """
        counters = {here: self._counterparts.blob(here) for here in outputs}
        named = {here: there for here, there in counters.items() if there is not None}
        blobs = self._net.run(
            {self._blob(here): value for here, value in inputs.items()}, named.values(), on
        )
        return {here: blobs[there] for here, there in named.items()}

    def run_one(self, inputs: Mapping[str, Blob], output: str) -> Made:
        there = self._counterparts.blob(output)
        if there is None:
            return {}
        made = self._net.run_one({self._blob(here): value for here, value in inputs.items()}, there)
        return {output: made[there]}

    def time(self, inputs: Mapping[str, Blob], outputs: Iterable[str]) -> float:
        named = {self._blob(here): value for here, value in inputs.items()}
        return self._net.time(named, map(self._blob, outputs))

    def _blob(self, here: str) -> str:
        there = self._counterparts.blob(here)
        assert there is not None  # the plan has checked it
        return there
