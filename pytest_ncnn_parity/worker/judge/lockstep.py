"""One sample: the reference and all candidates step through the layers together, in the worker.

The trajectory, the network in fp32 on the CPU, runs once; its values feed every layer case, and each
is dropped after its last reader. Whole-network runs for the output cases come after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec, Result
from pytest_ncnn_parity.network.masks import loses_fp16
from pytest_ncnn_parity.network.param import COPYING, Graph, Layer
from pytest_ncnn_parity.worker.failures import StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge import probes
from pytest_ncnn_parity.worker.judge.accumulated import Accumulated
from pytest_ncnn_parity.worker.judge.fp16_range import Representable
from pytest_ncnn_parity.worker.judge.outputs import WholeRuns
from pytest_ncnn_parity.worker.networks.loaded import Net, misread
from pytest_ncnn_parity.worker.networks.pool import JobNets, Skip, death
from pytest_ncnn_parity.worker.values.blob import Blob, Made
from pytest_ncnn_parity.worker.values.stepping import Chain


class Lockstep:
    """Runs the cases of one job, and yields each result as soon as it stands."""

    def __init__(self, job: Job, graph: Graph, inputs: Made, nets: JobNets) -> None:
        self._job = job
        self._graph = graph
        self._inputs = inputs
        self._nets = nets
        self._limits = Representable(graph)
        self._cases: dict[int, list[CaseSpec]] = {}
        for case in job.cases:
            if case.layer is not None and case.id not in job.done:
                self._cases.setdefault(case.layer, []).append(case)
        waiting = [case for case in job.cases if case.id not in job.done]
        self._own = Accumulated(job, graph, nets, inputs, waiting if job.accumulated else ())
        kept = [case.output for case in job.cases if case.output is not None]
        self._layers = self._steps()
        self._chain = Chain(self._layers, inputs, self._run_trajectory, kept)
        self._blobs = self._chain.blobs
        self._lost = self._chain.lost
        self._runs: dict[tuple[NetSpec, str | None], Made | StepFailed] = {}
        self._held: list[tuple[CaseSpec, Layer, Result]] = []
        self._underflows: dict[tuple[str, str], Mapping[str, Any]] = {}

    def results(self) -> Iterator[Result]:
        """The results of all cases not done yet."""
        try:
            if self._layers:
                self._trajectory = self._nets[self._job.trajectory]
        except StepFailed:
            for case in self._job.cases:
                if case.id not in self._job.done:
                    yield self._guarded(case, self._nothing_loaded)
            return
        yield from self._step_through()
        yield from self._outputs()

    def _nothing_loaded(self, case: CaseSpec) -> Result:
        self._nets.of(case, self._job.trajectory)
        raise AssertionError("a network that did not load is loaded")

    def _guarded(self, case: CaseSpec, judge: Callable[[CaseSpec], Result]) -> Result:
        """`judge(case)`, with what keeps a case from being judged made its result."""
        return self._own.told(case, self._judged(case, judge))

    @staticmethod
    def _judged(case: CaseSpec, judge: Callable[[CaseSpec], Result]) -> Result:
        try:
            return judge(case)
        except Skip as skip:
            return Result(case.id, "skipped", reason=str(skip), evidence=skip.evidence)
        except Unavailable as lacking:
            evidence = {"no_vulkan": True} if lacking.no_vulkan else {}
            return Result(case.id, "skipped", reason=str(lacking), evidence=evidence)
        except StepFailed as failed:
            return Result(case.id, "failed", evidence={"death": death(failed)})

    # -- stepping --------------------------------------------------------------------------------

    def _steps(self) -> list[Layer]:
        """The layers to run: what the layer cases need, and what reads the values they judge."""
        wanted: set[str] = set()
        for number, cases in self._cases.items():
            outputs = self._graph.layers[number].outputs
            wanted.update(outputs)
            if any(case.half == "fp16" for case in cases):
                for reader in (r for blob in outputs for r in self._readers(blob)):
                    wanted.update(reader.outputs)
        needed = self._graph.ancestors(wanted) | self._own.layers
        return [layer for layer in self._graph.layers if layer.number in needed]

    def _readers(self, blob: str) -> Iterator[Layer]:
        """The layers that compute with `blob`, also behind layers that only copy it."""
        for layer in self._graph.consumers[blob]:
            yield layer
            if layer.type in COPYING:
                for copy in layer.outputs:
                    yield from self._readers(copy)

    def _step_through(self) -> Iterator[Result]:
        fp16 = any(case.half == "fp16" for case in self._job.cases)
        for layer, made in self._chain.steps():
            if fp16:
                self._limits.observe(made)
            del made  # the chain has it as long as somebody reads it
            self._own.advance(layer, self._chain)
            cases = self._cases.get(layer.number, [])
            for i, case in enumerate(cases):
                result = self._guarded(case, self._judge)
                self._forget_all_but(layer, cases[i + 1 :])
                if result.outcome == "passed" and self._limits.has_tiny(layer):
                    self._held.append((case, layer, result))
                else:
                    yield result
            self._look_for_underflow(layer)
            self._runs.clear()
        for case, layer, result in self._held:
            yield self._released(case, layer, result)

    def _forget_all_but(self, layer: Layer, waiting: list[CaseSpec]) -> None:
        """Drop the runs of `layer` that no case still wants: together they are the peak of memory."""
        wanted = set()
        for case in waiting:
            if case.candidate is not None:
                with suppress(StepFailed, Unavailable):
                    feed = self._nets[case.candidate].execution(layer).feed
                    wanted |= {(self._job.nets[n], feed) for n in (case.reference, case.candidate)}
        self._runs = {key: made for key, made in self._runs.items() if key in wanted}

    def _run_trajectory(self, layer: Layer, _: Made) -> Made:
        return self._run(self._trajectory, layer, None)

    def _run(self, net: Net, layer: Layer, feed: str | None) -> Made:
        """`layer` in `net`, once for all comparisons that want it."""
        key = (net.spec, feed)
        if key not in self._runs:
            try:
                self._runs[key] = net.run_layer(layer, self._blobs, feed)
            except StepFailed as failed:
                self._runs[key] = failed
        made = self._runs[key]
        if isinstance(made, StepFailed):
            raise made
        return made

    # -- layer cases -----------------------------------------------------------------------------

    def _judge(self, case: CaseSpec) -> Result:
        assert case.layer is not None
        layer = self._graph.layers[case.layer]
        self._refuse_lost(layer)
        self._refuse_empty(layer)
        if case.candidate is None:
            return self._judge_range(case, layer)
        candidate = self._nets.of(case, case.candidate)
        reference = self._nets.of(case, case.reference)
        if layer.type == "Input":
            return self._judge_conversion(case, layer, candidate)
        execution = candidate.execution(layer)
        evidence: dict[str, Any] = {
            "setup": candidate.label,
            "execution": str(execution),
            "device": candidate.device_name,
            "mask": layer.mask,
            "dropped": (*candidate.dropped, *reference.dropped),
        }
        if execution.feed == "fp16":
            self._limits.refuse_inputs(layer, candidate, self._underflow(case.comparison, layer))
        mistaken = misread(candidate, layer, self._graph)
        if mistaken is not None:
            evidence["misread"] = mistaken
        unheld = self._limits.output(layer, candidate) if case.half == "fp16" else None
        if unheld is not None:
            evidence["unrepresentable"] = unheld
        elif mistaken is None and execution.where == "cpu" and execution == reference.execution(layer):
            where = {key: evidence[key] for key in ("execution", "device")}
            raise Skip(f"runs on {execution} on both sides, so nothing would be tested", **where)
        expected = self._run(reference, layer, execution.feed)
        try:
            made = self._run(candidate, layer, execution.feed)
            metrics, blob = probes.worst(made, expected, case.tolerance)
        except StepFailed as failed:
            return Result(case.id, "failed", evidence={**evidence, "death": death(failed)})
        evidence |= self._facts(layer, blob, expected[blob])
        if metrics.agrees and not evidence.keys() & {"unrepresentable", "misread", "reference_nan"}:
            return Result(case.id, "passed", dict(vars(metrics)), evidence=evidence)
        if self._job.probe and not metrics.agrees:
            evidence |= probes.evidence(
                self._job,
                self._nets,
                case,
                lambda net: self._run(net, layer, execution.feed),
                lambda net: net.run_layer(layer, self._blobs, execution.feed),
                expected,
            )
        return Result(case.id, "failed", dict(vars(metrics)), evidence=evidence)

    def _refuse_lost(self, layer: Layer) -> None:
        """Where the trajectory has no value: the layer that failed fails, those behind are skipped."""
        for blob in layer.inputs:
            if blob in self._lost:
                raise Skip(f"the reference has no input for it: {self._lost[blob].step} failed")
        for blob in layer.outputs:
            if blob in self._lost:
                raise self._lost[blob]

    def _refuse_empty(self, layer: Layer) -> None:
        """Where all is nan that goes in and comes out, nothing can be compared; its maker fails."""
        poisoned = any(self._blobs[blob].nan for blob in layer.inputs)
        made = (self._blobs[blob] for blob in layer.outputs)
        if poisoned and all(blob.nan == blob.array.size for blob in made):
            raise Skip("the reference holds nothing but nan here, and got nan in: nothing to compare")

    def _judge_range(self, case: CaseSpec, layer: Layer) -> Result:
        """No candidate: can fp16 hold what the reference computes here?"""
        readers = [reader for blob in layer.outputs for reader in self._readers(blob)]
        if loses_fp16(layer.mask) and all(loses_fp16(reader.mask) for reader in readers):
            raise Skip(f"masked with 31={layer.mask}, as all its readers are: stays in fp32")
        if not loses_fp16(layer.mask):
            self._limits.refuse_inputs(layer, None, self._underflow(case.comparison, layer))
        return self._judge_conversion(case, layer, None)

    def _judge_conversion(self, case: CaseSpec, layer: Layer, candidate: Net | None) -> Result:
        """What the reference's own outputs lose by becoming 16 bits wide."""
        if candidate is not None and not self._limits.is_read_in_16_bits(layer, candidate):
            raise Skip("no layer takes it in 16 bits")
        values = {b: self._blobs[b] for b in layer.outputs if self._blobs[b].floating}
        if not values:
            raise Skip("holds integers, which stay as they are")
        evidence: dict[str, Any] = {"mask": layer.mask, "predicted": candidate is None}
        unheld = self._limits.output(layer, candidate) if case.half == "fp16" else None
        if unheld is not None:
            evidence["unrepresentable"] = unheld
        rounded = {blob: value.rounded(case.half) for blob, value in values.items()}
        metrics, blob = probes.worst(rounded, values, case.tolerance)
        evidence |= self._facts(layer, blob, values[blob])
        held = unheld is None and (candidate is None or metrics.agrees)
        passed = held and "reference_nan" not in evidence
        return Result(case.id, "passed" if passed else "failed", dict(vars(metrics)), None, evidence)

    def _facts(self, layer: Layer, blob: str, reference: Blob) -> dict[str, Any]:
        facts: dict[str, Any] = {"blob": blob, "shape": list(reference.array.shape)}
        if reference.nan and not any(self._blobs[source].nan for source in layer.inputs):
            facts["reference_nan"] = reference.nan
        return facts

    # -- underflow: known only when a reader of the value has run ---------------------------------

    def _underflow(self, comparison: str, layer: Layer) -> dict[str, Any] | None:
        own = (c.tolerance for c in self._cases.get(layer.number, ()) if c.comparison == comparison)
        tolerance = next(own, self._job.defaults[comparison])
        return self._limits.underflow(layer, self._trajectory, self._blobs, tolerance)

    def _look_for_underflow(self, layer: Layer) -> None:
        """Note for held cases upstream that this layer cannot live with what fp16 makes of theirs."""
        if any(blob not in self._blobs for blob in (*layer.inputs, *layer.outputs)):
            return
        held = {case.comparison: case.candidate for case, _, _ in self._held}
        for comparison, number in held.items():
            candidate = None if number is None else self._nets[number]
            if self._limits.tiny_in_fp16(layer, candidate):
                found = self._underflow(comparison, layer)
                if found is not None:
                    self._underflows.setdefault((comparison, found["origin"]), found)

    def _released(self, case: CaseSpec, layer: Layer, result: Result) -> Result:
        found = self._underflows.get((case.comparison, layer.name))
        if found is None:
            return result
        return replace(result, outcome="failed", evidence={**result.evidence, "underflow": found})

    def _outputs(self) -> Iterator[Result]:
        waiting = [c for c in self._job.cases if c.output is not None and c.id not in self._job.done]
        whole = WholeRuns(self._job, self._graph, self._nets, self._inputs, waiting)
        if waiting and all(blob in self._blobs for blob in whole.outputs):
            # stepping gives bitwise what one run gives; a test pins that
            whole.know(self._job.nets[self._job.trajectory], self._blobs)
        for case in waiting:
            yield self._guarded(case, whole.judge)
