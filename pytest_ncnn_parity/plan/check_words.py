"""Checks inputs that an Embed reads: they must be integers, and rows that it has."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ncnn_parity.base.errors import cut
from pytest_ncnn_parity.network import integers
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.plan import recorded_type
from pytest_ncnn_parity.spec.sources import (
    ConstantSource,
    FileSource,
    ImageSource,
    RandomSource,
    Source,
)
from pytest_ncnn_parity.spec.spec import Spec

MOST_WORDS = 100  # suggested if the network does not say how many words it has


def no_integers(spec: Spec, source: Source, reader: Layer) -> Iterator[str]:
    """The error for a source whose values `reader` would read as other integers."""
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
    """What `source` gives besides whole numbers; empty if nothing."""
    if isinstance(source, ImageSource):
        return "an image gives pixels"
    if isinstance(source, FileSource):
        of_integers = recorded_type.holds_integers(spec.path.parent / source.file, source.key)
        return f"{cut(source.file)} holds no integers" if of_integers is False else ""
    if isinstance(source, ConstantSource):
        return "" if float(source.constant).is_integer() else f"{source.constant:g} is none"
    return "" if source.random == "integers" else f"random: {source.random} gives fractions"


def _beyond(source: Source, last: int) -> str:
    """Which bound of `source` is outside 0 to `last`, the rows of the table; empty if none is."""
    bounds: tuple[float | None, ...] = ()
    if isinstance(source, RandomSource):
        bounds = source.bounds
    elif isinstance(source, ConstantSource):
        bounds = (source.constant,)
    beyond = next((bound for bound in bounds if bound is not None and not 0 <= bound <= last), None)
    if beyond is None:
        return ""
    return f"ncnn takes {beyond:g} for {'the first' if beyond < 0 else 'the last'}"
