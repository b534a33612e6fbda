"""Derives the cases from a spec and a graph, each with its tolerance. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import GOLDEN, Comparison, Golden, OtherFiles
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.shapes.search import Overruled, overruled
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.plan.names import matches, matches_blob, node_names
from pytest_ncnn_parity.plan.tolerances import Tolerances
from pytest_ncnn_parity.spec.sources import ConstantSource, RandomSource
from pytest_ncnn_parity.spec.spec import Spec


class Recorded(Frozen):
    """Where a blob of the original framework is stored: a file's path, and a key in an .npz.

    `fed`: it is an input, so that only the preprocessing of the picture is compared.
    """

    file: str
    key: str | None = None
    fed: bool = False

    def __str__(self) -> str:
        name = Path(self.file).name
        return name if self.key is None else f"{name}[{self.key}]"


class Case(Frozen):
    """One thing to judge: a layer or an output, in one comparison.

    It is the same for all samples, except where `golden` is what one sample expects of the output.
    """

    name: str
    comparison: Comparison
    tolerance: Tolerance
    layer: Layer | None = None
    output: str | None = None
    golden: Recorded | None = None

    @cached_property
    def id(self) -> str:
        return f"{self.comparison.name}::{self.name}"


class Plan(Frozen):
    """A spec with its network, under the spec's masks. `project` is pytest's rootdir.

    `others` are the other models that comparisons of the spec run, matched with this one.
    """

    spec: Spec
    graph: Graph
    project: Path = Path()
    others: Mapping[OtherFiles, Counterparts] = field(default_factory=dict)

    def other(self, comparison: Comparison) -> Counterparts | None:
        """The other model that `comparison` runs, if it does."""
        files = comparison.other_files
        return None if files is None else self.others.get(files)

    @cached_property
    def masked(self) -> Graph:
        """The network under test: that of the file, with the spec's masks added."""
        return self.graph.with_masks(self.spec.masks)

    @cached_property
    def name(self) -> str:
        """What a session knows the plan by: the path of its spec, as a str, which hashes fast."""
        return str(self.spec.path)

    @cached_property
    def overruled(self) -> dict[str, Overruled]:
        """By blob, the Input lines that the weights overrule, if a sample relies on them."""
        relying = {
            blob: None
            for blobs in self.spec.inputs.values()
            for blob, source in blobs.items()
            if blob in self.graph.inputs
            and isinstance(source, RandomSource | ConstantSource)
            and source.shape is None
        }
        notes = (overruled(self.graph, blob) for blob in relying)
        return {one.blob: one for one in notes if one is not None}

    def input_shape(self, blob: str) -> tuple[int, ...]:
        """The shape of `blob` in a sample that states none: of the Input line, or of the weights."""
        if blob in self.overruled:
            return self.overruled[blob].shape
        return self.graph.shapes[blob]

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The blobs that users take out, in running order: the outputs, or those that the spec names."""
        chosen = self.spec.outputs
        return self.masked.outputs if chosen is None else self._in_running_order(chosen)

    def recorded(self, sample: str) -> tuple[str, ...]:
        """The blobs for which `sample` has recordings, in running order."""
        return self._in_running_order(self.spec.samples[sample].expect)

    def wanted(self, sample: str) -> tuple[str, ...]:
        """The blobs of `sample` that are compared: the outputs, and those it has recordings for."""
        return tuple(dict.fromkeys((*self.outputs, *self.recorded(sample))))

    def _in_running_order(self, blobs: Iterable[str]) -> tuple[str, ...]:
        known = [blob for blob in blobs if blob in self.masked.producer]
        return tuple(sorted(known, key=lambda blob: self.masked.producer[blob].number))

    @cached_property
    def _fed(self) -> dict[str, Graph]:
        return {sample: self.masked.fed(blobs) for sample, blobs in self.spec.inputs.items()}

    def fed(self, sample: str) -> Graph:
        """The network as `sample` runs it, whose fed blobs depend on no layer."""
        return self._fed[sample]

    @cached_property
    def run_layers(self) -> dict[str, set[int]]:
        """By sample, the numbers of the layers between what it feeds and what is compared."""
        every = {layer.number for layer in self.masked.layers}
        run: dict[str, set[int]] = {}
        for sample in self.spec.inputs:
            fed = self.fed(sample)
            whole = fed is self.masked and self.spec.outputs is None
            run[sample] = every if whole else fed.ancestors(self.wanted(sample))
        return run

    def runs(self, sample: str, case: Case) -> bool:
        """Whether `sample` runs what `case` judges.

        A layer whose output is fed is not run; its value is judged like that of an Input layer.
        """
        if case.layer is None:
            return True
        fed = any(blob in self.spec.inputs[sample] for blob in case.layer.outputs)
        judged = not fed or case.comparison.half is not None
        return judged and case.layer.number in self.run_layers[sample]

    @cached_property
    def layers(self) -> list[Layer]:
        """The selected layers that give something, in running order: a Silence or metadata does not."""
        chosen = self.spec.layers
        return [
            layer
            for layer in self.masked.layers
            if layer.outputs
            and any(matches(p, layer) for p in chosen.include)
            and not any(matches(p, layer) for p in chosen.exclude)
        ]

    @cached_property
    def _names(self) -> list[str]:
        """Case names: of the layers by their number, then of the blobs that are compared."""
        blobs = [f"output:{blob}" for blob in self.compared]
        return node_names([*(layer.name for layer in self.masked.layers), *blobs])

    @cached_property
    def layer_names(self) -> list[str]:
        """The names of the layers' cases, by number."""
        return self._names[: len(self.masked.layers)]

    @cached_property
    def blob_names(self) -> dict[str, str]:
        """The names of the cases that compare blobs."""
        return dict(zip(self.compared, self._names[len(self.masked.layers) :], strict=True))

    @cached_property
    def compared(self) -> tuple[str, ...]:
        """All blobs that have cases of their own: the outputs, then others with recordings."""
        recorded = {blob for sample in self.spec.samples for blob in self.recorded(sample)}
        return (*self.outputs, *self._in_running_order(recorded.difference(self.outputs)))

    def cases(self, comparison: Comparison, sample: str | None = None) -> list[Case]:
        """The cases of `comparison`: the layers in running order, then the outputs.

        They are those that any sample runs, or those of one `sample`.
        """
        samples = self.spec.samples if sample is None else [sample]
        if comparison.of_recordings:
            return [case for one in samples for case in self._goldens(comparison, one)]
        every = self._of(comparison).cases
        return [case for case in every if any(self.runs(one, case) for one in samples)]

    def comparisons(self, sample: str | None = None) -> list[Comparison]:
        """Those of the spec, and those with what `sample`, or any, has recorded, of other models too."""
        samples = self.spec.samples.values() if sample is None else [self.spec.samples[sample]]
        own = self.spec.comparisons
        if not any(one.expect for one in samples):
            return [*own]
        return [*own, GOLDEN, *(Golden.of(one) for one in own if self.other(one))]

    def _goldens(self, comparison: Comparison, sample: str) -> list[Case]:
        """The cases of the blobs for which `sample` has recordings, in running order.

        For another model they are those of the blobs with a counterpart in it.
        """
        expected, other = self.spec.samples[sample].expect, self.other(comparison)
        tolerances = self.tolerances(comparison)
        return [
            Case(
                self.blob_names[blob],
                comparison,
                tolerances.of_output(blob),
                output=blob,
                golden=Recorded(
                    str(self.spec.path.parent / expected[blob].file),
                    expected[blob].key,
                    fed=blob in self.spec.inputs[sample],
                ),
            )
            for blob in self.recorded(sample)
            if other is None or (blob not in self.spec.inputs[sample] and other.blob(blob) is not None)
        ]

    def tolerances(self, comparison: Comparison) -> Tolerances:
        """What `comparison` allows."""
        return self._of(comparison).tolerances

    def layer_tolerances(self, comparison: Comparison) -> Mapping[int, Tolerance]:
        """By number, the tolerances of the layers that have one of their own, judged or not."""
        return self._of(comparison).layer_tolerances

    def _of(self, comparison: Comparison) -> _PlannedComparison:
        if comparison not in self._planned:
            self._planned[comparison] = _PlannedComparison(self, comparison)
        return self._planned[comparison]

    @cached_property
    def _planned(self) -> dict[Comparison, _PlannedComparison]:
        return {}

    def known(self, sample: str, case: Case) -> str | None:
        """The reason why this case is expected to fail, if it is."""
        number = self.known_entry(sample, case)
        return None if number is None else self.spec.known[number].reason

    def known_entry(self, sample: str, case: Case) -> int | None:
        """The number of the entry of `known` that expects this case to fail."""
        layer, output = case.layer, case.output
        for number, entry in enumerate(self.spec.known):
            if entry.comparison in (None, case.comparison.name) and entry.sample in (None, sample):
                if layer is not None and entry.layer and matches(entry.layer, layer):
                    return number
                if output is not None and entry.output and matches_blob(entry.output, output):
                    return number
        return None


class _PlannedComparison:
    """What all samples of a plan share in one comparison: each is worked out when it is first needed."""

    def __init__(self, plan: Plan, comparison: Comparison) -> None:
        self._plan = plan
        self._comparison = comparison
        self._other = plan.other(comparison)

    @cached_property
    def tolerances(self) -> Tolerances:
        return Tolerances(self._plan.spec.tolerance, self._comparison, self._other)

    @cached_property
    def layer_tolerances(self) -> Mapping[int, Tolerance]:
        return self.tolerances.own_of(self._plan.masked.layers)

    @cached_property
    def cases(self) -> list[Case]:
        """Those of the layers in running order, then those of the outputs."""
        plan, comparison, tolerances = self._plan, self._comparison, self.tolerances
        cases = [
            Case(plan.layer_names[layer.number], comparison, tolerances.of_layer(layer), layer)
            for layer in self._judged()
        ]
        if comparison.judges_outputs:
            cases += [
                Case(plan.blob_names[blob], comparison, tolerances.of_output(blob), output=blob)
                for blob in plan.outputs
            ]
        return cases

    def _judged(self) -> Iterator[Layer]:
        """The selected layers that have cases."""
        for layer in self._plan.layers:
            # an Input layer computes nothing; only what a conversion loses of its value is judged
            if layer.type == "Input":
                if self._comparison.half is not None:
                    yield layer
            elif self._other is None or layer.number in self._other.of:
                yield layer
