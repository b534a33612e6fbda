"""A spec's samples against network and files: inputs that exist, shapes and kinds of values that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_ncnn_parity.base import read_files
from pytest_ncnn_parity.base.errors import cut, guess, quoted
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network import integers
from pytest_ncnn_parity.network.input_shapes import misfit
from pytest_ncnn_parity.network.param import Graph, Layer
from pytest_ncnn_parity.plan import recorded_type
from pytest_ncnn_parity.spec.sources import (
    ConstantSource,
    FileSource,
    ImageSource,
    RandomSource,
    Source,
)
from pytest_ncnn_parity.spec.spec import Problem, Spec


def files(spec: Spec, root: Path | None) -> Iterator[Problem]:
    for name, sample in spec.samples.items():
        for path, source in (
            *(((blob,), source) for blob, source in sample.blobs.items()),
            *((("expect", blob), source) for blob, source in sample.expect.items()),
        ):
            if isinstance(source, FileSource | ImageSource):
                named = source.file if isinstance(source, FileSource) else source.image
                file = spec.path.parent / named
                problem = read_files.problem(file, root)
                if problem:
                    yield spec.at_input(name, *path), f"{read_files.shown(file)} {problem}"


def inputs(spec: Spec, graph: Graph) -> Iterator[Problem]:
    for sample, blobs in spec.inputs.items():
        for blob in graph.inputs:
            if blob not in blobs:
                where = spec.at("inputs", sample, of_key=True)
                yield where, f"inputs.{sample}: the network's input {quoted(blob)} is missing"
        for blob, source in blobs.items():
            where = spec.at_input(sample, blob)
            hint = graph.shapes.get(blob)
            if blob not in graph.inputs:
                near = guess(blob, graph.inputs)
                yield where, f"the network has no such input{near}; it has {some(graph.inputs)}"
                continue
            reader = integers.integer_reader(graph, blob)
            if reader is not None:
                yield from ((where, what) for what in _no_integers(spec, source, reader))
            if isinstance(source, FileSource | ImageSource):
                continue  # the worker knows their shapes
            if source.shape is None and hint is None:
                file = printable(Path(graph.source).name)
                yield where, f"the key 'shape' is missing, and {file} does not tell it either"
            else:
                problem = misfit(graph, blob, source.shape or hint or ())
                if problem:
                    yield where, problem


MOST_WORDS = 100  # suggested where the network does not tell how many there are


def _no_integers(spec: Spec, source: Source, reader: Layer) -> Iterator[str]:
    """What is said of a source whose values `reader` would take for other integers than they are."""
    words = integers.words(reader)
    last = (words or MOST_WORDS) - 1
    problem = _unlike_integers(spec, source)
    if not problem and words is not None:
        problem = _beyond(source, last)
    if problem:
        shape = getattr(source, "shape", None)
        size = "" if shape is None else f", shape: {shape}"
        wanted = f"whole numbers, 0 to {last}" if words else "whole numbers"
        yield (
            f"{cut(reader.name)} ({reader.type}) reads {wanted}; {problem}. "
            f"Write {{random: integers, low: 0, high: {last}{size}}}"
            ", or record integers: {file: words.npy}"
        )


def _unlike_integers(spec: Spec, source: Source) -> str:
    """What other values than whole numbers `source` gives, or nothing."""
    if isinstance(source, ImageSource):
        return "an image gives pixels"
    if isinstance(source, FileSource):
        found = recorded_type.holds_integers(spec.path.parent / source.file, source.key)
        return f"{cut(source.file)} holds floats" if found is False else ""
    if isinstance(source, ConstantSource):
        return "" if float(source.constant).is_integer() else f"{source.constant:g} is none"
    return "" if source.random == "integers" else f"random: {source.random} gives fractions"


def _beyond(source: Source, last: int) -> str:
    """Which bound of `source` is no word, of which there are 0 to `last`, or nothing."""
    bounds: tuple[float | None, ...] = ()
    if isinstance(source, RandomSource):
        bounds = source.bounds
    elif isinstance(source, ConstantSource):
        bounds = (source.constant,)
    beyond = next((bound for bound in bounds if bound is not None and not 0 <= bound <= last), None)
    return (
        ""
        if beyond is None
        else f"ncnn takes {beyond:g} for {'the first' if beyond < 0 else 'the last'}"
    )


def expected(spec: Spec, graph: Graph) -> Iterator[Problem]:
    for name, sample in spec.samples.items():
        for blob in sample.expect:
            if blob not in graph.outputs:
                near = guess(blob, graph.outputs)
                problem = f"the network has no such output{near}; it has {some(graph.outputs)}"
                yield spec.at_input(name, "expect", blob), problem


def some(names: Sequence[str]) -> str:
    """Names in a row, of many the first."""
    return ", ".join([*map(cut, names[:10]), *(["..."] if len(names) > 10 else [])])
