"""Runs an int8 model with some of its layers put back in floats, each time from files of its own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pytest_ncnn_parity.compare.comparisons import Comparison, OtherFiles
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import computes_in_int8
from pytest_ncnn_parity.network.versions.splice import LayerBytes, quantized_layer, spliced
from pytest_ncnn_parity.plan.cases import Case
from pytest_ncnn_parity.repair.outputs import OutputError, OutputErrors, output_errors
from pytest_ncnn_parity.repair.problem import Problem
from pytest_ncnn_parity.repair.trials import SearchBudget


@dataclass
class FloatTrials:
    """The oracle of a search for layers to leave in floats; see `search_floats`.

    The model is tried on the CPU, where it need not be compiled for a device, and proven where the
    comparison runs it.
    """

    run: SpecRun
    comparison: Comparison
    problem: Problem
    folder: Path
    budget: SearchBudget
    _known: dict[tuple[frozenset[int], str], OutputErrors] = field(default_factory=dict)
    _files: tuple[frozenset[int], OtherFiles] | None = None  # those of the last run
    _writes: int = 0

    @cached_property
    def _quantized(self) -> Mapping[int, Layer]:
        """The layers of the int8 model that can be put back, by the number of their counterpart here."""
        other = self.run.plan.other(self.comparison)
        assert other is not None
        layers = {number: quantized_layer(at) for number, at in other.of.items()}
        return {number: layer for number, layer in layers.items() if layer is not None}

    @cached_property
    def names(self) -> Mapping[int, str]:
        """The names of those layers."""
        return {number: layer.name for number, layer in self._quantized.items()}

    def in_table(self, number: int) -> bool:
        """Whether `ncnn2int8` leaves the layer in floats if its table does not have it."""
        return computes_in_int8(self._quantized[number])

    @property
    def broken(self) -> set[int]:
        """The layers that gave no value to compare, or a value of another shape, in any sample."""
        return {
            number
            for number, result in self._results()
            if number in self.names and result.outcome == "failed" and result.evidence.death is not None
        }

    def _results(self) -> Iterator[tuple[int, Result]]:
        """The results of layers in all samples, each with the number of its layer."""
        for sample, known in self.problem.results.items():
            for case in self.run.plan.cases(self.comparison, sample):
                if case.layer is not None and case.id in known:
                    yield case.layer.number, known[case.id]

    @property
    def on_vulkan(self) -> bool:
        candidate = self.comparison.candidate
        return candidate is not None and candidate.on_vulkan

    @cached_property
    def cases(self) -> Mapping[str, list[Case]]:
        """By sample, the outputs that must be right."""
        outputs = {
            sample: [case for case in cases if case.output is not None]
            for sample, cases in self.problem.cases.items()
        }
        return {sample: cases for sample, cases in outputs.items() if cases}

    @cached_property
    def own(self) -> Mapping[int, float]:
        """By number of a layer, its own smallest signal to noise in any sample, in dB."""
        own: dict[int, float] = {}
        for number, result in self._results():
            if result.metrics is not None:
                own[number] = min(own.get(number, math.inf), result.metrics.sqnr_db)
        return own

    @cached_property
    def clipped(self) -> set[int]:
        """The layers that are red for no more than values clipped by their input's scale."""
        red: dict[int, bool] = {}
        for number, result in self._results():
            if result.outcome == "failed":
                inputs, weights = result.evidence.quantization, result.evidence.weights
                sound = weights is None or not weights.wrong
                by_input = inputs is not None and inputs.clipped > 0.0 and sound
                red[number] = red.get(number, True) and by_input
        return {layer for layer, by_input in red.items() if by_input}

    @cached_property
    def _samples(self) -> list[str]:
        """The samples in the order in which they are tried, those most likely to fail first."""
        return sorted(self.cases, key=lambda sample: self._least(self._before(sample)))

    def _before(self, sample: str) -> OutputErrors:
        results = self.problem.results[sample]
        cases = [case for case in self.cases[sample] if case.id in results]
        return output_errors((case, results[case.id]) for case in cases)

    def holds(self, in_float: Collection[int]) -> bool:
        """Whether all outputs are right. Raises Spent if no run is left."""
        for sample in list(self._samples):
            if not hold(self._errors(frozenset(in_float), sample)):
                self._samples.remove(sample)
                self._samples.insert(0, sample)
                return False
        return True

    def sqnr_db(self, in_float: Collection[int]) -> float:
        """The smallest signal to noise of the outputs that were red, in the worst sample, in dB."""
        return self._least(self._errors(frozenset(in_float), self._worst))

    @cached_property
    def _worst(self) -> str:
        return self._samples[0]

    @property
    def before(self) -> float:
        """`sqnr_db` with no layer in floats."""
        return self._least(self._before(self._worst))

    def spent(self) -> float:
        """The share of the budget that is used up, of runs or seconds."""
        return max(self.budget.used / self.budget.runs, self.budget.took / self.budget.seconds)

    def seen(self, in_float: Collection[int]) -> OutputErrors:
        """The errors of the outputs in those samples that have been run."""
        chosen = frozenset(in_float)
        known = [self._known[chosen, sample] for sample in self.cases if (chosen, sample) in self._known]
        return joined(known)

    def proven(self, in_float: Collection[int], repeats: int) -> OutputErrors:
        """The errors of the outputs in the worst of some runs of every sample, beyond the budget."""
        samples = [sample for sample in self.cases for _ in range(repeats)]
        return joined([self._ran(frozenset(in_float), sample, proof=True) for sample in samples])

    @property
    def files(self) -> tuple[Path, Path] | None:
        """The .param and the weights that were run last."""
        return None if self._files is None else (Path(self._files[1].param), Path(self._files[1].bin))

    def _least(self, errors: OutputErrors) -> float:
        red = [name for name, error in self.problem.outputs.items() if error.failed]
        return min(
            (error.sqnr_db for name, error in errors.items() if not red or name in red), default=0.0
        )

    def _errors(self, in_float: frozenset[int], sample: str) -> OutputErrors:
        key = (in_float, sample)
        if key not in self._known:
            self.budget.spend()
            purpose = f"layers in floats, run {self.budget.used} of at most {self.budget.runs}"
            with self.run.working_on(purpose):
                self._known[key] = self._ran(in_float, sample)
        return self._known[key]

    def _ran(self, in_float: frozenset[int], sample: str, proof: bool = False) -> OutputErrors:
        """The result of a run. `proof`: files are loaded afresh, no earlier result is used."""
        candidate = self.comparison.candidate
        assert candidate is not None
        if candidate.on_vulkan and not proof:
            candidate = replace(candidate, device="cpu", precision="fp32", options={})
        files = replace(candidate, model=self._written(in_float))
        own = replace(self.comparison, candidate=files)
        moved = {case.id: replace(case, comparison=own) for case in self.cases[sample]}
        cases = list(moved.values())
        if proof:
            results = self.run.judge(sample, cases, probe=False)
        else:
            results = self.run.trial(sample, cases, None)
        return output_errors((moved[result.id], result) for result in results)

    def _written(self, in_float: frozenset[int]) -> OtherFiles:
        if self._files is None or self._files[0] != in_float:
            other = self.run.plan.other(self.comparison)
            assert other is not None
            floats, int8 = self._weights
            text, content = spliced(other, int8, floats, in_float)
            for path in self.files or ():
                with suppress(OSError):  # on Windows, a file that is open cannot be deleted
                    path.unlink()
            # a name that the worker has not seen: it knows files by their names
            self._writes += 1
            stem = self.folder / f"in-floats-{self._writes}"
            files = OtherFiles(f"{stem}.param", f"{stem}.bin")
            Path(files.param).write_bytes(text.encode("utf-8"))
            Path(files.bin).write_bytes(content)
            self._files = in_float, files
        return self._files[1]

    @cached_property
    def _weights(self) -> tuple[LayerBytes, LayerBytes]:
        """The weights of the model in floats, and those of the int8 model."""
        spec, other = self.run.plan.spec, self.comparison.other_files
        assert other is not None
        spans = self.run.weights(next(iter(self.cases)), self.comparison)
        floats, int8 = zip((spec.bin, spec.beside(other)[1]), spans, strict=True)
        return LayerBytes(floats[0].read_bytes(), floats[1]), LayerBytes(int8[0].read_bytes(), int8[1])


def hold(errors: OutputErrors) -> bool:
    """Whether the outputs are right."""
    return bool(errors) and not any(error.failed for error in errors.values())


def joined(some: Collection[OutputErrors]) -> OutputErrors:
    """The largest error of each output over all of `some`."""
    errors: dict[str, OutputError] = {}
    for one in some:
        for output, error in one.items():
            errors[output] = errors.get(output, error).joined(error)
    return errors
