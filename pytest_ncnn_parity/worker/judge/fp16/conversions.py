"""What the reference's values lose in fp16, as a prediction or on upload: no device runs a layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pytest_ncnn_parity.compare.number_formats import FP16_MAX
from pytest_ncnn_parity.engine.evidence import Constant, Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Outcome, Result
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.masks import stays_in_fp32
from pytest_ncnn_parity.network.operator_kinds import copies
from pytest_ncnn_parity.worker.failures import LASTING, Skip, StepFailed
from pytest_ncnn_parity.worker.judge.fp16.constants import Constants
from pytest_ncnn_parity.worker.judge.fp16.inside import Insides
from pytest_ncnn_parity.worker.judge.fp16.integers import HeldIntegers
from pytest_ncnn_parity.worker.judge.held_back import HeldBack
from pytest_ncnn_parity.worker.judge.probes import Measure
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Blob, Made


def readers(graph: Graph, blobs: Iterable[str]) -> Collection[Layer]:
    """The layers that read `blobs`; where a layer only copies them, also the readers of the copies."""
    found: dict[int, Layer] = {}
    waiting = list(blobs)
    while waiting:
        for layer in graph.consumers[waiting.pop()]:
            if layer.number not in found:
                found[layer.number] = layer
                waiting += layer.outputs if copies(layer) else ()
    return found.values()


def with_own_nan(layer: Layer, outputs: Made, blobs: Made) -> Made:
    """Those of `outputs`, of the reference, that have nan, if `layer` made it of values without."""
    if any(blobs[source].nan for source in layer.inputs):
        return {}
    return {blob: value for blob, value in outputs.items() if value.nan}


def _with_inf(value: Blob, limit: float) -> Blob:
    """`value` with inf in place of what reaches `limit`, as on an input that is a little larger."""
    far = np.abs(value.array) >= limit
    return value.with_elements(np.where(far, np.copysign(np.float32(np.inf), value.array), value.array))


def _casts_by_shader(net: Net) -> bool:
    """Whether what is uploaded for `net` becomes fp16 on the device (record_upload in src/command.cpp).

    For a discrete GPU ncnn's cast on the CPU makes some values 0: see `Blob.flushed`.
    """
    here = net.setup.on_vulkan and not net.spec.worker
    return here and not vulkan.is_discrete(net.setup.device_index)


class Spoilt(NamedTuple):
    """Outputs that are wrong because fp16 does not hold a constant."""

    constant: Constant
    outputs: Made


class Stored(NamedTuple):
    """What the `outputs` of a layer are in 16 bits, whose true `values` the reference has."""

    case: CaseSpec
    layer: Layer
    values: Made
    outputs: Made
    evidence: Evidence

    @property
    def reaches_the_end_inside(self) -> bool:
        """Whether a value inside the layer leaves less than the case's headroom."""
        inside = self.evidence.inside
        return inside is not None and inside.reaches(FP16_MAX / self.case.tolerance.headroom)

    @property
    def is_at_fault(self) -> bool:
        """Whether the layer is red whatever its readers make of its values."""
        seen = self.evidence
        of_the_file = seen.reference_nan or seen.not_finite
        return bool(of_the_file or seen.near or seen.constant or self.reaches_the_end_inside)


class Conversions:
    """Judges the values of the trajectory's layers, and what is inside them, for one sample.

    `measure` gives, for a case, the function that compares values.
    """

    def __init__(
        self,
        graph: Graph,
        nets: JobNets,
        blobs: Made,
        held: HeldBack,
        integers: HeldIntegers,
        measure: Callable[[CaseSpec], Measure],
    ) -> None:
        self._graph = graph
        self._nets = nets
        self._blobs = blobs
        self._held = held
        self._integers = integers
        self._measure = measure
        self._insides = Insides(nets)
        self._constants = Constants(nets)

    def predict(self, case: CaseSpec, layer: Layer) -> Result:
        """Without a candidate: can fp16 hold what the reference computes here?"""
        if self._integers.makes(layer):
            return self._integers.in_range(case, layer, self._blobs, self._measure(case))
        taken_by = readers(self._graph, layer.outputs)
        stays = stays_in_fp32(layer.mask) and all(stays_in_fp32(reader.mask) for reader in taken_by)
        if stays and not self._held.underflows.zeros_are_predicted():  # of terms in fp16
            raise Skip(f"masked with 31={layer.mask}, as all its readers are: stays in fp32", LASTING)
        if not stays_in_fp32(layer.mask):
            self._held.refuse_inputs(case.comparison, layer, None)
        return self.judge(case, layer, None)

    def judge(self, case: CaseSpec, layer: Layer, candidate: Net | None) -> Result:
        """What the trajectory's own outputs lose when stored in the 16-bit format `case.half`."""
        if candidate is not None and not self._held.beyond.is_read_in_16_bits(layer, candidate):
            raise Skip("no layer takes it in 16 bits", LASTING)
        values = {b: self._blobs[b] for b in layer.outputs if self._blobs[b].floating}
        if not values:
            lost = self._int8_in_fp16(case, layer) if candidate is None else None
            if lost is not None:
                return lost
            whole = all(self._blobs[b].dtype.kind in "iu" for b in layer.outputs)
            what = "integers, which stay" if whole else "16 bits already, which stay"
            raise Skip(f"holds {what} as they are", LASTING)
        unheld = self._held.beyond.of_outputs(layer, candidate) if case.half == "fp16" else None
        by_shader = case.half == "fp16" and candidate is not None and _casts_by_shader(candidate)
        rounded = {b: v.stored() if by_shader else v.rounded(case.half) for b, v in values.items()}
        spoilt = self._with_constants_in_fp16(case, layer, values) if candidate is None else None
        of_nan = with_own_nan(layer, values, self._blobs)
        metrics, blob = self._measure(case)(rounded, of_nan or values)
        nan = values[blob].nan if of_nan else 0
        evidence = Evidence(
            mask=layer.mask,
            predicted=candidate is None,
            unrepresentable=unheld,
            blob=blob,
            shape=values[blob].shape,
            reference_nan=nan,
            not_finite=self._nets.weights.not_finite(layer) if nan else self._nets.weights.broken(layer),
        )
        if spoilt is not None:
            metrics, blob = self._measure(case)(spoilt.outputs, values)
            evidence = replace(evidence, blob=blob, constant=spoilt.constant)
        if candidate is None:
            evidence = self._near_the_end(evidence, layer, case.tolerance.headroom)
        stored = Stored(case, layer, values, rounded if spoilt is None else spoilt.outputs, evidence)
        at_fault = stored.is_at_fault
        # if readers are right with inf, the value does no harm, and needs no headroom
        if unheld is not None:
            self._hold(stored)
        passed = unheld is None and not at_fault and (candidate is None or metrics.agrees)
        if not passed:
            self._keep_for_readers(stored)
        return Result(case.id, "passed" if passed else "failed", metrics, None, evidence)

    def _int8_in_fp16(self, case: CaseSpec, layer: Layer) -> Result | None:
        """What is wrong with the int8 that `layer` gives, because fp16 does not hold its scale."""
        values = {b: self._blobs[b] for b in layer.outputs if self._blobs[b].int8}
        spoilt = self._with_constants_in_fp16(case, layer, values) if values else None
        if spoilt is None:
            return None
        metrics, blob = self._measure(case)(spoilt.outputs, values)
        evidence = Evidence(
            mask=layer.mask,
            predicted=True,
            blob=blob,
            shape=values[blob].shape,
            constant=spoilt.constant,
        )
        return Result(case.id, "failed", metrics, None, evidence)

    def _hold(self, stored: Stored) -> None:
        """Hold the result that counts if every reader is right with what fp16 stores in their place."""
        case, evidence = stored.case, replace(stored.evidence, unrepresentable=None)
        expected = {blob: value.stored() for blob, value in stored.values.items()}
        kept, _ = self._measure(case)(stored.outputs, expected)
        outcome: Outcome = "failed" if stored.is_at_fault or not kept.agrees else "passed"
        self._held.beyond.hold(case, Result(case.id, outcome, kept, None, evidence))

    def _keep_for_readers(self, stored: Stored) -> None:
        """Keep the wrong values of a red layer, with which its readers may be right nevertheless."""
        case, layer, values, outputs, evidence = stored
        own_values, inside = self._held.own_values, evidence.inside
        beyond_both = evidence.constant is not None and evidence.unrepresentable is not None
        if beyond_both or (not stored.is_at_fault and self._is_wrong_by_the_cast(case, values)):
            own_values.keep(case, outputs)
        elif evidence.constant is not None or not stored.is_at_fault:
            own_values.keep_ends(case, outputs, values)
        if evidence.reference_nan or evidence.constant is not None:
            return
        if evidence.near and not stored.reaches_the_end_inside:
            within = FP16_MAX / case.tolerance.headroom
            own_values.keep(case, {blob: _with_inf(one, within) for blob, one in values.items()})
        if inside is not None and inside.overflows:
            sums = self._insides.with_sums_of_inf(layer, self._blobs)
            if sums is not None:
                own_values.keep(case, sums)

    def _is_wrong_by_the_cast(self, case: CaseSpec, values: Made) -> bool:
        """Whether fp16 holds `values`, of which ncnn's cast makes some 0: see `Blob.flushed`."""
        if case.half != "fp16" or not any(value.flushed for value in values.values()):
            return False
        held, _ = self._measure(case)({blob: value.stored() for blob, value in values.items()}, values)
        return held.agrees

    def _with_constants_in_fp16(self, case: CaseSpec, layer: Layer, expected: Made) -> Spoilt | None:
        """The wrong outputs of `layer` with its constants in fp16; None if they are right."""
        lost = self._constants.lost(layer, self._blobs)
        if lost is None:
            return None
        try:
            outputs = self._constants.made(layer, self._blobs, lost)
            stored = [
                {b: value.stored() if value.floating else value for b, value in side.items()}
                for side in (outputs, expected)
            ]
            metrics, _ = self._measure(case)(*stored)
        except StepFailed:
            return None
        return None if metrics.agrees else Spoilt(lost.constant, outputs)

    def with_what_fp16_loses(
        self, case: CaseSpec, evidence: Evidence, layer: Layer, is_wrong: bool
    ) -> Evidence:
        """`evidence` with a constant that fp16 cannot keep, and what overflows inside the layer.

        What becomes 0, or is rounded, counts only if the layer is wrong with that alone.
        """
        if not is_wrong:
            return evidence
        lost = self._constants.lost(layer, self._blobs)
        if lost is not None and not (lost.weights or lost.constant.overflows):
            values = {blob: self._blobs[blob] for blob in layer.outputs}
            lost = lost if self._with_constants_in_fp16(case, layer, values) else None
        inside = self._insides.of(layer, self._blobs, headroom=1.0)
        return replace(
            evidence,
            constant=None if lost is None else lost.constant,
            inside=inside if inside is not None and inside.overflows else None,
        )

    def _near_the_end(self, evidence: Evidence, layer: Layer, headroom: float) -> Evidence:
        """`evidence` with what is inside the layer, and the value that leaves too little `headroom`."""
        inside = self._insides.of(layer, self._blobs, headroom)
        near = None
        if headroom > 1.0 and evidence.unrepresentable is None:
            near = self._held.beyond.near(layer, FP16_MAX / headroom)
        if inside is None and near is None:
            return evidence
        return replace(evidence, inside=inside, near=near)
