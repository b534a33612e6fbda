"""Values of the reference that are nan or inf, with which a comparison tests nothing.

nan is a fault anywhere, and so is inf in an output. Inside a network inf may be intended, as exp(100)
in 1 / (1 + exp(100)). -inf comes from masks and from logarithms of 0, and may be an output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.failures import Skip
from pytest_ncnn_parity.worker.values.blob import Made

NOTHING_FINITE = "the reference holds nothing but inf and -inf here: there is nothing to compare"


class NotFinite:
    """Which layers of the trajectory produced nan or inf from other values, and which read nan.

    `broken_weights` counts the weights of a layer that are inf or nan and must not be.
    """

    def __init__(self, broken_weights: Callable[[Layer], int]) -> None:
        self._broken_weights = broken_weights
        self._nan: dict[str, str] = {}  # by blob that holds nan: the layer that made it
        self._inf: dict[str, str] = {}
        self._of_broken: dict[str, str] = {}  # of both, what came of such weights: the layer with them
        self._fed_with_nan: dict[int, str] = {}  # by layer that reads nan: the layer that made it
        self._infinite: dict[int, tuple[int, int]] = {}  # inf and -inf of all values, by layer with any

    def observe(self, layer: Layer, outputs: Made) -> None:
        """Take note of what `layer` computed."""
        nan = next((self._nan[blob] for blob in layer.inputs if blob in self._nan), None)
        inf = next((self._inf[blob] for blob in layer.inputs if blob in self._inf), None)
        self._nan |= {blob: nan or layer.name for blob, value in outputs.items() if value.nan}
        self._inf |= {blob: inf or layer.name for blob, value in outputs.items() if value.inf}
        if nan is not None:
            self._fed_with_nan[layer.number] = nan
        broken = self._broken_upstream(layer) or (layer.name if self._broken_weights(layer) else None)
        if broken is not None:
            made = (blob for blob, value in outputs.items() if value.nan or value.infinite)
            self._of_broken |= dict.fromkeys(made, broken)
        infinite = sum(value.infinite for value in outputs.values())
        if infinite:
            self._infinite[layer.number] = infinite, sum(value.size for value in outputs.values())

    def maker_of_inf(self, blob: str) -> str | None:
        """The layer that produced the inf in `blob`, if the trajectory has passed it."""
        return self._inf.get(blob)

    def _broken_upstream(self, layer: Layer) -> str | None:
        """The layer from whose broken weights the inf or nan that `layer` reads came, if any."""
        return next((self._of_broken[b] for b in layer.inputs if b in self._of_broken), None)

    def refuse_behind_broken(self, layer: Layer) -> None:
        """Skip a layer that reads what others made of such weights, unless it has some as well."""
        maker = self._broken_upstream(layer)
        if maker is not None and not self._broken_weights(layer):
            raise Skip(
                f"the reference's input holds inf or nan, from the weights of {maker}: see that layer"
            )

    def refuse_empty(self, layer: Layer, outputs: Made) -> None:
        """Skip a layer whose inputs and outputs are all nan: nothing is compared; its source fails."""
        maker = self._fed_with_nan.get(layer.number)
        if maker and all(value.nan == value.size for value in outputs.values()):
            raise Skip(
                f"the reference is nan everywhere here, from {maker}: there is nothing to compare"
            )

    def refuse_poisoned(self, layer: Layer) -> None:
        """Skip a layer that reads nan: its output is not its fault (some kernels' max(nan, 0) is 0)."""
        maker = self._fed_with_nan.get(layer.number)
        if maker is not None:
            raise Skip(_poisoned_by(maker))

    def compared(self, layer: Layer, result: Result) -> Result:
        """The `result` of `layer`, except that a pass counts only as far as the reference is finite.

        A layer that reads nan is skipped, whether or not the layer that produced it has a case in this
        run. A layer with weights that are inf or nan fails, whatever it makes of them.
        """
        if result.outcome != "passed" or result.metrics is None:
            return result
        broken = self._broken_weights(layer)
        if broken:
            evidence = replace(result.evidence, not_finite=broken)
            return replace(result, outcome="failed", evidence=evidence)
        maker = self._fed_with_nan.get(layer.number)
        if maker is not None:
            return Result(result.id, "skipped", reason=_poisoned_by(maker), evidence=result.evidence)
        infinite, total = self._infinite.get(layer.number, (0, 0))
        if infinite and infinite == total:
            return Result(result.id, "skipped", reason=NOTHING_FINITE, evidence=result.evidence)
        if result.evidence.predicted or not infinite:
            return result  # a prediction does not have two sides
        return replace(result, metrics=_remarked(result.metrics, infinite, total))


def _poisoned_by(maker: str) -> str:
    return f"the reference's input holds nan, which {maker} wrote: see that layer"


def with_remark(metrics: Metrics, reference: Array) -> Metrics:
    """`metrics` that agree, with the number of values that are inf, or -inf, on both sides.

    Skip if no value is finite, because then nothing was compared.
    """
    infinite = int(np.count_nonzero(np.isinf(reference)))
    if infinite and infinite == reference.size:
        raise Skip(NOTHING_FINITE)
    return _remarked(metrics, infinite, reference.size) if infinite else metrics


def _remarked(metrics: Metrics, infinite: int, total: int) -> Metrics:
    remark = f"{infinite} of {total} values are inf or -inf on both sides"
    return replace(metrics, forgiven="; ".join(filter(None, (metrics.forgiven, remark))))
