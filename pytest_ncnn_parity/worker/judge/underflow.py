"""Values that become 0 in fp16: mostly harmless, and a fault of their source if a reader breaks.

A reader that is right with a 0 may hand on another: the root of 1e-8 is 1e-4, for which its scale
takes 0 as well, and the division behind it breaks. And a reader that makes inf of a 0 may be followed
by one that is right with that: a Clip, or the maximum of a logarithm and a number. So both are followed
from layer to layer, and results upstream are held back until the last reader has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pytest_ncnn_parity.compare.fp16 import FP16_NORMAL
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence, Underflow
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import COPYING, Layer
from pytest_ncnn_parity.worker.failures import Skip, StepFailed
from pytest_ncnn_parity.worker.judge.in_fp16 import was_in_fp16
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.reference import Reference
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Blob, Made


class Underflows:
    """Follows tiny values from the layers that produce them to their readers, for one sample."""

    def __init__(
        self,
        reference: Reference,
        nets: JobNets,
        natures: Natures,
        effects: dict[tuple[int, Tolerance], Underflow | None],
    ) -> None:
        """`effects`: what is known of the reference, by layer and tolerance, and becomes known here."""
        self._reference = reference
        self._natures = natures
        self._nets = nets
        self._tiny: dict[str, int] = {}  # blob -> how many of its values become 0 in fp16
        self._effects = effects
        # by comparison, what readers computed from such values, if it differs by zeros that are within
        # the tolerance, or by inf alone, until its last reader has run
        self._handed_on: dict[str, Made] = {}
        # by comparison and blob, what is wrong if a reader of inf is, or is not run
        self._open: dict[tuple[str, str], Underflow] = {}
        self._sources: dict[str, str] = {}  # of a blob that was handed on, the one that was tiny
        # of the current layer, by tolerance and what was handed on to it, and what it hands on itself
        self._turn: dict[object, _Effect] = {}
        # by comparison and the name of the layer that writes the values
        self._missed: dict[tuple[str, str], Underflow] = {}

    def observe(self, values: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        for name, blob in values.items():
            if blob.tiny:
                self._tiny[name] = blob.tiny

    def waits(self, layer: Layer) -> bool:
        """Whether a passed result of `layer` has to wait until the readers of its values have run."""
        return any(blob in self._tiny for blob in layer.outputs)

    def look(self, layer: Layer, waiting: Iterable[CaseSpec]) -> None:
        """Record for cases upstream whether `layer` is wrong with their values as fp16 has them."""
        if self._reference.has_all_of(layer):
            comparisons = {case.comparison: case.candidate for case in waiting}
            for comparison, number in comparisons.items():
                candidate = None if number is None else self._nets[number]
                if self._arrives_in_fp16(comparison, layer, candidate):
                    effect = self._effect(comparison, layer)
                    if effect is not None:
                        self._missed.setdefault((comparison, effect.origin), effect)
        for comparison, handed_on in self._handed_on.items():
            for blob in handed_on.keys() & set(layer.inputs):
                if all(r.number <= layer.number for r in self._reference.graph.consumers[blob]):
                    del handed_on[blob]
                    self._open.pop((comparison, blob), None)
        self._turn.clear()

    def settled(self, case: CaseSpec, layer: Layer, result: Result) -> Result:
        """`result` once all readers have run: failed if one of them breaks on values that became 0."""
        opened = (self._open[key] for key in self._open if key[0] == case.comparison)
        unread = {effect.origin: effect for effect in opened}.get(layer.name)
        effect = self._missed.get((case.comparison, layer.name), unread)
        if effect is None or result.outcome != "passed":
            return result
        return replace(result, outcome="failed", evidence=replace(result.evidence, underflow=effect))

    def refuse_inputs(self, comparison: str, layer: Layer) -> None:
        """Skip a layer that breaks on inputs that fp16 makes 0: the layer that produced them fails."""
        effect = self._effect(comparison, layer)
        if effect is not None:
            raise Skip(
                f"input not representable: values become 0 in fp16, made by {effect.origin}, which "
                "fails itself",
                Evidence(origin=effect.origin),
            )

    def _arrives_in_fp16(self, comparison: str, layer: Layer, candidate: Net | None) -> bool:
        """Whether tiny values are in fp16 on their way into `layer`, at their source or in between."""
        if self._handed_on_to(comparison, layer):
            return True
        graph = self._reference.graph
        tiny = [blob for blob in layer.inputs if blob in self._tiny]
        return any(was_in_fp16(graph, blob, layer, candidate) for blob in tiny)

    def _handed_on_to(self, comparison: str, layer: Layer) -> Made:
        """The inputs of `layer` that have zeros which values upstream became in fp16."""
        handed_on = self._handed_on.get(comparison, {})
        return {blob: handed_on[blob] for blob in layer.inputs if blob in handed_on}

    def _origin(self, blob: str) -> Layer:
        """The layer that produced the tiny values of `blob`, behind all layers that only copy them."""
        layer = self._reference.graph.producer[blob]
        if layer.type in COPYING:
            for source in layer.inputs:
                if source in self._tiny:
                    return self._origin(source)
        return layer

    def _effect(self, comparison: str, layer: Layer) -> Underflow | None:
        """The inputs that break `layer`, even in fp32, once fp16 has made them 0; else None.

        The layer runs on the CPU in fp32, on its inputs with small values as fp16 stores them, and is
        compared with its usual outputs. Small values are common and mostly harmless; these are not. If
        it is right, its outputs are handed on where they are 0 in place of other values.
        """
        handed_on = self._handed_on_to(comparison, layer)
        tiny = [blob for blob in layer.inputs if blob in self._tiny]
        if not handed_on and (not tiny or layer.type in COPYING):
            return None
        tolerance = self._reference.tolerance(comparison, layer)
        known = layer.number, tolerance
        if not handed_on and known in self._effects:
            return self._effects[known]
        key = tolerance, *(id(value) for value in handed_on.values())
        if key not in self._turn:
            zeroed = {blob: _without_tiny(self._reference.blobs[blob]) for blob in tiny} | handed_on
            try:
                self._turn[key] = self._measured(layer, tolerance, zeroed)
            except StepFailed:
                return None  # nothing was found out
        effect = self._turn[key]
        self._handed_on.setdefault(comparison, {}).update(effect.handed_on)
        self._open.update(((comparison, blob), wrong) for blob, wrong in effect.inf.items())
        if not handed_on and not effect.handed_on:
            self._effects[known] = effect.wrong
        return effect.wrong

    def _measured(self, layer: Layer, tolerance: Tolerance, zeroed: Made) -> _Effect:
        """What breaks `layer`, or what it hands on.

        Of several inputs that are `zeroed`, the first is to blame that breaks it by itself.
        """
        alone = ({blob: value} for blob, value in zeroed.items()) if len(zeroed) > 1 else ()
        for inputs in (*alone, zeroed):
            effect = self._tried(layer, tolerance, inputs)
            if effect.wrong is not None:
                return effect
        source = self._source(next(iter(zeroed)))
        self._sources.update(dict.fromkeys(effect.handed_on, source))
        return effect

    def _tried(self, layer: Layer, tolerance: Tolerance, zeroed: Made) -> _Effect:
        blob = self._source(next(iter(zeroed)))
        found = Underflow(
            blob=blob,
            origin=self._origin(blob).name,
            count=self._tiny[blob],
            reader=layer.name,
            reader_type=layer.type,
        )
        try:
            values = {blob: self._reference.blobs[blob] for blob in layer.inputs} | zeroed
            made = self._reference.run(layer, values)
        except StepFailed as failed:
            if failed.death.kind in ("memory", "timeout"):
                raise  # which are no matter of the values
            return _Effect(replace(found, failure=failed.death.detail), {}, {})
        outputs, of_inf = {}, {}
        for output, value in made.items():
            right = self._reference.blobs[output]
            if value.shape != right.shape:
                continue  # a detector may find another number of things
            metrics = self._natures.compare(output, value.array, right.array, tolerance, whole=False)
            if not metrics.agrees:
                wrong = replace(found, scaled=metrics.scaled, nonfinite=metrics.nan + metrics.inf)
                read = self._reference.graph.consumers[output]
                if not read or self._reference.differs(output, value, right, tolerance) != "inf":
                    return _Effect(wrong, {}, {})
                of_inf[output] = wrong
            if not metrics.agrees or (value.floating and _has_more_zeros(value, right)):
                outputs[output] = value
        return _Effect(None, outputs, of_inf)

    def _source(self, blob: str) -> str:
        """The blob whose tiny values became the zeros of `blob`."""
        return blob if blob in self._tiny else self._sources[blob]


class _Effect(NamedTuple):
    """What is `wrong` with a layer, or else its outputs that differ and are handed on.

    `inf`: those of them that have inf, with what is wrong if a reader of them is not right with it.
    """

    wrong: Underflow | None
    handed_on: Mapping[str, Blob]
    inf: Mapping[str, Underflow]


def _has_more_zeros(value: Blob, right: Blob) -> bool:
    return bool(((value.array == 0.0) & (right.array != 0.0)).any())


def _without_tiny(value: Blob) -> Blob:
    """`value` with what is too small for fp16 as fp16 stores it: 0, or with few digits.

    All else is kept: what its rounding does is no underflow.
    """
    if not value.tiny:
        return value
    small = np.abs(value.array) < FP16_NORMAL
    return Blob.of(np.where(small, value.stored().array, value.array))
