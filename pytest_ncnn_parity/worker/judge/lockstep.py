"""Judges one sample: the reference and all candidates step through the layers together.

The trajectory, which is the network in fp32 on the CPU, runs once. Its values feed every layer case, and
each is dropped after its last reader has run. The whole-network runs for the output cases come last.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial

from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import CaseSpec, Judge, Result
from pytest_ncnn_parity.engine.reported import steps_told
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.int8 import int8_blobs, misreads_int8
from pytest_ncnn_parity.network.shapes.flow import flow
from pytest_ncnn_parity.worker.failures import Skip, StepFailed, Unavailable
from pytest_ncnn_parity.worker.judge.accumulated import Accumulated
from pytest_ncnn_parity.worker.judge.fp16.conversions import readers
from pytest_ncnn_parity.worker.judge.fp16.hidden_nan import HiddenNan
from pytest_ncnn_parity.worker.judge.fp16.integers import HeldIntegers
from pytest_ncnn_parity.worker.judge.fp16.reference import Reference
from pytest_ncnn_parity.worker.judge.fp16.slight_losses import SlightLosses
from pytest_ncnn_parity.worker.judge.held_back import HeldBack
from pytest_ncnn_parity.worker.judge.layers.judge import LayerJudge
from pytest_ncnn_parity.worker.judge.layers.layer_runs import LayerRuns
from pytest_ncnn_parity.worker.judge.layers.own_runs import OwnRuns
from pytest_ncnn_parity.worker.judge.layers.refusals import Refusals
from pytest_ncnn_parity.worker.judge.natures import Natures
from pytest_ncnn_parity.worker.judge.not_finite import NotFinite
from pytest_ncnn_parity.worker.judge.outputs.judge import OutputJudge
from pytest_ncnn_parity.worker.judge.rewritten import Rewritten
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.judge.shape_faults import ShapeFaults
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.values.blob import Made
from pytest_ncnn_parity.worker.values.recalled import KnownUnderflows, RecalledTrajectory, Trace
from pytest_ncnn_parity.worker.values.stepping import Chain

FAR = 8  # in a trial of a search, values are followed through this many layers behind those judged


def _given_out(job: Judge) -> frozenset[str]:
    """The outputs of the network; a blob inside it that is only compared with a recording is none."""
    judged = {case.output for case in job.cases if case.output is not None and case.golden is None}
    recorded = {case.output for case in job.cases if case.golden is not None}
    return frozenset(judged | (set(job.outputs) - recorded))


class Lockstep:
    """Judges the cases of one job, and yields each result as soon as it is final."""

    def __init__(self, sample: SampleRun) -> None:
        job, graph, nets = sample.job, sample.graph, sample.nets
        self._sample = sample
        done, failed = frozenset(job.done), frozenset(job.red)
        judged = (case for case in job.cases if case.id in failed)  # by an earlier worker
        # layers that failed, by comparison and number, among them those that readers may settle yet
        self._red = {(case.comparison, case.layer) for case in judged if case.layer is not None}
        self._tolerances = {(case.comparison, case.layer): case.tolerance for case in job.cases}
        self._waiting = [case for case in job.cases if case.id not in done]
        self._cases: dict[int, list[CaseSpec]] = {}
        for case in self._waiting:
            if case.layer is not None:
                self._cases.setdefault(case.layer, []).append(case)
        probed = self._waiting if job.probe else ()  # in a trial, nobody asks where an error grows
        followed = [case for case in probed if job.accumulated or self._runs_other_files(case)]
        outputs = [case.output for case in self._waiting if case.output is not None]
        self._natures = Natures(graph, outputs, sample.run_reference, sample.all_boxes, sample.largest)
        self._accumulated = Accumulated(sample, followed, self._refuse_hint, self._natures)
        kept = [case.output for case in job.cases if case.output is not None]
        self._layers, self._last = self._steps()
        chain = partial(Chain, self._layers, sample.inputs, kept=kept, reads=nets.reads)
        self._chain = chain(self._run_trajectory)
        trace = nets.trace(sample.inputs) if job.remember else None
        run = partial(sample.run_reference, on="")
        recalled = RecalledTrajectory(trace, lambda: chain(run)) if trace else None
        self._own_runs = OwnRuns(sample, self._waiting, self._layers, self._refuse_hint)
        self._integers = HeldIntegers(graph)
        self._shape_faults = ShapeFaults(job, graph, self._chain)
        self._runs = LayerRuns(sample, self._chain.blobs, recalled)
        self._held = self._held_back(trace)
        self._slight = SlightLosses(graph, _given_out(job), self._natures.is_natural)
        self._not_finite = NotFinite(nets.weights.broken)
        refusals = Refusals(sample, self._chain, self._shape_faults, self._not_finite, self._red)
        self._judge = LayerJudge(
            sample,
            self._chain.blobs,
            self._runs,
            refusals,
            self._held,
            self._natures,
            self._integers,
            self._own_runs,
        )

    def _held_back(self, trace: Trace | None) -> HeldBack:
        """What results wait for; `trace` has what earlier trials have found out about it."""
        sample = self._sample
        reference = Reference(
            sample.graph,
            self._chain.blobs,
            sample.run_reference,
            self._tolerance,
            self._natures.scale_to_the_end,
            _given_out(sample.job),
            HiddenNan(sample.nets).of,
            self._tolerances,
        )
        return HeldBack(
            reference,
            sample.nets,
            self._natures,
            self._shape_faults.is_lost,
            trace.underflows if trace else KnownUnderflows({}, {}, {}),
            Rewritten(sample, self._accumulated),
        )

    def _runs_other_files(self, case: CaseSpec) -> bool:
        return case.candidate is not None and self._sample.job.nets[case.candidate].other

    def results(self) -> Iterator[Result]:
        """Yield the results of all cases that are not done yet."""
        try:
            if self._layers:
                self._sample.nets[self._sample.job.trajectory]
        except (StepFailed, Unavailable):
            for case in self._waiting:
                yield self._guarded(case, self._nothing_loaded)
            return
        waiting = {case.id: case for case in self._waiting}
        red = set(self._red)
        try:
            for result in self._step_through():
                case = waiting.pop(result.id)
                if result.outcome == "failed" and case.layer is not None:
                    red.add((case.comparison, case.layer))
                if not self._slight.holds(case, result):
                    yield result
        except StepFailed as failed:  # beside the cases, as where values of the reference are looked at
            for case in waiting.values():
                yield self._guarded(case, partial(self._behind, failed))
        else:
            yield from self._outputs(red)
        yield from self._slight.settled()

    def _behind(self, failed: StepFailed, _: CaseSpec) -> Result:
        self._sample.nets.refuse(failed, f"not run: {failed.step} failed")
        raise failed.with_traceback(None)

    def _nothing_loaded(self, _: CaseSpec) -> Result:
        self._sample.nets.needed(self._sample.job.trajectory)
        raise AssertionError("a network that did not load is loaded")

    def _guarded(self, case: CaseSpec, judge: Callable[[CaseSpec], Result]) -> Result:
        """Return the result of `judge`; an exception that ends the case becomes its result."""
        return self._accumulated.added(case, self._judged(case, judge))

    def _judged(self, case: CaseSpec, judge: Callable[[CaseSpec], Result]) -> Result:
        result = self._tried(case, judge)
        for step in () if case.known else steps_told([result]):
            self._sample.nets.tell(step)
        return result

    def _tried(self, case: CaseSpec, judge: Callable[[CaseSpec], Result]) -> Result:
        try:
            return judge(case)
        except Skip as skip:
            return Result(case.id, "skipped", reason=str(skip), evidence=skip.evidence)
        except Unavailable as lacking:
            if lacking.death is not None and not self._sample.nets.has_told(lacking.death):
                return Result(case.id, "failed", evidence=Evidence(death=lacking.death))
            evidence = Evidence(
                no_vulkan=lacking.no_vulkan, no_worker=lacking.no_worker, lasting=lacking.lasting
            )
            return Result(case.id, "skipped", reason=str(lacking), evidence=evidence)
        except StepFailed as failed:
            return Result(case.id, "failed", evidence=Evidence(death=failed.death))

    def _steps(self) -> tuple[list[Layer], int]:
        """Return the layers to step through: those that cases need, and readers of their values.

        The ones behind the number that comes with them are stepped through only if something waits for
        readers.

        A network is run as a whole only if the inputs of all its layers fit, because otherwise ncnn may
        corrupt memory. Where the shapes do not prove it beforehand, stepping does. Trials of a search
        need no such proof, because the run before them gave it.
        """
        wanted: set[str] = set()
        if not self._sample.job.remember:
            wanted.update(self._doubtful_outputs())
        in_fp16: set[str] = set()
        for number, cases in self._cases.items():
            outputs = self._sample.graph.layers[number].outputs
            wanted.update(outputs)
            if any(case.half == "fp16" for case in cases):
                in_fp16.update(outputs)
        for number in self._natures.layers:  # for outputs whose parts are judged separately
            wanted.update(self._sample.graph.layers[number].outputs)
        graph = self._sample.graph
        needed = graph.ancestors(wanted) | self._accumulated.layers
        last = max(needed, default=-1)
        needed |= graph.ancestors(self._read_downstream(in_fp16))
        return [layer for layer in graph.layers if layer.number in needed], last

    def _read_downstream(self, blobs: Iterable[str]) -> set[str]:
        """Return `blobs` and what is computed from them: values beyond fp16 may be passed on."""
        graph, reached = self._sample.graph, set(blobs)
        if not self._sample.job.remember:
            for layer in graph.layers:
                if not reached.isdisjoint(layer.inputs):
                    reached.update(layer.outputs)
            return reached
        for _ in range(FAR):
            for reader in readers(graph, reached):
                reached.update(reader.outputs)
        return reached

    def _doubtful_outputs(self) -> set[str]:
        """Return the outputs for which file and input shapes do not prove that all inputs fit."""
        outputs = {case.output for case in self._waiting if case.output is not None}
        shapes = flow(
            self._sample.graph, {b: value.shape for b, value in self._sample.inputs.items()}
        ).shapes
        if self._sample.graph.hints or self._may_misread_int8():
            return outputs
        return outputs - shapes.keys()

    def _may_misread_int8(self) -> bool:
        """Return whether a layer may be fed with int8 that it takes for a larger type."""
        may_be = int8_blobs(self._sample.graph)
        return bool(may_be) and any(
            misreads_int8(layer) and may_be.intersection(layer.inputs)
            for layer in self._sample.graph.layers
        )

    def _refuse_hint(self, net: Net, layer: Layer) -> None:
        problem = self._shape_faults.of_hint(net, layer)
        if problem is not None:
            raise problem

    def _run_trajectory(self, layer: Layer, _: Made) -> Made:
        return self._runs.run(self._sample.trajectory, layer, None)

    def _step_through(self) -> Iterator[Result]:
        fp16 = any(case.half == "fp16" for case in self._sample.job.cases)
        for layer, outputs in self._chain.steps():
            if fp16:
                self._held.observe(self._integers.others(outputs))
            self._not_finite.observe(layer, outputs)
            self._shape_faults.observe(layer)
            self._natures.follow(layer, self._chain.blobs)
            del outputs  # the chain keeps the values until their last reader has run
            self._accumulated.advance(layer, self._chain)
            self._own_runs.follow(layer, self._chain.blobs)
            cases = self._cases.get(layer.number, [])
            for i, case in enumerate(cases):
                result = self._guarded(case, self._judge.judge)
                self._runs.forget(layer, cases[i + 1 :])
                self._own_runs.learn(case, layer, result)
                if result.outcome == "failed":
                    self._red.add((case.comparison, layer.number))
                if not self._held.holds(case, layer, result):
                    yield self._not_finite.compared(layer, result)
            self._held.look(layer)
            self._runs.clear()
            if layer.number >= self._last and not self._held.is_waiting:
                break
        for case, layer, result in self._held.settled():
            yield self._accumulated.added(case, self._not_finite.compared(layer, result))

    def _tolerance(self, comparison: str, layer: Layer) -> Tolerance:
        job = self._sample.job
        own = self._tolerances.get((comparison, layer.number))
        return own or job.layer_tolerances[comparison].get(layer.number, job.defaults[comparison])

    def _outputs(self, red: Container[tuple[str, int]]) -> Iterator[Result]:
        """Judge the output cases. `red`: the layers that have failed, by comparison and number."""
        waiting = [case for case in self._waiting if case.output is not None]
        faults = self._shape_faults
        run = [case for case in waiting if not faults.is_lost(str(case.output))]
        fits = self._held.beyond.fits_up_to
        whole = OutputJudge(self._sample, run, faults, self._natures, self._not_finite, fits)
        blobs = self._chain.blobs
        if waiting and all(blob in blobs for blob in whole.outputs):
            # stepping gives bitwise the same values as one run, as a test checks
            whole.know(self._sample.job.nets[self._sample.job.trajectory], blobs)
        for spec, outputs in self._own_runs.whole():
            whole.know(spec, outputs)
        for case in waiting:
            result = self._guarded(case, lambda case: whole.judge(case, red))
            self._slight.observe(case, result)
            yield result
