"""Judges layers within the run of the whole network, where this replaces running each one alone.

On a Vulkan device that is the CPU itself (llvmpipe), one pass through a network takes many times as long
as with ncnn's CPU kernels, and each network must be run as users run it anyway, for its outputs.
Therefore the values are taken out of that run, layer by layer, and the reference on the CPU is fed with
the same inputs. A layer that agrees has passed. One that does not is run alone on the trajectory's
values, as on other devices, and that run decides. The layers after one that failed are run alone as
well, because its values mean nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from pytest_ncnn_parity.engine.protocol import CaseSpec, NetSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import int8_blobs
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.stepping import fed, walk

# a layer that the trajectory has run, and the shapes of its outputs there
_Stepped = tuple[Layer, Mapping[str, tuple[int, ...]]]


class _OwnRun:
    """The run of one network, which follows the trajectory.

    `blobs` holds its values that are still to be read.
    """

    def __init__(
        self, layers: Sequence[Layer], inputs: Made, run: Callable[[Layer], Made], outputs: list[str]
    ) -> None:
        self.blobs: Made = {}
        self.ended = False  # whether it ended before its last layer
        self.layers = [layer for layer in layers if layer.type != "Input"]
        self.expected: dict[str | None, Made] = {}  # of the current layer, by `feed`
        self._inputs = inputs
        self._run = run
        self._numbers = {layer.number for layer in layers}
        self._walk = walk(layers, self.blobs, outputs)
        self._steps = 0  # how many of the trajectory's steps it has followed

    def catch_up(self, stepped: Sequence[_Stepped]) -> None:
        """Run the layers that the trajectory has run in the meantime."""
        for layer, shapes in stepped[self._steps :]:
            self._steps += 1
            if layer.number in self._numbers and not self.ended:
                self._advance(layer, shapes)

    def _advance(self, layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.expected.clear()
        next(self._walk)
        outputs: Made = {}
        if shapes.keys() >= set(layer.outputs):  # the trajectory was able to run it
            try:
                outputs = fed(layer, self._inputs) if layer.type == "Input" else self._run(layer)
            except StepFailed:
                outputs = {}
        self.blobs.update(outputs)
        if shapes != {blob: value.shape for blob, value in outputs.items()} or not outputs:
            self.ended = True
            self.blobs.clear()


class OwnRuns:
    """The runs of one sample's networks on a software device, and which of their values are right."""

    def __init__(
        self,
        sample: SampleRun,
        cases: Iterable[CaseSpec],
        stepped: Iterable[Layer],
        refuse: Callable[[Net, Layer], None],
    ) -> None:
        """`cases` are the cases to judge, `stepped` the layers that the trajectory steps through.

        `refuse` raises the reason if a network must not run a layer.
        """
        self._sample = sample
        self._refuse = refuse
        self._cases = list(cases)
        self._stepped = list(stepped)
        self._passed: list[_Stepped] = []  # the steps of the trajectory so far
        finite = {b for b, value in sample.inputs.items() if not value.nan and not value.infinite}
        # by comparison, the blobs for which all layers up to them have passed
        self._right: dict[str, set[str]] = defaultdict(finite.copy)

    @cached_property
    def _runs(self) -> dict[int, _OwnRun]:
        job, graph = self._sample.job, self._sample.graph
        outputs = [case.output for case in self._cases if case.output is not None]
        needed = graph.ancestors(outputs)
        layers = [layer for layer in self._stepped if layer.number in needed]
        died = any(death.step is not None and death.step.runs for death in job.dead)
        if not outputs or len(layers) < len(needed) or int8_blobs(graph):
            return {}
        if job.remember or job.accumulated or job.done or died:
            return {}
        judged: dict[tuple[str, int], set[int | None]] = defaultdict(set)
        for case in self._cases:
            if case.kind == "pair" and case.candidate is not None:
                judged[case.comparison, case.candidate].add(case.layer)
        every = {layer.number for layer in layers if layer.type != "Input"}
        # only if every layer is judged: after one that is not, each runs alone
        numbers = {number for (_, number), some in judged.items() if every <= some}
        begun = {number: self._begun(job.nets[number], number) for number in numbers}
        inputs = self._sample.inputs
        return {n: _OwnRun(layers, inputs, run, outputs) for n, run in begun.items() if run is not None}

    def _begun(self, spec: NetSpec, number: int) -> Callable[[Layer], Made] | None:
        if spec.worker or spec.other or spec.patched or not spec.setup.on_vulkan:
            return None
        try:
            net = self._sample.nets[number]
        except (StepFailed, Unavailable):  # the cases of this network report it
            return None
        if not isinstance(net, LoadedNet) or not vulkan.is_software(net.setup.device_index):
            return None
        if any(net.misread(layer, self._sample.graph) for layer in self._sample.graph.layers):
            return None
        outputs = net.followed(self._sample.inputs)
        if outputs is None:
            return None

        def run(layer: Layer) -> Made:
            self._refuse(net, layer)
            return outputs(layer)

        return run

    def follow(self, layer: Layer, trajectory: Made) -> None:
        """Note that the trajectory has run `layer`; `trajectory` has its outputs, if any.

        The networks catch up once their values are needed.
        """
        shapes = {blob: trajectory[blob].shape for blob in layer.outputs if blob in trajectory}
        self._passed.append((layer, shapes))

    def _of(self, case: CaseSpec) -> _OwnRun | None:
        """Return the candidate's run, in step with the trajectory; None if there is none or it ended."""
        run = None if case.candidate is None else self._runs.get(case.candidate)
        if run is not None:
            run.catch_up(self._passed)
        return None if run is None or run.ended else run

    def values(self, case: CaseSpec, layer: Layer) -> Made | None:
        """Return the inputs and outputs of `layer` in the candidate's run; None: run it alone."""
        run = self._of(case)
        if run is None or not self._is_right(case, layer):
            return None
        values = {blob: run.blobs[blob] for blob in (*layer.inputs, *layer.outputs) if blob in run.blobs}
        if len(values) < len({*layer.inputs, *layer.outputs}):
            return None
        return values if all(value.floating and value.size for value in values.values()) else None

    def expected(self, case: CaseSpec, layer: Layer, feed: str | None, reference: Net) -> Made:
        """Return the outputs of `reference` for the candidate's inputs of `layer`, rounded to `feed`.

        Raises StepFailed.
        """
        assert case.candidate is not None
        run = self._runs[case.candidate]
        if feed not in run.expected:
            run.expected[feed] = reference.run_layer(layer, run.blobs, feed, on="own")
        return run.expected[feed]

    def _is_right(self, case: CaseSpec, layer: Layer) -> bool:
        return self._right[case.comparison].issuperset(layer.inputs)

    def learn(self, case: CaseSpec, layer: Layer, result: Result) -> None:
        """Conclude from `result` whether the outputs of `layer` are right."""
        run = self._of(case) if case.kind == "pair" else None
        if run is None or not self._is_right(case, layer):
            return
        evidence = result.evidence
        passed = result.outcome == "passed" or (result.outcome == "skipped" and evidence.lasting)
        if not passed or evidence.unrepresentable is not None:
            self._right[case.comparison].difference_update(layer.outputs)  # of an Input layer
            return
        values = [run.blobs[blob] for blob in layer.outputs if blob in run.blobs]
        if evidence.own_inputs or not any(value.nan or value.infinite for value in values):
            self._right[case.comparison].update(layer.outputs)

    def refuse_dead(self, net: Net, layer: Layer) -> None:
        """Raise StepFailed if `net` has died in `layer` during its own run.

        Running out of memory does not count: several runs that are followed at the same time need more
        of it than users do.
        """
        if self._sample.job.accumulated or net.spec.other:
            return  # there, steps of the same name belong to other runs
        for death in self._sample.job.dead:
            step = death.step
            here = step is not None and (step.label, step.layer) == (net.label, layer.number)
            if step is not None and here and step.on == "own" and death.kind != "memory":
                raise StepFailed(step, death)

    def whole(self) -> Iterator[tuple[NetSpec, Made]]:
        """Yield the networks whose runs are as good as a run without values taken out, and their values.

        These are the networks whose layers all run on the device. In old versions of ncnn a layer on the
        device may read a value from the CPU before it has arrived, so that it matters when values are
        taken out.
        """
        for number, run in self._runs.items():
            run.catch_up(self._passed)
            net = self._sample.nets[number]
            if not run.ended and all(net.execution(one).where == "vulkan" for one in run.layers):
                yield self._sample.job.nets[number], run.blobs
