"""Checks a spec's samples: blobs that exist, and shapes and kinds of values that fit their readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import cut, guess, quoted
from pytest_ncnn_parity.network import integers
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.shapes.fed import misfit
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.plan.check_words import no_integers
from pytest_ncnn_parity.spec.sources import FileSource, ImageSource, Source, file_of
from pytest_ncnn_parity.spec.spec import Problem, Spec


def files(spec: Spec, root: Path | None) -> Iterator[Problem]:
    for name, sample in spec.samples.items():
        for path, source in (
            *(((blob,), source) for blob, source in sample.blobs.items()),
            *((("expect", blob), source) for blob, source in sample.expect.items()),
        ):
            named = file_of(source)
            if named is not None:
                file = spec.path.parent / named
                problem = read_files.problem(file, root)
                if problem:
                    yield spec.at_input(name, *path), f"{read_files.shown(file)} {problem}"


def inputs(plan: Plan) -> Iterator[Problem]:
    """What is wrong with the samples: unknown blobs, missing inputs, inputs that nothing depends on."""
    spec, graph = plan.spec, plan.graph
    for sample, blobs in spec.inputs.items():
        yield from _missing(plan, sample)
        for blob, source in blobs.items():
            where = spec.at_input(sample, blob)
            if blob not in graph.producer:
                near = guess(blob, graph.inputs) or guess(blob, graph.producer)
                yield where, f"the network has no such input{near}; it has {some(graph.inputs)}"
                continue
            problems = [_useless(plan, sample, blob), *_values(spec, graph, blob, source)]
            yield from ((where, problem) for problem in problems if problem)


def _missing(plan: Plan, sample: str) -> Iterator[Problem]:
    """The inputs that `sample` must feed as well, because nothing that it feeds replaces them."""
    spec, fed = plan.spec, plan.graph.fed(plan.spec.inputs[sample])
    whole = fed is plan.graph and spec.outputs is None
    for blob in plan.graph.inputs:
        number = fed.producer[blob].number
        needing = [one for one in plan.wanted(sample) if number in fed.ancestors([one])]
        if blob in spec.inputs[sample] or not (whole or needing):
            continue
        why = "" if whole else f"; {some(needing)} needs it: feed it, or choose other 'outputs'"
        what = f"inputs.{sample}: the network's input {quoted(blob)} is missing{why}"
        yield spec.at("inputs", sample, of_key=True), what


def _useless(plan: Plan, sample: str, blob: str) -> str:
    """Why feeding an inner `blob` changes nothing that `sample` compares; empty if it does."""
    if blob in plan.graph.inputs:
        return ""
    wanted = plan.wanted(sample)
    if blob in wanted:
        return "it is compared as well, and would be compared with itself"
    fed = plan.graph.fed(plan.spec.inputs[sample])
    needed = fed.ancestors(wanted)
    read = {one for layer in fed.layers if layer.number in needed for one in layer.inputs}
    if blob not in read:
        return f"no layer on the way to {some(wanted)} reads it"
    maker = plan.graph.producer[blob]
    missing = [one for one in maker.outputs if one in read and one not in plan.spec.inputs[sample]]
    if missing:
        return f"{cut(maker.name)} also writes {some(missing)}, which is needed: feed all of its outputs"
    return ""


def _values(spec: Spec, graph: Graph, blob: str, source: Source) -> Iterator[str]:
    """What is wrong with the values or the shape that `source` gives to `blob`."""
    hint = graph.shapes.get(blob)
    reader = integers.integer_reader(graph, blob)
    if reader is not None:
        yield from no_integers(spec, source, reader)
    if isinstance(source, FileSource | ImageSource):
        return  # only the worker knows the shapes of such inputs
    if source.shape is None and hint is None:
        yield f"the key 'shape' is missing, and {graph.file} does not state the shape either"
    else:
        yield misfit(graph, blob, source.shape or hint or ())


def expected(plan: Plan) -> Iterator[Problem]:
    spec, graph = plan.spec, plan.graph
    for name, sample in spec.samples.items():
        for blob in sample.expect:
            where = spec.at_input(name, "expect", blob)
            if blob not in graph.producer:
                near = guess(blob, plan.outputs) or guess(blob, graph.producer)
                yield where, f"the network has no such blob{near}; its outputs are {some(plan.outputs)}"
            elif blob in sample.blobs and not isinstance(sample.blobs[blob], ImageSource):
                yield where, "it is fed, and not made from a picture, so nothing of it would be tested"


def outputs(plan: Plan) -> Iterator[Problem]:
    """What is wrong with the choice of outputs."""
    spec, graph = plan.spec, plan.graph
    for i, blob in enumerate(spec.outputs or ()):
        where = spec.at("outputs", i)
        if blob not in graph.producer:
            near = guess(blob, graph.outputs) or guess(blob, graph.producer)
            yield where, f"outputs: no blob {quoted(blob)}{near}; the last are {some(graph.outputs)}"
        elif blob in graph.inputs:
            yield where, f"outputs: {quoted(blob)} is an input, so nothing of it would be tested"


def some(names: Sequence[str]) -> str:
    """The names in a row; if there are many, the first of them."""
    return ", ".join([*map(cut, names[:10]), *(["..."] if len(names) > 10 else [])])
