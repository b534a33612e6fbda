"""The network around a red layer: what it reads, who reads it, and where they ran."""

from __future__ import annotations

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.model import ModelRecord


class Neighbour(Frozen):
    """A layer beside a red one, and the blob between them. `largest`: of the blob, where it is known."""

    blob: str
    layer: str
    type: str
    runs: str
    largest: str


class Neighbours(Frozen):
    """The layers that a layer reads, and those that read it."""

    reads: tuple[Neighbour, ...] = ()
    readers: tuple[Neighbour, ...] = ()


class Neighbourhood:
    """A model's network, and the cases of its layers."""

    def __init__(self, model: ModelRecord) -> None:
        self._layers = model["layers"]
        self._makers = {
            blob: number for number, layer in enumerate(self._layers) for blob in layer["outputs"]
        }
        self._cases = {
            (case["comparison"], case["sample"], case.get("number")): case
            for case in model["cases"]
            if case["layer"] is not None
        }

    def of(self, case: CaseRecord) -> Neighbours:
        """The neighbours of the layer of `case`, as they were in its sample and comparison."""
        number = case.get("number")
        if number is None or number >= len(self._layers):
            return Neighbours()
        layer = self._layers[number]
        makers = [(blob, self._makers[blob]) for blob in layer["inputs"] if blob in self._makers]
        outputs = set(layer["outputs"])
        return Neighbours(
            reads=tuple(self._neighbour(blob, maker, maker, case) for blob, maker in makers),
            readers=tuple(
                self._neighbour(blob, reader, number, case)
                for reader, other in enumerate(self._layers)
                for blob in other["inputs"]
                if blob in outputs
            ),
        )

    def _neighbour(self, blob: str, number: int, maker: int, case: CaseRecord) -> Neighbour:
        layer, runs = self._layers[number], runs_on(self._beside(case, number))
        return Neighbour(blob, layer["name"], layer["type"], runs, self._largest(maker, case))

    def _largest(self, maker: int, case: CaseRecord) -> str:
        """The largest value of what `maker` makes; a layer of several outputs has none for each."""
        making = self._beside(case, maker)
        if making is None or making["metrics"] is None or len(self._layers[maker]["outputs"]) != 1:
            return ""
        return f"{float(making['metrics']['reference_absmax']):.6g}"

    def _beside(self, case: CaseRecord, number: int) -> CaseRecord | None:
        """The case of another layer in the same sample and comparison."""
        return self._cases.get((case["comparison"], case["sample"], number))


def runs_on(case: CaseRecord | None) -> str:
    """Where and how the candidate ran a case's layer; empty where that is not known."""
    if case is None:
        return ""
    return case["execution"] or ("skipped" if case["outcome"] == "skipped" else "")
