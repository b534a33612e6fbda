"""Checks a spec against its network and its files, and reports every error at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import guess, quoted
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.plan import check_inputs, other_models
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.plan.check_inputs import some
from pytest_ncnn_parity.plan.names import matches, matches_blob
from pytest_ncnn_parity.spec.spec import Problem, Spec, SpecError, Where


def plan(spec: Spec, project: Path = Path(), root: Path | None = None) -> Plan:
    """The plan of `spec` in `project`, pytest's rootdir; its network is read here.

    Raises SpecError if it cannot be run. With a `root`, none of the files that it names may lie
    outside.
    """
    errors = [*_model_files(spec, root), *check_inputs.files(spec, root)]
    try:
        graph = param.read(str(spec.param), root)
        others, unlike = other_models.read(spec, graph, root)
        errors += unlike
        checked = Plan(spec, graph, project, others)
    except param.ParamError as error:
        of_network: list[Problem] = []
        # if there is a problem, it is among the errors already
        if not read_files.problem(spec.param, root):
            of_network = [(None, line) for line in error.errors]
        raise SpecError([*errors, *of_network]) from None
    if not unlike:
        errors += other_models.blobs(checked)
    wrong = SpecError(chain(errors, _against_network(checked)))
    if wrong.errors:
        raise wrong
    return checked


def _against_network(plan: Plan) -> Iterator[Problem]:
    spec, graph = plan.spec, plan.graph
    yield from ((None, problem) for problem in param.read_twice(graph))
    yield from check_inputs.inputs(plan)
    yield from check_inputs.expected(plan)
    yield from check_inputs.outputs(plan)
    yield from _selection(spec, plan)
    yield from _tolerances(plan)
    yield from _masks(spec, graph)
    yield from _known(spec, plan)


def _model_files(spec: Spec, root: Path | None) -> Iterator[Problem]:
    for key, kind, path in (("param", "model", spec.param), ("bin", "weights", spec.bin)):
        problem = read_files.problem(path, root)
        if problem:
            yield spec.at("model", key), f"{kind} file {read_files.shown(path)} {problem}"


def _selection(spec: Spec, plan: Plan) -> Iterator[Problem]:
    for key in ("include", "exclude"):
        for i, pattern in enumerate(getattr(spec.layers, key)):
            if not any(matches(pattern, layer) for layer in plan.graph.layers):
                yield _matches_nothing(spec.at("layers", key, i), f"layers.{key}", pattern, plan.graph)
    if not plan.layers:
        yield spec.at("layers", of_key=True), "layers: nothing is selected, so nothing is tested"


def _tolerances(plan: Plan) -> Iterator[Problem]:
    spec, graph = plan.spec, plan.graph
    for pattern in spec.tolerance.layers:
        if not any(matches(pattern, layer) for layer in graph.layers):
            where = spec.at("tolerance", "layers", pattern, of_key=True)
            yield _matches_nothing(where, "tolerance.layers", pattern, graph)
    for pattern in spec.tolerance.outputs:
        if not any(matches_blob(pattern, blob) for blob in plan.compared):
            yield (
                spec.at("tolerance", "outputs", pattern, of_key=True),
                f"tolerance.outputs: {quoted(pattern)} matches no output"
                f"{guess(pattern, plan.compared)}; there is {some(plan.compared)}",
            )


def _matches_nothing(where: Where, key: str, pattern: str, graph: Graph) -> Problem:
    types = {f"type:{layer.type}" for layer in graph.layers}
    known = types if pattern.startswith("type:") else set(graph.names)
    return where, f"{key}: {quoted(pattern)} matches no layer{guess(pattern, known)}"


def _masks(spec: Spec, graph: Graph) -> Iterator[Problem]:
    for name in spec.masks:
        if name not in graph.names:
            problem = f"masks: no layer {quoted(name)} in {graph.file}{guess(name, graph.names)}"
            yield spec.at("masks", name, of_key=True), problem


def _known(spec: Spec, plan: Plan) -> Iterator[Problem]:
    names = [comparison.name for comparison in plan.comparisons()]
    for i, entry in enumerate(spec.known):
        where = spec.at("known", i)
        if entry.comparison is not None and entry.comparison not in names:
            near = guess(entry.comparison, names)
            problem = f"known: no comparison {quoted(entry.comparison)} in this spec{near}"
            yield where, f"{problem}; it has {', '.join(names)}"
        if entry.sample is not None and entry.sample not in spec.inputs:
            near = guess(entry.sample, spec.inputs)
            yield where, f"known: no sample {quoted(entry.sample)}{near}"
        if entry.layer and not any(matches(entry.layer, layer) for layer in plan.graph.layers):
            yield _matches_nothing(where, "known", entry.layer, plan.graph)
        elif entry.layer and not any(matches(entry.layer, layer) for layer in plan.layers):
            yield where, f"known: {quoted(entry.layer)} matches no layer that has cases"
        if entry.output and not any(matches_blob(entry.output, b) for b in plan.compared):
            near = guess(entry.output, plan.compared)
            yield where, f"known: no output {quoted(entry.output)}{near}"
