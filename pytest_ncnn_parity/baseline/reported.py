"""A model as a report describes it: its network as a graph, its cases by what they judge. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import NamedTuple

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.param_line import SHAPE_HINT_ID, words
from pytest_ncnn_parity.network.versions.matchable import Output, Reader, commutes, consumers_of
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.model import LayerRecord, ModelRecord

Target = int | str  # what a case is about: a layer, by its number from 0, or a blob, by its name


class CaseKey(NamedTuple):
    """What distinguishes a case from the other cases of its model."""

    sample: str
    comparison: str
    target: Target


class ReportedNetwork(Frozen):
    """The layers of a report's model as a graph, in running order and numbered from 0."""

    layers: Sequence[LayerRecord]

    @cached_property
    def names(self) -> list[str]:
        return [layer["name"] for layer in self.layers]

    @cached_property
    def types(self) -> list[str]:
        return [layer["type"] for layer in self.layers]

    @cached_property
    def operators(self) -> list[Hashable]:
        """What each layer is by itself: its operator and parameters, but no mask and no shape hint."""
        return [(layer["type"], _parameters(layer["params"])) for layer in self.layers]

    @cached_property
    def commuting(self) -> frozenset[int]:
        """The layers whose inputs may come in any order."""
        return frozenset(n for n, layer in enumerate(self.layers) if _commutes(layer))

    @cached_property
    def producers(self) -> list[list[Output]]:
        """For each layer: where its inputs come from."""
        origins: dict[str, Output] = {}
        producers = []
        for number, layer in enumerate(self.layers):
            producers.append([origins[blob] for blob in layer["inputs"] if blob in origins])
            origins.update({blob: (number, slot) for slot, blob in enumerate(layer["outputs"])})
        return producers

    @cached_property
    def consumers(self) -> list[list[Reader]]:
        """For each layer: who reads its outputs."""
        return consumers_of(self.producers)

    @cached_property
    def outputs(self) -> list[str]:
        """The blobs that nothing reads."""
        read = {blob for layer in self.layers for blob in layer["inputs"]}
        return [blob for layer in self.layers for blob in layer["outputs"] if blob not in read]

    @cached_property
    def extracted(self) -> list[list[str]]:
        """For each layer: the network's outputs that it gives."""
        ends = set(self.outputs)
        return [[blob for blob in layer["outputs"] if blob in ends] for layer in self.layers]

    @cached_property
    def origins(self) -> dict[str, Output]:
        """Where each blob comes from."""
        return {
            blob: (number, slot)
            for number, layer in enumerate(self.layers)
            for slot, blob in enumerate(layer["outputs"])
        }


def _commutes(layer: LayerRecord) -> bool:
    stated = (text.partition("=") for text in _parameters(layer["params"]))
    return commutes(layer["type"], {key: value for key, _, value in stated})


def _parameters(text: str) -> tuple[str, ...]:
    return tuple(p for p in words(text) if not p.startswith(f"{SHAPE_HINT_ID}="))


class ReportedModel(Frozen):
    """One model of a report."""

    record: ModelRecord

    @property
    def spec(self) -> str:
        return self.record["spec"]

    @cached_property
    def network(self) -> ReportedNetwork:
        return ReportedNetwork(self.record["layers"])

    @cached_property
    def cases(self) -> dict[CaseKey, CaseRecord]:
        return {key: case for case in self.record["cases"] if (key := self._key(case)) is not None}

    @cached_property
    def unplaced(self) -> dict[str, CaseRecord]:
        """By node id the cases whose layer is unknown: the process that ran them died."""
        return {case["nodeid"]: case for case in self.record["cases"] if self._key(case) is None}

    def _key(self, case: CaseRecord) -> CaseKey | None:
        """None for a case of which only a name is known that no layer has, or several have."""
        target: Target | None = case["output"] or case.get("number")
        if target is None or target not in self._targets:
            target = self._number_by_name.get(case["layer"] or "")
        return None if target is None else CaseKey(case["sample"], case["comparison"], target)

    @cached_property
    def _targets(self) -> set[Target]:
        return {*range(len(self.network.layers)), *self.network.origins}

    @cached_property
    def _number_by_name(self) -> dict[str, int]:
        names = Counter(layer["name"] for layer in self.network.layers)
        numbered = enumerate(self.network.layers)
        return {layer["name"]: n for n, layer in numbered if names[layer["name"]] == 1}
