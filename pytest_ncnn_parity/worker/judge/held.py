"""Results of layers that wait until it is known what becomes of the layers' values further down."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.judge.beyond_fp16 import BeyondFp16
from pytest_ncnn_parity.worker.judge.own_values import OwnValues
from pytest_ncnn_parity.worker.judge.rewritten import Rewritten
from pytest_ncnn_parity.worker.judge.underflow import Underflows
from pytest_ncnn_parity.worker.networks.job_nets import JobNets


class HeldResults:
    """The results of one sample that wait, and those who settle them."""

    def __init__(
        self,
        nets: JobNets,
        limits: BeyondFp16,
        underflows: Underflows,
        own_values: OwnValues,
        rewritten: Rewritten,
    ) -> None:
        self._nets = nets
        self._limits = limits
        self._underflows = underflows
        self._own_values = own_values
        self._rewritten = rewritten
        self._for_readers: list[tuple[CaseSpec, Layer, Result]] = []
        self._for_other_model: list[tuple[CaseSpec, Layer, Result]] = []
        # of those that wait for readers, the comparisons with fp16, with their candidates
        self._in_fp16: dict[str, int | None] = {}

    def holds(self, case: CaseSpec, layer: Layer, result: Result) -> bool:
        """Whether `result` must wait; it is kept then, and given by `settled`."""
        if self._waits_for_readers(case, layer, result):
            self._for_readers.append((case, layer, result))
            self._in_fp16 |= {case.comparison: case.candidate} if case.half == "fp16" else {}
            return True
        if self._rewritten.waits(case, result):
            self._for_other_model.append((case, layer, result))
            return True
        return False

    def _waits_for_readers(self, case: CaseSpec, layer: Layer, result: Result) -> bool:
        if result.outcome == "skipped" or result.evidence.death is not None:
            return False
        if self._own_values.waits(case, layer):
            return True
        if case.half != "fp16":
            return False
        if self._nets.lost_to(case) is None:
            return False
        passed = result.outcome == "passed"
        return self._limits.waits(case, layer) or (passed and self._underflows.waits(case, layer))

    def look(self, layer: Layer) -> None:
        """Find out how `layer` takes the values that results wait for, while they are still held."""
        for comparison, number in self._in_fp16.items():
            candidate = None if number is None else self._nets[number]
            self._limits.look(comparison, layer, candidate)
        self._underflows.look(layer, self._in_fp16)
        self._own_values.look(layer)

    def settled(self) -> Iterator[tuple[CaseSpec, Layer, Result]]:
        """Yield all results that were held, once all layers have run."""
        for case, layer, result in self._for_readers:
            candidate = None if case.candidate is None else self._nets[case.candidate]
            settled = self._limits.settled(case, layer, result, candidate)
            settled = self._own_values.settled(case, layer, settled)
            settled = self._underflows.settled(case, layer, settled)
            yield case, layer, self._rewritten.settled(case, layer, settled)
        for case, layer, result in self._for_other_model:
            yield case, layer, self._rewritten.settled(case, layer, result)
