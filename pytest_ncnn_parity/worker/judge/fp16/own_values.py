"""Values on which a candidate may differ from the reference without harm, as its readers decide.

Where a reference value is outside fp16's range, a sum or a factor that leads to its neighbours may be
as well: a layer that multiplies by 1e6 turns 40,000 into inf too. In front of a Clip or a Sigmoid, also
behind a ReLU or a Reshape, that is no fault. Near the end of fp32's range one device may give inf and
another not. At the other end, what a branch of weights of 1e-7 computes is nothing beside what it is
added to. To decide, the readers are run on the candidate's own values, and their readers on the result,
as long as it differs by inf alone or is as tiny.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_ncnn_parity.compare.metrics import agrees_but_for_ends, agrees_but_for_inf
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.judge.fp16.reach import Reach
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.values.blob import Made


class OwnValues:
    """Follows what candidates computed to readers that are right or wrong with it, for one sample."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._own: dict[str, Made] = {}  # by comparison, until the last reader has run
        # comparisons and blobs that a candidate computed from its own values
        self._kept: set[tuple[str, str]] = set()
        self._seen: set[int] = set()  # the layers that have been judged
        self._right: set[tuple[str, int]] = set()  # readers that are right, by comparison and number
        self._handed_on: set[tuple[str, int]] = set()  # layers whose outputs differ by inf only
        self._harm = Reach(self._readers_of)

    def keep(self, case: CaseSpec, outputs: Made) -> None:
        """Take note of what the candidate computed in `case`, whose result waits for the readers."""
        self._own.setdefault(case.comparison, {}).update(outputs)
        self._kept.update((case.comparison, blob) for blob in outputs)

    def keep_ends(self, case: CaseSpec, outputs: Made, expected: Made) -> None:
        """The same, if the outputs differ from `expected` only at one of the ends of the range.

        exp(100) is inf on Vulkan, and 2.4e38 on the CPU (exp_ps in src/layer/x86/sse_mathfun.h). bf16
        ends at 3.39e38, so that the lowest float, as in many attention masks, is -inf there. In fp16 it
        may be any value in whose place the outputs have inf: a sum inside overflows before its mean.
        At the other end of fp16, no value of either side reaches the smallest normal number.
        """
        agrees = agrees_but_for_inf if case.half == "fp16" else agrees_but_for_ends
        tiny = case.half == "fp16" and all(
            one.subnormal for one in (*outputs.values(), *expected.values())
        )
        if tiny or all(
            agrees(outputs[blob].array, value.array, case.tolerance) for blob, value in expected.items()
        ):
            self.keep(case, outputs)

    def waits(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether the result of `case` depends on how readers take such values."""
        return any((case.comparison, blob) in self._kept for blob in layer.outputs)

    def look(self, layer: Layer) -> None:
        """Find out, while its inputs are still held, whether `layer` is right with such values."""
        self._seen.add(layer.number)
        for comparison, own in self._own.items():
            read = own.keys() & set(layer.inputs)
            if not read:
                continue
            outputs = self._made_of(layer, own)
            expected = {blob: self._reference.blobs.get(blob) for blob in layer.outputs}
            tolerance = self._reference.tolerance(comparison, layer)
            differs = {
                self._reference.differs(b, outputs.get(b), true, tolerance)
                for b, true in expected.items()
            }
            if differs <= {"none"}:
                self._right.add((comparison, layer.number))
            elif outputs and (copies(layer) or "wrong" not in differs or self._are_tiny(layer, outputs)):
                self._handed_on.add((comparison, layer.number))
                own.update(outputs)
            self._let_go(own, read)

    def _are_tiny(self, layer: Layer, outputs: Made) -> bool:
        """Whether `outputs`, and what `layer` gives in the reference, are tiny."""
        true = (self._reference.blobs[blob] for blob in layer.outputs)
        return all(one.subnormal for one in (*outputs.values(), *true))

    def _let_go(self, own: Made, blobs: Iterable[str]) -> None:
        """Drop those of `blobs` whose readers have all been judged."""
        for blob in blobs:
            if all(reader.number in self._seen for reader in self._reference.graph.consumers[blob]):
                own.pop(blob)

    def _made_of(self, layer: Layer, own: Made) -> Made:
        """What `layer` computes from such values in fp32; nothing if it cannot be run."""
        if not self._reference.has_all_of(layer):
            return {}
        values = {blob: own.get(blob, self._reference.blobs[blob]) for blob in layer.inputs}
        try:
            return self._reference.run(layer, values)
        except StepFailed:
            return {}

    def settled(self, case: CaseSpec, layer: Layer, result: Result) -> Result:
        """`result` once all readers have run: passed if each of them is right."""
        metrics, evidence = result.metrics, result.evidence
        if (
            result.outcome != "failed"
            or metrics is None
            or any((case.comparison, blob) not in self._kept for blob in layer.outputs)
        ):
            return result
        if evidence.unrepresentable is not None or evidence.misread or evidence.reference_nan:
            return result
        if any(self._harm.finds((case.comparison, blob)) for blob in layer.outputs):
            return result
        if metrics.mismatched:
            off = f"{metrics.mismatched} of {metrics.total} elements are off"
        elif evidence.near is not None:
            off = f"{evidence.near.absmax:.6g} may be inf on another input"
        elif evidence.constant is not None:
            off = f"fp16 does not hold {evidence.constant.what.removesuffix('=')}"
        else:
            off = "a sum inside is inf in fp16"
        metrics = metrics.forgiven_by(f"{off}, and no reader is wrong for it")
        return Result(case.id, "passed", metrics, evidence=replace(evidence, trials={}))

    def _readers_of(self, state: tuple[str, str]) -> Iterable[tuple[str, str]] | None:
        """For a comparison and a blob: the blobs on which its readers hand the values on.

        None if it is an output or a reader is wrong.
        """
        comparison, blob = state
        if not self._reference.is_only_read(blob):
            return None
        further = []
        for reader in self._reference.graph.consumers[blob]:
            if (comparison, reader.number) in self._handed_on:
                further += [(comparison, output) for output in reader.outputs]
            elif (comparison, reader.number) not in self._right:
                return None
        return further
