"""Values that become 0 in fp16: mostly harmless, and a fault of their source if a reader breaks.

A reader that is right with a 0 may hand on another: the root of 1e-8 is 1e-4, for which its scale
takes 0 as well, and the division behind it breaks. And a reader that makes inf of a 0, or another value
of one that was handed on, may be followed by one that is right with that: a Clip, or what the sum of
tiny values is added to. So all are followed from layer to layer, and results upstream are held back
until the last reader has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Underflow
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.natural_scale import averages
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.judge.fp16.cancelled import Cancelled
from pytest_ncnn_parity.worker.judge.fp16.in_fp16 import was_in_fp16
from pytest_ncnn_parity.worker.judge.fp16.lost_values import (
    NO_EFFECT,
    Effect,
    LostValue,
    at_fault,
    blamed,
    union,
)
from pytest_ncnn_parity.worker.judge.fp16.reference import BY_ELEMENT, Reference
from pytest_ncnn_parity.worker.judge.fp16.zeroed import Zeroed
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.values.recalled import KnownUnderflows


class Underflows:
    """Follows tiny values from the layers that produce them to their readers, for one sample."""

    def __init__(
        self, reference: Reference, nets: JobNets, natures: Natures, known: KnownUnderflows
    ) -> None:
        """`known`, which grows: what is known of the reference."""
        self._reference = reference
        self._natures = natures
        self._nets = nets
        self._tiny: dict[str, int] = {}  # blob -> how many of its values become 0 in fp16
        self._cancelled = Cancelled(reference, natures, known.left_by_rounding)
        self._zeroed = Zeroed(reference, known.zeros)
        self._effects = known.effects
        # by comparison, what readers computed from such values, if elements are lost within the
        # tolerance, or it is out of it and its readers decide, until the last of them has run
        self._handed_on: dict[str, dict[str, LostValue]] = {}
        # by comparison and blob, such values that are out of tolerance, until the last reader has run
        self._open: dict[tuple[str, str], LostValue] = {}
        self._makers: set[tuple[str, int]] = set()  # comparisons, and the layers that made them
        # of the current layer: effects by tolerance and inputs, and inputs as fp16 stores them
        self._turn: dict[object, Effect] = {}
        self._stored: dict[str, LostValue] = {}
        # by comparison and the layer that writes the values
        self._missed: dict[tuple[str, int], Underflow] = {}
        # by comparison and reader that breaks on them, the layer that writes them
        self._broken: dict[tuple[str, int], Layer] = {}

    def observe(self, values: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        for name, blob in values.items():
            count = blob.tiny + self._zeroed.observe(name, blob)
            if count:
                self._tiny[name] = count
            self._cancelled.observe(name, blob)

    def waits(self, case: CaseSpec, layer: Layer) -> bool:
        """Whether a passed result of `layer` has to wait until the readers of its values have run."""
        return self.breaks(case.comparison, layer) or any(blob in self._tiny for blob in layer.outputs)

    def breaks(self, comparison: str, layer: Layer) -> bool:
        """Whether `layer` is wrong with what it is fed, and its readers decide whether that matters."""
        return (comparison, layer.number) in self._makers

    def zeros_are_predicted(self) -> bool:
        """Whether the current layer is predicted to give 0 where storage would keep a value."""
        return bool(self._zeroed.made_by(None))

    def look(self, layer: Layer, waiting: Mapping[str, int | None]) -> None:
        """Record for cases upstream whether `layer` is wrong with their values as fp16 has them.

        `waiting`: the comparisons of these cases, with their candidates.
        """
        can_run = self._reference.has_all_of(layer)
        if can_run:
            for comparison, number in waiting.items():
                candidate = None if number is None else self._nets[number]
                effect = self._of_all(comparison, layer, candidate)
                if effect.wrong is not None:
                    self._miss(comparison, effect.wrong, effect.sources)
                handed_on = self._handed_on.setdefault(comparison, {})
                handed_on.update(effect.handed_on)
                for blob, one in self._zeroed.made_by(candidate).items():
                    handed_on.setdefault(blob, one)
                for blob, one in effect.handed_on.items():
                    if one.is_open:
                        self._open[comparison, blob] = one
        for comparison, handed_on in self._handed_on.items():
            for blob in handed_on.keys() & set(layer.inputs):
                if self._reference.is_read_up_to(layer, blob):
                    del handed_on[blob]
                    if can_run:
                        self._open.pop((comparison, blob), None)
        self._turn.clear()
        self._stored.clear()
        self._cancelled.let_go(layer)
        self._zeroed.let_go()

    def _of_all(self, comparison: str, layer: Layer, candidate: Net | None) -> Effect:
        """What the inputs of `layer` do to it, with values that are lost here or became 0 upstream.

        Where either breaks it by itself, the other is not at fault.
        """
        own = self._own(layer, candidate)
        effect = self._effect(comparison, layer, own)
        if effect.wrong is not None:
            return effect
        lost = self._lost(comparison, layer, own, candidate)
        if effect.breaks:
            return self._effect(comparison, layer, lost | own)
        effect = self._effect(comparison, layer, lost)
        handed_on = self._handed_on.get(comparison, {})
        both = {blob: handed_on[blob] for blob in own.keys() & handed_on.keys()}
        upstream = self._effect(comparison, layer, lost | both) if both and effect.breaks else effect
        return upstream if upstream.breaks_as(effect) else effect

    def _miss(self, comparison: str, wrong: Underflow, sources: Iterable[str]) -> None:
        """Record that the makers of `sources` fail for what is `wrong` with a reader, but for itself."""
        for source in sources:
            maker = self._origin(source).number
            if maker != wrong.reader_number:
                self._missed.setdefault((comparison, maker), self._from(wrong, source))
        self._broken.setdefault((comparison, wrong.reader_number), self._origin(wrong.blob))

    def settled(self, case: CaseSpec, layer: Layer, result: Result) -> Result:
        """`result` once all readers have run: failed if one of them breaks on values that became 0.

        A layer that made inf of them, with which a reader is wrong, has nothing to be judged by.
        """
        for (comparison, blob), lost in list(self._open.items()):  # which nobody has read
            del self._open[comparison, blob]
            if lost.wrong is not None:
                self._miss(comparison, lost.wrong, lost.sources)
        if result.outcome != "passed":
            return result
        missed = self._missed.get((case.comparison, layer.number))
        if missed is not None:
            return replace(result, outcome="failed", evidence=replace(result.evidence, underflow=missed))
        origin = self._broken.get((case.comparison, layer.number))
        if origin is not None and self.breaks(case.comparison, layer):
            skip = self._not_representable(case.comparison, origin)
            return Result(case.id, "skipped", reason=str(skip), evidence=skip.evidence)
        return result

    def refuse_inputs(self, comparison: str, layer: Layer, candidate: Net | None) -> None:
        """Skip a layer that breaks on inputs that fp16 makes 0: the layer that produced them fails.

        Zeros that were handed on are no inputs of a layer that is judged alone.
        """
        effect = self._effect(comparison, layer, self._own(layer, candidate))
        if effect.wrong is not None:
            raise self._not_representable(comparison, self._origin(effect.wrong.blob))
        if effect.breaks:
            self._makers.add((comparison, layer.number))

    def _not_representable(self, comparison: str, origin: Layer) -> Skip:
        return Skip(
            f"input not representable: values become 0 in fp16, made by {origin.name}, "
            f"{self._reference.told_by(comparison, origin)}",
            Evidence(origin=origin.name),
        )

    def _origin(self, blob: str) -> Layer:
        """The layer that produced the tiny values of `blob`, behind all layers that only copy them."""
        while True:
            layer = self._reference.graph.producer[blob]
            copied = [b for b in layer.inputs if b in self._tiny] if copies(layer) else []
            if not copied:
                return layer
            blob = copied[0]

    def _own(self, layer: Layer, candidate: Net | None) -> dict[str, LostValue]:
        """The inputs of `layer` with values of the reference that fp16 makes 0."""
        graph, lost = self._reference.graph, {}
        for blob in layer.inputs:
            if self._reference.blobs[blob].tiny and was_in_fp16(graph, blob, layer, candidate):
                if blob not in self._stored:
                    stored = self._reference.blobs[blob].with_tiny_stored()
                    self._stored[blob] = LostValue(stored, stored, frozenset([blob]))
                lost[blob] = self._stored[blob]
        return lost

    def _lost(
        self, comparison: str, layer: Layer, own: Mapping[str, LostValue], candidate: Net | None
    ) -> dict[str, LostValue]:
        """`own`, and the inputs of `layer` with values that became 0 upstream."""
        graph, handed_on = self._reference.graph, self._handed_on.get(comparison, {})
        lost = dict(own)
        for blob in filter(handed_on.__contains__, layer.inputs):
            is_stored = was_in_fp16(graph, blob, layer, candidate)
            lost[blob] = handed_on[blob].read_with(own.get(blob), is_stored)
        return lost

    def _effect(self, comparison: str, layer: Layer, lost: Mapping[str, LostValue]) -> Effect:
        """What the inputs with zeros, `lost`, do to `layer` even in fp32.

        The layer runs on the CPU in fp32, on its inputs with small values as fp16 stores them. If what
        it gives is right, it is handed on where it is 0 in place of other values.
        """
        of_reference = all(one.is_own for one in lost.values())
        if not lost or (of_reference and copies(layer)):
            return NO_EFFECT
        tolerance = self._reference.tolerance(comparison, layer)
        known = layer.number, tolerance, frozenset(lost)
        if of_reference and known in self._effects:
            wrong = self._effects[known]
            sources = frozenset() if wrong is None else frozenset([wrong.blob])
            return NO_EFFECT._replace(wrong=wrong, sources=sources)
        # what is handed on is kept, so that its id is its own
        values = (None if one.is_own else id(one.value) for one in lost.values())
        key = tolerance, *zip(lost, values, strict=True)
        if key not in self._turn:
            try:
                self._turn[key] = self._measured(layer, tolerance, lost)
            except StepFailed:
                return NO_EFFECT  # nothing was found out
        effect = self._turn[key]
        if of_reference and not effect.handed_on:
            self._effects[known] = effect.wrong
        return effect

    def _measured(self, layer: Layer, tolerance: Tolerance, lost: Mapping[str, LostValue]) -> Effect:
        """What breaks `layer`, or what it hands on."""
        alone = {
            blob: self._tried(layer, tolerance, {blob: one}, one.sources) for blob, one in lost.items()
        }
        for effect in alone.values():
            if effect.wrong is not None or len(alone) == 1:
                return effect
        culprits = at_fault(alone)
        sources = union(lost[blob].sources for blob in culprits)
        together = self._tried(layer, tolerance, lost, sources)
        return blamed(together, [alone[blob] for blob in culprits])

    def _tried(
        self,
        layer: Layer,
        tolerance: Tolerance,
        lost: Mapping[str, LostValue],
        sources: frozenset[str],
    ) -> Effect:
        found = self._from(Underflow("", "", 0, layer.name, layer.type, layer.number), min(sources))
        try:
            values = {blob: self._reference.blobs[blob] for blob in layer.inputs}
            values |= {blob: one.value for blob, one in lost.items()}
            made, expected = self._reference.run(layer, values), self._reference.right(layer)
        except StepFailed as failed:
            if failed.death.kind in ("memory", "timeout"):
                raise  # which are no matter of the values
            wrong = replace(found, failure=failed.death.detail)
            return NO_EFFECT._replace(wrong=wrong, sources=sources)
        first = next((one.wrong for one in lost.values() if one.wrong is not None), None)
        only_ends = any(one.only_ends for one in lost.values())
        handed_on = {}
        for output, value in made.items():
            right = expected[output]
            if value.shape != right.shape:
                continue  # a detector may find another number of things
            metrics = self._natures.compare(output, value.array, right.array, tolerance, whole=False)
            nonfinite = metrics.nan + metrics.inf
            harmless = metrics.agrees or (only_ends and not nonfinite)
            if not (harmless or self._cancelled.explain(layer, output, lost, value, tolerance)):
                wrong = first or replace(found, scaled=metrics.scaled, nonfinite=nonfinite)
                tiny = value.subnormal and right.subnormal
                follows = (tiny or layer.type in BY_ELEMENT or averages(layer)) and not value.nan
                of_inf = self._reference.differs(output, value, right, tolerance) == "inf"
                if not (self._reference.is_only_read(output) and (follows or of_inf)):
                    return NO_EFFECT._replace(wrong=wrong, sources=sources)
                stored = value.with_tiny_stored()
                handed_on[output] = LostValue(value, stored, sources, False, wrong, True, only_ends)
            elif value.floating and self._reference.loses_some(output, value, right):
                stored = value.with_tiny_stored()
                handed_on[output] = LostValue(value, stored, sources, False, first, False, only_ends)
        return NO_EFFECT._replace(handed_on=handed_on)

    def _from(self, effect: Underflow, source: str) -> Underflow:
        """`effect` as one of the tiny values in the blob `source`."""
        origin = self._origin(source).name
        cancels = source in self._zeroed.differences
        return replace(effect, blob=source, origin=origin, count=self._tiny[source], cancels=cancels)
