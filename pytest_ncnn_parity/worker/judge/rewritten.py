"""Layers in whose place another model computes something else, of which nothing is left behind them.

Converters may write a part of a network with other operators: queries are divided by sqrt(d), or the
scores are; one product gives queries, keys and values, or three do. Or they move factors from the
weights of one layer to those of a later one. Layers that are named or built alike there may hold other
values. That is no fault where the values behind them agree in the own run of the other model.

A wrong weight is one wherever it is: both models have the same operators around it, and the layers that
read it are right by themselves. What takes a factor back is wrong by itself, and right in that run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Outcome, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.versions.folding import limits
from pytest_ncnn_parity.network.versions.units import sources
from pytest_ncnn_parity.worker.judge.accumulated import Accumulated
from pytest_ncnn_parity.worker.judge.regions import Region, follow
from pytest_ncnn_parity.worker.judge.remaining import Errors, differs, is_far_smaller, nothing_is_left
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.other import OtherNet
from pytest_ncnn_parity.worker.values.stepping import Chain


class _Part(Frozen):
    """Connected layers whose values differ in the other model, and the layers that read them.

    `errors`: those of the values in front of the readers, and behind them. `found`: in words, where
    the other model has the value that they read.
    """

    layers: frozenset[int]
    readers: tuple[Layer, ...]
    errors: Errors
    found: str = ""


class Rewritten:
    """Settles the failures of one sample's layers that another model computes otherwise."""

    def __init__(self, sample: SampleRun, accumulated: Accumulated) -> None:
        self._sample = sample
        self._accumulated = accumulated
        self._parts: dict[str, list[_Part]] = {}
        self._red: dict[str, set[int]] = {}  # by comparison, the layers whose results wait
        self._misfed: dict[str, set[int]] = {}  # those of them that could not run on their inputs
        self._in_front: dict[str, dict[int, Errors]] = {}

    def waits(self, case: CaseSpec, result: Result) -> bool:
        """Whether `result` depends on what the other model's own run gives further down."""
        waits = (
            result.outcome == "failed"
            and case.candidate is not None
            and _is_otherwise(result)
            and not result.evidence.has_wrong_files
            and self._sample.nets.restructured(case.candidate) is not None
        )
        if waits and case.layer is not None:
            self._red.setdefault(case.comparison, set()).add(case.layer)
            if result.evidence.death is not None:
                self._misfed.setdefault(case.comparison, set()).add(case.layer)
        return waits

    def settled(self, case: CaseSpec, layer: Layer, result: Result) -> Result:
        """`result` once all layers have run: skipped inside of such a part, judged anew behind it."""
        if not self.waits(case, result):
            return result
        if case.comparison not in self._parts:
            # in int8 the own run has what all layers before have lost
            parts = [] if self._is_in_int8(case) else list(self._found(case))
            self._parts[case.comparison] = [*parts, *self._found_alone(case, parts)]
        for part in self._parts[case.comparison]:
            if layer.number in part.layers:
                first, *more = part.readers
                others = f" and {len(more)} more" if more else ""
                where = part.found or f"the values agree again at {first.name} ({first.type}){others}"
                why = f"the other model computes this otherwise; {where}"
                return Result(case.id, "skipped", reason=why, evidence=Evidence(lasting=True))
            if any(reader.number == layer.number for reader in part.readers):
                return self._by_own_values(layer, result, part.errors)
        if self._is_in_another_order(case, layer):
            why = "its inputs stand in another order in the other model, and what reads it is red"
            return Result(case.id, "skipped", reason=why, evidence=Evidence(lasting=True))
        if result.evidence.death is not None:  # inputs that do not belong together
            own = self._by_own_values(layer, result, self._accumulated.errors(case.comparison))
            if own.outcome == "passed":
                return own
            alone = self._by_own_values(layer, result, self._from_in_front(case).get(layer.number, {}))
            return own if alone is result else alone
        return result

    def _is_in_another_order(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether `layer` is a Concat of the same values there in another order, whose readers are red.

        If they are not, they expect this order, and the other one is a fault.
        """
        assert case.candidate is not None
        there = self._sample.nets[case.candidate].counterpart(layer)
        if layer.type != "Concat" or there is None or len(there.layers) != 1:
            return False
        same = sources(self._sample.graph)
        own, its = [same[b] for b in layer.inputs], [same[there.feeds[b]] for b in there.last.inputs]
        readers = [reader.number for reader in self._sample.graph.readers(layer)]
        are_red = bool(readers) and self._red[case.comparison].issuperset(readers)
        return own != its and sorted(own) == sorted(its) and are_red

    def _by_own_values(self, layer: Layer, result: Result, errors: Errors) -> Result:
        """`result`, or that on the other model's own values, if it is far better by `errors`."""
        known = {blob: error for blob in layer.outputs if (error := errors.get(blob)) is not None}
        if len(known) < len(layer.outputs):
            return result
        blob, worst = max(known.items(), key=lambda pair: pair[1].scaled)
        seen = result.evidence
        if result.metrics is not None and not is_far_smaller(worst, result.metrics, seen.in_int8):
            return result
        evidence = Evidence(
            setup=seen.setup,
            execution=seen.execution,
            device=seen.device,
            counterpart=seen.counterpart,
            in_int8=seen.in_int8,
            weights=seen.weights,
            own_inputs=True,
            blob=blob,
            shape=self._accumulated.shapes[blob],
        )
        outcome: Outcome = "passed" if worst.agrees else "failed"
        return replace(result, outcome=outcome, metrics=worst, evidence=evidence)

    def _found(self, case: CaseSpec) -> Iterator[_Part]:
        """The parts of the network that are written otherwise and have no effect behind them."""
        assert case.candidate is not None
        graph, errors = self._sample.graph, self._accumulated.errors(case.comparison)
        ends = {*self._sample.job.outputs, *graph.outputs}
        differing = [one.number for one in graph.layers if errors and differs(one, errors)]
        for part in graph.connected(differing):
            layers = [graph.layers[number] for number in sorted(part)]
            begins = [
                one for one in layers if not any(maker.number in part for maker in graph.makers(one))
            ]
            behind = {reader.number for one in layers for reader in graph.readers(one)} - part
            readers = [graph.layers[number] for number in sorted(behind)]
            if (
                readers
                and not any(ends.intersection(one.outputs) for one in layers)
                and not self._reads_others(case, readers, part)
                and self._is_no_fault(case, begins, layers, readers, errors)
            ):
                yield _Part(frozenset(part), tuple(readers), errors)

    def _red_constants(self, case: CaseSpec) -> list[Layer]:
        layers = (self._sample.graph.layers[number] for number in sorted(self._red[case.comparison]))
        return [one for one in layers if one.type == "MemoryData"]

    def _reads_others(self, case: CaseSpec, readers: Iterable[Layer], part: Container[int]) -> bool:
        """Whether `readers` of `part` read a red constant as well, which may take back what it gives."""
        others = (one for one in self._red_constants(case) if one.number not in part)
        read = {reader.number for one in others for reader in self._sample.graph.readers(one)}
        return any(reader.number in read for reader in readers)

    def _is_no_fault(
        self,
        case: CaseSpec,
        begins: Iterable[Layer],
        layers: Sequence[Layer],
        readers: Sequence[Layer],
        errors: Errors,
    ) -> bool:
        """Whether a part is written otherwise or taken back by its readers, and nothing of it is left.

        Constants go with what is written otherwise, and do not make it so. A reader in int8 shows
        nothing, for its own rounding hides small errors.
        """
        assert case.candidate is not None
        if any(self._rounds(case, one) for one in readers):
            return False
        restructured = self._sample.nets.restructured(case.candidate) or frozenset()
        makers = [one for one in begins if one.type != "MemoryData" or one.number in restructured]
        otherwise = bool(makers) and all(one.number in restructured for one in makers)
        otherwise = otherwise and not any(self._is_hidden(case, one) for one in layers)
        taken_back = bool(readers) and all(one.number in self._red[case.comparison] for one in readers)
        is_right = partial(nothing_is_left, part=layers, errors=errors)
        return (otherwise or taken_back) and all(map(is_right, readers))

    def _is_in_int8(self, case: CaseSpec) -> bool:
        assert case.candidate is not None
        return self._sample.nets.in_int8(self._sample.job.nets[case.candidate])

    def _rounds(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether the other model computes `layer` in int8."""
        assert case.candidate is not None
        there = self._sample.nets[case.candidate].counterpart(layer)
        return there is not None and bool(there.quantized)

    def _is_hidden(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether all that reads `layer` limits its values, and the other model does not do so before.

        Then the values agree behind it only where they are limited: on other inputs they may not.
        """
        assert case.candidate is not None
        there = self._sample.nets[case.candidate].counterpart(layer)
        if there is None or there.replaced[-1] != layer or limits(there.last):
            return False
        return all(map(limits, self._sample.graph.readers(layer)))

    def _found_alone(self, case: CaseSpec, settled: Iterable[_Part]) -> Iterator[_Part]:
        """Such parts behind a fault, each fed with the reference's values in front of it."""
        assert case.candidate is not None
        sample, red = self._sample, self._red[case.comparison]
        restructured = sample.nets.restructured(case.candidate)
        left = red.difference(*(part.layers for part in settled))
        left = left.difference(reader.number for part in settled for reader in part.readers)
        moved = len(left) > 1 and not self._is_in_int8(case)
        if not left or not (restructured or moved):
            return
        begins = [*([sample.graph.layers[number]] for number in sorted(left)), *self._met(case, left)]

        def is_no_fault(region: Region) -> bool:
            layers = [sample.graph.layers[number] for number in sorted(region.layers)]
            return self._is_no_fault(case, region.begins, layers, region.behind, region.errors)

        for region in self._followed(case, begins, is_no_fault, self._red_constants(case)):
            if region.closes and is_no_fault(region):
                layers, readers = frozenset(region.layers), tuple(region.readers)
                yield _Part(layers, readers, region.errors, region.found)

    def _met(self, case: CaseSpec, red: Collection[int]) -> list[list[Layer]]:
        """Those of the layers `red` that one of them reads together, so that none is right alone."""
        assert case.candidate is not None
        graph, net = self._sample.graph, self._sample.nets[case.candidate]
        groups: set[tuple[int, ...]] = set()
        for number in red:
            if (there := net.counterpart(graph.layers[number])) is not None:
                makers = {graph.producer[blob].number for blob in there.feeds.values()}
                groups.add(tuple(sorted(makers.intersection(red))))
        return [[graph.layers[n] for n in group] for group in sorted(groups) if len(group) > 1]

    def _followed(
        self,
        case: CaseSpec,
        begins: Iterable[Sequence[Layer]],
        explains: Callable[[Region], bool],
        constants: Collection[Layer] = (),
    ) -> list[Region]:
        """What each of `begins` leads to, fed with the reference's values in front of it.

        Then the same where `constants` are the other model's as well. For `explains` see `follow`.
        """
        assert case.candidate is not None
        sample = self._sample
        net = sample.nets[case.candidate]
        assert isinstance(net, OtherNet)
        ends = {*sample.job.outputs, *sample.graph.outputs}
        compared = partial(self._accumulated.compared, case.comparison)
        regions = [
            Region(some, net.differing_values(), others, ends, compared)
            for others in ([(), constants] if constants else [()])
            for some in begins
        ]
        layers, reads = sample.graph.running(sample.job.outputs), sample.nets.reads
        follow(regions, Chain(layers, sample.inputs, sample.run_reference, reads=reads), explains)
        return regions

    def _from_in_front(self, case: CaseSpec) -> Mapping[int, Errors]:
        """By layer that could not run on its inputs, its errors from the inputs of what makes these.

        Both models may have the same value in other shapes, so that each needs its own.
        """
        assert case.candidate is not None
        if case.comparison not in self._in_front:
            graph, net = self._sample.graph, self._sample.nets[case.candidate]
            begins: dict[int, int] = {}
            for number in sorted(self._misfed[case.comparison]):
                there = net.counterpart(graph.layers[number])
                if there is not None and len(set(there.feeds.values())) == 1:
                    begins[number] = graph.producer[next(iter(there.feeds.values()))].number
            numbers = sorted(set(begins.values()))
            layers = [[graph.layers[number]] for number in numbers]
            regions = self._followed(case, layers, lambda _: False) if layers else []
            errors = {region.begins[0].number: region.errors for region in regions}
            self._in_front[case.comparison] = {n: errors[begin] for n, begin in begins.items()}
        return self._in_front[case.comparison]


def _is_otherwise(result: Result) -> bool:
    """Whether values or shapes differ, not for what fp16 or the device does to them."""
    evidence, metrics = result.evidence, result.metrics
    if evidence.death is not None:
        return evidence.death.kind in ("shape", "misfit")
    if evidence.unrepresentable is not None or evidence.right("other_files"):
        return False
    return metrics is not None and not metrics.agrees
