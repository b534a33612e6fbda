"""What is left of an error behind layers in whose place another model computes something else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.network.graph import Layer

# What reads a part that is written otherwise has at most this share of the error that it reads, both in
# absolute terms and of its largest value. A layer that is wrong with a small effect leaves more: a sum
# with larger values keeps the absolute error, and a small factor the relative one.
LEFT = 0.01
# an int8 layer's own rounding leaves a few hundredths of its largest value
LEFT_IN_INT8 = 0.1

Errors = Mapping[str, Metrics | None]  # by blob; None for a value of another shape


def differs(layer: Layer, errors: Errors) -> bool:
    """Whether a value that `layer` gives is not known to agree in the other model's own run."""
    known = [errors.get(blob) for blob in layer.outputs]
    return layer.type != "Input" and any(error is None or not error.agrees for error in known)


def is_far_smaller(error: Metrics, than: Metrics, in_int8: bool) -> bool:
    """Whether hardly anything of the error `than` is left in `error`, by their share of the values."""
    return error.scaled <= (LEFT_IN_INT8 if in_int8 else LEFT) * than.scaled


def nothing_is_left(reader: Layer, part: Iterable[Layer], errors: Errors) -> bool:
    """Whether the values of `reader`, which agree, do so in spite of errors of what it reads.

    Those of another shape, or that the other model has not, cannot be measured: without any other, the
    errors of the `part` in front of it count.
    """
    read = _measured(reader.inputs, errors) or _measured((b for x in part for b in x.outputs), errors)
    wrong = [error for error in read if not error.agrees]
    return not wrong or all(
        after.scaled <= LEFT * max(before.scaled for before in wrong)
        and after.max_abs <= LEFT * max(before.max_abs for before in wrong)
        for after in _measured(reader.outputs, errors)
    )


def _measured(blobs: Iterable[str], errors: Errors) -> list[Metrics]:
    return [error for error in map(errors.get, blobs) if error is not None]
