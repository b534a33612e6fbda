"""Builds the job with which a worker answers a question about a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pytest_ncnn_parity.compare.comparisons import CPU_FP32, Comparison, OtherFiles, Setup
from pytest_ncnn_parity.engine.inputs import (
    ConstantInput,
    ImageInput,
    Input,
    NormalInput,
    RangeInput,
    Recording,
)
from pytest_ncnn_parity.engine.protocol import (
    CaseSpec,
    FindWeights,
    Isolate,
    Judge,
    MeasureProfile,
    MeasureTime,
    Model,
    NetSpec,
    TakeFingerprint,
)
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.spec.sources import ConstantSource, FileSource, RandomSource, Source


@dataclass
class _Nets:
    """Numbers the networks that cases need, each of them once; number 0 is the trajectory."""

    plan: Plan
    known: dict[NetSpec, int] = field(default_factory=lambda: {NetSpec.of(CPU_FP32): 0})
    models: list[Model] = field(default_factory=list)
    pairs: dict[tuple[str, int, bool], tuple[int, int | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models.append(_model(self.plan))

    def number(self, setup: Setup, model: int = 0, mixed: bool = False) -> int:
        """Return the number of the network of `setup`, adding it if it is new."""
        if setup.model is not None:
            other = _other_model(self.plan, setup.model)
            if other not in self.models:
                self.models.append(other)
            model = self.models.index(other)
        return self.known.setdefault(NetSpec.of(setup, model, mixed), len(self.known))

    def pair(self, comparison: Comparison, model: int, mixed: bool) -> tuple[int, int | None]:
        """Return the numbers of the reference and of the candidate, which may be None."""
        key = (comparison.name, model, mixed)
        if key not in self.pairs:
            reference, candidate = self.number(comparison.reference), comparison.candidate
            self.pairs[key] = (
                reference,
                None if candidate is None else self.number(candidate, model, mixed),
            )
        return self.pairs[key]

    def case(self, case: Case, model: int = 0, mixed: bool = False, known: bool = False) -> CaseSpec:
        """The job's `case`, its candidate on model number `model`; `mixed`: under the job's masks."""
        comparison = case.comparison
        reference, candidate = self.pair(comparison, model, mixed)
        return CaseSpec(
            id=case.id,
            comparison=comparison.name,
            kind=comparison.kind,
            reference=reference,
            candidate=candidate,
            half=comparison.half,
            tolerance=case.tolerance,
            layer=None if case.layer is None else case.layer.number,
            output=case.output,
            golden=None if case.golden is None else Recording(case.golden.file, case.golden.key),
            known=known,
            only_rounded=case.output is not None and self.plan.tolerances(comparison).only_rounded,
        )


def judge(plan: Plan, sample: str, cases: Iterable[Case], threads: int, probe: bool = True) -> Judge:
    """Return the job that judges `cases`, in the plan's order. `probe`: find out why a case fails."""
    nets = _Nets(plan)
    chosen = tuple(cases)
    specs = [nets.case(case, known=bool(plan.known(sample, case))) for case in chosen]
    job = _judging(plan, sample, nets, chosen, specs, threads)
    return replace(job, probe=probe)


def trial(
    plan: Plan, sample: str, cases: Sequence[Case], masks: Sequence[int] | None, threads: int
) -> Judge:
    """Return the job that judges `cases` under `masks`, by layer number, without reloading the network.

    It ends with the first case that fails. If `masks` is None, the masks are those of the candidates'
    own files, which differ between trials, and all cases are judged.
    """
    nets = _Nets(plan)
    specs = [nets.case(case, mixed=masks is not None) for case in cases]
    job = _judging(plan, sample, nets, cases, specs, threads)
    job = replace(job, probe=False, remember=True)
    return job if masks is None else replace(job, masks=tuple(masks), until_failed=True)


def verify(
    plan: Plan, sample: str, cases: Sequence[Case], param: str, repeats: int, threads: int
) -> Judge:
    """Return the job that judges `cases`, which are outputs, on the patched .param `param`.

    It is loaded afresh, run `repeats` times, and compared with the unpatched reference.
    """
    nets = _Nets(plan)
    specs = [nets.case(case, model=1) for case in cases]
    job = _judging(plan, sample, nets, cases, specs, threads)
    models = (*job.models, replace(_model(plan), param=param, text=None))
    return replace(job, models=models, probe=False, repeats=repeats)


def _judging(
    plan: Plan,
    sample: str,
    nets: _Nets,
    cases: Iterable[Case],
    specs: Iterable[CaseSpec],
    threads: int,
) -> Judge:
    comparisons = {case.comparison.name: case.comparison for case in cases}
    return Judge(
        models=tuple(nets.models),
        nets=tuple(nets.known),
        trajectory=0,
        inputs=_inputs(plan, sample),
        threads=threads,
        cases=tuple(specs),
        defaults={name: plan.tolerances(one).common for name, one in comparisons.items()},
        layer_tolerances={name: plan.layer_tolerances(one) for name, one in comparisons.items()},
        outputs=plan.wanted(sample),
    )


def profile(
    plan: Plan, sample: str, comparison: Comparison, threads: int, sensitivity: bool
) -> MeasureProfile:
    """Return the job that measures the trajectory and finds where the candidate runs its layers."""
    nets = _Nets(plan)
    if comparison.candidate is not None:
        nets.number(comparison.candidate)
    return MeasureProfile(
        tuple(nets.models),
        tuple(nets.known),
        0,
        _inputs(plan, sample),
        threads,
        outputs=plan.wanted(sample),
        sensitivity=sensitivity,
    )


def fingerprint(plan: Plan, sample: str, threads: int) -> TakeFingerprint:
    """Return the job that computes a digest of the bits of the trajectory."""
    return TakeFingerprint(
        (_model(plan),),
        tuple(_Nets(plan).known),
        0,
        _inputs(plan, sample),
        threads,
        outputs=plan.wanted(sample),
    )


def weights(plan: Plan, sample: str, comparison: Comparison, threads: int) -> FindWeights:
    """Return the job that finds the weights of the plan's model and of the candidate's model."""
    nets = _Nets(plan)
    if comparison.candidate is not None:
        nets.number(comparison.candidate)
    return FindWeights(tuple(nets.models), tuple(nets.known), 0, _inputs(plan, sample), threads)


def isolate(plan: Plan, sample: str, case: Case, folder: str, threads: int) -> Isolate:
    """Return the job that writes the layer of `case`, with its inputs, to `folder`."""
    nets = _Nets(plan)
    spec = nets.case(case)
    inputs = _inputs(plan, sample)
    return Isolate(tuple(nets.models), tuple(nets.known), 0, inputs, threads, case=spec, folder=folder)


def time(
    plan: Plan, sample: str, setups: Sequence[tuple[Setup, int]], params: Sequence[str], threads: int
) -> MeasureTime:
    """Return the job that times networks, each given as a setup and the number of a model.

    Model 0 is the plan's own, model n has the n-th of `params` as its .param.
    """
    specs = [NetSpec.of(setup, model) for setup, model in setups]
    models = (_model(plan), *(replace(_model(plan), param=param, text=None) for param in params))
    return MeasureTime(models, tuple(specs), 0, _inputs(plan, sample), threads, outputs=plan.outputs)


def _model(plan: Plan) -> Model:
    """The network under test. The spec's masks are applied in memory only."""
    text = plan.masked.text if plan.spec.masks else None
    spec = plan.spec
    folders = () if spec.setup is None else (str(plan.project), str(spec.path.parent))
    return Model(str(spec.param), str(spec.bin), text, spec.setup, folders)


def _other_model(plan: Plan, files: OtherFiles) -> Model:
    """Another model of the network, as its files are: the spec's masks do not apply to its layers."""
    param, weights = plan.spec.beside(files)
    own = _model(plan)
    return replace(own, param=str(param), bin=str(weights), text=None, name=_name(plan, files))


def _name(plan: Plan, files: OtherFiles) -> str:
    """What the model of `files` is called: its .param, and its weights if others have that as well."""
    for one in plan.spec.comparisons:
        for setup in (one.reference, one.candidate):
            other = None if setup is None else setup.model
            if other is not None and other != files and other.param == files.param:
                return f"{files.param} ({files.bin})"
    return files.param


def _inputs(plan: Plan, sample: str) -> dict[str, Input]:
    sources = enumerate(plan.spec.inputs[sample].items())
    return {blob: _input(plan, blob, source, place) for place, (blob, source) in sources}


def _input(plan: Plan, blob: str, source: Source, place: int) -> Input:
    """Complete `source`, that of the input at this `place` of its sample.

    Its shape and seed may not be given, and its path is relative to the spec's folder.
    """
    folder = plan.spec.path.parent
    if isinstance(source, FileSource):
        return Recording(str(folder / source.file), source.key)
    if isinstance(source, RandomSource | ConstantSource):
        shape = tuple(source.shape or plan.input_shape(blob))
        if isinstance(source, ConstantSource):
            return ConstantInput(source.constant, shape)
        low, high = source.bounds
        seed = source.seed_at(place)
        if source.random == "normal":
            return NormalInput(shape, seed, source.mean, source.std, low, high)
        assert low is not None  # `high` is not None either: both have defaults, or are required
        assert high is not None
        return RangeInput(source.random, shape, seed, low, high)
    mean, norm = (None if given is None else tuple(given) for given in (source.mean, source.norm))
    size = None if source.size is None else (source.size[0], source.size[1])
    return ImageInput(str(folder / source.image), source.color, size, mean, norm)
