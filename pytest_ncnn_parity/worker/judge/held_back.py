"""Results that wait for what becomes of a layer's values further down.

A value beyond fp16, one that becomes 0, or one that only the candidate has may do no harm: every reader
is right with it. And what another model computes otherwise may be right again behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.judge.fp16.beyond_fp16 import BeyondFp16
from pytest_ncnn_parity.worker.judge.fp16.own_values import OwnValues
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.judge.fp16.underflow import Underflows
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.rewritten import Rewritten
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.values.recalled import KnownUnderflows


class HeldBack:
    """Holds back the results of one sample that readers decide, until all layers have run."""

    def __init__(
        self,
        reference: Reference,
        nets: JobNets,
        natures: Natures,
        is_lost: Callable[[str], bool],
        known: KnownUnderflows,
        rewritten: Rewritten,
    ) -> None:
        """`is_lost`: whether a blob is missing; `known`, which grows: of the reference's values."""
        self.beyond = BeyondFp16(reference, is_lost)
        self.underflows = Underflows(reference, nets, natures, known)
        self.own_values = OwnValues(reference)
        self._rewritten = rewritten
        self._nets = nets
        self._for_readers: list[tuple[CaseSpec, Layer, Result]] = []
        self._for_other_model: list[tuple[CaseSpec, Layer, Result]] = []
        # of those that wait for readers, the comparisons with fp16, with their candidates
        self._in_fp16: dict[str, int | None] = {}

    def observe(self, values: Mapping[str, Blob]) -> None:
        """Take note of a layer's reference outputs."""
        self.beyond.observe(values)
        self.underflows.observe(values)

    def refuse_inputs(self, comparison: str, layer: Layer, candidate: Net | None) -> None:
        """Raise Skip for a layer that is wrong with its inputs as fp16 has them: their source fails."""
        self.beyond.refuse_inputs(comparison, layer, candidate)
        self.underflows.refuse_inputs(comparison, layer, candidate)

    def holds(self, case: CaseSpec, layer: Layer, result: Result) -> bool:
        """Whether `result` must wait; then it is held back, until `settled` yields it."""
        is_otherwise = self._rewritten.waits(case, result)
        if self._waits_for_readers(case, layer, result):
            self._for_readers.append((case, layer, result))
            if case.half == "fp16":
                self._in_fp16[case.comparison] = case.candidate
            return True
        if is_otherwise:
            self._for_other_model.append((case, layer, result))
            return True
        return False

    def _waits_for_readers(self, case: CaseSpec, layer: Layer, result: Result) -> bool:
        if result.outcome == "skipped" or result.evidence.death is not None:
            return False
        if self.own_values.waits(case, layer):
            return True
        if case.half != "fp16" or self._nets.lost_to(case) is None:
            return False
        passed = result.outcome == "passed"
        return self.beyond.waits(case, layer) or (passed and self.underflows.waits(case, layer))

    def look(self, layer: Layer) -> None:
        """Find out, while its inputs are still held, whether `layer` is right with such values."""
        for comparison, number in self._in_fp16.items():
            self.beyond.look(comparison, layer, self._net(number))
        self.underflows.look(layer, self._in_fp16)
        self.own_values.look(layer)

    @property
    def is_waiting(self) -> bool:
        """Whether a result waits for readers."""
        return bool(self._for_readers)

    def settled(self) -> Iterator[tuple[CaseSpec, Layer, Result]]:
        """Yield the results that were held back, as they are once all layers have run."""
        for case, layer, held in self._for_readers:
            result = self.beyond.settled(case, layer, held, self._net(case.candidate))
            result = self.own_values.settled(case, layer, result)
            result = self.underflows.settled(case, layer, result)
            yield case, layer, self._rewritten.settled(case, layer, result)
        for case, layer, held in self._for_other_model:
            yield case, layer, self._rewritten.settled(case, layer, held)

    def _net(self, number: int | None) -> Net | None:
        return None if number is None else self._nets[number]
