"""Spec x graph -> the cases there are, each with its tolerance. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare.comparisons import GOLDEN, Comparison
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, OPERATORS, Tolerance
from pytest_ncnn_parity.network.param import Graph, Layer
from pytest_ncnn_parity.spec.spec import Spec


@dataclass(frozen=True)
class Golden:
    """Where an output of the original framework stands: a file's path, and a key in an .npz."""

    file: str
    key: str | None = None

    def __str__(self) -> str:
        name = Path(self.file).name
        return name if self.key is None else f"{name}[{self.key}]"


@dataclass(frozen=True)
class Case:
    """One thing to judge: a layer or an output, in one comparison.

    The same for all samples, but where `golden` is what a sample expects of the output.
    """

    name: str
    comparison: Comparison
    tolerance: Tolerance
    layer: Layer | None = None
    output: str | None = None
    golden: Golden | None = None

    @property
    def id(self) -> str:
        return f"{self.comparison.name}::{self.name}"


def matches(pattern: str, layer: Layer) -> bool:
    """Whether `pattern`, a name, a name glob or `type:Op`, speaks of `layer`."""
    kind, colon, operator = pattern.partition(":")
    if colon and kind == "type":
        return fnmatchcase(layer.type, operator)
    return pattern == layer.name or fnmatchcase(layer.name, pattern)


def matches_blob(pattern: str, blob: str) -> bool:
    """Whether `pattern`, a name or a glob, speaks of `blob`."""
    return pattern == blob or fnmatchcase(blob, pattern)


def _node_names(names: Iterable[str]) -> list[str]:
    """`names` as pytest's ids can hold them: printable, free of `::`, and each once."""
    plain = [printable(re.sub("::+", ":", name)) for name in names]
    often = Counter(plain)
    taken: set[str] = set()
    unique = []
    for number, name in enumerate(plain):
        own = name if often[name] == 1 else f"{name}#{number}"
        while own in taken or (own != name and own in often):
            own += "'"
        taken.add(own)
        unique.append(own)
    return unique


@dataclass(frozen=True)
class Plan:
    """A spec with its network, masks applied. `project` is pytest's rootdir."""

    spec: Spec
    graph: Graph
    project: Path = Path()

    @cached_property
    def masked(self) -> Graph:
        """The network under test: the file's, with the spec's masks on it."""
        return self.graph.with_masks(self.spec.masks)

    @cached_property
    def layers(self) -> list[Layer]:
        """The selected layers, in running order."""
        chosen = self.spec.layers
        return [
            layer
            for layer in self.masked.layers
            if any(matches(p, layer) for p in chosen.include)
            and not any(matches(p, layer) for p in chosen.exclude)
        ]

    @cached_property
    def _names(self) -> list[str]:
        """Case names: of the layers by their number, then of the outputs in their order."""
        outputs = [f"output:{blob}" for blob in self.masked.outputs]
        return _node_names([*(layer.name for layer in self.masked.layers), *outputs])

    def cases(self, comparison: Comparison) -> list[Case]:
        """All cases of `comparison`: the layers in running order, then the outputs."""
        cases = [
            Case(self._names[layer.number], comparison, self.tolerance(comparison, layer), layer)
            for layer in self.layers
            # an Input layer computes nothing; what a conversion loses of its value is judged
            if layer.type != "Input" or comparison.half is not None
        ]
        if comparison.judges_outputs:
            cases += [
                Case(name, comparison, self._output_tolerance(comparison, blob), output=blob)
                for blob, name in self._outputs()
            ]
        return cases

    def goldens(self, sample: str) -> list[Case]:
        """The cases of the outputs that `sample` has recordings of."""
        expected = self.spec.samples[sample].expect
        return [
            Case(
                name,
                GOLDEN,
                self._output_tolerance(GOLDEN, blob),
                output=blob,
                golden=Golden(str(self.spec.path.parent / expected[blob].file), expected[blob].key),
            )
            for blob, name in self._outputs()
            if blob in expected
        ]

    def _outputs(self) -> Iterator[tuple[str, str]]:
        """The output blobs, each with its case's name."""
        outputs = self.masked.outputs
        return zip(outputs, self._names[len(self._names) - len(outputs) :], strict=True)

    def _base(self, comparison: Comparison, default: Tolerance) -> Tolerance:
        return default.updated(self.spec.tolerance.of_precision(comparison.precision).given())

    def tolerance(self, comparison: Comparison, layer: Layer | None) -> Tolerance:
        """What `layer`, or any layer nothing is said of, is allowed."""
        default = DEFAULTS[comparison.precision].layer
        if layer is not None:
            default = OPERATORS.get((comparison.precision, layer.type), default)
        tolerance = self._base(comparison, default)
        if layer is not None:
            for pattern, budget in self.spec.tolerance.layers.items():
                if matches(pattern, layer):
                    tolerance = tolerance.updated(budget.given())
        return tolerance

    def _output_tolerance(self, comparison: Comparison, blob: str) -> Tolerance:
        tolerance = self._base(comparison, DEFAULTS[comparison.precision].output)
        for pattern, budget in self.spec.tolerance.outputs.items():
            if matches_blob(pattern, blob):
                tolerance = tolerance.updated(budget.given())
        return tolerance

    def known(self, sample: str, case: Case) -> str | None:
        """The reason why this case is expected to fail, if it is."""
        for entry in self.spec.known:
            if entry.comparison not in (None, case.comparison.name):
                continue
            if entry.sample not in (None, sample):
                continue
            if case.layer is not None and entry.layer and matches(entry.layer, case.layer):
                return entry.reason
            if case.output is not None and entry.output and matches_blob(entry.output, case.output):
                return entry.reason
        return None
