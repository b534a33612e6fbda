"""Layers that lose slightly too much in a few sums in fp16 arithmetic, where no output is wrong for it.

Each partial sum is rounded to 11 bits. In trained transformers a channel may start from a bias that is a
thousand times as large as its terms, which half a unit of the bias swallows one by one, and keys of 30
make scores of 300, whose unit is 0.25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import DEFAULTS
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Result
from pytest_ncnn_parity.network.graph import Graph, Layer

SUMS_OF_PRODUCTS = frozenset(
    "Gemm InnerProduct MatMul MultiHeadAttention SDPA Convolution Convolution1D".split()
)
# tolerances: an element a tenth off is red. Seen: 1.17 in an encoder of speech, 1.41 in one of pictures
MOST_OVER = 2.0
# of the elements: a whole channel is more, of up to a thousand. Seen: 5.8e-4, on a ViT's five pictures
MOST_OFF = 1e-3
# The root mean square of the error is a twentieth of that of the values, which is the default tolerance.
# Seen: 29.6 and more.
LEAST_SQNR_DB = 26.0


class SlightLosses:
    """Holds back such failures of one sample's layers until its outputs are judged.

    `outputs`: those of the network. `is_natural`: whether a blob has a natural scale, as probabilities
    have: these decide, so no error of one is slight.
    """

    def __init__(self, graph: Graph, outputs: Iterable[str], is_natural: Callable[[str], bool]) -> None:
        self._graph = graph
        self._is_natural = is_natural
        self._needed = {output: graph.ancestors([output]) for output in outputs}
        self._held: list[tuple[CaseSpec, Layer, Result]] = []
        self._right: set[tuple[str, str]] = set()  # comparisons and outputs

    def holds(self, case: CaseSpec, result: Result) -> bool:
        """Whether `result` must wait; then it is held back, until `settled` yields it."""
        if case.layer is None:
            return False
        layer = self._graph.layers[case.layer]
        if result.outcome != "failed" or not self._is_slight(case, layer, result):
            return False
        self._held.append((case, layer, result))
        return True

    def observe(self, case: CaseSpec, result: Result) -> None:
        """Take note of the result of an output, which tells that it is right if no rule excuses it.

        It must be within the tolerance of a layer as well: otherwise an output that hands on what is
        lost, as that of a Reshape, would be right for its larger tolerance alone.
        """
        metrics = result.metrics
        if case.output is None or case.golden is not None or metrics is None:
            return
        excused = metrics.forgiven or result.evidence.noise is not None
        off = metrics.used * case.tolerance.scaled
        if result.outcome == "passed" and not excused and off <= DEFAULTS["fp16"].layer.scaled:
            self._right.add((case.comparison, case.output))

    def settled(self) -> Iterator[Result]:
        """Yield the results that were held back: passed where all outputs behind a layer are right."""
        for case, layer, result in self._held:
            behind = [output for output, needed in self._needed.items() if layer.number in needed]
            if behind and all((case.comparison, output) in self._right for output in behind):
                yield _passed(result)
            else:
                yield result

    def _is_slight(self, case: CaseSpec, layer: Layer, result: Result) -> bool:
        metrics, evidence = result.metrics, result.evidence
        if metrics is None or case.tolerance != DEFAULTS["fp16"].layer or _has_fault(evidence):
            return False
        by_sums = layer.type in SUMS_OF_PRODUCTS and not any(map(self._is_natural, layer.outputs))
        return by_sums and _is_right_without_arithmetic(evidence) and _are_few(metrics)


def _has_fault(evidence: Evidence) -> bool:
    """Whether something else is wrong than elements that are off."""
    faults = (
        evidence.unrepresentable,
        evidence.near,
        evidence.constant,
        evidence.underflow,
        evidence.misread,
        evidence.reference_nan,
        evidence.distrust,
    )
    return any(faults) or bool(evidence.trials.keys() & {"plain_cpu", "repeated"})


def _is_right_without_arithmetic(evidence: Evidence) -> bool:
    """Whether the layer is right with its sums in fp32, by the tolerance for fp16 storage."""
    trial = evidence.trials.get("without_arithmetic")
    if trial is None or not trial.agrees:
        return False
    return trial.scaled <= DEFAULTS["fp16-storage"].layer.scaled


def _are_few(metrics: Metrics) -> bool:
    """Whether few elements are off, none by twice its tolerance, and the value as a whole is right."""
    if len(metrics.failed) != 1 or not 0 < metrics.mismatched <= MOST_OFF * metrics.total:
        return False
    return metrics.used < MOST_OVER and metrics.sqnr_db >= LEAST_SQNR_DB


def _passed(result: Result) -> Result:
    assert result.metrics is not None
    metrics = result.metrics
    why = (
        f"{metrics.mismatched} of {metrics.total} elements are out of tolerance, by up to "
        f"{metrics.used:.3g} times, in fp16 arithmetic alone, and no output is wrong for it"
    )
    evidence = replace(result.evidence, trials={}, rounding=None)
    return replace(result, outcome="passed", metrics=metrics.forgiven_by(why), evidence=evidence)
