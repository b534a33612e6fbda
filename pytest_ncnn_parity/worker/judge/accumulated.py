"""Measures how far each candidate's own run drifts from its reference's, and where the error grows.

In a layer case both sides are fed with the same values. Here each network is fed with its own values, as
in a run of the whole network. Each network is stepped once, however many comparisons use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pytest_ncnn_parity.compare.int8 import judged_by_loss, loss
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Growth, GrowthStep
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable, as_failure
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.outputs.whole_runs import refuse_misread
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.other import OtherNet
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import Chain

STEPS = 3  # how many of the layers at which the error grows most are reported


@dataclass
class _Pair:
    """One comparison: the numbers of its networks, the layers it covers, and what was measured.

    `errors` holds the metrics by blob, None if the shapes differ. `ended`: why the run ended
    early, so that further blobs were not measured.
    """

    reference: int
    candidate: int
    tolerance: Tolerance
    layers: set[int] = field(default_factory=set)
    errors: dict[str, Metrics | None] = field(default_factory=dict)
    ended: str = ""


class Accumulated:
    """Steps through the candidates and references of one sample along with the trajectory."""

    def __init__(
        self,
        sample: SampleRun,
        cases: Iterable[CaseSpec],
        refuse: Callable[[Net, Layer], None],
        natures: Natures,
    ) -> None:
        """`refuse` raises the reason if a network must not run a layer; `natures` compares values."""
        self._refuse = refuse
        self._natures = natures
        self._sample = sample
        self._pairs: dict[str, _Pair] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}  # of the reference's values that were measured
        for case in cases:
            if case.kind == "pair" and case.candidate is not None:
                tolerance = sample.job.defaults[case.comparison]
                pair = _Pair(case.reference, case.candidate, tolerance)
                pair = self._pairs.setdefault(case.comparison, pair)
                pair.layers |= sample.graph.ancestors(self._blobs(case))
                other = sample.job.nets[case.candidate]
                if other.other and not sample.nets.in_int8(other):  # see `Rewritten`
                    pair.layers |= sample.graph.ancestors(sample.job.outputs)

    @property
    def layers(self) -> set[int]:
        """The numbers of the layers that the trajectory must run for these runs to follow it."""
        return set().union(*(pair.layers for pair in self._pairs.values()))

    def _blobs(self, case: CaseSpec) -> tuple[str, ...]:
        if case.output is not None:
            return (case.output,)
        assert case.layer is not None
        return self._sample.graph.layers[case.layer].outputs

    @cached_property
    def _chains(self) -> dict[int, Chain]:
        """By number, the chain of each network that can be loaded, except for the trajectory."""
        wanted: dict[int, set[int]] = {}
        loaded: dict[int, Net] = {}
        for pair in self._pairs.values():
            numbers = {pair.reference, pair.candidate} - {self._sample.job.trajectory}
            try:
                for number in numbers:
                    loaded[number] = self._sample.nets[number]
            except (StepFailed, Unavailable) as problem:  # the cases of this network report it
                pair.ended = str(problem)
                continue
            for number in numbers:
                wanted.setdefault(number, set()).update(pair.layers)
        return {number: self._chain(loaded[number], layers) for number, layers in wanted.items()}

    def _chain(self, net: Net, layers: set[int]) -> Chain:
        own = [layer for layer in self._sample.graph.layers if layer.number in layers]
        other = net.own_run(self._sample.inputs, own) if isinstance(net, OtherNet) else None

        def run(layer: Layer, blobs: Made) -> Made:
            refuse_misread(net, layer, self._sample.graph)
            self._refuse(net, layer)
            if other is not None:
                return other(layer)
            with as_failure(Step("layer", net.label, layer.number, layer.name)):
                return net.run_layer(layer, blobs, on="own")

        return Chain(own, self._sample.inputs, run, reads=self._sample.nets.reads)

    @cached_property
    def _steps(self) -> dict[int, Iterator[tuple[Layer, Made]]]:
        return {number: chain.steps() for number, chain in self._chains.items()}

    def advance(self, layer: Layer, trajectory: Chain) -> None:
        """Run `layer`, which the trajectory has just run, in every network that needs it."""
        chains = {self._sample.job.trajectory: trajectory, **self._chains}
        pairs = [
            pair
            for pair in self._pairs.values()
            if layer.number in pair.layers and {pair.reference, pair.candidate} <= chains.keys()
        ]
        for number in {n for pair in pairs for n in (pair.reference, pair.candidate)}:
            if number != self._sample.job.trajectory:
                stepped, _ = next(self._steps[number])
                assert stepped is layer
        for pair in pairs:
            for blob in layer.outputs:
                self._compare(pair, blob, chains[pair.reference], chains[pair.candidate])

    def _compare(self, pair: _Pair, blob: str, reference: Chain, candidate: Chain) -> None:
        if blob not in candidate.lost and blob not in candidate.blobs:
            return  # the candidate is another model, which does not have this blob
        try:
            expected, values = ({blob: _value(chain, blob)} for chain in (reference, candidate))
        except StepFailed as failed:
            pair.ended = pair.ended or f"{failed.step}: {failed.death.detail}"
            return
        self.shapes[blob] = expected[blob].shape
        pair.errors[blob] = self._measured(pair.tolerance, values, expected)

    def _measured(self, tolerance: Tolerance, values: Made, expected: Made) -> Metrics | None:
        try:
            return self._natures.worst(values, expected, tolerance, whole=True)[0]
        except StepFailed:  # another shape
            return None

    def compared(self, comparison: str, blob: str, value: Blob, expected: Blob) -> Metrics | None:
        """Compare a value as one of the candidate's own run; None if it has another shape.

        What a layer in int8 gives is compared by what it may lose.
        """
        self.shapes[blob] = expected.shape
        job, maker = self._sample.job, self._sample.graph.producer[blob].number
        default = job.defaults[comparison]
        own = job.layer_tolerances[comparison].get(maker, default)
        tolerance = default if own.sqnr_db is None else own
        metrics = self._measured(tolerance, {blob: value}, {blob: expected})
        if metrics is None or tolerance.sqnr_db is None:
            return metrics
        return judged_by_loss(metrics, loss(value.array, expected.array), tolerance)

    def errors(self, comparison: str) -> Mapping[str, Metrics | None]:
        """Return, by blob, what the candidate's own run gives; None for a value of another shape.

        Blobs that the candidate's model does not have are left out. Empty if its run ended early.
        """
        pair = self._pairs.get(comparison)
        return {} if pair is None or pair.ended else pair.errors

    def added(self, case: CaseSpec, result: Result) -> Result:
        """Return `result` with what the networks' own runs show about the values it judges."""
        pair = self._pairs.get(case.comparison)
        if pair is None or case.kind != "pair":
            return result
        known = [error for error in map(pair.errors.get, self._blobs(case)) if error is not None]
        worst = max(known, key=lambda error: error.scaled, default=None)
        evidence = result.evidence
        if worst is None and pair.ended not in ("", result.reason):
            evidence = replace(evidence, accumulated_ended=pair.ended)
        if case.output is not None and result.outcome == "failed":
            evidence = replace(evidence, growth=self._growth(pair, case.output))
        if worst is None and evidence is result.evidence:
            return result
        return replace(result, accumulated=worst, evidence=evidence)

    def _growth(self, pair: _Pair, output: str) -> Growth:
        """Return the layers whose outputs are worse than their inputs, on the way to `output`."""
        steps = []
        for number in sorted(self._sample.graph.ancestors([output])):
            layer = self._sample.graph.layers[number]
            before, after = (
                max((e.scaled for e in map(pair.errors.get, blobs) if e is not None), default=0.0)
                for blobs in (layer.inputs, layer.outputs)
            )
            if after > before:
                steps.append(GrowthStep(layer.name, layer.type, before, after))
        largest = sorted(steps, key=lambda step: step.before - step.after)[:STEPS]
        return Growth(len(steps), tuple(largest), pair.ended)


def _value(chain: Chain, blob: str) -> Blob:
    if blob in chain.lost:
        raise chain.lost[blob]
    return chain.blobs[blob]
