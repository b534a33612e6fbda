"""Plan x question -> the job that a worker answers it by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, Model, NetSpec
from pytest_ncnn_parity.plan import Case, Plan
from pytest_ncnn_parity.setups import CPU_FP32, Comparison, Setup


@dataclass
class _Nets:
    """Numbers the networks that cases ask for, each once."""

    found: list[NetSpec] = field(default_factory=list)

    def number(self, setup: Setup, model: int = 0, mixed: bool = False) -> int:
        spec = NetSpec(model, setup.device, setup.precision, dict(setup.options), mixed)
        if spec not in self.found:
            self.found.append(spec)
        return self.found.index(spec)

    def case(self, case: Case, model: int = 0, mixed: bool = False) -> CaseSpec:
        """`case` with its candidate from another model, or under the job's masks."""
        comparison = case.comparison
        candidate = comparison.candidate
        return CaseSpec(
            id=case.id,
            comparison=comparison.name,
            reference=self.number(comparison.reference),
            candidate=None if candidate is None else self.number(candidate, model, mixed),
            half=comparison.half,
            tolerance=vars(case.tolerance),
            layer=None if case.layer is None else case.layer.number,
            output=case.output,
        )


def judge(
    plan: Plan, sample: str, cases: Iterable[Case], threads: int, first: bool, probe: bool = True
) -> Job:
    """Judge `cases`, in the plan's order. `first`: of the spec's samples this is the first."""
    nets = _Nets()
    trajectory = nets.number(CPU_FP32)
    chosen = tuple(cases)
    specs = tuple(nets.case(case) for case in chosen)
    return Job(
        models=(_model(plan),),
        nets=tuple(nets.found),
        trajectory=trajectory,
        inputs=_inputs(plan, sample),
        cases=specs,
        defaults=_defaults(plan, chosen),
        threads=threads,
        probe=probe,
        tells_load_failures=first,
    )


def trial(plan: Plan, sample: str, cases: Sequence[Case], masks: Sequence[int], threads: int) -> Job:
    """Judge `cases` of one comparison as if each layer had its of `masks`, without a reload."""
    nets = _Nets()
    trajectory = nets.number(CPU_FP32)
    specs = tuple(nets.case(case, mixed=True) for case in cases)
    return Job(
        models=(_model(plan),),
        nets=tuple(nets.found),
        trajectory=trajectory,
        inputs=_inputs(plan, sample),
        cases=specs,
        defaults=_defaults(plan, cases),
        threads=threads,
        masks=tuple(masks),
        probe=False,
        remember=True,
    )


def survey(plan: Plan, sample: str, comparison: Comparison, threads: int) -> Job:
    """Measure the trajectory, and tell where the candidate runs its layers."""
    nets = _Nets()
    trajectory = nets.number(CPU_FP32)
    if comparison.candidate is not None:
        nets.number(comparison.candidate)
    return Job(
        kind="survey",
        models=(_model(plan),),
        nets=tuple(nets.found),
        trajectory=trajectory,
        inputs=_inputs(plan, sample),
        cases=(),
        defaults={},
        threads=threads,
    )


def proof(
    plan: Plan, sample: str, comparison: Comparison, param: str, repeats: int, threads: int
) -> Job:
    """Compare the outputs of the patched .param, loaded afresh, with the unpatched reference."""
    nets = _Nets()
    trajectory = nets.number(CPU_FP32)
    cases = [case for case in plan.cases(comparison) if case.output is not None]
    specs = tuple(nets.case(case, model=1) for case in cases)
    return Job(
        models=(_model(plan), Model(param, str(plan.spec.bin))),
        nets=tuple(nets.found),
        trajectory=trajectory,
        inputs=_inputs(plan, sample),
        cases=specs,
        defaults=_defaults(plan, cases),
        threads=threads,
        probe=False,
        repeats=repeats,
    )


def timing(
    plan: Plan, sample: str, setups: Sequence[tuple[Setup, int]], params: Sequence[str], threads: int
) -> Job:
    """Time networks: each a setup and a model, 0 for the plan's own, n for the n-th of `params`."""
    specs = tuple(
        NetSpec(model, setup.device, setup.precision, dict(setup.options)) for setup, model in setups
    )
    return Job(
        kind="time",
        models=(_model(plan), *(Model(param, str(plan.spec.bin)) for param in params)),
        nets=specs,
        trajectory=0,
        inputs=_inputs(plan, sample),
        cases=(),
        defaults={},
        threads=threads,
    )


def _model(plan: Plan) -> Model:
    """The network under test: the spec's masks exist in memory alone."""
    text = plan.masked.text if plan.spec.masks else None
    return Model(str(plan.spec.param), str(plan.spec.bin), text)


def _defaults(plan: Plan, cases: Iterable[Case]) -> dict[str, dict[str, float | None]]:
    comparisons = {case.comparison.name: case.comparison for case in cases}
    return {name: asdict(plan.tolerance(one, None)) for name, one in comparisons.items()}


def _inputs(plan: Plan, sample: str) -> dict[str, Mapping[str, Any]]:
    sources: dict[str, Mapping[str, Any]] = {}
    for blob, source in plan.spec.inputs[sample].items():
        plain = source.model_dump()
        if "shape" in plain and plain["shape"] is None:
            plain["shape"] = list(plan.graph.shapes[blob])
        if "random" in plain:
            plain["low"], plain["high"] = source.bounds  # type: ignore[union-attr]
        for kind in ("file", "image"):
            if kind in plain:
                plain[kind] = str(plan.spec.path.parent / plain[kind])
        sources[blob] = plain
    return sources
