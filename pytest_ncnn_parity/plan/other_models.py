"""Reads the other models that a spec's comparisons run, and matches them with its own."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from pytest_ncnn_parity.base import digests, read_files
from pytest_ncnn_parity.base.errors import listed, quoted
from pytest_ncnn_parity.compare.comparisons import Comparison, OtherFiles, Setup
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.int8 import rounds_to_int8
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.match import NAME
from pytest_ncnn_parity.network.weight_tags import BF16, FP16
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec.keys import OwnComparison
from pytest_ncnn_parity.spec.spec import Problem, Spec, Where


def read(
    spec: Spec, graph: Graph, root: Path | None
) -> tuple[dict[OtherFiles, Counterparts], list[Problem]]:
    """The other models by their files, and what is wrong with those that cannot be compared.

    With a `root`, none of the files may lie outside it.
    """
    others: dict[OtherFiles, Counterparts] = {}
    problems: list[Problem] = []
    named = list(_named(spec))
    if not named:
        return others, problems
    # not before: they import numpy, which takes longer than all else that is imported before a gate
    from pytest_ncnn_parity.network.versions.find_counterparts import Unlike, counterparts  # noqa: PLC0415
    from pytest_ncnn_parity.network.versions.rounded_weights import Roundings  # noqa: PLC0415

    for number, setup in named:
        files = setup.model
        assert files is not None
        missing = list(_missing(spec, number, files, root))
        problems += missing or _unchanged(spec, number)
        if missing or files in others:
            continue
        path, _ = spec.beside(files)
        try:
            there = param.read(str(path), root)
            problems += [(None, line) for line in param.read_twice(there)]
            if in_int8 := _in_int8(graph):
                raise Unlike(in_int8)
            weights = (spec.bin, spec.beside(files)[1])
            halves, brains = (
                (_weights_in(format_, weights[0], root), _weights_in(format_, weights[1], root))
                for format_ in (FP16, BF16)
            )
            models = replace(counterparts(graph, there, weights), halves=halves, brains=brains)
            roundings = Roundings(models, weights)
            alone, nothing_else = roundings.proven()
            others[files] = replace(
                models, rounded=roundings.possible(), only_rounded=alone, nothing_else=nothing_else
            )
        except param.ParamError as error:
            problems += [(None, line) for line in error.errors]
        except Unlike as unlike:
            problems.append((_where(spec, number, "param"), str(unlike)))
    return others, problems


def _unchanged(spec: Spec, number: int) -> Iterator[Problem]:
    """That a candidate's files are the spec's own, where it runs them as the reference does.

    Masks of the spec are for the reference alone.
    """
    item = spec.compare[number]
    assert isinstance(item, OwnComparison)
    setup = item.candidate.setup()
    assert setup.model is not None
    if spec.masks or replace(setup, model=None) != item.reference.setup():
        return
    if all(map(_are_equal, (spec.param, spec.bin), spec.beside(setup.model))):
        yield (
            _where(spec, number, "param"),
            f"{setup.model.param} and {setup.model.bin} are byte for byte the files of this model, "
            "run as the reference is: nothing would be tested; was the model converted?",
        )


def _are_equal(own: Path, other: Path) -> bool:
    """Whether two files hold the same bytes; one that cannot be read is an error of its own."""
    try:
        same_size = own.stat().st_size == other.stat().st_size
        return same_size and digests.of_file(own) == digests.of_file(other)
    except OSError:
        return False


def _weights_in(format_: int, path: Path, root: Path | None) -> int:
    """How many tensors have the tag `format_`: of fp16, as pnnx writes all that may be, or of bf16.

    None in a file that cannot be read, which is an error of its own.
    """
    if read_files.problem(path, root) or not path.stat().st_size:
        return 0
    tag = re.escape(struct.pack("<I", format_))
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return sum(found.start() % 4 == 0 for found in re.finditer(tag, content))  # words are aligned


def _in_int8(here: Graph) -> str | None:
    """Why no model is compared with `here` if it is in int8: its loss would be the candidate's error."""
    own = next((one for one in here.layers if rounds_to_int8(one)), None)
    if own is None:
        return None
    return (
        f"{own.name} ({own.type}) of this model computes in int8: another model is compared "
        "with floats only; make the model in floats the spec's own"
    )


def _named(spec: Spec) -> Iterator[tuple[int, Setup]]:
    """The candidates that name files of their own, each with its place in `compare`."""
    for number, item in enumerate(spec.compare):
        if isinstance(item, OwnComparison) and item.candidate.model is not None:
            yield number, item.candidate.setup()


def _where(spec: Spec, number: int, key: str) -> Where:
    return spec.at("compare", number, "candidate", "model", key)


def _missing(spec: Spec, number: int, files: OtherFiles, root: Path | None) -> Iterator[Problem]:
    for key, kind, path in zip(("param", "bin"), ("model", "weights"), spec.beside(files), strict=True):
        problem = read_files.problem(path, root)
        if problem:
            yield _where(spec, number, key), f"{kind} file {read_files.shown(path)} {problem}"


def blobs(plan: Plan) -> Iterator[Problem]:
    """Blobs that samples feed or `outputs` names, for which another model has no counterpart."""
    fed = dict.fromkeys(blob for inputs in plan.spec.inputs.values() for blob in inputs)
    wanted = dict.fromkeys(fed, "is fed") | dict.fromkeys(plan.outputs, "is compared")
    for number, setup in _named(plan.spec):
        assert setup.model is not None
        other = plan.others[setup.model]
        for blob, what in wanted.items():
            if blob in plan.graph.producer and other.blob(blob) is None:
                problem = f"{quoted(blob)} {what}, and {setup.model.param} has no counterpart of it"
                if blob not in fed and plan.spec.outputs is None:
                    problem += "; 'outputs:' in the spec names those that are compared"
                yield _where(plan.spec, number, "param"), problem


def notes(plan: Plan, comparison: Comparison) -> Iterator[str]:
    """How the layers of the other model that `comparison` runs were matched, in a few lines."""
    other, candidate = plan.other(comparison), comparison.candidate
    if other is None or candidate is None or candidate.model is None:
        return
    of, file = other.of, candidate.model.param
    renamed = sum(one.by != NAME for one in of.values())
    how = f", {renamed} of them by structure" if renamed else ""
    yield f"{comparison.name}: {len(of)} layers have a counterpart in {file}{how}"
    folded: dict[str, list[str]] = {}
    for number, at in other.judged_at.items():
        folded.setdefault(at.name, []).append(plan.graph.layers[number].name)
    texts = [f"{listed(names)} at {at}" for at, names in folded.items()]
    if texts:
        yield f"{comparison.name}: judged where they are folded to: {listed(texts)}"
    for layers, where in ((other.only_here, "no counterpart there"), (other.only_there, "none here")):
        if layers:
            yield f"{comparison.name}: {where}: {listed([layer.name for layer in layers])}"
    if other.exchanged:
        yield f"{comparison.name}: inputs that have changed places there: {listed(other.exchanged)}"
    if other.moved:
        yield f"{comparison.name}: made by other layers there: {listed(other.moved)}"


def notices(plan: Plan) -> list[str]:
    """`notes` of all comparisons of the spec."""
    return [line for comparison in plan.spec.comparisons for line in notes(plan, comparison)]
